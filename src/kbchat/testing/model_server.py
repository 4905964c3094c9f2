"""A model server that speaks OpenAI's protocol on a real socket, answers what it is told and fails on demand.

async with ModelServer() as server:
    server.script(Script(status=500), Script(texts=("Keys", " rotate.")))
    ...                                             # the first request fails, all later ones are answered
    assert server.requests[0].body["model"] == "test"
"""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

from aiohttp import web

Ending = Literal["whole", "stall", "cut"]
"""`whole`: the stream ends as it should. `stall`: silence after the texts, the connection stays. `cut`: the connection
closes in the middle of a line after the texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What the server does with one request. Times are seconds."""

    texts: tuple[str, ...] = ("Hello", ",", " world", ".")
    forever: bool = False
    """The texts are said again and again."""
    finish_reason: str | None = "stop"
    usage: tuple[int, int] | None = (11, 4)
    """Prompt and completion tokens, told when the request asks for them."""
    done: bool = True
    """Whether `[DONE]` comes last."""
    tail: bytes = b""
    """Raw bytes after the texts, before whatever ends the stream."""
    ending: Ending = "whole"

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | bytes | None = None
    """Sent whole in place of a stream; None with another status than 200 means OpenAI's error body."""
    delay: float = 0.0
    """Before the answer's head."""
    hang: bool = False
    """No answer at all, the connection stays."""
    reset: bool = False
    """The connection is reset in place of an answer."""

    pause: float = 0.0
    """After each write."""
    piece: int | None = None
    """Bytes a write; None: a frame a write."""
    line_end: bytes = b"\n"


@dataclass(slots=True, kw_only=True)
class ReceivedRequest:
    """A request as the server saw it. `disconnected` is set when the client left before the answer was whole."""

    path: str
    headers: Mapping[str, str]
    body: Any
    arrived: float
    disconnected: asyncio.Event = field(default_factory=asyncio.Event)
    disconnected_at: float | None = None
    """`time.monotonic()` of that moment, as `arrived` is of the other."""
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server is through with the request, for whatever reason."""


class ModelServer:
    """Serves `POST {base_url}/chat/completions` on a free port of 127.0.0.1 while its block is open."""

    def __init__(self, script: Script | None = None) -> None:
        self.requests: list[ReceivedRequest] = []
        self._scripts = [script or Script()]
        self._port = 0
        self._runner: web.AppRunner | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def script(self, *scripts: Script) -> None:
        """What the next requests get, one script each; all after them get the last."""
        self._scripts = list(scripts)

    async def refuse(self) -> None:
        """Stop listening: connections are refused until `accept`. Open ones are closed."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def accept(self) -> None:
        """Listen, on the same port as before."""
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._handle)
        # The handler is cancelled the moment the client leaves: that is how a disconnect is noticed.
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0)
        await runner.setup()
        listener = socket.create_server(("127.0.0.1", self._port), backlog=1024)
        self._port = listener.getsockname()[1]
        await web.SockSite(runner, listener).start()
        self._runner = runner

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            body = json.loads(await request.read())
        except ValueError:
            return web.json_response({"error": {"message": "the body is no JSON"}}, status=400)
        received = ReceivedRequest(
            path=request.path, headers=dict(request.headers), body=body, arrived=time.monotonic()
        )
        self.requests.append(received)
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        try:
            return await self._answer(request, body, script)
        except (asyncio.CancelledError, ConnectionError):
            received.disconnected_at = time.monotonic()
            received.disconnected.set()
            raise
        finally:
            received.finished.set()

    async def _answer(self, request: web.Request, body: Any, script: Script) -> web.StreamResponse:
        if script.hang:
            await asyncio.Event().wait()
        if script.delay:
            await asyncio.sleep(script.delay)
        if script.reset:
            _transport(request).abort()
            return web.Response()
        if script.body is not None or script.status != 200:
            return _plain(script)
        if not body.get("stream"):
            return web.json_response(_completion(body, script))
        return await self._stream(request, body, script)

    async def _stream(self, request: web.Request, body: Any, script: Script) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **script.headers})
        await response.prepare(request)
        async for data in _pieces(_stream_bytes(body, script), script.piece):
            await response.write(data)
            # Also with no pause: an endless answer must leave the loop to others.
            await asyncio.sleep(script.pause)
        if script.ending == "stall":
            await asyncio.Event().wait()
        if script.ending == "cut":
            await response.write(b'data: {"id": "chatcmpl-1", "choi')
            _transport(request).close()
            return response
        with suppress(ConnectionError):  # nothing is missing for a client that left after the last byte
            await response.write_eof()
        return response


async def _stream_bytes(body: Any, script: Script) -> AsyncIterator[bytes]:
    def frame(**more: object) -> bytes:
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body.get("model")}
        return b"data: " + json.dumps(head | more).encode() + 2 * script.line_end

    def choice(delta: object, finish_reason: str | None = None) -> list[object]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]

    yield frame(choices=choice({"role": "assistant", "content": ""}))
    said = False
    while script.forever or not said:
        for text in script.texts:
            yield frame(choices=choice({"content": text}))
        said = True
    if script.tail:
        yield script.tail
    if script.ending != "whole":
        return
    if script.finish_reason is not None:
        yield frame(choices=choice({}, script.finish_reason))
    if script.usage and (body.get("stream_options") or {}).get("include_usage"):
        yield frame(choices=[], usage=_usage(script))
    if script.done:
        yield b"data: [DONE]" + 2 * script.line_end


async def _pieces(frames: AsyncIterator[bytes], size: int | None) -> AsyncIterator[bytes]:
    async for data in frames:
        step = size or len(data)
        for start in range(0, len(data), step):
            yield data[start : start + step]


def _plain(script: Script) -> web.Response:
    body = script.body
    if body is None:
        message = f"scripted failure {script.status}"
        body = json.dumps({"error": {"message": message, "type": "scripted", "code": None, "param": None}})
    headers = {"Content-Type": "application/json", **script.headers}
    return web.Response(status=script.status, headers=headers, body=body.encode() if isinstance(body, str) else body)


def _completion(body: Any, script: Script) -> object:
    message = {"role": "assistant", "content": "".join(script.texts)}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body.get("model"),
        "choices": [{"index": 0, "message": message, "finish_reason": script.finish_reason}],
        "usage": _usage(script),
    }


def _usage(script: Script) -> object:
    prompt, completion = script.usage or (0, 0)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _transport(request: web.Request) -> asyncio.Transport:
    assert isinstance(request.transport, asyncio.Transport)
    return request.transport
