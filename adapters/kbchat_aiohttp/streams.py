"""Answers on their way to a reader: opened late, kept alive, watched, and cut when they must be."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
from aiohttp import web
from aiohttp.http import HttpVersion11

from kbchat.errors import DeadlineError
from kbchat.frames import KEEP_ALIVE, error_frame
from kbchat.settings import Settings
from kbchat_aiohttp.errors import ShuttingDownError, TooManyStreamsError, describe
from kbchat_aiohttp.routes import Call

WATCH_SECONDS = 0.05
"""How often readers are looked after. One that leaves is noticed within this time."""


def gone(request: web.Request) -> bool:
    """Whether whoever sent the request has left."""
    transport = request.transport
    return transport is None or transport.is_closing()


class Reader:
    """Who waits for an answer. `scope` is cancelled when the reader has left, takes nothing or has waited too long, and
    when the answer is cut; `cut` is then the reason to be told."""

    def __init__(self, request: web.Request, events: "EventStream | None", *, seconds: float) -> None:
        self.request = request
        self.events = events
        self.scope = anyio.CancelScope(deadline=anyio.current_time() + seconds)
        self.cut: Exception | None = None
        self._seconds = seconds

    @property
    def left(self) -> bool:
        return gone(self.request)

    def raise_if_cut(self) -> None:
        """Raise the reason for which the answer was cut, if it was and somebody is there to be told."""
        if self.cut is not None:
            raise self.cut
        if self.scope.cancelled_caught and not self.left:
            raise DeadlineError(f"this answer took longer than {self._seconds:g} seconds, which is as long as it may")


class Readers:
    """All the readers of an application.

    The adapter may be mounted in an application that does not cancel handlers when their client leaves, so they are
    looked after here: one task for all of them, there while there are any.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._readers: set[Reader] = set()
        self._by_key: Counter[str] = Counter()
        self._watch: asyncio.Task[None] | None = None
        self._closing = False
        self._gone = asyncio.Event()

    def __len__(self) -> int:
        return len(self._readers)

    @asynccontextmanager
    async def admit(self, call: Call, events: "EventStream | None" = None) -> AsyncIterator[Reader]:
        """A reader, of `events` or of a whole answer, looked after while the block runs.

        Raises `TooManyStreamsError` or `ShuttingDownError`.
        """
        key = call.principal.name
        self._check_room(key)
        reader = Reader(call.request, events, seconds=self._settings.request_timeout)
        self._readers.add(reader)
        self._by_key[key] += 1
        if self._watch is None:
            self._watch = asyncio.create_task(self._look_after())
        try:
            with reader.scope:
                yield reader
        finally:
            self._readers.discard(reader)
            self._by_key[key] -= 1
            if not self._by_key[key]:
                del self._by_key[key]
            if not self._readers:
                self._gone.set()

    def _check_room(self, key: str) -> None:
        if self._closing:
            raise ShuttingDownError("this server is being stopped; try again in a moment")
        for under_way, most, whose in (
            (len(self._readers), self._settings.max_streams, "of this server"),
            (self._by_key[key], self._settings.max_streams_per_key, "of this key"),
        ):
            if most is not None and under_way >= most:
                raise TooManyStreamsError(f"{most} answers {whose} are under way, as many as may be; try again soon")

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
                too_long = time.monotonic() - self._settings.write_timeout
                for reader in self._readers:
                    if reader.events is not None and reader.events.writing_since < too_long:
                        _hang_up(reader.request)
                    if reader.left:
                        reader.scope.cancel()
        finally:
            self._watch = None


def _hang_up(request: web.Request) -> None:
    """Close the connection of a reader that takes nothing, without waiting for it to take what is buffered."""
    if request.transport is not None:
        request.transport.abort()


class EventStream:
    """A response of server-sent events that begins with the first thing written to it.

    Until then (`begun`) a failure is still an ordinary status. A reader has `write_timeout` to take the end of an
    answer that fails.
    """

    def __init__(self, request: web.Request, *, write_timeout: float) -> None:
        self.begun = False
        self.writing_since = math.inf
        """`time.monotonic()` when the write began that the reader still makes us wait for."""
        self.response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",  # a proxy that waits to fill its buffer is no stream
            }
        )
        self._request = request
        self._write_seconds = write_timeout
        self._opening = asyncio.Lock()
        self._written = time.monotonic()

    async def write(self, frames: bytes) -> None:
        """Write whole frames in one piece. Waits while the reader is slow."""
        self._written = time.monotonic()
        if not self.begun:
            if self._request.version < HttpVersion11:
                self.response.force_close()  # There are no chunks in HTTP/1.0: only the end of the connection ends it.
            async with self._opening:
                await self.response.prepare(self._request)
                self.begun = True
        self.writing_since = self._written
        await self.response.write(frames)
        self.writing_since = math.inf

    async def fail(self, error: Exception) -> None:
        """Say in mid-stream that the answer is cut, and close the connection: no `[DONE]` follows."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            return
        # Nobody looks after the reader any more, and closing waits until it has taken what is buffered.
        asyncio.get_running_loop().call_later(self._write_seconds, transport.abort)
        failure = describe(error)
        self.response.force_close()
        with suppress(ConnectionError):
            await self.write(error_frame(failure.message, type=failure.kind.type, code=failure.kind.code))
            await self.response.write_eof()
        # Now, not a moment later: the client must not think that it can use the connection again.
        transport.close()

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
