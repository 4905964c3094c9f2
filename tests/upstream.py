"""A model server on a real socket that does what a test tells it to, and sees when its client leaves."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

AT_ONCE = 2.0
"""Seconds until a model's server sees its reader leave: milliseconds, which `benchmarks/serve_load.py` counts, and what
a busy machine adds. The next thing that would end it, a comment line, comes after 15."""


class Exchange:
    """One request to the model server, and its answer in the making. `gone` is set when the client has left."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.request: dict[str, Any] = {}
        self.headers: dict[str, str] = {}
        self.gone = asyncio.Event()
        self.sent = 0

    async def read(self) -> bool:
        """Take the request in. False when there is none."""
        try:
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        lines = head.split("\r\n")[1:-2]
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.request = json.loads(await self._reader.readexactly(int(self.headers.get("content-length", "0"))))
        return True

    async def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)
        self.sent += len(data)
        await self._writer.drain()

    async def status(self, code: int, body: str = "{}", **headers: str) -> None:
        """Answer with a status and end."""
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        await self.raw(
            f"HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{more}"
            f"Connection: close\r\n\r\n{body}".encode()
        )

    async def open(self) -> None:
        """Begin an event stream."""
        await self.raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")

    async def piece(self, data: bytes) -> None:
        """Send a piece of the stream."""
        await self.raw(b"%x\r\n%b\r\n" % (len(data), data))

    async def say(self, *texts: str) -> None:
        """Send deltas, all in one write."""
        await self.piece(b"".join(frame(text) for text in texts))

    async def end(self, finish_reason: str = "stop", *, usage: tuple[int, int] | None = None) -> None:
        """Finish the stream as it ought to be finished."""
        counted = {"usage": dict(zip(("prompt_tokens", "completion_tokens"), usage, strict=True))} if usage else {}
        await self.piece(frame("", finish_reason=finish_reason, **counted) + b"data: [DONE]\n\n")
        await self.raw(b"0\r\n\r\n")

    async def hang(self) -> None:
        """Say nothing until the client leaves."""
        await self.gone.wait()

    async def watch(self) -> None:
        """Set `gone` when the client closes its side. Whatever else it sends is not looked at."""
        try:
            while await self._reader.read(65536):
                pass
        except ConnectionError:
            pass
        self.gone.set()


def frame(text: str, *, finish_reason: str | None = None, **more: object) -> bytes:
    """One delta as model servers send it."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    body = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **more}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


Behaviour = Callable[[Exchange], Awaitable[None]]


class Upstream:
    """The server. `behave` answers each request; `exchanges` are all there were."""

    def __init__(self) -> None:
        self.behave: Behaviour = says("Hello", " there")
        self.exchanges: list[Exchange] = []
        self.base_url = ""
        self._arrived = asyncio.Event()

    @property
    def last(self) -> Exchange:
        return self.exchanges[-1]

    async def exchange(self) -> Exchange:
        """The next request, once it is there."""
        while not self.exchanges:
            self._arrived.clear()
            await self._arrived.wait()
        return self.last

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        exchange = Exchange(reader, writer)
        try:
            if not await exchange.read():
                return
            self.exchanges.append(exchange)
            self._arrived.set()
            watch = asyncio.create_task(exchange.watch())
            try:
                await self.behave(exchange)
            except ConnectionError:
                exchange.gone.set()
            finally:
                watch.cancel()
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def says(*texts: str, usage: tuple[int, int] | None = None) -> Behaviour:
    """A model that says these pieces, in one write, and ends well."""

    async def behave(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.say(*texts)
        await exchange.end(usage=usage)

    return behave


def answers(code: int, body: str = "{}", **headers: str) -> Behaviour:
    """A model server that refuses."""

    async def behave(exchange: Exchange) -> None:
        await exchange.status(code, body, **headers)

    return behave


def sends(pieces: Sequence[bytes]) -> Behaviour:
    """A model server that begins a stream, sends these pieces and closes the connection in the middle of it."""

    async def behave(exchange: Exchange) -> None:
        await exchange.open()
        for piece in pieces:
            await exchange.piece(piece)

    return behave


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    """A running model server. It ends with its connections."""
    serving = Upstream()
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serving.handle(reader, writer)
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    serving.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield serving
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def model() -> AsyncIterator[Upstream]:
    """A running model server, for tests that import this."""
    async with upstream() as running:
        yield running
