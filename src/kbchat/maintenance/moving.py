"""Moving a space to another kind of store: its vectors are copied, not made again, and it answers all the while."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kbchat.catalog import Leftover
from kbchat.errors import StoreError
from kbchat.maintenance import BATCH_CHUNKS
from kbchat.models import IngestProgress, LexicalPlace, SpaceInfo, Value, VectorType

if TYPE_CHECKING:
    from kbchat.catalog import Catalog
    from kbchat.stores import Vector, VectorStore

QUESTIONS = 32
"""Vectors of the space that both stores are asked for the nearest of."""
TOP = 10
LEAST_AGREEMENT = 0.9
"""Two approximate indexes differ in a few hits; more than that is a fault."""


class Agreement(Value):
    """How far the copy answers as the original does, before anything is switched."""

    vectors: int
    """How many there are in the copy."""
    questions: int
    top_k: int
    share: float
    """Of the original's hits, those that the copy finds too, in [0, 1]."""


class Mover:
    """Takes one space from a store to another. The caller holds the writer's lock.

    The collection has the same name on both, and is noted in the catalog before it is made, so that a move that was cut
    short goes on where it was, or is cleared away by whoever does something else. Before the switch readers see the old
    store, after it the new one.
    """

    def __init__(
        self, space: SpaceInfo, *, catalog: Catalog, source: VectorStore, target: VectorStore, writer: str
    ) -> None:
        self._space = space
        self._catalog = catalog
        self._source = source
        self._target = target
        self._writer = writer

    async def run(
        self,
        to: VectorType,
        *,
        words: LexicalPlace,
        progress: Callable[[IngestProgress], None] | None,
        before_switch: Callable[[Agreement], None] | None,
    ) -> None:
        """Copy, compare and switch; the original is then left over. Raises `StoreError` when the copy finds other
        things. The words must be where they will be searched by then."""
        pin = self._space.embedder
        if pin is not None:
            await self._catalog.note_leftover(self._space.id, Leftover(to, self._space.collection))
            await self._target.create_collection(self._space.collection, dimension=pin.dimension)
            await self._copy(progress)
            agreement = await self._compare()
            if before_switch is not None:
                before_switch(agreement)
            if agreement.share < LEAST_AGREEMENT:
                raise StoreError(
                    f"the copy of {self._space.name!r} on {to} finds only {agreement.share:.0%} of what the original "
                    "does; nothing was switched. Look at the index's parameters, then move again"
                )
        await self._catalog.move_space(
            self._space.id, to, words=words, writer=self._writer, revision=self._space.revision
        )

    async def _copy(self, progress: Callable[[IngestProgress], None] | None) -> None:
        """Bring the copy level with the live chunks. Chunks never change, so that what is there can stay."""
        name = self._space.collection
        _, live = await self._catalog.live_chunk_ids(self._space.id)
        there = {key async for part in self._target.iterate(name) for key in part}
        await self._target.delete(name, sorted(there.difference(live)))
        missing = [key for key in live if key not in there]
        done = len(live) - len(missing)
        for first in range(0, len(missing), BATCH_CHUNKS):
            part = missing[first : first + BATCH_CHUNKS]
            await self._put(await self._fetch(part))
            done += len(part)
            if progress is not None:
                progress(IngestProgress(done=done, total=len(live), chunks=done))
        await self._target.flush(name)

    async def _fetch(self, ids: Sequence[int]) -> dict[int, Vector]:
        return await self._source.fetch(self._space.collection, ids)

    async def _put(self, vectors: dict[int, Vector]) -> None:
        if vectors:
            import numpy as np

            await self._target.upsert(self._space.collection, list(vectors), np.stack(list(vectors.values())))

    async def _compare(self) -> Agreement:
        """Ask both stores for the nearest of some vectors from all over the space."""
        name = self._space.collection
        _, live = await self._catalog.live_chunk_ids(self._space.id)
        asked = live[:: max(1, len(live) // QUESTIONS)][:QUESTIONS]
        alive = set(live)
        wanted = shared = 0
        for vector in (await self._fetch(asked)).values():
            before = {hit.id for hit in await self._source.query(name, vector, limit=TOP)}
            after = {hit.id for hit in await self._target.query(name, vector, limit=TOP)}
            # Dead versions of documents stay behind.
            before &= alive
            wanted, shared = wanted + len(before), shared + len(before & after)
        share = shared / wanted if wanted else 1.0
        return Agreement(vectors=await self._target.count(name), questions=len(asked), top_k=TOP, share=share)
