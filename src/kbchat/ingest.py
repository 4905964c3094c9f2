"""Ingest: documents in, by generations.

A document's new chunks are written beside its old ones, one catalog transaction makes them the live ones, and the old
ones are collected afterwards. Whatever process is killed wherever, a reader finds the old document or the new one; what
was begun and never published is collected by the next ingest.
"""

import hashlib
import json
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from kbchat import analysis
from kbchat.analysis import analyse
from kbchat.catalog import Catalog, NewChunk, NewGeneration, PendingGeneration, SourceState
from kbchat.embedders import Embedder, Vectors, passages
from kbchat.embedders.static import StaticEmbedder
from kbchat.errors import InvalidInputError, UnreadableDocumentError
from kbchat.inputs import checked_name
from kbchat.lexical import LexicalEntry, LexicalIndex
from kbchat.loaders.files import FileSource, load, read
from kbchat.models import (
    DocumentFailure,
    DocumentStatus,
    IngestProgress,
    IngestReport,
    LoadedDocument,
    Metadata,
    SpaceInfo,
    TextDocument,
)
from kbchat.splitting import chunk_key, embedded_text, fingerprint, split
from kbchat.stores import VectorStore
from kbchat.threads import Threads, together

Source = FileSource | TextDocument

BATCH_DOCUMENTS = 128
BATCH_CHUNKS = 512
"""A batch is published when it holds either: large enough that a commit costs little, small enough to be soon done."""
STATE_NAMES = 1000
"""Documents whose state is asked of the catalog at once."""
RACY_NS = 2_000_000_000
"""A file changed this recently may change again within its clock's tick: its stat is not trusted next time."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document ready to be written: its generation, and what is embedded and indexed for each of its chunks."""

    generation: NewGeneration
    texts: tuple[str, ...]
    known: SourceState | None


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A document that need not be written."""

    name: str


@dataclass(slots=True)
class _Tally:
    total: int
    started: float = field(default_factory=time.perf_counter)
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    chunks: int = 0
    failed: list[DocumentFailure] = field(default_factory=list)

    def progress(self, name: str) -> IngestProgress:
        done = self.added + self.updated + self.unchanged + len(self.failed)
        return IngestProgress(done=done, total=self.total, chunks=self.chunks, name=name)

    def report(self) -> IngestReport:
        return IngestReport(
            added=self.added,
            updated=self.updated,
            unchanged=self.unchanged,
            failed=tuple(self.failed),
            chunks=self.chunks,
            seconds=time.perf_counter() - self.started,
        )


class Ingester:
    """Writes documents into one space. The caller holds the data's writer lock while a method runs."""

    def __init__(
        self,
        space: SpaceInfo,
        *,
        catalog: Catalog,
        store: VectorStore,
        lexical: LexicalIndex,
        embedder: Embedder,
        threads: Threads,
        writer: str,
        chunk_tokens: int,
        chunk_overlap: int,
        max_document_bytes: int,
    ) -> None:
        self._space = space
        self._index = space.lexical_name
        self._catalog = catalog
        self._store = store
        self._lexical = lexical
        self._embedder = embedder
        self._static = embedder if isinstance(embedder, StaticEmbedder) else StaticEmbedder(threads=threads)
        self._threads = threads
        self._writer = writer
        self._chunk_tokens = chunk_tokens
        self._chunk_overlap = chunk_overlap
        self._max_bytes = max_document_bytes
        # What was split or analysed in another way is written anew, though the document is the same.
        self._recipe = f"{fingerprint(max_tokens=chunk_tokens, overlap=chunk_overlap)}:{analysis.VERSION}"

    async def ingest(
        self, sources: Sequence[Source], *, progress: Callable[[IngestProgress], None] | None = None
    ) -> IngestReport:
        """Bring the space up to date with the sources. A document that cannot be read is reported, the others go in.

        What the report counts is acknowledged: it survives whatever happens later. An error of a part (store, embedder,
        catalog) ends the ingest; batches already published stay.
        """
        tally = _Tally(total=len(sources))

        def tell(name: str) -> None:
            if progress is not None:
                progress(tally.progress(name))

        await self.collect(pending=True)
        batch: list[Prepared] = []
        async with aclosing(self._prepare_all(sources)) as prepared:
            async for item in prepared:
                match item:
                    case Unchanged(name=name):
                        tally.unchanged += 1
                        tell(name)
                    case DocumentFailure():
                        tally.failed.append(item)
                        tell(item.name)
                    case Prepared():
                        batch.append(item)
                if len(batch) >= BATCH_DOCUMENTS or sum(len(p.texts) for p in batch) >= BATCH_CHUNKS:
                    await self._write(batch, tally)
                    tell(batch[-1].generation.name)
                    batch = []
        if batch:
            await self._write(batch, tally)
            tell(batch[-1].generation.name)
        await self.collect(pending=False)
        return tally.report()

    async def collect(self, *, pending: bool) -> None:
        """Remove what no reader can see any more from the indexes, then from the catalog.

        With `pending` also what was begun by a process that did not live to publish it.
        """
        dead = await self._catalog.collectable(self._space.id, pending=pending)
        if not dead:
            return
        ids = [chunk_id for chunk_ids in dead.values() for chunk_id in chunk_ids]
        await self._store.delete(self._space.collection, ids)
        await self._lexical.delete(self._index, ids)
        await self._lexical.commit(self._index)
        await self._catalog.collect(self._space.id, list(dead))

    async def _prepare_all(
        self, sources: Sequence[Source]
    ) -> AsyncGenerator[Prepared | Unchanged | DocumentFailure, None]:
        seen: set[str] = set()
        for first in range(0, len(sources), STATE_NAMES):
            part = sources[first : first + STATE_NAMES]
            names = [source.name for source in part if is_text(source.name)]
            states = await self._catalog.source_states(self._space.id, names)
            for source in part:
                if source.name in seen:
                    yield DocumentFailure(name=source.name, reason="given twice; names are unique in a space")
                    continue
                seen.add(source.name)
                try:
                    yield await self._threads.read(self._prepare, source, states.get(source.name))
                except UnreadableDocumentError as error:
                    yield DocumentFailure(name=printable(source.name), reason=error.message)

    def _prepare(self, source: Source, known: SourceState | None) -> Prepared | Unchanged:
        """Load, compare and split one document. Runs in a worker thread."""
        check_name(source.name)
        if isinstance(source, TextDocument):
            return self._prepare_text(source, known)
        return self._prepare_file(source, known)

    def _prepare_text(self, source: TextDocument, known: SourceState | None) -> Prepared | Unchanged:
        check_text(source.text, name=source.name)
        facts = json.dumps([source.metadata, source.source], sort_keys=True, ensure_ascii=False)
        content_hash = self._hash(source.text.encode(), facts.encode())
        if is_current(known, content_hash):
            return Unchanged(source.name)
        metadata = source.metadata
        if source.source is not None:
            metadata = {"source": source.source, **metadata}
        document = LoadedDocument(source.text, metadata=metadata, markup="markdown")
        return self._split(document, source.name, known, content_hash=content_hash, source=source.source)

    def _prepare_file(self, source: FileSource, known: SourceState | None) -> Prepared | Unchanged:
        if known is not None and self._is_untouched(source, known):
            return Unchanged(source.name)
        data, stat = read(source, max_bytes=self._max_bytes)
        content_hash = self._hash(data)
        if is_current(known, content_hash):
            return Unchanged(source.name)
        document = load(data, name=source.name)
        check_text(document.text, name=source.name)
        racy = time.time_ns() - stat.st_mtime_ns < RACY_NS
        return self._split(
            document,
            source.name,
            known,
            content_hash=content_hash,
            source=str(source.path),
            doc_type="DOCUMENT",
            size=None if racy else stat.st_size,
            mtime_ns=None if racy else stat.st_mtime_ns,
        )

    def _is_untouched(self, source: FileSource, known: SourceState) -> bool:
        """Whether the file is as it was by its stat alone. Raises when the name belongs to another file."""
        if known.source is not None and known.source != str(source.path) and Path(known.source).exists():
            reason = f"its name is taken by {known.source!r}; rename one of the folders, or delete that document first"
            raise UnreadableDocumentError(source.name, reason)
        if known.size is None or not known.content_hash.startswith(f"{self._recipe}:"):
            return False
        try:
            stat = source.path.stat()
        except OSError:
            return False  # Reading it will say why.
        return (stat.st_size, stat.st_mtime_ns) == (known.size, known.mtime_ns)

    def _split(
        self,
        document: LoadedDocument,
        name: str,
        known: SourceState | None,
        *,
        content_hash: str,
        source: str | None,
        doc_type: str = "TEXT",
        size: int | None = None,
        mtime_ns: int | None = None,
    ) -> Prepared:
        spans = split(document, max_tokens=self._chunk_tokens, overlap=self._chunk_overlap)
        contents = [document.text[span.start : span.end] for span in spans]
        texts = [embedded_text(span.headings, content) for span, content in zip(spans, contents, strict=True)]
        chunks: list[NewChunk] = []
        for span, content, vectors in zip(spans, contents, passages.pack(self._static, texts), strict=True):
            metadata: Metadata = dict(span.metadata)
            if span.headings:
                metadata["headings"] = list(span.headings)
            key = chunk_key(span.headings, content)
            chunks.append(NewChunk(span.start, span.end, content, metadata, key, vectors))
        generation = NewGeneration(
            name=name,
            text=document.text,
            content_hash=content_hash,
            metadata=dict(document.metadata),
            chunks=chunks,
            doc_type=doc_type,
            source=source,
            size=size,
            mtime_ns=mtime_ns,
        )
        return Prepared(generation, tuple(texts), known)

    async def _write(self, batch: Sequence[Prepared], tally: _Tally) -> None:
        """Write a batch beside what is live, then publish it."""
        space = self._space
        pending = await self._catalog.begin_generations(space.id, [item.generation for item in batch])
        ids = [chunk_id for generation in pending for chunk_id in generation.chunk_ids]
        texts = [text for item in batch for text in item.texts]

        async def write_vectors() -> None:
            vectors = await self._vectors(batch, pending, texts)
            found = known_rows(vectors)
            await self._store.upsert(space.collection, [ids[row] for row in found], vectors[found])
            await self._store.flush(space.collection)

        async def write_terms() -> None:
            terms = await self._threads.read(lambda: [analyse(text) for text in texts])
            await self._lexical.upsert(self._index, [LexicalEntry(i, t) for i, t in zip(ids, terms, strict=True)])
            await self._lexical.commit(self._index)

        await together(write_vectors, write_terms)
        await self._catalog.publish(space.id, [generation.id for generation in pending], writer=self._writer)
        new = sum(item.known is None for item in batch)
        tally.added += new
        tally.updated += len(batch) - new
        tally.chunks += len(ids)

    async def _vectors(
        self, batch: Sequence[Prepared], pending: Sequence[PendingGeneration], texts: Sequence[str]
    ) -> Vectors:
        """A vector for each chunk of the batch: that of an unchanged chunk is taken over, the others are embedded."""
        import numpy as np

        reusable = await self._reusable(batch)
        keys = [
            reusable.get(generation.document_id, {}).get(chunk.key)
            for item, generation in zip(batch, pending, strict=True)
            for chunk in item.generation.chunks
        ]
        old = await self._store.fetch(self._space.collection, [key for key in keys if key is not None])
        missing = [row for row, key in enumerate(keys) if key is None or key not in old]
        fresh = await embed_all(self._embedder, [texts[row] for row in missing])
        dimension = fresh.shape[1] if len(fresh) else next(iter(old.values())).shape[0] if old else 1
        vectors = np.zeros((len(texts), dimension), dtype=np.float32)
        for row, key in enumerate(keys):
            if key is not None and key in old:
                vectors[row] = old[key]
        vectors[missing] = fresh
        return vectors

    async def _reusable(self, batch: Sequence[Prepared]) -> dict[int, dict[str, int]]:
        known = [item.known.document_id for item in batch if item.known is not None]
        return await self._catalog.reusable_chunks(known) if known else {}

    def _hash(self, *parts: bytes) -> str:
        digest = hashlib.sha256()
        for part in parts:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return f"{self._recipe}:{digest.hexdigest()}"


async def embed_all(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    """Vectors of any number of texts, in batches of the size that the embedder takes best."""
    import numpy as np

    size = embedder.batch_size
    parts = [await embedder.embed_documents(texts[first : first + size]) for first in range(0, len(texts), size)]
    return np.concatenate(parts) if parts else np.zeros((0, 1), dtype=np.float32)


def known_rows(vectors: Vectors) -> list[int]:
    """The rows that are not zero: a text without a word that the model knows has no direction to be found in."""
    import numpy as np

    return [int(row) for row in np.flatnonzero(vectors.any(axis=1))]


def is_current(known: SourceState | None, content_hash: str) -> bool:
    """Whether a document's live generation has this content."""
    return known is not None and known.status is DocumentStatus.FINISHED and known.content_hash == content_hash


def is_text(name: str) -> bool:
    """Whether a name is text: file systems also hold names that are only bytes."""
    return printable(name) == name


def printable(name: str) -> str:
    """The name with bytes that are no text written as escapes."""
    return name.encode(errors="backslashreplace").decode()


def check_name(name: str) -> None:
    """Raise `UnreadableDocumentError` for a name that cannot be kept."""
    try:
        checked_name(name, field="name")
    except InvalidInputError as error:
        raise UnreadableDocumentError(name, error.message) from None


def check_text(text: str, *, name: str) -> None:
    """Raise `UnreadableDocumentError` for a text that cannot be kept or found."""
    if not text or text.isspace():
        raise UnreadableDocumentError(name, "the document is empty")
    if "\x00" in text:
        raise UnreadableDocumentError(name, f"a NUL character at offset {text.index(chr(0))}; remove it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        reason = f"a lone surrogate at offset {error.start}: text that was decoded wrongly; decode it again"
        raise UnreadableDocumentError(name, reason) from None
