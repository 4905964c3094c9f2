"""Drives OpenAI's asynchronous SDK: `openai_async.py BASE KEY SCENARIO`."""

import asyncio
import json
import sys
import time
from typing import Any

import openai

base, key, scenario = sys.argv[1:]
QUESTION = "How often are keys rotated?"
SPACE = "kb/handbook"


def asked(question: str) -> list[Any]:
    return [{"role": "user", "content": question}]


async def whole(client: openai.AsyncOpenAI, question: str, model: str) -> dict[str, Any]:
    try:
        answer = await client.chat.completions.create(model=model, messages=asked(question))
    except openai.APIStatusError as error:
        return {"status": error.status_code, "code": error.code}
    choice, usage = answer.choices[0], answer.usage
    assert usage is not None
    return {
        "text": choice.message.content,
        "finish": choice.finish_reason,
        "usage": [usage.prompt_tokens, usage.completion_tokens],
        "references": (answer.model_extra or {}).get("references"),
    }


async def stream(client: openai.AsyncOpenAI, question: str, model: str) -> dict[str, Any]:
    said: dict[str, Any] = {"text": ""}
    try:
        pieces = await client.chat.completions.create(
            model=model, messages=asked(question), stream=True, stream_options={"include_usage": True}
        )
        async for piece in pieces:
            said["text"] += piece.choices[0].delta.content or ""
            said["finish"] = piece.choices[0].finish_reason
            if piece.usage:
                said["usage"] = [piece.usage.prompt_tokens, piece.usage.completion_tokens]
            said["references"] = (piece.model_extra or {}).get("references")
    except openai.APIStatusError as error:
        return {"status": error.status_code, "code": error.code}
    except openai.APIError as error:
        said["raised"] = f"{type(error).__name__}: {error.code}"
    return said


async def cancel(client: openai.AsyncOpenAI) -> dict[str, Any]:
    """As front ends do: the task that reads is cancelled."""
    begun = asyncio.Event()

    async def read() -> None:
        pieces = await client.chat.completions.create(model="m", messages=asked("for ever"), stream=True)
        async with pieces:
            async for _ in pieces:
                begun.set()

    reading = asyncio.create_task(read())
    await begun.wait()
    left = time.monotonic()
    reading.cancel()
    await asyncio.wait([reading])
    return {"left": left}


async def main() -> dict[str, Any]:
    async with openai.AsyncOpenAI(base_url=f"{base}/v1", api_key=key, max_retries=0) as client:
        match scenario:
            case "whole":
                return await whole(client, QUESTION, SPACE)
            case "stream":
                return await stream(client, QUESTION, SPACE)
            case "unknown":
                return await whole(client, QUESTION, "nope")
            case "unknown stream":
                return await stream(client, QUESTION, "nope")
            case "break off":
                return await stream(client, "break off", "m")
            case "for ever":
                return await cancel(client)
            case "models":
                return {"models": [model.id async for model in client.models.list()]}
            case _:
                raise ValueError(scenario)


print(json.dumps(asyncio.run(main())))
