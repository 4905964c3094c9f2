"""A lexical index of sparse vectors in a store that adds up products: BM25 in the numbers, not in the engine.

A chunk's vector holds, for each term, its frequency made less by the chunk's length; a question's holds how rare each
term is. How rare comes from counts kept beside the vectors (`counts`), so that a growing space changes no vector. The
average length is in the vectors: it is pinned, and when the true one has moved from it by more than `DRIFT`, the next
commit writes the vectors anew. A score is thereby at most .015 from the formula's (`DRIFT` / 4, at the steepest).
"""

import math
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import anyio
import numpy as np

from kbchat import fusion
from kbchat.errors import LexicalIndexError
from kbchat.lexical import LexicalEntry, LexicalHit, LexicalResult, Weighted, counts
from kbchat.lexical.counts import Change, Counted, Lengths, Tally, dimension
from kbchat.stores.sparse_rows import SparseRow, SparseRows
from kbchat.text.analysis import JoinedTerms, Terms
from kbchat.threads import Threads

DRIFT = 0.06
"""How far, as a natural logarithm, an average length may be from the pinned one."""
MAX_TERMS = 512
"""Of a question with more known terms in one field only the rarest are looked up."""
REWRITE = 1000
"""Vectors that are written anew together."""
MOST_PIECES = 64
"""A longer log begins anew with all of its changes in one."""
FIRST_MARK = -2
"""The log's rows have ids from here down; a chunk's id is never below -1, in no store's own numbers."""


@dataclass(slots=True)
class _Space:
    """What is known of one index, and what waits for the commit."""

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    tally: Tally = field(default_factory=Tally)
    is_read: bool = False
    last: int = -1
    """The place in the log of what was read last."""
    token: str = ""
    """What stands there; something else does once the log began anew."""
    pieces: int = 0
    """How long the log is for who begins to read it now."""
    pins: Lengths | None = None
    """What vectors are written with until the next commit."""
    added: dict[int, Counted] = field(default_factory=dict)
    removed: dict[int, Counted] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    """To be removed once they are counted out."""

    def take(self, change: Change, tally: Tally, place: "_Place") -> None:
        self.pieces = place.number + (0 if change.is_whole else self.pieces)
        self.tally, self.last, self.token = tally, place.first + place.number - 1, place.token


class _Place(NamedTuple):
    """Where a change stands in the log."""

    first: int
    number: int
    token: str


class SparseIndex:
    """A `LexicalIndex` on `SparseRows`, which their owner closes.

    One process at a time may write to an index; the others see what it wrote after `refresh`.
    """

    def __init__(self, rows: SparseRows, *, threads: Threads) -> None:
        self._rows = rows
        self._threads = threads
        self._spaces: dict[str, _Space] = {}
        self._closed = False

    async def upsert(self, name: str, entries: Sequence[LexicalEntry]) -> None:
        if not entries:
            return
        last = await self._threads.read(_last, entries)
        async with self._space(name).lock:
            space = await self._read(name)
            await self._count_out(name, space, list(last))
            pins = space.pins = space.pins or space.tally.pins or _means(list(last.values()))
            rows, counted = await self._threads.read(_rows, last, pins)
            await self._rows.put(name, rows)
            space.added |= counted
            space.gone -= last.keys()

    async def delete(self, name: str, ids: Sequence[int]) -> None:
        if not ids:
            return
        async with self._space(name).lock:
            space = await self._read(name)
            await self._count_out(name, space, ids)
            for key in ids:
                space.added.pop(key, None)
            space.gone |= set(ids)

    async def commit(self, name: str, *, more: bool = False) -> None:
        async with self._space(name).lock:
            space = await self._read(name)
            if space.added or space.removed:
                change = await self._threads.read(counts.change, space.added, space.removed)
                await self._append(name, space, change)
            # Counted out first: what is cut short here is still there to be removed.
            await self._rows.remove(name, sorted(space.gone))
            await self._rows.flush(name)
            space.added, space.removed, space.gone, space.pins = {}, {}, set(), None

    async def release(self, name: str) -> None:
        """Nothing is held."""

    async def search(
        self, name: str, question: Terms, *, limit: int, among: Sequence[int] | None = None
    ) -> LexicalResult:
        space = self._space(name)
        if not space.is_read:
            async with space.lock:
                await self._read(name)
        weights, vector = _question(space.tally, question)
        if not vector or limit < 1 or (among is not None and not among):
            return LexicalResult([], weights)
        top = fusion.lexical_top(weights._asdict())
        found = await self._rows.nearest(name, vector, limit=limit, among=among)
        # A term that others wrote meanwhile may be commoner than we know.
        return LexicalResult([LexicalHit(key, min(score / top, 1 - 1e-7)) for key, score in found], weights)

    async def count(self, name: str) -> int:
        async with self._space(name).lock:
            return len((await self._read(name)).tally.ids)

    async def iterate(self, name: str, *, batch: int = 1000) -> AsyncIterator[list[int]]:
        self._space(name)
        async for ids in self._rows.iterate(name):
            for first in range(0, len(ids), batch):
                yield ids[first : first + batch]

    async def drop(self, name: str) -> None:
        async with self._space(name).lock:
            await self._rows.drop(name)
            self._spaces.pop(name, None)

    async def refresh(self, name: str) -> None:
        space = self._space(name)
        async with space.lock:
            await self._rows.refresh(name)
            space.is_read = False

    async def aclose(self) -> None:
        self._closed = True
        self._spaces.clear()

    def _space(self, name: str) -> _Space:
        if self._closed:
            raise LexicalIndexError("this lexical index is closed")
        return self._spaces.setdefault(name, _Space())

    async def _read(self, name: str) -> _Space:
        """The space with its counts up to date; the caller holds its lock."""
        space = self._space(name)
        if space.is_read:
            return space
        if space.last >= 0:
            (at,) = (await self._rows.fetch(name, [_mark(space.last)])).values() or (None,)
            if at is None or _place(at.note).token != space.token:
                space.tally, space.last, space.pieces = Tally(), -1, 0
        try:
            for place, texts in _groups(await self._rows.marks(name, below=_mark(space.last))):
                change = await self._threads.read(counts.read, texts)
                space.take(change, await self._threads.read(space.tally.plus, change), place)
        except ValueError as error:
            raise LexicalIndexError(
                f"the counts of the lexical index {name!r} are damaged ({error}); `kbchat fsck --repair` rebuilds it"
            ) from error
        space.is_read = True
        return space

    async def _count_out(self, name: str, space: _Space, ids: Sequence[int]) -> None:
        """Remember what chunks counted for that are about to change."""
        old = [key for key in space.tally.counted(ids) if key not in space.removed]
        rows = await self._rows.fetch(name, old) if old else {}
        for key in old:
            space.removed[key] = (
                _counted(rows[key]) if key in rows else Counted(np.empty(0, np.uint32), (0.0, 0.0, 0.0))
            )

    async def _append(self, name: str, space: _Space, change: Change) -> None:
        """Write a change at the log's end, and all of the log as one where it has grown long."""
        tally = await self._threads.read(space.tally.plus, change)
        pins = space.pins or space.tally.pins or tally.means()
        if _drifted(pins, tally.means()):
            pins = tally.means()
            await self._repin(name, tally, pins)
        change = change._replace(pins=pins)
        tally = replace(tally, pins=pins)
        if space.pieces >= MOST_PIECES:
            change = await self._threads.read(tally.whole)
        texts = await self._threads.read(counts.pieces, change)
        place = _Place(space.last + 1, len(texts), uuid.uuid4().hex)
        await self._rows.put(
            name,
            [
                SparseRow(_mark(number), {counts.MARK: 1.0}, f"{place.first} {place.number} {place.token} {text}")
                for number, text in enumerate(texts, place.first)
            ],
        )
        space.take(change, tally, place)
        if change.is_whole:
            await self._rows.remove(name, [_mark(number) for number in range(place.first)])

    async def _repin(self, name: str, tally: Tally, pins: Lengths) -> None:
        """Write vectors anew that were made for another average length. Who reads meanwhile finds some of both."""
        ids = [int(key) for key in tally.ids]
        for first in range(0, len(ids), REWRITE):
            rows = await self._rows.fetch(name, ids[first : first + REWRITE])
            await self._rows.put(name, await self._threads.read(_repinned, list(rows.values()), pins))


def _last(entries: Sequence[LexicalEntry]) -> dict[int, Terms]:
    """The terms to be written of each id."""
    return {key: terms.split() if isinstance(terms, JoinedTerms) else terms for key, terms in entries}


def _means(terms: Sequence[Terms]) -> Lengths:
    unigrams, bigrams, characters = (
        sum(len(each[number]) for each in terms) / len(terms) or 1.0 for number in range(3)
    )
    return unigrams, bigrams, characters


def _mark(place: int) -> int:
    """The id of the log's row at a place."""
    return FIRST_MARK - place


def _place(note: str) -> _Place:
    first, number, token, _ = note.split(" ", 3)
    return _Place(int(first), int(number), token)


def _groups(marks: Sequence[tuple[int, str]]) -> list[tuple[_Place, list[str]]]:
    """The changes in turn; one that was not written to its end is left out."""
    found: dict[_Place, dict[int, str]] = {}
    for key, note in marks:
        found.setdefault(_place(note), {})[-key] = note.rsplit(" ", 1)[1]
    whole = [(place, texts) for place, texts in sorted(found.items()) if len(texts) == place.number]
    return [(place, [texts[key] for key in sorted(texts)]) for place, texts in whole]


def _rows(entries: Mapping[int, Terms], pins: Lengths) -> tuple[list[SparseRow], dict[int, Counted]]:
    rows, counted = [], {}
    for key, terms in entries.items():
        lengths = counts.lengths_of(terms)
        vector: dict[int, float] = {}
        for number, of_field in enumerate(terms):
            norm = _norm(lengths[number], pins[number])
            vector |= {dimension(number, term): often / (often + norm) for term, often in Counter(of_field).items()}
        counted[key] = Counted(np.fromiter(vector, np.uint32, len(vector)), lengths)
        rows.append(SparseRow(key, vector or {counts.NO_TERMS: 1.0}, _note(lengths, pins)))
    return rows, counted


def _norm(length: float, mean: float) -> float:
    return fusion.K1 * (1.0 - fusion.B + fusion.B * _in_a_byte(length) / mean)


def _in_a_byte(length: float) -> int:
    """A length as tantivy keeps it, in a byte, so that scores are the same in both: exact below 40, above that what is
    more than 24 is rounded down to four binary digits (Lucene's `SmallFloat.intToByte4`)."""
    number = int(length)
    digits = max(0, (number - 24).bit_length() - 4)
    return number if number < 40 else 24 + ((number - 24) >> digits << digits)


def _note(lengths: Lengths, pins: Lengths) -> str:
    """What a vector was made with."""
    return " ".join(map(repr, (*lengths, *pins)))


def _counted(row: SparseRow) -> Counted:
    unigrams, bigrams, characters = map(float, row.note.split()[:3])
    dimensions = [key for key in row.vector if key < counts.NO_TERMS]
    return Counted(np.asarray(dimensions, np.uint32), (unigrams, bigrams, characters))


def _repinned(rows: Sequence[SparseRow], pins: Lengths) -> list[SparseRow]:
    """The same rows for other average lengths: how often a term stands in a chunk follows from its weight."""
    anew = []
    for row in rows:
        numbers = list(map(float, row.note.split()))
        lengths: Lengths = (numbers[0], numbers[1], numbers[2])
        was = [_norm(length, pin) for length, pin in zip(lengths, numbers[3:], strict=True)]
        now = [_norm(length, pin) for length, pin in zip(lengths, pins, strict=True)]
        vector = dict(row.vector)
        for key, weight in row.vector.items():
            if key < counts.NO_TERMS:
                often = max(1, round(weight * was[key % 3] / (1.0 - weight)))
                vector[key] = often / (often + now[key % 3])
        anew.append(SparseRow(row.id, vector, _note(lengths, pins)))
    return anew


def _drifted(pins: Lengths, means: Lengths) -> bool:
    return any(abs(math.log(mean / pin)) > DRIFT for mean, pin in zip(means, pins, strict=True))


def _question(tally: Tally, question: Terms) -> tuple[Weighted, dict[int, float]]:
    """What the question's terms weigh in this index, and the vector that adds them up."""
    total = len(tally.ids)
    weights: dict[str, dict[str, float]] = {}
    vector: dict[int, float] = {}
    for number, (name, of_field) in enumerate(question._asdict().items()):
        terms = list(dict.fromkeys(of_field))
        places = [dimension(number, term) for term in terms]
        holding = tally.holding(places)
        of_terms = [fusion.term_weight(total, min(many, total)) for many in holding]
        weights[name] = dict(zip(terms, of_terms, strict=True))
        known = sorted((many, term, place) for many, term, place in zip(holding, terms, places, strict=True) if many)
        scale = fusion.BM25_TOP * fusion.FIELD_WEIGHTS[name]
        vector |= {place: scale * weights[name][term] for _, term, place in known[:MAX_TERMS]}
    return Weighted(**weights), vector
