"""Splitting: from a document's text to chunks with exact offsets, along its own structure.

A chunk is the largest run of whole sections, paragraphs, sentences or words that fits the size. Sizes are in tokens,
estimated from a text's bytes by weights fitted to the encoding of GPT-4o (`benchmarks/token_weights.py`): over 900
characters the estimate is off by 5 to 13 % in thirteen languages and code. Counting exactly would take most of an
ingest's time.
"""

import functools
import hashlib
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol, assert_never
from zlib import adler32

from pydantic import JsonValue

from kbchat.chunking import ChunkStrategy, Splitting
from kbchat.models import Block, LoadedDocument, Span
from kbchat.text import cuts
from kbchat.text.outline import Outline

VERSION = 3
"""Raised whenever the same text and sizes give other chunks than before."""


def split(
    document: LoadedDocument, splitting: Splitting | None = None, *, max_tokens: int = 256, overlap: int = 0
) -> list[Span]:
    """The chunks of a document in reading order; none of them is blank. Sizes alone mean: by structure.

    Chunks cross from page to page (their metadata then has `page_end` too), but never leave any other block: a slide,
    sheet or section ends its last chunk. Where bookmarks name the parts of pages, a chunk is of one part, or of several
    whole ones. What a document, block or section leaves over stays with its last chunk, which may so be a quarter
    larger than the size; none else is larger. Only a whole document is one chunk whatever it is made of.
    """
    if splitting is None:
        splitting = _by_structure(max_tokens, overlap)
    text = document.text
    outline = Outline.of(text, document.markup)
    places = _Places(document.blocks)
    spans = []
    for start, end in _ranges(document, splitting, outline):
        metadata = places.metadata(start, end)
        spans.append(Span(start, end, headings_of(metadata) + outline.path(text, start, end), _own(metadata)))
    return spans


def _ranges(document: LoadedDocument, splitting: Splitting, outline: Outline) -> Iterator[tuple[int, int]]:
    """Where each chunk begins and ends."""
    text, size = document.text, splitting.size
    match splitting.strategy:
        case ChunkStrategy.DOCUMENT:
            yield from cuts.stripped(text, 0, len(text))
            return
        case ChunkStrategy.STRUCTURE:
            regions = _regions(document.blocks, len(text))
            parts = list(cuts.whole_parts(text, regions, _section_starts(document.blocks), size, estimate_tokens))
        case ChunkStrategy.TOKENS:
            for start, end in _regions(document.blocks, len(text)):
                yield from cuts.by_tokens(text, start, end, size, splitting.overlap, estimate_tokens)
            return
        case ChunkStrategy.SEPARATOR:
            parts = [
                part
                for start, end in _regions(document.blocks, len(text))
                for part in cuts.by_separator(text, start, end, splitting, estimate_tokens)
            ]
        case ChunkStrategy.PAGE:
            parts = list(
                cuts.by_borders([at for block in document.blocks for at in (block.start, block.end)], len(text))
            )
            parts = list(cuts.same_place(document.blocks, parts))
        case ChunkStrategy.HEADING:
            borders = [*outline.starts, *_section_starts(document.blocks)]
            borders += [block.start for block in document.blocks if "page" not in block.metadata]
            parts = list(cuts.by_borders(borders, len(text)))
        case unknown:
            assert_never(unknown)
    for start, end in parts:
        if splitting.strategy is not ChunkStrategy.STRUCTURE and estimate_tokens(text[start:end]) <= size:
            yield from cuts.stripped(text, start, end)
        else:
            yield from _structured(document, outline, start, end, splitting)


def _structured(
    document: LoadedDocument, outline: Outline, start: int, end: int, splitting: Splitting
) -> Iterator[tuple[int, int]]:
    """A stretch along its structure."""
    text, size = document.text, splitting.size
    chunks: deque[tuple[int, int]] = deque()
    for piece, piece_end in _pieces(text, start, end, outline, max(20_000, 64 * size)):
        chunks += _chunks(text, piece, piece_end, document.markup, size, splitting.overlap)
    whole = list(_without_stubs(text, chunks, outline, document.markup, size))
    yield from _without_remains(text, whole, outline, size)


def embedded_text(headings: Sequence[str], content: str) -> str:
    """What the embedder and the lexical index see of a chunk: the headings that it does not itself hold, then it."""
    above = [heading for heading in headings if heading not in content]
    return "\n".join([*above, content])


def headings_of(metadata: Mapping[str, JsonValue]) -> tuple[str, ...]:
    """The headings above a chunk or a block, outermost first, as its metadata has them."""
    headings = metadata.get("headings")
    return tuple(map(str, headings)) if isinstance(headings, list | tuple) else ()


class _Chunk(Protocol):
    """A chunk that is kept, or about to be."""

    @property
    def metadata(self) -> Mapping[str, JsonValue]: ...
    @property
    def content(self) -> str: ...


def text_of(chunk: _Chunk) -> str:
    """What is embedded and indexed of a chunk."""
    return embedded_text(headings_of(chunk.metadata), chunk.content)


def chunk_key(headings: Sequence[str], content: str) -> str:
    """A hash of what is embedded: equal keys may share a vector."""
    return hashlib.blake2b(embedded_text(headings, content).encode("utf-8", "replace"), digest_size=16).hexdigest()


def fingerprint(splitting: Splitting | None = None, *, max_tokens: int = 256, overlap: int = 0) -> str:
    """Describes how texts are split: a document split under another fingerprint is to be split anew."""
    if splitting is None:
        splitting = _by_structure(max_tokens, overlap)
    how = f"{splitting.strategy}-{VERSION}:{splitting.size}:{splitting.overlap}"
    if splitting.strategy is ChunkStrategy.SEPARATOR:
        how += f":{splitting.separator.encode().hex()}:{splitting.merge:d}"
    return how


def _by_structure(max_tokens: int, overlap: int) -> Splitting:
    # Unchecked: the splitter itself has no least size.
    return Splitting.model_construct(max_tokens=max_tokens, overlap=overlap)


def estimate_tokens(text: str) -> int:
    """About how many tokens a model reads in a text, at least 1 for any text but the empty one.

    Not `tokens.estimate`: that one seldom counts too few, since a prompt must fit its model, and takes three to nine
    times as long. Here a chunk that is too large or small by a tenth does no harm, and every document is estimated some
    five times over. Other weights would also have every document of every space split anew.
    """
    weights = text.encode("utf-8", "replace").translate(_HUNDREDTHS)
    # The lower half of this checksum is the sum of the bytes, modulo 65,521: eight times faster than `sum`.
    hundredths = sum([adler32(weights[at : at + _SUMMED], 0) & 0xFFFF for at in range(0, len(weights), _SUMMED)])
    return (hundredths + 99) // 100


_SUMMED = 256
"""Bytes whose sum is below 65,521 whatever they are."""


class _Splitter(Protocol):
    def chunk_indices(self, text: str, /) -> list[tuple[int, str]]: ...


@functools.lru_cache(maxsize=256)
def _splitter(markup: str, max_tokens: int, overlap: int) -> Callable[[str], list[tuple[int, str]]]:
    from semantic_text_splitter import MarkdownSplitter, TextSplitter

    # Two of the underlines of reStructuredText are headings to Markdown as well, and its code is indented alike.
    kind: Any = MarkdownSplitter if markup in ("markdown", "rst") else TextSplitter
    splitter: _Splitter = kind.from_callback(estimate_tokens, max_tokens, overlap)
    return splitter.chunk_indices


def _chunks(
    text: str, start: int, end: int, markup: str, max_tokens: int, overlap: int = 0
) -> Iterator[tuple[int, int]]:
    """What the splitter makes of a stretch, without what is blank."""
    for offset, content in _splitter(markup, max_tokens, overlap)(text[start:end]):
        if content and not content.isspace():
            yield start + offset, start + offset + len(content)


def _without_stubs(
    text: str, chunks: deque[tuple[int, int]], outline: Outline, markup: str, max_tokens: int
) -> Iterator[tuple[int, int]]:
    """The chunks, but one of an eighth of the size or less begins the chunk after it, which is split anew if need be.

    So a title or heading stays with what it is about. A short section is not drawn into the next one.
    """
    while chunks:
        start, end = chunks.popleft()
        if not chunks or chunks[0][0] < end:
            yield start, end
            continue
        next_start, next_end = chunks[0]
        tokens = estimate_tokens(text[start:next_start])
        if tokens * 8 > max_tokens or (outline.begins(next_start) and not outline.is_bare(text, start, end)):
            yield start, end
        else:
            chunks.popleft()
            if estimate_tokens(text[start:next_end]) <= max_tokens:
                chunks.appendleft((start, next_end))
            else:
                first, *rest = _chunks(text, next_start, next_end, markup, max_tokens - tokens)
                chunks.extendleft(reversed(rest))
                chunks.appendleft((start, first[1]))


def _without_remains(
    text: str, chunks: Sequence[tuple[int, int]], outline: Outline, max_tokens: int
) -> list[tuple[int, int]]:
    """The chunks, but the last of a section or stretch belongs to the one before it if both are little over the size.

    Split in two, what is just too long for one chunk would have its evidence in halves: documents of 1.1 chunks are
    found worse than those of one or of three.
    """
    joined: list[tuple[int, int]] = []
    for number, (start, end) in enumerate(chunks):
        is_last = number + 1 == len(chunks) or outline.begins(chunks[number + 1][0])
        if joined and is_last and not outline.begins(start):
            both = joined[-1][0], end
            if estimate_tokens(text[slice(*both)]) * 4 <= max_tokens * 5:
                joined[-1] = both
                continue
        joined.append((start, end))
    return joined


def _own(metadata: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    return {key: value for key, value in metadata.items() if key != "headings"}


def _regions(blocks: Sequence[Block], length: int) -> list[tuple[int, int]]:
    """Stretches that are split each for itself: every block that is not a page, and what lies between those."""
    regions, position = [], 0
    for block in blocks:
        if "page" not in block.metadata:
            regions += [(position, block.start), (block.start, block.end)]
            position = block.end
    regions.append((position, length))
    return [(start, end) for start, end in regions if start < end]


def _section_starts(blocks: Sequence[Block]) -> list[int]:
    """Where a part with other headings than the one before it begins, among pages."""
    return [
        block.start
        for before, block in pairwise(blocks)
        if "page" in block.metadata and headings_of(before.metadata) != headings_of(block.metadata)
    ]


def _pieces(text: str, start: int, end: int, outline: Outline, limit: int) -> Iterator[tuple[int, int]]:
    """Stretches of at most `limit` characters, cut where it harms least: the splitter's time grows with the square of
    what it is given at once."""
    while end - start > limit:
        earliest, latest = start + limit // 2, start + limit
        cut = outline.last_start(earliest, latest)
        for border in ("\n\n", "\n", "。", ". ", " "):
            if cut is None and (found := text.rfind(border, earliest, latest)) >= 0:
                cut = found + len(border)
        start, previous = cut or latest, start
        yield previous, start
    yield start, end


class _Places:
    """Finds the metadata of the blocks that a chunk lies in."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks = blocks
        self._starts = [block.start for block in blocks]

    def metadata(self, start: int, end: int) -> Mapping[str, JsonValue]:
        first = max(bisect_right(self._starts, start) - 1, 0)
        touched = [block for block in self._blocks[first : bisect_right(self._starts, end - 1)] if block.end > start]
        if not touched:
            return {}
        pages = touched[0].metadata.get("page"), touched[-1].metadata.get("page")
        if pages[0] == pages[1] or pages[1] is None:
            return touched[0].metadata
        return {**touched[0].metadata, "page_end": pages[1]}


def _hundredths() -> bytes:
    """What each byte of UTF-8 adds to the estimate, in hundredths of a token; bytes inside a character add nothing."""
    table = bytearray(256)
    for first, last, weight in _WEIGHTS:
        table[first : last + 1] = bytes([weight]) * (last + 1 - first)
    return bytes(table)


_WEIGHTS = (
    (0x00, 0x1F, 56),  # line ends, tabs
    (0x20, 0x20, 15),
    (0x21, 0x7F, 44),  # signs
    (0x30, 0x39, 82),  # digits
    (0x41, 0x5A, 47),
    (0x61, 0x7A, 19),
    (0xC2, 0xC9, 83),  # accented Latin
    (0xCA, 0xD7, 27),  # Greek, Cyrillic, Armenian, Hebrew
    (0xD8, 0xDF, 40),  # Arabic, Syriac, Thaana
    (0xE0, 0xE0, 28),  # Indic, Thai
    (0xE1, 0xE1, 80),
    (0xE2, 0xE2, 57),  # general punctuation, signs
    (0xE3, 0xE3, 67),  # kana
    (0xE4, 0xE9, 79),  # Han
    (0xEA, 0xED, 63),  # Hangul
    (0xEE, 0xEF, 144),  # full-width signs
    (0xF0, 0xF7, 255),  # emoji, rare Han
)
_HUNDREDTHS = _hundredths()
