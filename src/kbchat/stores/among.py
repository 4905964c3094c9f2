"""Ids that a search looks among, however many, and how to find the best of them with a search that looks at all."""

import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TypeVar, overload

import numpy as np
import numpy.typing as npt

H = TypeVar("H", bound=tuple[int, float])
"""A hit: an id and a score."""

DEEPER = 1.5
"""The share that is selected is an average: the hits of one question may be rarer among the selected."""
STEP = 4
"""How many times deeper the next round looks."""


class Ids(Sequence[int]):
    """Ids from 0 to 2**63 - 1, ascending, each once, at eight bytes each. They do not change."""

    __slots__ = ("_array",)

    def __init__(self, ids: Iterable[int] = ()) -> None:
        self._array = np.unique(np.fromiter(ids, np.int64))

    @classmethod
    def of(cls, ids: Sequence[int]) -> "Ids":
        """These ids; no copy of what is such a value already."""
        return ids if isinstance(ids, Ids) else cls(ids)

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[int]:
        return iter(self._array.tolist())

    def __contains__(self, key: object) -> bool:
        return isinstance(key, int) and 0 <= key < 2**63 and bool(self._among(np.array([key]))[0])

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> "Ids": ...
    def __getitem__(self, place: int | slice) -> "int | Ids":
        if not isinstance(place, slice):
            return int(self._array[place])
        part = Ids()
        part._array = np.sort(self._array[place])
        return part

    def parts(self, size: int) -> Iterator["Ids"]:
        """All of them in turn, at most `size` at a time."""
        for first in range(0, len(self), size):
            yield self[first : first + size]

    def keep(self, hits: Sequence[H]) -> list[H]:
        """Those of the hits that are of these ids."""
        kept = self._among(np.fromiter((hit[0] for hit in hits), np.int64, len(hits)))
        return [hit for hit, keep in zip(hits, kept.tolist(), strict=True) if keep]

    def _among(self, keys: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        if not len(self):
            return np.zeros(len(keys), bool)
        places = np.minimum(np.searchsorted(self._array, keys), len(self) - 1)
        there: npt.NDArray[np.bool_] = self._array[places] == keys
        return there


async def look_deeper(
    search: Callable[[int], Awaitable[Sequence[H]]], ids: Ids, *, limit: int, size: int, most: int
) -> list[H] | None:
    """The `limit` best of some ids, by a search that takes how many of the best of all it shall find.

    It is asked for as many as likely hold enough where the ids are that share of `size`, then for more, up to `most`.
    Where it has no more to give, what was found is all it has of these ids. None where `most` do not hold enough, or
    likely would not: then the ids have to be looked at themselves.
    """
    depth = math.ceil(limit * DEEPER * max(1.0, size / max(1, len(ids))))
    while depth <= most:
        hits = await search(depth)
        found = ids.keep(hits)
        if len(found) >= limit or len(hits) < depth:
            return found[:limit]
        if depth == most:
            break
        depth = min(depth * STEP, most)
    return None
