"""What the house asks of its catalog. Each method is one transaction, run in a worker thread."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from kbchat.models import Chunk, Document, DocumentStatus, EmbedderPin, Metadata, SpaceInfo, VectorType
from kbchat.threads import Threads


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A chunk to be written. `content` equals `text[start:end]` of its generation."""

    start: int
    end: int
    content: str
    metadata: Mapping[str, JsonValue]
    key: str
    """Hash of what is embedded and indexed for it (headings and content): an equal key may reuse the vector."""


@dataclass(frozen=True, slots=True)
class NewGeneration:
    """A document's new text and chunks, to be written beside the ones it has."""

    name: str
    text: str
    content_hash: str
    metadata: Metadata
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
class SourceState:
    """What an ingest must know of a document to see whether it changed."""

    document_id: int
    content_hash: str
    status: DocumentStatus
    source: str | None
    size: int | None
    mtime_ns: int | None


class Catalog:
    """Spaces, documents, generations and chunks in SQLite or PostgreSQL, by URL."""

    def __init__(self, url: str, *, threads: Threads, timeout: float = 10.0) -> None: ...

    async def open(self) -> None:
        """Connect and bring the schema up to date. Raises `CatalogCorruptError` or `CatalogUnavailableError`."""

    async def aclose(self) -> None: ...

    async def ping(self) -> None: ...

    # -- spaces ------------------------------------------------------------------------------------------------------

    async def create_space(
        self, *, name: str, owner: str, vector_type: VectorType, desc: str, context: str | None
    ) -> SpaceInfo:
        """Raises `SpaceExistsError`."""
        raise NotImplementedError

    async def get_space(self, space_id: int) -> SpaceInfo:
        """With counts. Raises `SpaceNotFoundError`."""
        raise NotImplementedError

    async def find_spaces(self, name: str, *, owner: str | None = None) -> list[SpaceInfo]:
        """Spaces of that exact name: at most one an owner."""
        raise NotImplementedError

    async def list_spaces(
        self,
        *,
        owner: str | None = None,
        name: str | None = None,
        vector_type: VectorType | None = None,
        offset: int = 0,
        limit: int | None = None,
    ) -> tuple[list[SpaceInfo], int]:
        """A page of spaces by id, and how many there are in all."""
        raise NotImplementedError

    async def update_space(
        self,
        space_id: int,
        *,
        name: str | None = None,
        owner: str | None = None,
        vector_type: VectorType | None = None,
        desc: str | None = None,
        context: str | None = None,
    ) -> SpaceInfo:
        """Change what is not None. Raises `SpaceExistsError`, and `SpaceInUseError` for another vector type once the
        space holds documents."""
        raise NotImplementedError

    async def begin_space_deletion(self, space_id: int) -> SpaceInfo:
        """Hide the space from every other method and free its name; returns it as it was."""
        raise NotImplementedError

    async def deleted_spaces(self) -> list[SpaceInfo]:
        """Spaces whose deletion was begun and not finished."""
        raise NotImplementedError

    async def finish_space_deletion(self, space_id: int) -> None:
        """Remove every row of a hidden space."""
        raise NotImplementedError

    async def pin_embedder(self, space_id: int, pin: EmbedderPin) -> EmbedderPin:
        """Pin the embedder unless one is pinned; returns the one that holds now."""
        raise NotImplementedError

    async def replace_collection(self, space_id: int, *, collection: str, pin: EmbedderPin, writer: str) -> None:
        """In one transaction: give the space another collection and embedder, and raise its revision."""
        raise NotImplementedError

    # -- documents ---------------------------------------------------------------------------------------------------

    async def source_states(self, space_id: int, names: Sequence[str]) -> dict[str, SourceState]:
        """The state of those documents that are there, by name. Any number of names."""
        raise NotImplementedError

    async def get_document(self, space_id: int, document_id: int, *, with_text: bool = False) -> Document:
        """Raises `DocumentNotFoundError`."""
        raise NotImplementedError

    async def find_document(self, space_id: int, name: str, *, with_text: bool = False) -> Document | None:
        raise NotImplementedError

    async def list_documents(
        self,
        space_id: int,
        *,
        status: DocumentStatus | None = None,
        offset: int = 0,
        limit: int | None = None,
    ) -> tuple[list[Document], int]:
        """A page of documents by id, and how many there are in all."""
        raise NotImplementedError

    async def delete_document(self, space_id: int, document_id: int, *, writer: str) -> Document:
        """Remove a document: it is gone for every reader at once, its generations are dead. Raises
        `DocumentNotFoundError`."""
        raise NotImplementedError

    # -- generations -------------------------------------------------------------------------------------------------

    async def begin_generations(self, space_id: int, generations: Sequence[NewGeneration]) -> list[PendingGeneration]:
        """Write new generations beside the live ones, all in one transaction. Documents that are new appear with no
        live generation and are not seen by `live_chunks`, counts and listings before `publish`."""
        raise NotImplementedError

    async def publish(self, space_id: int, generation_ids: Sequence[int], *, writer: str) -> None:
        """In one transaction: make these live, those they replace dead, their documents FINISHED, and raise the
        space's revision, with `writer` as its last writer."""
        raise NotImplementedError

    async def collectable(self, space_id: int, *, pending: bool) -> dict[int, list[int]]:
        """Chunk ids by generation of the dead generations, and with `pending` also of those never published (the
        caller holds the writer's lock, so nobody is about to publish them)."""
        raise NotImplementedError

    async def collect(self, space_id: int, generation_ids: Sequence[int]) -> None:
        """Remove the rows of dead or abandoned generations, after the indexes have forgotten their chunks. Documents
        that never had a live generation go with them."""
        raise NotImplementedError

    # -- chunks ------------------------------------------------------------------------------------------------------

    async def live_chunks(self, space_id: int, ids: Sequence[int]) -> dict[int, Chunk]:
        """Those of the chunks that belong to a live generation, by id. Any number of ids."""
        raise NotImplementedError

    async def document_chunks(self, document_id: int) -> list[Chunk]:
        """The live chunks of a document in order."""
        raise NotImplementedError

    async def reusable_chunks(self, document_ids: Sequence[int]) -> dict[int, dict[str, int]]:
        """For each document the live chunks' ids by `key`, so that an unchanged chunk keeps its vector."""
        raise NotImplementedError

    async def embedding_fields(self, space_id: int, *, after: int = 0, limit: int = 1000) -> list[Chunk]:
        """Live chunks of a space by id, from the one after `after` (for rebuilding an index from the catalog)."""
        raise NotImplementedError
