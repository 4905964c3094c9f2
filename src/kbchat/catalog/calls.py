"""How the catalog is called: one transaction a call, each in a worker thread."""

from collections.abc import Callable, Hashable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar, cast

import anyio
from sqlalchemy import Connection

from kbchat.catalog import spaces
from kbchat.catalog.database import Database
from kbchat.errors import CatalogError, KbchatError
from kbchat.threads import MOST_TOGETHER, Batches, Threads, lanes

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Outcome(Generic[T]):
    value: T | None = None
    error: Exception | None = None


class _Change(Generic[T]):
    """A change that waits for its turn, and what became of it."""

    def __init__(self, work: Callable[[Connection], T]) -> None:
        self._work = work
        self.outcome: _Outcome[T] | None = None

    def make(self, connection: Connection, database: Database) -> _Outcome[T]:
        """Make it in a transaction with others, which its own failure does not undo. Raises `CatalogError` where the
        database failed: then it may have undone all of them."""
        try:
            with database.errors(), connection.begin_nested():
                return _Outcome(self._work(connection))
        except CatalogError:
            raise
        except Exception as error:
            return _Outcome(error=error)

    def result(self) -> T:
        """What it gave. Raises what it raised."""
        assert self.outcome is not None
        if self.outcome.error is not None:
            raise self.outcome.error
        return cast("T", self.outcome.value)


class Calls:
    """Runs transactions. What the catalog holds is in the classes below this one."""

    def __init__(self, database: Database, *, threads: Threads, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._threads = threads
        self._clock = clock
        # SQLite has one writer at a time: ours wait here, in turn, and not each in a thread that polls the file.
        self._writing = anyio.Lock() if database.is_sqlite else nullcontext()
        self._waiting: list[_Change[Any]] = []
        self._turns: dict[int, int] = {}
        """Which turn is ours, of each space that we hold the writer's lock of."""
        self._glances = Batches(self._glance_together, threads=threads, lanes=lanes())

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

    async def _write_in_company(self, work: Callable[[Connection], T]) -> T:
        """A small change that many make at once: a commit takes longer than all else of it, so those that wait for
        their turn are made in one transaction, each wholly or not at all."""
        if not self._database.is_sqlite:
            return await self._write(work)
        mine: _Change[T] = _Change(work)
        self._waiting.append(mine)
        try:
            async with self._writing:
                if mine.outcome is None:  # Nobody took it along.
                    some = self._waiting[:MOST_TOGETHER]
                    await self._threads.write(self._make_together, some)
        finally:
            # Whoever was cancelled may have made the others' changes all the same.
            self._waiting = [each for each in self._waiting if each.outcome is None and each is not mine]
        return mine.result()

    def _make_together(self, some: "Sequence[_Change[Any]]") -> None:
        try:
            outcomes = self._database.write(lambda connection: [each.make(connection, self._database) for each in some])
        except KbchatError as error:
            outcomes = [_Outcome(error=error)] * len(some)
        for each, outcome in zip(some, outcomes, strict=True):
            each.outcome = outcome

    async def _write(self, work: Callable[[Connection], T]) -> T:
        async with self._writing:
            return await self._threads.write(self._database.write, work)

    async def _write_in_turn(self, space_id: int, work: Callable[[Connection], T]) -> T:
        """A write to a space by who holds its writer's lock. Raises `BusyError`, and has changed nothing, when that was
        lost and another server has taken it since. `work` locks the space's row."""
        turn = self._turns.get(space_id)
        if turn is None:
            return await self._write(work)

        def fenced(connection: Connection) -> T:
            done = work(connection)
            spaces.in_turn(connection, space_id, turn)
            return done

        return await self._write(fenced)
