"""Exact search over vectors in memory: what every other store is compared with. Nothing outlives the object."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from kbchat.errors import CollectionNotFoundError, StoreError, VectorError
from kbchat.stores import Vector, VectorHit, Vectors
from kbchat.stores.records import (
    check_dimension,
    check_ids,
    check_name,
    check_question,
    check_records,
    checked,
    hits_among,
    in_order,
)


@dataclass(slots=True)
class _Collection:
    dimension: int
    vectors: dict[int, Vector] = field(default_factory=dict)


class MemoryStore:
    """A `VectorStore` of dictionaries, for tests and small throw-away spaces. Its search is exact."""

    def __init__(self) -> None:
        self._collections: dict[str, _Collection] = {}
        self._closed = False

    async def create_collection(self, name: str, *, dimension: int) -> None:
        check_name(name)
        check_dimension(dimension)
        await self.ping()
        there = self._collections.setdefault(name, _Collection(dimension))
        if there.dimension != dimension:
            raise VectorError(f"collection {name!r} has dimension {there.dimension}, not {dimension}")

    async def drop_collection(self, name: str) -> None:
        await self.ping()
        self._collections.pop(name, None)

    async def list_collections(self) -> list[str]:
        await self.ping()
        return list(self._collections)

    async def upsert(self, name: str, ids: Sequence[int], vectors: Vectors) -> None:
        collection = await self._collection(name)
        kept, matrix = check_records(ids, vectors, dimension=collection.dimension)
        collection.vectors.update(zip(kept, matrix.copy(), strict=True))

    async def delete(self, name: str, ids: Sequence[int]) -> None:
        collection = await self._collection(name)
        check_ids(ids)
        for key in ids:
            collection.vectors.pop(key, None)

    async def query(
        self, name: str, vector: Vector, *, limit: int, among: Sequence[int] | None = None
    ) -> list[VectorHit]:
        collection = await self._collection(name)
        question = check_question(vector, dimension=collection.dimension, limit=limit)
        there = collection.vectors if among is None else await self.fetch(name, checked(among))
        return in_order(hits_among(question, there))[:limit]

    async def fetch(self, name: str, ids: Sequence[int]) -> dict[int, Vector]:
        vectors = (await self._collection(name)).vectors
        return {key: vectors[key].copy() for key in ids if key in vectors}

    async def count(self, name: str) -> int:
        return len((await self._collection(name)).vectors)

    async def iterate(self, name: str, *, batch: int = 1000) -> AsyncIterator[list[int]]:
        ids = list((await self._collection(name)).vectors)
        for start in range(0, len(ids), batch):
            yield ids[start : start + batch]

    async def flush(self, name: str) -> None:
        await self._collection(name)

    async def refresh(self) -> None:
        await self.ping()

    async def ping(self) -> None:
        if self._closed:
            raise StoreError("this store is closed")

    async def aclose(self) -> None:
        self._closed = True
        self._collections.clear()

    async def _collection(self, name: str) -> _Collection:
        await self.ping()
        try:
            return self._collections[name]
        except KeyError:
            raise CollectionNotFoundError(name) from None
