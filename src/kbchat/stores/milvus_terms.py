"""Rows of sparse vectors in Milvus, beside a store's own collections and over its connection.

Milvus Lite and servers from 2.4 on have them.
"""

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TypeVar

from kbchat.errors import CollectionNotFoundError, StoreError
from kbchat.stores import VectorHit
from kbchat.stores.among import Ids, look_deeper
from kbchat.stores.milvus import MilvusEngine, MilvusStore
from kbchat.stores.milvus_collection import MOST_HITS, MilvusCollection
from kbchat.stores.milvus_names import TERMS, id_here, ids_there, theirs_of
from kbchat.stores.records import best_first, slices
from kbchat.stores.sparse_rows import SparseRow

T = TypeVar("T")

FIRST_VERSION = (2, 4)
_SLICE_ROWS = 500
"""Some 150 terms a row: a megabyte."""
_INDEX = {"index_type": "SPARSE_INVERTED_INDEX", "metric_type": "IP", "params": {"inverted_index_algo": "TAAT_NAIVE"}}
"""Term by term: exact, and made for questions whose terms are mostly rare."""


def has_sparse(version: str) -> bool | None:
    """Whether a Milvus that calls itself that has sparse vectors. None where it does not tell: what is no release but a
    build of a branch."""
    found = re.search(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) >= FIRST_VERSION if found else None


class MilvusTerms:
    """`SparseRows` over the connection of a `MilvusStore`, which closes it. Names begin with `terms-`."""

    def __init__(self, store: MilvusStore) -> None:
        self._store = store

    async def is_possible(self) -> bool | None:
        """Whether this Milvus knows sparse vectors; None where it does not tell."""
        return await self._store.threads.read(self._is_possible)

    async def put(self, name: str, rows: Sequence[SparseRow]) -> None:
        for part in slices(len(rows), _SLICE_ROWS):
            await self._store.threads.write(self._make, name)
            await self._store.threads.write(self._on, name, lambda terms, part=part: terms.put(rows[part]), None)

    async def remove(self, name: str, ids: Sequence[int]) -> None:
        for part in slices(len(ids), 1000):
            await self._store.threads.write(
                self._on, name, lambda terms, part=part: terms.delete(list(ids[part])), None
            )

    async def fetch(self, name: str, ids: Sequence[int]) -> dict[int, SparseRow]:
        found: dict[int, SparseRow] = {}
        for part in slices(len(ids), _SLICE_ROWS):
            found |= await self._store.threads.read(
                self._on, name, lambda terms, part=part: terms.rows(list(ids[part])), {}
            )
        return found

    async def marks(self, name: str, *, below: int) -> list[tuple[int, str]]:
        found: list[tuple[int, str]] = []
        more = True
        while more:
            last = found[-1][0] if found else below
            part = await self._store.threads.read(self._on, name, lambda terms, last=last: terms.marks(last), [])
            found += part
            more = bool(part)
        return found

    async def nearest(
        self, name: str, question: Mapping[int, float], *, limit: int, among: Sequence[int] | None = None
    ) -> list[tuple[int, float]]:
        async def best(depth: int, part: Ids | None = None) -> list[tuple[int, float]]:
            nothing = list[tuple[int, float]]()
            return await self._store.threads.read(
                self._on, name, lambda terms: terms.best(question, depth, part), nothing
            )

        if among is None:
            return await best(limit)
        ids = Ids.of(among)
        size, most_told = await self._store.threads.read(self._on, name, lambda terms: terms.plan(ids), (0, len(ids)))
        # The search is exact: where it has no more to give there is no more.
        if size and (found := await look_deeper(best, ids, limit=limit, size=size, most=MOST_HITS)) is not None:
            return found
        hits: list[tuple[int, float]] = []
        for part in ids.parts(max(1, most_told)):
            hits = sorted(hits + await best(limit, part), key=lambda hit: (-hit[1], hit[0]))[:limit]
        return hits

    async def iterate(self, name: str) -> AsyncIterator[list[int]]:
        last, more = None, True
        while more:
            nothing: tuple[list[int], bool] = [], False
            ids, more = await self._store.threads.read(
                self._on, name, lambda terms, last=last: terms.ids_after(last), nothing
            )
            yield ids
            last = ids[-1] if ids else None
            more = more and bool(ids)

    async def flush(self, name: str) -> None:
        await self._store.threads.write(self._on, name, lambda terms: terms.flush(), None)

    async def drop(self, name: str) -> None:
        await self._store.drop_collection(name)

    async def refresh(self, name: str) -> None:
        await self._store.refresh()

    # From here on everything runs in worker threads.

    def _is_possible(self) -> bool | None:
        with self._store.using() as opened:
            assert isinstance(opened.engine, MilvusEngine)
            return has_sparse(opened.engine.version())

    def _make(self, name: str) -> None:
        with self._store.using(name) as opened:
            if name not in opened.known:
                assert isinstance(opened.engine, MilvusEngine)
                opened.known[name] = _make(opened.engine, name)

    def _on(self, name: str, work: "Callable[[_Terms], T]", nothing: T) -> T:
        """Call a function with a collection, or answer as for an empty one where there is none."""
        for again in (True, False):
            try:
                with self._store.using(name) as opened:
                    assert isinstance(opened.engine, MilvusEngine)
                    known = opened.known.get(name)
                    if known is None:
                        known = opened.known[name] = _find(opened.engine, name)
                    assert isinstance(known, _Terms)
                    return work(known)
            except CollectionNotFoundError:
                opened.known.pop(name, None)
                if not again:
                    return nothing
        raise AssertionError


class _Terms(MilvusCollection):
    """A collection of rows. Its vectors are sparse, so that most of what a store's collection can do it cannot."""

    def put(self, rows: Sequence[SparseRow]) -> None:
        keys = ids_there([row.id for row in rows])
        there = [{"id": key, "terms": dict(row.vector), "note": row.note} for key, row in zip(keys, rows, strict=True)]
        self._client.upsert(self._theirs, there, timeout=self._timeout)
        self.wrote(len(rows))

    def _check_dimension(self) -> None:
        """Sparse vectors have none."""

    def rows(self, ids: list[int]) -> dict[int, SparseRow]:
        found = self._rows(f"id in {ids_there(ids)}", ["id", "terms", "note"], limit=len(ids))
        return {id_here(row["id"]): SparseRow(id_here(row["id"]), row["terms"], row["note"]) for row in found}

    def marks(self, below: int) -> list[tuple[int, str]]:
        # A note is up to 64 KB, an answer up to 64 MB; which of many come first is not said, so that a window is asked.
        least = below - _SLICE_ROWS
        found = self._rows(f"id < {below} and id >= {least}", ["id", "note"], limit=_SLICE_ROWS)
        if not found and self._rows(f"id < {least}", ["id"], limit=1):
            found = self._rows(f"id < {least}", ["id", "note"], limit=_SLICE_ROWS)
        return sorted(((int(row["id"]), str(row["note"])) for row in found), reverse=True)

    def plan(self, ids: Ids) -> tuple[int, int]:
        """How many rows there are, where those ids are too many to be told, else 0; and how many one request takes."""
        return self.size() if len(ids) > self.few_ids else 0, self.most_told

    def best(self, question: Mapping[int, float], limit: int, among: Ids | None) -> list[tuple[int, float]]:
        where = "id > -2" if among is None else f"id in {ids_there(among)}"

        def search(asked: int) -> list[VectorHit]:
            (found,) = self._read(
                lambda level: self._client.search(
                    self._theirs,
                    data=[dict(question)],
                    anns_field="terms",
                    limit=asked,
                    filter="" if among is None else where,
                    output_fields=["id"],
                    search_params={"metric_type": "IP", "params": {}},
                    consistency_level=level,
                    timeout=self._timeout,
                )
            )
            # Sums of the same numbers in another order differ in the last digit.
            hits = [VectorHit(id_here(hit["id"]), float(f"{hit['distance']:.6g}")) for hit in found]
            return [hit for hit in hits if hit.score > 0]

        return [
            (hit.id, hit.score) for hit in best_first(search, limit=min(limit, self.most_hits), most=self.most_hits)
        ]


def _make(engine: MilvusEngine, name: str) -> _Terms:
    from pymilvus import DataType

    theirs = theirs_of(name)
    if not engine.client.has_collection(theirs, timeout=engine.timeout):
        schema = engine.client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("terms", DataType.SPARSE_FLOAT_VECTOR)
        schema.add_field("note", DataType.VARCHAR, max_length=65_535)
        engine.client.create_collection(
            theirs, schema=schema, consistency_level=engine.settings.consistency, timeout=engine.timeout
        )
    return _find(engine, name)


def _find(engine: MilvusEngine, name: str) -> _Terms:
    theirs = theirs_of(name)
    about = engine.client.describe_collection(theirs, timeout=engine.timeout)
    if {field["name"] for field in about["fields"]} != {"id", "terms", "note"} or not name.startswith(TERMS):
        raise StoreError(f"collection {theirs!r} was not made by kbchat; drop it or use another database")
    if not engine.client.list_indexes(theirs, timeout=engine.timeout):
        index = engine.client.prepare_index_params()
        index.add_index("terms", **_INDEX)
        engine.client.create_index(theirs, index, timeout=engine.timeout, sync=False)
    engine.load(theirs)
    return _Terms(engine, name, 1, about.get("collection_id"))
