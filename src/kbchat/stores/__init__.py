"""Vector stores: the protocol every one obeys. A store knows ids and vectors, never the text of a chunk."""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
"""Shape (n, dimension). Rows need not be normalised, but are finite and of a length from 1e-15 to 1e15."""
Vector = npt.NDArray[np.float32]
"""Shape (dimension,)."""


class VectorHit(NamedTuple):
    """A record found. `score` is the cosine similarity with the question, in [-1, 1], higher is better."""

    id: int
    score: float


class VectorStore(Protocol):
    """Collections of vectors under integer ids from 0 to 2**63 - 1, searched by cosine.

    Every method may raise `StoreUnavailableError`; methods on one collection raise `CollectionNotFoundError` when it is
    not there. A write that returned is seen by every later read of this object. What another process wrote is seen
    after `refresh`; of those that share a local store only one at a time may write. Every await can be cancelled: a
    cancelled write happened wholly, in part or not at all, and writing again mends it.
    """

    async def create_collection(self, name: str, *, dimension: int) -> None:
        """Make an empty collection. One that is there already with this dimension is left as it is; with another
        dimension, `VectorError`. Names are 3 to 63 ASCII letters, digits and `-`, the first a letter, the last no
        `-`; `InvalidInputError` for others."""
        ...

    async def drop_collection(self, name: str) -> None:
        """Remove a collection and all in it. Does nothing when there is none."""
        ...

    async def list_collections(self) -> list[str]:
        """Names of all collections, in unspecified order."""
        ...

    async def upsert(self, name: str, ids: Sequence[int], vectors: Vectors) -> None:
        """Write records, replacing those with the same id. Any number of them; of two with one id the last wins.

        A read at the same time may find some written and others not, and miss one that is being replaced.
        Raises `VectorError`, with nothing written, for a vector that is zero, not finite or of another dimension.
        """
        ...

    async def delete(self, name: str, ids: Sequence[int]) -> None:
        """Remove records. Ids that are not there are ignored."""
        ...

    async def query(
        self, name: str, vector: Vector, *, limit: int, among: Sequence[int] | None = None
    ) -> list[VectorHit]:
        """The `limit` nearest records, best first; ties break by id. Fewer when the collection holds fewer.

        With `among`, the `limit` nearest of those ids, of which there may be any number. Ids that are not there are
        ignored. `limit` is from 0 to 16,000, `InvalidInputError` for others. Raises `VectorError` for a question that
        is zero, not finite or of another dimension.
        """
        ...

    async def fetch(self, name: str, ids: Sequence[int]) -> dict[int, Vector]:
        """The vectors of those ids that are there, as they were written but for float32 rounding."""
        ...

    async def count(self, name: str) -> int:
        """How many records the collection holds."""
        ...

    def iterate(self, name: str, *, batch: int = 1000) -> AsyncIterator[list[int]]:
        """All ids, in unspecified order, in lists of at most `batch`."""
        ...

    async def flush(self, name: str) -> None:
        """Make what was written durable and quick to search. Called once at the end of a batch of writes."""
        ...

    async def refresh(self) -> None:
        """Forget what is cached of a local store's files, so that another process's writes are seen."""
        ...

    async def ping(self) -> None:
        """Return when the store answers; raise `StoreUnavailableError` when it does not."""
        ...

    async def aclose(self) -> None:
        """Let go of files and connections. The object cannot be used afterwards. Closing twice does nothing."""
        ...
