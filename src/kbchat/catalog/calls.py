"""How the catalog is called: one transaction a call, each in a worker thread."""

from collections.abc import Callable, Hashable
from contextlib import nullcontext
from datetime import datetime
from typing import Any, TypeVar

import anyio
from sqlalchemy import Connection

from kbchat.catalog.database import Database
from kbchat.errors import KbchatError
from kbchat.threads import Batches, Threads, lanes

_MOST_TOGETHER = 16

T = TypeVar("T")


class Calls:
    """Runs transactions. What the catalog holds is in the classes below this one."""

    def __init__(self, database: Database, *, threads: Threads, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._threads = threads
        self._clock = clock
        # SQLite has one writer at a time: ours wait here, in turn, and not each in a thread that polls the file.
        self._writing = anyio.Lock() if database.is_sqlite else nullcontext()
        self._glances = Batches(self._glance_together, threads=threads, most=_MOST_TOGETHER, lanes=lanes())

    async def _read(self, work: Callable[[Connection], T]) -> T:
        return await self._threads.read(self._database.read, work)

    async def _glance(self, what: Hashable, work: Callable[[Connection], T]) -> T:
        """A read that many make at once and that takes no longer than the way to a thread: those that meet are made in
        one transaction, and what two of them want, by `what` the same, is read once."""
        if not self._database.is_sqlite:
            return await self._read(work)
        found: T = await self._glances((what, work))
        return found

    def _glance_together(self, asked: "list[tuple[Hashable, Callable[[Connection], Any]]]") -> list[Any]:
        def glances(connection: Connection) -> dict[Hashable, Any]:
            found: dict[Hashable, Any] = {}
            for what, work in asked:
                if what not in found:
                    try:
                        found[what] = work(connection)
                    except KbchatError as error:
                        found[what] = error
            return found

        found = self._database.read(glances)
        return [found[what] for what, _ in asked]

    async def _write(self, work: Callable[[Connection], T]) -> T:
        async with self._writing:
            return await self._threads.write(self._database.write, work)
