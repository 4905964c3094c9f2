"""Vectors for the suites of stores, and what is said of them."""

from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import pytest

from kbchat.stores import Vector, VectorHit, Vectors, VectorStore

DIMENSION = 8
TOLERANCE = 1e-5
"""How far a score may be from the exact cosine."""
Indexed = Callable[[str], Awaitable[None]]
"""Waits until a collection is indexed, where that goes on after a flush."""


def some_vectors(count: int, *, dimension: int = DIMENSION, seed: int = 0) -> Vectors:
    """Vectors in every direction and of many lengths. A larger `count` begins with the same ones."""
    drawn = np.random.default_rng(seed).standard_normal((count, dimension + 1))
    return (drawn[:, 1:] * np.exp(drawn[:, :1])).astype(np.float32)


def cosines(vectors: Vectors, question: Vector) -> list[float]:
    """The cosine of each vector with the question, in double precision."""
    wide, asked = vectors.astype(np.float64), question.astype(np.float64)
    return list(wide @ asked / np.linalg.norm(wide, axis=1) / np.linalg.norm(asked))


def assert_best(hits: Sequence[VectorHit], ids: Sequence[int], vectors: Vectors, question: Vector, limit: int) -> None:
    """The hits are the nearest records in order. Neighbours closer than the tolerance may stand in either order."""
    score = dict(zip(ids, cosines(vectors, question), strict=True))
    assert len(hits) == min(limit, len(ids))
    assert len({hit.id for hit in hits}) == len(hits)
    best = sorted(score.values(), reverse=True)
    for hit, expected in zip(hits, best, strict=False):
        assert hit.score == pytest.approx(score[hit.id], abs=TOLERANCE)
        assert hit.score == pytest.approx(expected, abs=TOLERANCE)
    assert list(hits) == sorted(hits, key=lambda hit: (-hit.score, hit.id))


def alike(one: Vector, other: Vector) -> bool:
    """Equal but for rounding: a store may keep a vector as its direction and its length."""
    return bool(np.allclose(one, other, rtol=0.0, atol=1e-6 * float(np.linalg.norm(other))))


async def all_ids(store: VectorStore, name: str, *, batch: int = 1000) -> list[int]:
    return [key async for part in store.iterate(name, batch=batch) for key in part]


async def keeps_all(
    store: VectorStore,
    name: str,
    count: int,
    *,
    dimension: int = 256,
    questions: int = 40,
    indexed: Indexed | None = None,
) -> None:
    """Of so many vectors none is lost, and of the ten nearest of each question 98 % are found."""
    vectors = np.random.default_rng(0).standard_normal((count, dimension)).astype(np.float32)
    asked = np.random.default_rng(1).standard_normal((questions, dimension)).astype(np.float32)
    await store.create_collection(name, dimension=dimension)
    await store.upsert(name, range(count), vectors)
    await store.flush(name)
    assert await store.count(name) == count
    assert sorted(await all_ids(store, name)) == list(range(count))
    if indexed is not None:
        await indexed(name)
    nearest = np.argpartition(-(asked @ (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).T), 10)
    found = 0
    for question, truth in zip(asked, nearest[:, :10].tolist(), strict=True):
        found += len({hit.id for hit in await store.query(name, question, limit=10)} & set(truth))
    assert found / (10 * questions) >= 0.98
