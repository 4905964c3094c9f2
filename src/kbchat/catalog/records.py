"""What goes into and comes out of the catalog beside the words of `kbchat.models`. Loads no database library."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic import JsonValue

from kbchat.models import Chunk, DocumentStatus, EmbedderPin, SpaceInfo, VectorType


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk to be written. `content` equals `text[start:end]` of its generation."""

    start: int
    end: int
    content: str
    metadata: Mapping[str, JsonValue]
    key: str
    """Hash of what is embedded and indexed for it (headings and content): an equal key may reuse the vector."""
    vectors: bytes = b""
    """What `embedders.passages` packed of it; the catalog only keeps it."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The live chunks around one, itself among them, in reading order, and the document's text from the first's start
    to the last's end. `start` is where that begins."""

    chunks: Sequence[Chunk]
    text: str
    start: int


class LiveVectors(NamedTuple):
    """Chunks that are live, each with the vectors that were kept with it (empty where there are none), and the space as
    it was at the same moment."""

    space: SpaceInfo
    chunks: Mapping[int, tuple[Chunk, bytes]]


@dataclass(frozen=True, slots=True)
class NewGeneration:
    """A document's new text and chunks, to be written beside the ones it has."""

    name: str
    text: str
    content_hash: str
    metadata: Mapping[str, JsonValue] | None
    """None leaves the document's as it is."""
    chunks: Sequence[NewChunk]
    doc_type: str = "TEXT"
    source: str | None = None
    size: int | None = None
    mtime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class PendingGeneration:
    """A generation that is written but not live. `chunk_ids` are in the order of its chunks."""

    id: int
    document_id: int
    chunk_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Upload:
    """A document that was handed over and is kept until it is deleted, to be indexed when that is asked for.

    `data` is a file's bytes, or a text in UTF-8 where `doc_type` is TEXT.
    """

    name: str
    data: bytes
    doc_type: str
    source: str | None = None
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)
    id: int = 0
    """The catalog's; 0 until it is kept."""
    suffix: str | None = None
    """How the file's own name ended, in lower case with its dot; it outlives the document's name."""


class KeptUpload(NamedTuple):
    """Which upload of a document the catalog has, and its bytes. Each upload has an id of its own."""

    id: int
    size: int


@dataclass(frozen=True, slots=True)
class DocumentEdit:
    """What is to be changed of a document; None leaves as it is."""

    name: str | None = None
    source: str | None = None
    metadata: Mapping[str, JsonValue] | None = None


@dataclass(frozen=True, slots=True)
class FailedSource:
    """A document that could not be taken in, and why."""

    name: str
    reason: str
    source: str | None = None
    doc_type: str = "DOCUMENT"


class SourceState(NamedTuple):
    """What an ingest must know of a document to see whether it changed. A tuple, as there may be very many."""

    document_id: int
    content_hash: str
    status: DocumentStatus
    source: str | None
    size: int | None
    mtime_ns: int | None


class Leftover(NamedTuple):
    """A collection on a store that a space is not, or no longer, searched in: to be filled further, or dropped."""

    vector_type: VectorType
    collection: str
    embedder: EmbedderPin | None = None
    """Of one that is being filled with new vectors: whose."""
