"""How the catalog is called: one transaction a call, each in a worker thread."""

from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime
from typing import TypeVar

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

    async def _read(self, work: Callable[[Connection], T]) -> T:
        return await self._threads.read(self._database.read, work)

    async def _write(self, work: Callable[[Connection], T]) -> T:
        async with self._writing:
            return await self._threads.write(self._database.write, work)
