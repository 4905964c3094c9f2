"""What every driver does alike: refuse what a store must not take, and put hits in order.

A vendor's own checks differ (one stores NaN, another answers numpy's text), so nothing reaches a vendor unchecked.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from kbchat.errors import InvalidInputError, VectorError
from kbchat.models import MAX_ID
from kbchat.stores import Vector, VectorHit, Vectors
from kbchat.stores.among import Ids

MAX_DIMENSION = 32768
MAX_LIMIT = 16_000
# Squares of lengths beyond these leave what float32 can hold, and every cosine with them would be NaN.
MIN_LENGTH, MAX_LENGTH = 1e-15, 1e15

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,61}[A-Za-z0-9]")


def check_name(name: str) -> None:
    """Refuse a collection name that some store cannot take."""
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            "name",
            f"{name!r} is not 3 to 63 ASCII letters, digits and `-`, the first a letter, the last no `-`",
        )


def check_dimension(dimension: int) -> None:
    """Refuse a dimension that no vector has."""
    if not 1 <= dimension <= MAX_DIMENSION:
        raise VectorError(f"a collection of dimension {dimension} cannot be; choose 1 to {MAX_DIMENSION}")


def check_ids(ids: Sequence[int]) -> None:
    """Refuse ids outside 0 to 2**63 - 1."""
    if ids and (min(ids) < 0 or max(ids) > MAX_ID):
        raise InvalidInputError("ids", f"each must be from 0 to 2**63 - 1, not {min(ids)} to {max(ids)}")


def checked(ids: Sequence[int]) -> Ids:
    """Ids to look among; refused like others."""
    check_ids(ids[:1] if isinstance(ids, Ids) else ids)
    return Ids.of(ids)


def check_records(ids: Sequence[int], vectors: Vectors, *, dimension: int) -> tuple[list[int], Vectors]:
    """The records ready to be written, or `VectorError`. Of those with one id only the last is kept."""
    check_ids(ids)
    if len(ids) != len(vectors):
        raise InvalidInputError("vectors", f"{len(vectors)} vectors do not go with {len(ids)} ids")
    if not len(ids):
        return [], np.empty((0, dimension), np.float32)
    matrix = _finite(vectors, dimension=dimension, axes=2)
    last = {int(key): row for row, key in enumerate(ids)}
    if len(last) < len(ids):
        matrix = matrix[list(last.values())]
    return list(last), matrix


def check_question(vector: Vector, *, dimension: int, limit: int) -> Vector:
    """The vector of a question ready to be asked, or `VectorError`."""
    if not 0 <= limit <= MAX_LIMIT:
        raise InvalidInputError("limit", f"must be from 0 to {MAX_LIMIT:,}, not {limit:,}")
    return _finite(vector, dimension=dimension, axes=1)


def _finite(vectors: Vectors, *, dimension: int, axes: int) -> Vectors:
    with np.errstate(over="ignore"):
        matrix = np.ascontiguousarray(vectors, dtype=np.float32)
    if matrix.ndim != axes or matrix.shape[-1] != dimension:
        shape = "×".join(str(n) for n in matrix.shape)
        raise VectorError(
            f"the collection holds vectors of dimension {dimension}, these are of shape {shape}; "
            "was it changed by another? `kbchat fsck --repair` makes a space's anew"
        )
    with np.errstate(over="ignore"):
        squares = np.einsum("...i,...i->...", matrix, matrix)
    # Not the same as its negation: a NaN is in no range.
    if not bool(np.all((squares >= MIN_LENGTH**2) & (squares <= MAX_LENGTH**2))):
        raise VectorError("a vector is zero, not finite, or too long or too short to have a direction")
    return matrix


def slices(count: int, size: int) -> Iterator[slice]:
    """Cut `count` records into stretches of at most `size`."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def hits_among(question: Vector, vectors: Mapping[int, Vector]) -> list[VectorHit]:
    """The cosine of each with the question, in any order. A hit does not depend on those beside it."""
    if not vectors:
        return []
    matrix = np.stack(list(vectors.values())).astype(np.float64)
    wide = question.astype(np.float64)
    # A row's sum does not depend on its neighbours, as a matrix product's may: equal vectors tie exactly.
    lengths = np.sqrt(np.einsum("ij,ij->i", matrix, matrix) * float(wide @ wide))
    scores = np.clip(np.einsum("ij,j->i", matrix, wide) / lengths, -1.0, 1.0).tolist()
    return list(map(VectorHit, vectors, scores))


def in_order(hits: Iterable[VectorHit]) -> list[VectorHit]:
    """Best first, ties by id."""
    return sorted(hits, key=lambda hit: (-hit.score, hit.id))


def best_first(search: Callable[[int], list[VectorHit]], *, limit: int, most: int) -> list[VectorHit]:
    """The `limit` best hits of `search`, which takes how many to find (never more than `most`), ties by id.

    Stores break ties as they like, so where the last hit that counts ties with the first that does not, more are
    asked for until all that tie are known.
    """
    if limit < 1:
        return []
    asked = min(limit + 1, most)
    while True:
        hits = in_order(search(asked))
        if len(hits) < asked or asked == most or hits[limit - 1].score > hits[-1].score:
            return hits[:limit]
        asked = min(asked * 2, most)


def best_first_of_each(
    search: Callable[[list[Vector], int], list[list[VectorHit]]], questions: list[Vector], *, limit: int, most: int
) -> list[list[VectorHit]]:
    """The same for several questions, which are first asked together."""
    if limit < 1:
        return [[] for _ in questions]
    together = min(limit + 1, most)

    def best(question: Vector, hits: list[VectorHit]) -> list[VectorHit]:
        def again(asked: int) -> list[VectorHit]:
            return hits if asked == together else search([question], asked)[0]

        return best_first(again, limit=limit, most=most)

    return list(map(best, questions, search(questions, together)))
