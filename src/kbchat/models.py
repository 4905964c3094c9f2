"""The words of the house: immutable values that travel between its floors.

Records of the catalog and what users hold are pydantic models. Offsets are counted in characters (code points) of the
document's extracted text, from 0, end exclusive.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from kbchat.chunking import Splitting
from kbchat.display import ShownAnswer, ShownReference

Metadata = dict[str, JsonValue]
"""What is known about a document or chunk beside its text. Chunks use `page`, `page_end`, `slide`, `sheet` (pages and
slides from 1) and `headings` (a list, outermost first); documents use `source`, `title` and what the caller adds."""

FinishReason = Literal["stop", "length"]
Markup = Literal["plain", "markdown", "rst", "code"]
"""What a text is written in, which says how it is to be split."""
Role = Literal["system", "user", "assistant"]
Score = Annotated[float, Field(ge=0.0, le=1.0)]
MAX_ID = 2**63 - 1
"""What databases know of integers: nothing has a larger id."""
FOUND = 0.5
"""A best hit with a lower `recall_score` means that the space does not hold the answer."""
SUPPORTED = 0.5
"""A citation with a lower `support` does not hold."""


class Value(BaseModel):
    """A record that never changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class VectorType(StrEnum):
    """Which vector store holds a space's vectors."""

    CHROMA = "Chroma"
    MILVUS = "Milvus"


LexicalPlace = Literal["embedded", "milvus"]
"""Where the words of a space are searched: in the embedded index, or in Milvus beside its vectors."""


class DocumentStatus(StrEnum):
    """Where a document is on its way into the index. The names are those of the wire."""

    TODO = "TODO"
    """It was added and waits to be indexed. What it replaces, if anything, is found until then."""
    RUNNING = "RUNNING"
    """It is being read, split and embedded."""
    FINISHED = "FINISHED"
    """Its chunks are found."""
    FAILED = "FAILED"
    """It could not be taken in; `Document.error` says why."""


class KeyRole(StrEnum):
    """What an API key may do; each may also do what those before it may."""

    READER = "reader"
    """Read, retrieve and chat, among its owner's things."""
    WRITER = "writer"
    """Also make, change and delete them."""
    ADMIN = "admin"
    """Everything, of every owner."""


class KeyInfo(Value):
    """An API key as the catalog holds it: all but the key itself, of which only a hash is kept."""

    id: int
    name: str
    owner: str = ""
    role: KeyRole = KeyRole.READER
    created_at: datetime
    revoked_at: datetime | None = None


class EmbedderPin(Value):
    """What a space remembers of its embedder.

    `fingerprint` tells models apart that share a name and a dimension: it is made from the vectors of fixed texts.
    """

    name: str
    dimension: int
    fingerprint: str


class SpaceInfo(Value):
    """A knowledge space as the catalog holds it."""

    id: int
    name: str
    owner: str = ""
    vector_type: VectorType = VectorType.CHROMA
    desc: str = ""
    context: str | None = None
    """Kept for clients of the HTTP interface, which has such a field; without effect."""
    collection: str
    embedder: EmbedderPin | None = None
    words: LexicalPlace | None = None
    """Where its words are searched; None while nothing was written to it."""
    splitting: Splitting | None = None
    """How its documents are split; None as the settings say."""
    revision: int = 0
    """Counts the changes of what can be found in the space."""
    last_writer: str = ""
    """The token of the process that made the last change: another one's means that cached readers are stale."""
    document_count: int = 0
    chunk_count: int = 0
    created_at: datetime
    updated_at: datetime

    @property
    def lexical_name(self) -> str:
        """What its lexical index is called: unlike the collection it outlives a change of embedder."""
        return f"space-{self.id}"

    @property
    def terms_collection(self) -> str:
        """What its lexical index is called where other catalogs' are, too: no two spaces are born at one moment."""
        return f"terms-{self.id}-{round(self.created_at.timestamp() * 1e6):x}"


class Document(Value):
    """A document of a space. `text` is filled by `get_document` and None in listings."""

    id: int
    space_id: int
    name: str
    doc_type: str = "TEXT"
    """`TEXT` for what was given as text, `DOCUMENT` for what was read from a file or fetched."""
    source: str | None = None
    """Where it came from: the file's path, or what was said with it; None where nothing was."""
    status: DocumentStatus = DocumentStatus.FINISHED
    error: str | None = None
    """Why it is FAILED; None otherwise."""
    attempts: int = 0
    """How often it failed since it was last taken in."""
    metadata: Metadata = {}
    content_hash: str = ""
    chunk_count: int = 0
    created_at: datetime
    updated_at: datetime
    text: str | None = None


class TextDocument(Value):
    """A document given as text, not as a file. The name is unique in its space: giving it again replaces the text."""

    name: str
    text: str
    metadata: Metadata = {}
    source: str | None = None


class Chunk(Value):
    """A piece of a document: `document.text[start:end] == content`."""

    id: int
    document_id: int
    document_name: str
    position: int
    """Its number within the document, from 0."""
    start: int
    end: int
    content: str
    metadata: Metadata = {}
    """The document's metadata overlaid with the chunk's own (page, headings)."""


class Reference(ShownReference, Value):
    """A chunk found for a question, with how well it fits and where it stands.

    `recall_score` is in [0, 1] and means the same on every store; a best hit below 0.5 means that the space does not
    hold the answer. The parts it was made from follow: `dense` is the cosine of question and chunk in [-1, 1],
    `lexical` BM25 over the most it could be for this question in [0, 1), `sentence` the best cosine of one of its
    sentences, `rerank` a reranker's score; None where that part was not asked.
    """

    name: str
    document_id: int
    chunk_id: int
    content: str
    start: int
    end: int
    recall_score: Score
    metadata: Metadata = {}
    dense: float | None = None
    lexical: float | None = None
    sentence: float | None = None
    rerank: float | None = None
    space: str | None = None
    """The name of its space, where several were asked."""


class Message(Value):
    """One turn of a conversation."""

    role: Role
    content: str


class Usage(Value):
    """Counted tokens. The references tag is not counted."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class Sampling(Value):
    """How a model is asked to choose its words. None leaves a choice to the model server."""

    temperature: float | None = Field(default=None, ge=0.0, le=2.0)
    top_p: float | None = Field(default=None, gt=0.0, le=1.0)
    max_tokens: int | None = Field(default=None, ge=1)
    stop: tuple[str, ...] = ()
    frequency_penalty: float | None = Field(default=None, ge=-2.0, le=2.0)
    presence_penalty: float | None = Field(default=None, ge=-2.0, le=2.0)


class Passage(Value):
    """What a prompt quotes: one or more neighbouring chunks of a document in reading order, with its number.

    `number` is what the answer cites as `[number]`. `references` are the chunks it was merged from, in reading order.
    """

    number: int
    name: str
    content: str
    score: Score
    references: tuple[Reference, ...]


class Prompt(Value):
    """What a generator answers: the messages to send, and the parts they were made from for one that needs no model.

    `grounded` is False for a chat without a space; then there are no passages and none are missing.
    """

    messages: tuple[Message, ...]
    question: str
    passages: tuple[Passage, ...] = ()
    grounded: bool = True


class DocumentFailure(Value):
    """A document that did not go in, and why."""

    name: str
    reason: str


class IngestReport(Value):
    """What an ingest did. Counts are documents but for `chunks`, which counts chunks written."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    moved: int = 0
    """Documents whose file has another name or place now. Only a sync looks for those, and for removed ones."""
    removed: int = 0
    failed: tuple[DocumentFailure, ...] = ()
    chunks: int = 0
    seconds: float = 0.0
    """How long it took, by the clock."""


class IngestStage(StrEnum):
    """What is being done with a document that is taken in."""

    READING = "reading"
    SPLITTING = "splitting"
    WRITING = "writing"
    DONE = "done"


class IngestProgress(Value):
    """Where an ingest is. `total` is None while the documents are still being counted.

    `name` is the document that this is told of, `stage` what is being done with it, and `share` how much of its work
    is behind it, in [0, 1], by the usual time of the stages. `seconds` have passed since the ingest began.
    """

    done: int
    total: int | None
    chunks: int
    name: str = ""
    seconds: float = 0.0
    stage: IngestStage = IngestStage.DONE
    share: float = 1.0

    @property
    def rate(self) -> float:
        """Documents a second so far."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at this rate; None while that cannot be told."""
        return (self.total - self.done) / self.rate if self.total is not None and self.rate > 0 else None


class Citation(Value):
    """What a cited passage says to a sentence of the answer. An event too: it follows the delta that ends the sentence.

    `answer_start` and `answer_end` are the sentence's offsets in the answer's text, `number` is the passage it cites.
    `reference` is the chunk that carries most of it, and `document.text[start:end]` the place in that chunk's document;
    all three are None where the passage carries nothing.

    A sentence that cites several passages has one `Citation` for each; `support` and `unsupported` weigh it against all
    of them together. `support` below 0.5 means that they do not carry the sentence, and `unsupported` are the words,
    numbers, names or negations at fault: it is empty otherwise.
    """

    answer_start: int
    answer_end: int
    number: int
    reference: Reference | None = None
    start: int | None = None
    end: int | None = None
    support: Score
    unsupported: tuple[str, ...] = ()

    @property
    def supported(self) -> bool:
        return self.support >= SUPPORTED


class Answer(ShownAnswer, Value):
    """A whole answer. `text` carries no references tag; `references` are the chunks that the model was given, and
    `dropped` are hits the prompt's budget left no room for.

    `question` is what was searched for in the end: the question, or what it means after what was said before; empty
    where nothing was. `citations` are the checks of its cited sentences, in their order.
    """

    text: str
    references: tuple[Reference, ...] = ()
    citations: tuple[Citation, ...] = ()
    usage: Usage = Usage()
    finish_reason: FinishReason | None = "stop"
    model: str = ""
    dropped: tuple[Reference, ...] = ()
    question: str = ""

    @property
    def found(self) -> bool:
        """Whether the space holds an answer: the best hit reached `kbchat.FOUND`, and the model was given passages.
        False where no space was asked."""
        return bool(self.references)


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of a document's text that came from one place: a page, a slide, a sheet or a section."""

    start: int
    end: int
    metadata: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class LoadedDocument:
    """What a loader took from a file: the text that offsets refer to, and where its parts came from.

    `blocks` are ordered, do not overlap and may leave gaps. `markup` says how the text is to be split.
    """

    text: str
    metadata: Mapping[str, JsonValue]
    blocks: tuple[Block, ...] = ()
    markup: Markup = "plain"


@dataclass(frozen=True, slots=True)
class Span:
    """A chunk to be: offsets into the text, the headings above it and its own metadata."""

    start: int
    end: int
    headings: tuple[str, ...] = ()
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)
