"""The relay most people would write, with FastAPI, uvicorn and the OpenAI SDK: `sdk_relay.py PORT UPSTREAM`."""

import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI

app = FastAPI()
client = AsyncOpenAI(base_url=sys.argv[2], api_key="none")


@app.post("/v1/chat/completions")
async def chat(body: dict[str, Any]) -> StreamingResponse:
    stream = await client.chat.completions.create(model=body["model"], messages=body["messages"], stream=True)

    async def frames() -> AsyncIterator[str]:
        async for chunk in stream:
            yield f"data: {chunk.model_dump_json()}\n\n"
        yield "data: [DONE]\n\n"

    return StreamingResponse(frames(), media_type="text/event-stream")


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096)
print(listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])
