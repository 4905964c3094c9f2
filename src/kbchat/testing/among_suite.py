"""What every vector store must hold of a question that is asked among some ids: a part of its suite (`store_suite`)."""

import numpy as np
import pytest

from kbchat.errors import InvalidInputError
from kbchat.stores import Vector, Vectors, VectorStore
from kbchat.testing.vectors import TOLERANCE, assert_best, cosines, some_vectors

THERE = 30_000
"""Vectors, of which so many are selected that each engine's ways to do it are all taken."""


class AmongSuite:
    """What holds for every store. Its fixtures are those of the whole suite."""

    @pytest.mark.parametrize("limit", [1, 40, 1000])
    async def test_nearest_among(self, store: VectorStore, kb: str, limit: int) -> None:
        """Of some ids only these are found, each of them that is there."""
        vectors, ids = some_vectors(3000), range(1000, 4000)
        await store.upsert(kb, ids, vectors)
        await store.flush(kb)
        for step in (3, 200):
            some = list(ids[::step])
            for question in some_vectors(2, seed=1):
                hits = await store.query(kb, question, limit=limit, among=[*some, 7, 5000])
                assert_best(hits, some, vectors[::step], question, limit)
        for none in ((), (7, 5000)):
            assert await store.query(kb, vectors[0], limit=limit, among=none) == []
        with pytest.raises(InvalidInputError):
            await store.query(kb, vectors[0], limit=limit, among=[-1])

    @pytest.mark.timeout(300)
    @pytest.mark.parametrize("selected", [2500, 6000, 22_000])
    async def test_nearest_among_thousands(self, store: VectorStore, kb: str, selected: int) -> None:
        """So are those of thousands: drawn by chance, or all farther from the question than every other record."""
        vectors = some_vectors(THERE)
        await store.upsert(kb, range(THERE), vectors)
        await store.flush(kb)
        for number, question in enumerate(some_vectors(2, seed=1)):
            far = np.argsort(cosines(vectors, question))[:selected].tolist()
            chance = np.random.default_rng(number).choice(THERE, selected, replace=False).tolist()
            for some in (far, chance):
                await assert_found_among(store, kb, some, vectors, question)

    async def test_many_that_are_not_there(self, store: VectorStore, kb: str) -> None:
        """A few records are found among thousands of ids that no record has, or has any more."""
        vectors = some_vectors(60)
        await store.upsert(kb, range(60), vectors)
        await store.delete(kb, range(50, 60))
        for limit in (5, 40):
            hits = await store.query(kb, vectors[3], limit=limit, among=range(20, 30_000))
            assert_best(hits, range(20, 50), vectors[20:50], vectors[3], limit)
        assert await store.query(kb, vectors[3], limit=5, among=range(50, 30_000)) == []

    async def test_ties_among_many_break_by_id(self, store: VectorStore, kb: str) -> None:
        """Equal vectors come by id, whichever of them are selected."""
        vectors = np.repeat(some_vectors(300), 20, axis=0)
        ids = np.random.default_rng(3).permutation(6000).tolist()
        await store.upsert(kb, ids, vectors)
        for row in (0, 200, 5980):
            equal = sorted(key for key in ids[row : row + 20] if key >= 500)
            hits = await store.query(kb, vectors[row], limit=12, among=range(500, 6000))
            assert [hit.id for hit in hits][: len(equal)] == equal[:12]


async def assert_found_among(
    store: VectorStore, name: str, some: list[int], vectors: Vectors, question: Vector, *, limit: int = 50
) -> None:
    """As many as asked for are found, of these alone, with their scores in order, and 98 % of the nearest ones."""
    missing = range(len(vectors), len(vectors) + 100)
    hits = await store.query(name, question, limit=limit, among=[*some, *missing])
    score = dict(zip(some, cosines(vectors[some], question), strict=True))
    assert len({hit.id for hit in hits}) == len(hits) == limit
    assert [hit.score for hit in hits] == pytest.approx([score[hit.id] for hit in hits], abs=TOLERANCE)
    assert hits == sorted(hits, key=lambda hit: (-hit.score, hit.id))
    nearest = sorted(score.values(), reverse=True)[limit - 1]
    assert sum(hit.score >= nearest - TOLERANCE for hit in hits) >= 0.98 * limit
