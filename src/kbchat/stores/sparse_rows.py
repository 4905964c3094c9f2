"""Rows of sparse vectors: the protocol of what a lexical index can be made of, beside a store's dense vectors."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple, Protocol


class SparseRow(NamedTuple):
    """A vector by its dimensions (0 to 2**32 - 2; at least one, weights above 0), and a note of at most 65,535 B."""

    id: int
    vector: Mapping[int, float]
    note: str


class SparseRows(Protocol):
    """Collections of rows, searched exactly by inner product. One that was never written to is empty.

    Ids from 0 to 2**63 - 1 are found by `nearest` and `iterate`, those below -1 by `marks`. A write that returned is
    seen by every later read of this object, what others wrote after `refresh`. Methods raise what a `VectorStore`'s do.
    """

    async def put(self, name: str, rows: Sequence[SparseRow]) -> None:
        """Write rows, replacing those with the same id."""
        ...

    async def remove(self, name: str, ids: Sequence[int]) -> None:
        """Remove rows. Ids that are not there are ignored."""
        ...

    async def fetch(self, name: str, ids: Sequence[int]) -> dict[int, SparseRow]:
        """Those of the rows that are there."""
        ...

    async def marks(self, name: str, *, below: int) -> list[tuple[int, str]]:
        """Ids below one, falling, with their notes."""
        ...

    async def nearest(
        self, name: str, question: Mapping[int, float], *, limit: int, among: Sequence[int] | None = None
    ) -> list[tuple[int, float]]:
        """The `limit` ids (16,384 at most) with the largest products, and these: best first, ties by id, none of 0."""
        ...

    def iterate(self, name: str) -> AsyncIterator[list[int]]:
        """All ids from 0 on, in parts."""
        ...

    async def flush(self, name: str) -> None:
        """Make what was written quick to search."""
        ...

    async def drop(self, name: str) -> None:
        """Remove a collection. Does nothing when there is none."""
        ...

    async def refresh(self, name: str) -> None:
        """Let what others wrote be seen."""
        ...
