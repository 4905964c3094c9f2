"""Which documents a filter selects: narrowed by the catalog, decided in Python, so that it means the same everywhere.

Vector stores and lexical indexes hold ids alone. They are handed the ids of all the chunks that are selected, however
many, and find the best of these.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kbchat.catalog.narrowing import narrowed
from kbchat.filters import Filter, tester
from kbchat.models import SpaceInfo
from kbchat.retrieval.explaining import Selected
from kbchat.stores.among import Ids

if TYPE_CHECKING:
    from kbchat.catalog import Catalog

FEW_CHUNKS = 2000
"""Number of selected chunks, at most, that are all candidates, whether a search would find them or not."""
REMEMBERED = 64
"""Selections kept: an answered question is often followed by another one with the same filter."""
REMEMBERED_IDS = 4_000_000
"""Ids in all of them together, 32 MB; the last selection is kept whatever its size."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a filter selects."""

    documents: int
    chunks: Ids
    share: float
    """Of the space's chunks, in [0, 1]."""
    is_few: bool
    """Whether each is a candidate."""

    def described(self) -> Selected:
        return Selected(documents=self.documents, share=self.share, one_by_one=self.is_few)


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
        live = [generation for _, generation in found if generation is not None]
        chunks = Ids(await self._catalog.chunks_of(live))
        share = min(1.0, len(chunks) / space.chunk_count) if space.chunk_count else 0.0
        selection = Selection(len(found), chunks, share, len(chunks) <= FEW_CHUNKS)
        self._remember(key, selection)
        return selection

    def _remember(self, key: tuple[int, int, str], selection: Selection) -> None:
        self._known[key] = selection
        held = sum(len(known.chunks) for known in self._known.values())
        while len(self._known) > REMEMBERED or (held > REMEMBERED_IDS and len(self._known) > 1):
            held -= len(self._known.popitem(last=False)[1].chunks)
