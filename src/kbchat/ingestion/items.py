"""What goes into a space, and what becomes of each: written, left as it is, or refused."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic import JsonValue

from kbchat.catalog import FailedSource, NewChunk, NewGeneration, SourceState
from kbchat.embedders import Vectors
from kbchat.loaders.files import FileSource, changed_ns
from kbchat.models import DocumentFailure, TextDocument
from kbchat.text.analysis import JoinedTerms


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file whose bytes are at hand. `path` says where it came from, for people only; `metadata` goes before what the
    file says of itself; `suffixes` hint at what it is, the first that is known, instead of its name's."""

    name: str
    data: bytes
    path: str | None = None
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)
    suffixes: tuple[str, ...] = ()


Source = FileSource | FileContent | TextDocument

RACY_NS = 2_000_000_000
"""A file changed this recently may change again within its clock's tick: its stat is not trusted next time."""


@dataclass(frozen=True, slots=True)
class Stat:
    """What a file's state was when it was read: its size, and when it was last written or put there. None where it may
    change again without a trace."""

    size: int | None = None
    mtime_ns: int | None = None

    @classmethod
    def of(cls, state: os.stat_result) -> "Stat":
        changed = changed_ns(state)
        return cls() if time.time_ns() - changed < RACY_NS else cls(state.st_size, changed)


NO_STAT = Stat()


class Part(NamedTuple):
    """Which of a large document's chunks some are: the number of the first, and how many there are in all."""

    first: int
    total: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document ready to be written: its generation, and what was made of its chunks on the way.

    A large one comes in several, each with a part of its chunks. Only the first of them has its text.
    """

    generation: NewGeneration
    known: SourceState | None
    vectors: Vectors | None = None
    """Of its chunks, where the space's own embedder is the static one, which has embedded them anyway."""
    terms: Sequence[JoinedTerms] | None = None
    """Of its chunks, where they were analysed already."""
    part: Part | None = None
    """None: all of it."""

    @property
    def chunks(self) -> Sequence[NewChunk]:
        return self.generation.chunks

    @property
    def is_last(self) -> bool:
        """Whether the document is whole with this."""
        return self.part is None or self.part.first + len(self.chunks) == self.part.total


class Unchanged(NamedTuple):
    """A document that need not be written. `stat` is what is to be remembered of its file from now on, and `source` the
    file's path where that is another one.

    A tuple, as there may be very many.
    """

    name: str
    document_id: int
    stat: Stat | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """A document that cannot be taken in. `record` is what the catalog is to keep of that, if anything."""

    failure: DocumentFailure
    record: FailedSource | None


Item = Prepared | Unchanged | Failed
