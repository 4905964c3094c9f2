"""What a sparse index knows of its terms: in how many chunks each stands, and how long chunks are. A log of changes.

Each commit adds one change, which says by id what it counts in and out; all of them in turn give the counts. So who is
behind reads what is new, and what was cut short is not counted twice.
"""

import base64
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from kbchat.text.analysis import Terms

Dimensions = npt.NDArray[np.uint32]
Ids = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int32]
Lengths = tuple[float, float, float]
"""Of each field: `unigrams`, `bigrams`, `characters`."""

PLACES = 1_431_655_764
"""For each field's terms: vectors have 2**32 - 1 dimensions."""
NO_TERMS = 3 * PLACES
"""A vector must not be empty."""
MARK = 3 * PLACES + 1
"""In the log's own rows, which no question finds."""
PIECE_CHARS = 60_000
"""A text's most is 65,535 bytes."""


def dimension(number: int, term: str) -> int:
    """Where a term of the field of that number stands in a vector. Among two million terms of a field one in 700 shares
    its place with another."""
    return 3 * (zlib.crc32(term.encode()) % PLACES) + number


class Counted(NamedTuple):
    """What a chunk counts for."""

    dimensions: Dimensions
    lengths: Lengths


def lengths_of(terms: Terms) -> Lengths:
    return (float(len(terms.unigrams)), float(len(terms.bigrams)), float(len(terms.characters)))


class Change(NamedTuple):
    """What one commit counts in and out."""

    added: Ids
    removed: Ids
    lengths: Lengths
    dimensions: Dimensions
    """Ascending, each once."""
    counts: Counts
    pins: Lengths = (1.0, 1.0, 1.0)
    """The average lengths that all vectors are made for from now on."""
    is_whole: bool = False
    """Nothing that was before it counts any more."""


@dataclass(frozen=True, slots=True)
class Tally:
    """The counts after some number of changes."""

    ids: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    """Of the chunks counted, ascending."""
    lengths: Lengths = (0.0, 0.0, 0.0)
    """Of all of them together, by field."""
    dimensions: Dimensions = field(default_factory=lambda: np.empty(0, np.uint32))
    counts: Counts = field(default_factory=lambda: np.empty(0, np.int32))
    pins: Lengths | None = None

    def holding(self, dimensions: Sequence[int]) -> list[int]:
        """In how many chunks each stands."""
        if not len(self.dimensions):
            return [0] * len(dimensions)
        wanted = np.asarray(dimensions, dtype=np.uint32)
        places = np.minimum(np.searchsorted(self.dimensions, wanted), len(self.dimensions) - 1)
        return [int(n) for n in np.where(self.dimensions[places] == wanted, self.counts[places], 0)]

    def counted(self, ids: Iterable[int]) -> list[int]:
        """Those of the ids that are counted."""
        wanted = np.fromiter(ids, np.int64)
        return [int(key) for key in wanted[np.isin(wanted, self.ids)]]

    def means(self) -> Lengths:
        """How long a field is on average; 1 where it is nowhere."""
        unigrams, bigrams, characters = (total / max(1, len(self.ids)) or 1.0 for total in self.lengths)
        return unigrams, bigrams, characters

    def plus(self, change: Change) -> "Tally":
        before = Tally() if change.is_whole else self
        unigrams, bigrams, characters = (
            max(0.0, old + new) for old, new in zip(before.lengths, change.lengths, strict=True)
        )
        dimensions, counts = before._count(change.dimensions, change.counts)
        ids = np.union1d(np.setdiff1d(before.ids, change.removed), change.added)
        return Tally(ids, (unigrams, bigrams, characters), dimensions, counts, change.pins)

    def _count(self, dimensions: Dimensions, changes: Counts) -> tuple[Dimensions, Counts]:
        """Both are sorted, so that taking a batch in costs one copy of what is there."""
        places = np.searchsorted(self.dimensions, dimensions)
        known = np.zeros(len(dimensions), bool)
        inside = places < len(self.dimensions)
        known[inside] = self.dimensions[places[inside]] == dimensions[inside]
        counts = self.counts.copy()
        counts[places[known]] += changes[known]
        new = ~known & (changes > 0)
        return (
            np.insert(self.dimensions, places[new], dimensions[new]),
            np.insert(np.maximum(counts, 0), places[new], changes[new]),
        )

    def whole(self) -> Change:
        """All of it as one change, with which a log can begin anew."""
        kept = self.counts > 0
        assert self.pins is not None
        nothing = np.empty(0, np.int64)
        return Change(self.ids, nothing, self.lengths, self.dimensions[kept], self.counts[kept], self.pins, True)


def change(added: dict[int, Counted], removed: dict[int, Counted]) -> Change:
    """The change that counts some chunks in and others out; one that is in both was replaced."""
    parts = [(sign, each) for sign, side in ((1, added), (-1, removed)) for each in side.values()]
    every = [np.empty(0, np.uint32), *(each.dimensions for _, each in parts)]
    signs = np.repeat([sign for sign, _ in parts], [len(each.dimensions) for _, each in parts]).astype(np.int32)
    dimensions, places = np.unique(np.concatenate(every), return_inverse=True)
    counts = np.zeros(len(dimensions), np.int32)
    np.add.at(counts, places, signs)
    unigrams, bigrams, characters = (
        float(sum(sign * each.lengths[number] for sign, each in parts)) for number in range(3)
    )
    changed = counts != 0
    gone = [key for key in removed if key not in added]
    return Change(_ids(added), _ids(gone), (unigrams, bigrams, characters), dimensions[changed], counts[changed])


class _Written(msgspec.Struct, array_like=True):
    added: bytes
    removed: bytes
    lengths: Lengths
    dimensions: bytes
    counts: bytes
    pins: Lengths
    is_whole: bool


def pieces(change: Change) -> list[str]:
    """The change as ASCII texts that `read` puts together again."""
    # Steps between what ascends are small, and small numbers are mostly zeros.
    steps = np.diff(change.dimensions, prepend=np.uint32(0)).astype(np.uint32)
    added, removed, dimensions, counts = (
        array.tobytes() for array in (change.added, change.removed, steps, change.counts)
    )
    written = _Written(added, removed, change.lengths, dimensions, counts, change.pins, change.is_whole)
    text = base64.b85encode(zlib.compress(msgspec.msgpack.encode(written), 1)).decode()
    return [text[first : first + PIECE_CHARS] for first in range(0, len(text), PIECE_CHARS)]


def read(texts: Sequence[str]) -> Change:
    """Raises `ValueError` for what `pieces` did not write."""
    try:
        written = msgspec.msgpack.decode(zlib.decompress(base64.b85decode("".join(texts))), type=_Written)
    except (zlib.error, msgspec.DecodeError) as error:
        raise ValueError(str(error)) from error
    return Change(
        np.frombuffer(written.added, np.int64),
        np.frombuffer(written.removed, np.int64),
        written.lengths,
        np.cumsum(np.frombuffer(written.dimensions, np.uint32), dtype=np.uint32),
        np.frombuffer(written.counts, np.int32),
        written.pins,
        written.is_whole,
    )


def _ids(keys: Iterable[int]) -> Ids:
    return np.sort(np.fromiter(keys, np.int64))
