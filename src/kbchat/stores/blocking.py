"""A store made of a vendor's blocking client: what is alike in all of them.

What differs a driver says (`vendors`). The rest is here: checks, slices, threads, order of hits, collections that
change behind our back, reopening and closing under running calls.
"""

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar, TypeVarTuple

import anyio

from kbchat.errors import CollectionNotFoundError, KbchatError, StoreError, VectorError
from kbchat.stores import Vector, VectorHit, Vectors
from kbchat.stores.among import Ids, look_deeper
from kbchat.stores.records import (
    MAX_LIMIT,
    best_first_of_each,
    check_dimension,
    check_ids,
    check_name,
    check_question,
    check_records,
    checked,
    in_order,
    slices,
)
from kbchat.stores.vendors import Collection, Engine, Vendor
from kbchat.threads import Batches, Threads, lanes

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class BlockingStore:
    """A `VectorStore` on a vendor's blocking client. Nothing is opened before the first use."""

    def __init__(self, vendor: Vendor, *, threads: Threads, timeout: float) -> None:
        self._vendor = vendor
        self.threads = threads
        self._timeout = timeout
        self._opened: Opened | None = None
        self._opening = False
        self._leaving = 0
        self._failure: KbchatError | None = None
        self._closed = False
        # Guards the above and each engine's count of users. Never held while the vendor works.
        self._changed = threading.Condition()
        self._queries = Batches(self._query_together, threads=threads, lanes=lanes())

    async def create_collection(self, name: str, *, dimension: int) -> None:
        check_name(name)
        check_dimension(dimension)
        await self.threads.write(self._create, name, dimension)

    async def drop_collection(self, name: str) -> None:
        await self.threads.write(self._drop, name)

    async def list_collections(self) -> list[str]:
        return await self.threads.read(self._list)

    async def upsert(self, name: str, ids: Sequence[int], vectors: Vectors) -> None:
        # A slice each time, so that a cancelled caller waits for one at most; what fits into one goes at once.
        for part in await self.threads.write(self._change, name, _upsert_or_cut, ids, vectors):
            await self.threads.write(self._change, name, _upsert, part)

    async def delete(self, name: str, ids: Sequence[int]) -> None:
        for part in await self.threads.write(self._change, name, _delete_or_cut, ids):
            await self.threads.write(self._change, name, _delete, part)

    async def query(
        self, name: str, vector: Vector, *, limit: int, among: Sequence[int] | None = None
    ) -> list[VectorHit]:
        if among is not None:
            return await self._query_among(name, vector, limit, among)
        if self._vendor.is_embedded:
            return await self._queries((name, vector, limit))
        (hits,) = await self.threads.read(self._on, name, _query, [vector], limit)
        return hits

    async def _query_among(self, name: str, vector: Vector, limit: int, among: Sequence[int]) -> list[VectorHit]:
        ids, size, most_told = await self.threads.read(self._on, name, _plan_among, vector, limit, among)
        if size:
            found = await look_deeper(
                lambda depth: self.query(name, vector, limit=depth),
                ids,
                limit=limit,
                size=size,
                # Rather than deeper than so many are selected, it is looked at each of these.
                most=min(MAX_LIMIT, len(ids)),
            )
            # An index may have no more to give though there is more.
            if found is not None and len(found) == limit:
                return found
        hits: list[VectorHit] = []
        for part in ids.parts(most_told):
            more = await self.threads.read(self._on, name, _nearest_among, vector, limit, part)
            hits = in_order(hits + more)[:limit]
        return hits

    async def fetch(self, name: str, ids: Sequence[int]) -> dict[int, Vector]:
        found: dict[int, Vector] = {}
        for part in await self.threads.read(self._on, name, _cut_ids, ids):
            found |= await self.threads.read(self._on, name, _fetch, part)
        return found

    async def count(self, name: str) -> int:
        return await self.threads.read(self._on, name, _count)

    async def iterate(self, name: str, *, batch: int = 1000) -> AsyncIterator[list[int]]:
        last, more = None, True
        while more:
            ids, more = await self.threads.read(self._on, name, _ids_after, last)
            for part in slices(len(ids), batch):
                yield ids[part]
            last = ids[-1] if ids else None
            more = more and bool(ids)

    async def flush(self, name: str) -> None:
        await self.threads.write(self._on, name, _flush)

    async def refresh(self) -> None:
        await self.threads.write(self._retire if self._vendor.reopens else self._forget)

    async def ping(self) -> None:
        await self.threads.read(self._ping)

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            await self.threads.write(self._close)

    # From here on everything runs in worker threads.

    def _query_together(self, asked: list[tuple[str, Vector, int]]) -> list[list[VectorHit] | Exception]:
        """The hits of each, or why there are none. Those that ask the same of a collection go in one call."""
        alike: dict[tuple[str, int], list[int]] = {}
        for number, (name, _, limit) in enumerate(asked):
            alike.setdefault((name, limit), []).append(number)
        answers: dict[int, list[VectorHit] | Exception] = {}
        for (name, limit), numbers in alike.items():
            try:
                found = self._on(name, _query, [asked[number][1] for number in numbers], limit)
                answers |= zip(numbers, found, strict=True)
            except KbchatError as error:
                # One of several may have been at fault: each hears its own.
                alone = len(numbers) == 1
                answers |= {n: error if alone else self._query_together([asked[n]])[0] for n in numbers}
        return [answers[number] for number in range(len(asked))]

    def _create(self, name: str, dimension: int) -> None:
        with self.using(name) as opened:
            opened.known[name] = made = opened.engine.create(name, dimension)
        if made.dimension != dimension:
            raise VectorError(
                f"collection {name!r} is there with dimension {made.dimension}, not {dimension}; "
                "`kbchat fsck --repair` makes a space's anew"
            )

    def _drop(self, name: str) -> None:
        try:
            with self.using(name) as opened:
                opened.known.pop(name, None)
                opened.engine.drop(name)
        except CollectionNotFoundError:
            pass

    def _list(self) -> list[str]:
        with self.using() as opened:
            return opened.engine.names()

    def _ping(self) -> None:
        with self.using() as opened:
            opened.engine.ping()

    def _on(self, name: str, function: Callable[[Collection, *Ts], T], *args: *Ts) -> T:
        """Call a function with a collection; again if meanwhile another of the same name has taken its place."""
        with self.using(name) as opened:
            known = opened.known.get(name) or opened.find(name)
            try:
                with self._errors(name):
                    return function(known, *args)
            except (CollectionNotFoundError, VectorError):
                opened.known.pop(name, None)
                now = opened.find(name)
                if now.key == known.key:
                    raise
            return function(now, *args)

    def _change(self, name: str, function: Callable[[Collection, *Ts], T], *args: *Ts) -> T:
        while True:
            with self.using(name) as opened:
                current = opened.engine.claim()
            if current:
                return self._on(name, function, *args)
            self._retire()

    @contextmanager
    def using(self, collection: str = "") -> "Iterator[Opened]":
        with self._errors(collection):
            opened = self._enter()
            try:
                with opened.engine.turn():
                    yield opened
            finally:
                with self._changed:
                    opened.users -= 1
                    last = not opened.users and opened is not self._opened
                if last:
                    self._shut(opened)

    def _enter(self) -> "Opened":
        """The engine, opened if need be, with one user more."""
        with self._changed:
            seen = self._failure
            # Two engines over one folder at a time could undo each other's writes.
            self._changed.wait_for(lambda: not self._opening and not self._leaving)
            if self._closed:
                raise StoreError("this store is closed")
            if self._opened is not None:
                self._opened.users += 1
                return self._opened
            if self._failure is not None and self._failure is not seen:
                # To try again now would let those who wait time out one after the other.
                raise self._failure
            self._opening = True
        opened = None
        try:
            with self._errors(""):
                opened = Opened(self._vendor.open(), users=1)
        except KbchatError as error:
            self._failure = error
            raise
        finally:
            with self._changed:
                self._opening, self._opened = False, opened
                self._changed.notify_all()
        return opened

    @contextmanager
    def _errors(self, collection: str) -> Iterator[None]:
        """Every error of the vendor's leaves as one of ours."""
        try:
            yield
        except KbchatError:
            raise
        except Exception as error:
            raise self._vendor.explain(error, collection) from error
        except BaseException as error:
            # A panic in Rust is no Exception, but no reason to end the process either.
            if type(error).__name__ != "PanicException":
                raise
            raise StoreError(f"the store's engine failed: {error}") from error

    def _forget(self) -> None:
        """Look collections up again."""
        with self._changed:
            if self._opened is not None:
                self._opened.known.clear()

    def _retire(self) -> None:
        """Let the engine go: at once, or when the last call that uses it is over."""
        with self._changed:
            opened, self._opened = self._opened, None
            self._leaving += opened is not None
            idle = opened is not None and not opened.users
        if opened is not None and idle:
            self._shut(opened)

    def _shut(self, opened: "Opened") -> None:
        try:
            opened.engine.close()
        finally:
            with self._changed:
                self._leaving -= 1
                self._changed.notify_all()

    def _close(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._opening)
            self._closed = True
        self._retire()
        with self._changed:
            self._changed.wait_for(lambda: not self._leaving, self._timeout)


class Opened:
    """An engine, how many calls use it, and the collections looked up so far."""

    def __init__(self, engine: Engine, *, users: int) -> None:
        self.engine = engine
        self.users = users
        self.known: dict[str, Collection] = {}

    def find(self, name: str) -> Collection:
        self.known[name] = found = self.engine.find(name)
        return found


def _upsert_or_cut(known: Collection, ids: Sequence[int], vectors: Vectors) -> list[tuple[list[int], Vectors]]:
    """Check the records and write them if they go into one request, else return what goes into each."""
    kept, matrix = check_records(ids, vectors, dimension=known.dimension)
    parts = [(kept[part], matrix[part]) for part in slices(len(kept), known.most_vectors)]
    if len(parts) == 1:
        known.upsert(*parts[0])
    return parts if len(parts) > 1 else []


def _upsert(known: Collection, records: tuple[list[int], Vectors]) -> None:
    known.upsert(*records)


def _delete_or_cut(known: Collection, ids: Sequence[int]) -> list[list[int]]:
    parts = _cut_ids(known, ids)
    if len(parts) == 1:
        known.delete(parts[0])
    return parts if len(parts) > 1 else []


def _delete(known: Collection, ids: list[int]) -> None:
    known.delete(ids)


def _cut_ids(known: Collection, ids: Sequence[int]) -> list[list[int]]:
    check_ids(ids)
    unique = list(dict.fromkeys(ids))
    return [unique[part] for part in slices(len(unique), known.most_ids)]


def _query(known: Collection, vectors: Sequence[Vector], limit: int) -> list[list[VectorHit]]:
    questions = [check_question(vector, dimension=known.dimension, limit=limit) for vector in vectors]
    return best_first_of_each(known.nearest, questions, limit=limit, most=known.most_hits)


class _Plan(NamedTuple):
    """How to look among some ids."""

    ids: Ids
    size: int
    """Of the collection; 0 where the ids are so few that nothing else is searched."""
    most_told: int


def _plan_among(known: Collection, vector: Vector, limit: int, ids: Sequence[int]) -> _Plan:
    check_question(vector, dimension=known.dimension, limit=limit)
    among = checked(ids)
    return _Plan(among, known.size() if len(among) > known.few_ids else 0, known.most_told)


def _nearest_among(known: Collection, vector: Vector, limit: int, ids: Ids) -> list[VectorHit]:
    return known.nearest_among(check_question(vector, dimension=known.dimension, limit=limit), ids, limit)


def _fetch(known: Collection, ids: list[int]) -> dict[int, Vector]:
    return known.fetch(ids)


def _count(known: Collection) -> int:
    return known.count()


def _ids_after(known: Collection, last: int | None) -> tuple[list[int], bool]:
    return known.ids_after(last)


def _flush(known: Collection) -> None:
    known.flush()
