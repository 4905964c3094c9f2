"""Which documents a filter selects: narrowed by the catalog, decided in Python, so that it means the same everywhere.

Vector stores and lexical indexes hold ids alone. Where few chunks are selected, just those are scored, all of them;
where many are, the searches look deeper by the share that is selected, and what is not selected is dropped.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kbchat.catalog.narrowing import narrowed
from kbchat.filters import Filter, tester
from kbchat.models import SpaceInfo
from kbchat.retrieval.explaining import Selected

if TYPE_CHECKING:
    from kbchat.catalog import Catalog

FEW_CHUNKS = 2000
"""Number of selected chunks, at most, that are scored one by one rather than searched for."""
REMEMBERED = 64
"""Selections kept: an answered question is often followed by another one with the same filter."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The documents that a filter selects."""

    documents: frozenset[int]
    share: float
    """Of the space's chunks, in [0, 1]."""
    chunks: tuple[int, ...] | None
    """The chunks, where they are few."""

    def described(self) -> Selected:
        return Selected(documents=len(self.documents), share=self.share, one_by_one=self.chunks is not None)


class Selector:
    """Evaluates filters, each once a revision of its space. Used from one event loop."""

    def __init__(self, *, catalog: "Catalog") -> None:
        self._catalog = catalog
        self._known: OrderedDict[tuple[int, int, str], Selection] = OrderedDict()

    async def select(self, space: SpaceInfo, where: Filter) -> Selection:
        """What the filter selects at that revision of the space."""
        # By its text: to Python a filter for 1 and one for true are equal.
        key = (space.id, space.revision, where.model_dump_json(by_alias=True))
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        found = await self._catalog.matching_documents(space.id, tester(where), must=narrowed(where))
        chosen = [key for key, _ in found]
        number = sum(chunks for _, chunks in found)
        few = tuple(await self._catalog.chunks_of(chosen)) if number <= FEW_CHUNKS else None
        share = min(1.0, number / space.chunk_count) if space.chunk_count else 0.0
        selection = Selection(frozenset(chosen), share, few)
        self._known[key] = selection
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return selection
