"""How a program without `await` reaches the async face: one event loop in one thread of its own.

The loop is not the caller's, so this works in scripts, in threads and in notebooks, whose own loop is always running.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Generic, ParamSpec, Self, TypeVar

import anyio
import anyio.from_thread

from kbchat import answers
from kbchat.events import Delta, Deltas, EngineEvent, Event
from kbchat.models import IngestReport

P = ParamSpec("P")
T = TypeVar("T")

_AHEAD = 16
"""How much may wait for a slow reader before what is read waits too."""


class Loop:
    """An event loop in a daemon thread, from the first call on until it is closed or the program ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._portal: anyio.from_thread.BlockingPortal | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function in the loop and wait for it. Whatever ends the waiting, Ctrl-C too, cancels it there."""
        future = self.start(partial(function, *args, **kwargs))
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def start(self, function: Callable[[], Awaitable[T]]) -> Future[T]:
        """Start a function in the loop and do not wait for it."""
        with self._lock:
            if self._closed:
                raise RuntimeError("the knowledge base was closed; make another one")
            portal = self._portal or self._open()
        return portal.start_task_soon(function)

    def close(self, last: Callable[[], Awaitable[None]]) -> None:
        """Run a last function in the loop, then end it and its thread. Closing twice does nothing."""
        with self._lock:
            portal, thread, self._closed = self._portal, self._thread, True
            self._portal = self._thread = None
        if portal is None or thread is None:
            return
        if thread is threading.current_thread():
            # Python may drop the last reference to what is closed in any thread, this one too, which cannot wait.
            threading.Thread(target=_end, args=(portal, thread, last), name="kbchat-close").start()
        else:
            _end(portal, thread, last)

    def _open(self) -> anyio.from_thread.BlockingPortal:
        opened: Future[anyio.from_thread.BlockingPortal] = Future()
        # A daemon: a program that forgets to close must be able to end.
        self._thread = threading.Thread(target=anyio.run, args=(_serve, opened), name="kbchat", daemon=True)
        self._thread.start()
        self._portal = opened.result()
        return self._portal


def _end(
    portal: anyio.from_thread.BlockingPortal, thread: threading.Thread, last: Callable[[], Awaitable[None]]
) -> None:
    try:
        portal.call(last)
    finally:
        portal.call(portal.stop, True)
        thread.join()


async def _serve(opened: Future[anyio.from_thread.BlockingPortal]) -> None:
    async with anyio.from_thread.BlockingPortal() as portal:
        opened.set_result(portal)
        await portal.sleep_until_stopped()


class _Pump(Generic[T]):
    """Reads an asynchronous iterator in the loop, a little ahead of whoever takes from it here."""

    def __init__(self, loop: Loop, source: AbstractAsyncContextManager[AsyncIterator[T]]) -> None:
        self._loop = loop
        self._source = source
        self._send, self._receive = anyio.create_memory_object_stream[T](_AHEAD)
        self._ended = anyio.Event()
        self._running: Future[None] | None = None
        self._closed = False

    def read(self) -> Iterator[T]:
        if self._closed or self._running is not None:
            raise RuntimeError("this was read to its end or closed; ask again for another")
        try:
            # One task from beginning to end: what the source opens must be closed where it was opened.
            self._running = self._loop.start(self._run)
            while (item := self._loop.call(self._next)) is not None:
                yield item
            self._running.result()
        finally:
            self.close()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._running is not None:
            self._running.cancel()
            self._loop.call(self._end)

    async def _run(self) -> None:
        try:
            async with self._send, self._source as items:
                async for item in items:
                    await self._send.send(item)
        finally:
            self._ended.set()

    async def _next(self) -> T | None:
        try:
            return await self._receive.receive()
        except anyio.EndOfStream:
            return None

    async def _end(self) -> None:
        self._receive.close()
        await self._ended.wait()


class _Stream(Generic[T]):
    """What can be iterated once, and closed before its end."""

    def __init__(
        self, loop: Loop, source: AbstractAsyncContextManager[AsyncIterator[T]], parent: object = None
    ) -> None:
        self._pump = _Pump(loop, source)
        self._parent = parent  # Kept open while this is used.

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop it. Closing twice does nothing."""
        self._pump.close()


class AnswerStream(_Stream[EngineEvent]):
    """The events of one answer, as `kbchat.AnswerStream` has them, for a plain `for`.

        for event in space.stream("How are keys rotated?"):
            ...

    It can be iterated once. Leaving the loop early leaves the model working until Python drops the iterator;
    `with space.stream(…) as events` stops it at once.
    """

    def __init__(self, loop: Loop, stream: answers.AnswerStream, parent: object = None) -> None:
        super().__init__(loop, _batches(stream), parent)

    def __iter__(self) -> Iterator[Event]:
        for event in self._pump.read():
            if isinstance(event, Deltas):
                yield from map(Delta, event.texts)
            else:
                yield event


class ReportStream(_Stream[IngestReport]):
    """The reports of a folder that is watched.

    with space.watch("docs") as reports:
        for report in reports:
            ...
    """

    def __iter__(self) -> Iterator[IngestReport]:
        yield from self._pump.read()


@asynccontextmanager
async def _batches(stream: answers.AnswerStream) -> AsyncIterator[AsyncIterator[EngineEvent]]:
    async with stream:
        yield stream.batches()


def closed_at_exit(owner: object, close: Callable[[], None]) -> Callable[[], None]:
    """Have something closed when its owner is dropped or the program ends; returns what closes it now."""
    return weakref.finalize(owner, close)
