"""Drives LangChain's ChatOpenAI: `langchain.py BASE KEY SCENARIO`."""

import asyncio
import json
import sys
import time
from typing import Any

import openai
from langchain_openai import ChatOpenAI

base, key, scenario = sys.argv[1:]
QUESTION = "How often are keys rotated?"


def chat(model: str) -> Any:
    return ChatOpenAI(model=model, base_url=f"{base}/v1", api_key=key, max_retries=0, stream_usage=True)


def whole(question: str, model: str) -> dict[str, Any]:
    try:
        answer = chat(model).invoke(question)
    except openai.APIStatusError as error:
        return {"status": error.status_code, "code": error.code}
    usage = answer.usage_metadata
    return {
        "text": answer.content,
        "finish": answer.response_metadata["finish_reason"],
        "usage": [usage["input_tokens"], usage["output_tokens"]],
    }


def stream(question: str, model: str) -> dict[str, Any]:
    said: dict[str, Any] = {"text": ""}
    try:
        for piece in chat(model).stream(question):
            said["text"] += piece.content
            said["finish"] = piece.response_metadata.get("finish_reason") or said.get("finish")
            if piece.usage_metadata:
                said["usage"] = [piece.usage_metadata["input_tokens"], piece.usage_metadata["output_tokens"]]
    except openai.APIStatusError as error:
        return {"status": error.status_code, "code": error.code}
    except openai.APIError as error:
        said["raised"] = f"{type(error).__name__}: {error.code}"
    return said


async def cancel() -> dict[str, Any]:
    begun = asyncio.Event()

    async def read() -> None:
        async for piece in chat("m").astream("for ever"):
            if piece.content:
                begun.set()

    reading = asyncio.create_task(read())
    await begun.wait()
    left = time.monotonic()
    reading.cancel()
    await asyncio.wait([reading])
    return {"left": left}


match scenario:
    case "whole":
        found = whole(QUESTION, "kb/handbook")
    case "stream":
        found = stream(QUESTION, "kb/handbook")
    case "unknown":
        found = whole(QUESTION, "nope")
    case "unknown stream":
        found = stream(QUESTION, "nope")
    case "break off":
        found = stream("break off", "m")
    case "for ever":
        found = asyncio.run(cancel())
    case _:
        raise ValueError(scenario)
print(json.dumps(found))
