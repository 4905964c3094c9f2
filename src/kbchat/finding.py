"""A question to one space: its row in the catalog, its indexes in step with that, and what is found in them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from kbchat import intake
from kbchat.errors import CollectionNotFoundError
from kbchat.inputs import Bounds
from kbchat.models import Reference, SpaceInfo

if TYPE_CHECKING:
    from kbchat.retrieval.retriever import Retrieval
    from kbchat.wiring import Parts

Found = tuple[SpaceInfo, Sequence[Reference]]
"""The space as it was when it was asked, and the hits, best first."""


async def ready(parts: Parts, space_id: int) -> SpaceInfo:
    """The space as it is now, with its indexes in step if there is anything in it."""
    info = await parts.catalog.get_space(space_id)
    if not await parts.fits(info.embedder):
        raise intake.mismatch(info, await parts.pin())
    if info.chunk_count:
        await parts.see_writes(info)
    return info


async def find(parts: Parts, known: SpaceInfo, question: str, bounds: Bounds) -> Found:
    """What is found in a space that was last seen as `known`."""
    if parts.is_in_step(known):
        # Most often it still is: what it is now was read with the chunks.
        with suppress(CollectionNotFoundError):
            found = await _search(parts, known, question, bounds)
            now = found.space or await ready(parts, known.id)
            if now.revision == known.revision:
                return now, found.references
    return await find_in(parts, await ready(parts, known.id), question, bounds)


async def find_in(parts: Parts, info: SpaceInfo, question: str, bounds: Bounds) -> Found:
    """What is found in a space that is ready."""
    while info.chunk_count:
        try:
            return info, (await _search(parts, info, question, bounds)).references
        except CollectionNotFoundError:
            # Another collection may have taken its place meanwhile.
            was, info = info, await ready(parts, info.id)
            if (info.collection, info.vector_type) == (was.collection, was.vector_type):
                raise
    return info, ()


async def _search(parts: Parts, info: SpaceInfo, question: str, bounds: Bounds) -> Retrieval:
    store = parts.store(info.vector_type)
    return await parts.retriever.retrieve(info, question, bounds, store=store, embedder=parts.embedder)
