"""Several spaces asked at once. Scores mean the same in all of them, so the lists are merged by score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from kbchat.errors import InvalidInputError
from kbchat.models import SpaceInfo
from kbchat.threads import side_by_side

if TYPE_CHECKING:
    from kbchat.inputs import RetrievalOptions, SpaceHandle
    from kbchat.models import Reference
    from kbchat.space import KnowledgeSpace

MOST_SPACES = 100


async def retrieve(spaces: Sequence[KnowledgeSpace], question: str, options: RetrievalOptions) -> list[Reference]:
    """The best hits of all the spaces, each with the name of its own; at most `top_k` together."""
    found = await side_by_side([partial(space._retrieve, question, options) for space in spaces])
    named = [
        reference.model_copy(update={"space": space.name})
        for space, references in zip(spaces, found, strict=True)
        for reference in references
    ]
    # Ids are unique in a catalog, so ties stand the same whatever the order of the spaces.
    named.sort(key=lambda it: (-it.recall_score, it.chunk_id))
    return named[: options.top_k]


def checked(spaces: Iterable[SpaceHandle]) -> list[SpaceHandle]:
    """The spaces, their names or ids, each once. Raises `InvalidInputError` for none and for too many."""
    if isinstance(spaces, str):
        raise InvalidInputError("spaces", f"must be a list of spaces, names or ids; one is [{spaces!r}]")
    if isinstance(spaces, SpaceInfo) or not isinstance(spaces, Iterable):
        what = f"must be a list of spaces, names or ids, not {type(spaces).__name__}"
        raise InvalidInputError("spaces", f"{what}; write spaces=[…]")
    names = list(dict.fromkeys(spaces))
    if not 1 <= len(names) <= MOST_SPACES:
        raise InvalidInputError("spaces", f"must name 1 to {MOST_SPACES} spaces, not {len(names)}")
    return names
