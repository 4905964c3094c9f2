"""Where texts may be cut by simple rules: sizes, separators and borders. Offsets are those of the whole text."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise

from kbchat.chunking import Splitting
from kbchat.models import Block

Estimate = Callable[[str], int]
Range = tuple[int, int]


def stripped(text: str, start: int, end: int) -> Iterator[Range]:
    """The stretch without white space around it; nothing when there is nothing else."""
    content = text[start:end]
    if body := content.strip():
        first = start + len(content) - len(content.lstrip())
        yield first, first + len(body)


def by_tokens(text: str, start: int, end: int, size: int, overlap: int, estimate: Estimate) -> Iterator[Range]:
    """Stretches of at most `size` tokens that each repeat about the last `overlap` tokens of the one before."""
    words = [match.span() for match in _WORD.finditer(text, start, end)]
    # Estimates are rounded up a text: of single words they would add up to more.
    totals = [0.0, *accumulate(estimate(text[first:last] * 8) / 8 for first, last in words)]
    at = 0
    while at < len(words):
        upto = max(bisect_right(totals, totals[at] + size) - 1, at + 1)
        yield from stripped(text, words[at][0], words[upto - 1][1])
        if upto == len(words):
            return
        back = bisect_right(totals, totals[upto] - overlap) - 1 if overlap else upto
        at = max(back, at + 1)


def by_separator(text: str, start: int, end: int, splitting: Splitting, estimate: Estimate) -> Iterator[Range]:
    """What stands between separators, with `merge` as much of it together as fits the size."""
    separator = splitting.separator
    open_: Range | None = None
    position = start
    while position < end:
        found = text.find(separator, position, end)
        stop = found if found >= 0 else end
        part = position, stop
        position = stop + len(separator) if found >= 0 else end
        if not splitting.merge:
            yield part
        elif open_ is not None and estimate(text[open_[0] : part[1]]) <= splitting.size:
            open_ = open_[0], part[1]
        else:
            if open_ is not None:
                yield open_
            open_ = part
    if open_ is not None:
        yield open_


def by_borders(borders: Iterable[int], end: int) -> Iterator[Range]:
    """The stretches between borders."""
    position = 0
    for border in sorted({border for border in borders if 0 < border < end}):
        yield position, border
        position = border
    if position < end:
        yield position, end


def whole_parts(
    text: str, regions: Iterable[Range], borders: Sequence[int], size: int, estimate: Estimate
) -> Iterator[Range]:
    """The regions, cut at the borders inside them; as many parts as fit the size stay together.

    A part that is nothing but its title, one line, stays with the next one, whatever the size of that.
    """
    for start, end in regions:
        first, last = bisect_right(borders, start), bisect_left(borders, end)
        open_, part, is_bare = start, start, True
        for border, following in pairwise([*borders[first:last], end]):
            is_bare, part = is_bare and "\n" not in text[part:border].strip(), border
            if not is_bare and estimate(text[open_:following]) > size:
                yield open_, border
                open_, is_bare = border, True
        yield open_, end


def same_place(blocks: Sequence[Block], parts: Iterable[Range]) -> Iterator[Range]:
    """The parts, those together that lie on one page: a page has several blocks where sections begin on it."""
    starts = [block.start for block in blocks]
    open_: Range | None = None
    place: object = None
    for part in parts:
        at = bisect_right(starts, part[0]) - 1
        page = blocks[at].metadata.get("page") if at >= 0 else None
        if open_ is not None and page is not None and page == place:
            open_ = open_[0], part[1]
            continue
        if open_ is not None:
            yield open_
        open_, place = part, page
    if open_ is not None:
        yield open_


# A word with the white space after it; scripts without spaces are cut between any two characters.
_WORD = re.compile(
    r"[\u0e00-\u0e7f\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]\s*"
    r"|[^\s\u0e00-\u0e7f\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]{1,200}\s*"
    r"|\s+"
)
