"""What the neighbours' retrievers share: asking a space of either face, and what they tell of a reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio.to_thread
from pydantic import JsonValue

if TYPE_CHECKING:
    from kbchat import sync
    from kbchat.models import Reference
    from kbchat.space import KnowledgeSpace

    Space = KnowledgeSpace | sync.KnowledgeSpace


def retrieve(space: Space, query: str, top_k: int | None) -> Sequence[Reference]:
    """Ask without `await`. Raises `TypeError` for a space that needs one."""
    from kbchat.space import KnowledgeSpace

    if isinstance(space, KnowledgeSpace):
        raise TypeError(
            "this space is for programs with `await`: call the asynchronous method, or take the space from a "
            "kbchat.sync.KnowledgeBase"
        )
    return space.retrieve(query, top_k=top_k)


async def aretrieve(space: Space, query: str, top_k: int | None) -> Sequence[Reference]:
    """Ask with `await`, whichever face the space is of."""
    from kbchat.space import KnowledgeSpace

    if isinstance(space, KnowledgeSpace):
        return await space.retrieve(query, top_k=top_k)
    return await anyio.to_thread.run_sync(lambda: space.retrieve(query, top_k=top_k))


def described(reference: Reference) -> dict[str, JsonValue]:
    """A reference's metadata, with what it takes to check it."""
    return {
        **reference.metadata,
        "source": reference.name,
        "document_id": reference.document_id,
        "chunk_id": reference.chunk_id,
        "start": reference.start,
        "end": reference.end,
        "recall_score": reference.recall_score,
    }
