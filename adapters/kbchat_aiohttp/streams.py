"""Answers on their way to a reader: opened late, kept alive, watched, and cut when they must be."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from aiohttp import web

from kbchat.frames import KEEP_ALIVE, error_frame
from kbchat_aiohttp.errors import ShuttingDownError, TooManyStreamsError, describe

WATCH_SECONDS = 0.05
"""How often readers are looked after. One that leaves is noticed within this time."""


class Reader:
    """Who waits for an answer. `scope` is cancelled when the reader has left or when the answer is cut; `cut` is then
    the reason to be told, and None when nobody is there to tell it to."""

    def __init__(self, request: web.Request) -> None:
        self.request = request
        self.scope = anyio.CancelScope()
        self.cut: Exception | None = None

    @property
    def left(self) -> bool:
        return gone(self.request)

    def raise_if_cut(self) -> None:
        """Raise the reason for which the answer was cut, if it was."""
        if self.cut is not None:
            raise self.cut


def gone(request: web.Request) -> bool:
    """Whether whoever sent the request has left."""
    transport = request.transport
    return transport is None or transport.is_closing()


class Readers:
    """All the readers of an application.

    The adapter may be mounted in an application that does not cancel handlers when their client leaves, so they are
    looked after here: one task for all of them, there while there are any.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._readers: set[Reader] = set()
        self._watch: asyncio.Task[None] | None = None
        self._closing = False
        self._gone = asyncio.Event()

    def __len__(self) -> int:
        return len(self._readers)

    @asynccontextmanager
    async def admit(self, request: web.Request) -> AsyncIterator[Reader]:
        """A reader, looked after while the block runs. Raises `TooManyStreamsError` or `ShuttingDownError`."""
        if self._closing:
            raise ShuttingDownError("this server is being stopped; try again in a moment")
        if len(self._readers) >= self._limit:
            raise TooManyStreamsError(f"{self._limit} answers are under way, as many as may be; try again in a moment")
        reader = Reader(request)
        self._readers.add(reader)
        if self._watch is None:
            self._watch = asyncio.create_task(self._look_after())
        try:
            with reader.scope:
                yield reader
        finally:
            self._readers.discard(reader)
            if not self._readers:
                self._gone.set()

    async def close(self, seconds: float) -> None:
        """Admit nobody any more, give answers under way time to finish, then cut them."""
        self._closing = True
        await self._wait_until_gone(seconds)
        for reader in self._readers:
            reader.cut = ShuttingDownError("this server was stopped before the answer was complete")
            reader.scope.cancel()
        await self._wait_until_gone(1.0)
        if self._watch is not None:
            self._watch.cancel()

    async def _wait_until_gone(self, seconds: float) -> None:
        self._gone.clear()
        if self._readers:
            with anyio.move_on_after(seconds):
                await self._gone.wait()

    async def _look_after(self) -> None:
        try:
            while self._readers:
                await asyncio.sleep(WATCH_SECONDS)
                for reader in self._readers:
                    if reader.left:
                        reader.scope.cancel()
        finally:
            self._watch = None


class EventStream:
    """A response of server-sent events that begins with the first thing written to it.

    Until then (`begun`) a failure is still an ordinary status.
    """

    def __init__(self, request: web.Request) -> None:
        self.begun = False
        self.response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",  # a proxy that waits to fill its buffer is no stream
            }
        )
        self._request = request
        self._opening = asyncio.Lock()
        self._written = time.monotonic()

    async def write(self, frames: bytes) -> None:
        """Write whole frames in one piece. Waits while the reader is slow."""
        self._written = time.monotonic()
        if not self.begun:
            async with self._opening:
                await self.response.prepare(self._request)
                self.begun = True
        await self.response.write(frames)

    async def fail(self, error: Exception) -> None:
        """Say in mid-stream that the answer is cut, and close the connection: no `[DONE]` follows."""
        if gone(self._request):
            return
        failure = describe(error)
        self.response.force_close()
        await self.write(error_frame(failure.message, type=failure.kind.type, code=failure.kind.code))
        await self.response.write_eof()

    @asynccontextmanager
    async def kept_alive(self, seconds: float) -> AsyncIterator[None]:
        """While the block runs, a comment goes out whenever nothing else did for so long."""
        beat = asyncio.create_task(self._beat(seconds))
        try:
            yield
        finally:
            try:
                async with self._opening:  # not between the status line and the headers
                    pass
            finally:
                beat.cancel()

    async def _beat(self, seconds: float) -> None:
        while True:
            idle = time.monotonic() - self._written
            if idle < seconds:
                await asyncio.sleep(seconds - idle)
                continue
            try:
                await self.write(KEEP_ALIVE)
            except ConnectionError:
                return  # the reader has left; whoever looks after readers sees it too
