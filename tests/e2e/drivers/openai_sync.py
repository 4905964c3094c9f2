"""Drives OpenAI's SDK: `openai_sync.py BASE KEY SCENARIO`."""

import json
import sys
import time
from typing import Any

import openai

base, key, scenario = sys.argv[1:]
client = openai.OpenAI(base_url=f"{base}/v1", api_key=key, max_retries=0)
QUESTION = "How often are keys rotated?"
SPACE = "kb/handbook"


def asked(question: str) -> list[Any]:
    return [{"role": "user", "content": question}]


def whole(question: str, model: str) -> dict[str, Any]:
    try:
        answer = client.chat.completions.create(model=model, messages=asked(question))
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


def stream(question: str, model: str) -> dict[str, Any]:
    said: dict[str, Any] = {"text": ""}
    try:
        pieces = client.chat.completions.create(
            model=model, messages=asked(question), stream=True, stream_options={"include_usage": True}
        )
        for piece in pieces:
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


def cancel() -> dict[str, Any]:
    with client.chat.completions.create(model="m", messages=asked("for ever"), stream=True) as pieces:
        for _ in pieces:
            break
        left = time.monotonic()
    return {"left": left}


def models() -> dict[str, Any]:
    return {"models": [model.id for model in client.models.list()]}


match scenario:
    case "whole":
        found = whole(QUESTION, SPACE)
    case "stream":
        found = stream(QUESTION, SPACE)
    case "unknown":
        found = whole(QUESTION, "nope")
    case "unknown stream":
        found = stream(QUESTION, "nope")
    case "break off":
        found = stream("break off", "m")
    case "for ever":
        found = cancel()
    case "models":
        found = models()
    case _:
        raise ValueError(scenario)
print(json.dumps(found))
