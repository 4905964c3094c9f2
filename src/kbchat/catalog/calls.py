"""How the catalog is called: one transaction a call, each in a worker thread."""

import asyncio
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from datetime import datetime
from typing import Any, TypeVar

import anyio
from sqlalchemy import Connection

from kbchat.catalog.database import Database
from kbchat.threads import Threads

T = TypeVar("T")


class Calls:
    """Runs transactions. What the catalog holds is in the classes below this one."""

    def __init__(self, database: Database, *, threads: Threads, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._threads = threads
        self._clock = clock
        # SQLite has one writer at a time: ours wait here, in turn, and not each in a thread that polls the file.
        self._writing = anyio.Lock() if database.is_sqlite else nullcontext()
        self._shared: dict[Hashable, _Shared] = {}

    async def _read(self, work: Callable[[Connection], T]) -> T:
        return await self._threads.read(self._database.read, work)

    async def _read_once(self, key: Hashable, work: Callable[[Connection], T]) -> T:
        """As `_read`, for a small question that many ask at the same time: those who ask it (by its `key`) while its
        last transaction runs are answered by one that begins after that, and so after all of them asked."""
        shared = self._shared.setdefault(key, _Shared())
        if shared.next is None:
            shared.next = asyncio.ensure_future(self._answer(key, shared, work))
        answer: T = await asyncio.shield(shared.next)
        return answer

    async def _answer(self, key: Hashable, shared: "_Shared", work: Callable[[Connection], T]) -> T:
        async with shared.running:
            shared.next = None
            try:
                return await self._read(work)
            finally:
                if shared.next is None:
                    del self._shared[key]

    async def _write(self, work: Callable[[Connection], T]) -> T:
        async with self._writing:
            return await self._threads.write(self._database.write, work)


class _Shared:
    """A question that is being answered: by a transaction that runs, and perhaps by one that is to begin after it."""

    def __init__(self) -> None:
        self.running = anyio.Lock()
        self.next: asyncio.Future[Any] | None = None
