"""Small to big: chunks are found because they are short, and shown with the text that stands around them."""

from collections.abc import Sequence

from kbchat.catalog import Catalog, Surroundings
from kbchat.inputs import RetrievalOptions
from kbchat.models import Chunk, Metadata, Reference
from kbchat.strategies import Expand
from kbchat.text.tokens import estimate

REACH = {Expand.NONE: 0, Expand.NEIGHBOURS: 1, Expand.SECTION: 32}
"""Number of chunks to each side, at most, that are looked at."""


class Expander:
    """Widens references."""

    def __init__(self, *, catalog: Catalog) -> None:
        self._catalog = catalog

    async def expand(
        self, space_id: int, references: Sequence[Reference], options: RetrievalOptions
    ) -> list[Reference]:
        """The references with the text around them, each within the token budget, in their order.

        `document.text[start:end] == content` holds as before. No chunk is shown twice: a hit that stands in the text of
        a better one is left out, and where two texts meet they share what their chunks do, which is nothing unless
        these overlap. One whose document was replaced meanwhile stays as it is.
        """
        ids = [reference.chunk_id for reference in references]
        around = await self._catalog.surroundings(space_id, ids, reach=REACH[options.expand])
        shown: set[int] = set()
        expanded = []
        for reference in references:
            if reference.chunk_id in shown:
                continue
            shown.add(reference.chunk_id)
            if (place := around.get(reference.chunk_id)) is not None:
                taken = _taken(place, reference.chunk_id, shown, options)
                shown.update(chunk.id for chunk in taken)
                reference = _widened(reference, taken, place)
            expanded.append(reference)
        return expanded


def _taken(place: Surroundings, key: int, shown: set[int], options: RetrievalOptions) -> Sequence[Chunk]:
    """The chunks to show: from the hit on to both sides, the nearer ones first, while there is room."""
    chunks = place.chunks
    first = last = next(number for number, chunk in enumerate(chunks) if chunk.id == key)
    headings = chunks[first].metadata.get("headings")
    left = options.expand_tokens - estimate(chunks[first].content)
    is_open = {-1: True, 1: True}
    while any(is_open.values()):
        for side in (1, -1):
            number = last + 1 if side == 1 else first - 1
            fits = is_open[side] and 0 <= number < len(chunks) and chunks[number].id not in shown
            if fits and options.expand is Expand.SECTION:
                fits = chunks[number].metadata.get("headings") == headings
            cost = estimate(chunks[number].content) if fits else 0
            is_open[side] = fits and cost <= left
            if is_open[side]:
                left -= cost
                first, last = min(first, number), max(last, number)
    return chunks[first : last + 1]


def _widened(reference: Reference, taken: Sequence[Chunk], place: Surroundings) -> Reference:
    start, end = taken[0].start, max(chunk.end for chunk in taken)
    changes = {
        "start": start,
        "end": end,
        "content": place.text[start - place.start : end - place.start],
        "metadata": _pages(reference.metadata, taken),
    }
    return reference.model_copy(update=changes)


def _pages(metadata: Metadata, taken: Sequence[Chunk]) -> Metadata:
    """The hit's own metadata, with the pages that are shown."""
    first, last = taken[0].metadata, taken[-1].metadata
    if "page" not in first or "page" not in last:
        return metadata
    end = last.get("page_end", last["page"])
    pages = {"page": first["page"]} | ({"page_end": end} if end != first["page"] else {})
    return {name: value for name, value in metadata.items() if name not in ("page", "page_end")} | pages
