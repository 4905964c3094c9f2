"""Checking a space: the catalog, which is the truth, against the vectors, the lexical index and the original files."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kbchat.errors import EmbedderError, LexicalIndexError, VectorError
from kbchat.fusion import cosine
from kbchat.ingestion.content import ContentHash, digest_of_file
from kbchat.ingestion.writing import embed_all, known_rows
from kbchat.lexical import LexicalEntry, releasing
from kbchat.loaders.files import open_at_once
from kbchat.models import Value
from kbchat.text.analysis import analyse
from kbchat.text.splitting import text_of

if TYPE_CHECKING:
    from kbchat.catalog import Catalog
    from kbchat.embedders import Embedder, Vectors
    from kbchat.ingestion.writing import GenerationWriter
    from kbchat.lexical import LexicalIndex
    from kbchat.models import Chunk, Document, SpaceInfo
    from kbchat.stores import VectorStore
    from kbchat.threads import Threads

Kind = Literal[
    "uncollected",
    "counters",
    "text_drift",
    "collection_missing",
    "collection_changed",
    "vectors_missing",
    "vectors_orphaned",
    "vectors_drifted",
    "terms_damaged",
    "terms_missing",
    "terms_orphaned",
    "original_missing",
    "original_changed",
    "leftovers",
]
PAGE = 1000
"""Chunks that are looked at together."""
SAMPLE = 64
"""Chunks whose vector is made anew and compared with the one that is kept."""
ALIKE = 0.99
"""The cosine from which two vectors count as one and the same text's by one and the same model."""


class Finding(Value):
    """Something that is not as it should be. `mended` says that it is now."""

    kind: Kind
    count: int
    detail: str
    mended: bool = False


class CheckReport(Value):
    """What a check found. A space is `sound` when nothing is left to be mended; files that are gone or changed since
    they were taken in are only told."""

    space: str
    documents: int
    chunks: int
    findings: tuple[Finding, ...] = ()

    @property
    def sound(self) -> bool:
        return all(finding.mended or finding.kind.startswith("original") for finding in self.findings)


class Checker:
    """Checks one space, and mends it with `repair`. The caller holds the data's writer lock."""

    def __init__(
        self,
        space: SpaceInfo,
        *,
        catalog: Catalog,
        store: VectorStore,
        lexical: LexicalIndex,
        embedder: Embedder,
        threads: Threads,
        writer: GenerationWriter,
        clear: Callable[[], Awaitable[int]],
        follow: Callable[[], Awaitable[None]],
        repair: bool,
    ) -> None:
        """`clear` drops what moves left over, and says how much it could not. `follow` lets an index of words that is
        this machine's own hold what others wrote: that it lags is no damage."""
        self._space = space
        self._catalog = catalog
        self._store = store
        self._lexical = lexical
        self._embedder = embedder
        self._threads = threads
        self._writer = writer
        self._clear = clear
        self._follow = follow
        self._repair = repair
        self._findings: list[Finding] = []

    async def run(self) -> CheckReport:
        """Look at everything once. Memory grows by the number of chunks, not with their texts."""
        await self._uncollected()
        await self._leftovers()
        await self._counters()
        documents = await self._documents()
        live = [chunk_id async for page in self._pages() for chunk_id in [chunk.id for chunk in page]]
        usable = await self._collection(needed=bool(live))
        await self._vectors(set(live), usable=usable)
        if usable:
            await self._drift()
        await self._terms(set(live))
        return CheckReport(
            space=self._space.name, documents=documents, chunks=len(live), findings=tuple(self._findings)
        )

    def _found(self, kind: Kind, count: int, detail: str, *, mended: bool | None = None) -> None:
        if count:
            finding = Finding(kind=kind, count=count, detail=detail, mended=self._repair if mended is None else mended)
            self._findings.append(finding)

    async def _pages(self) -> AsyncIterator[list[Chunk]]:
        last = 0
        while page := await self._catalog.embedding_fields(self._space.id, after=last, limit=PAGE):
            yield page
            last = page[-1].id

    # -- the catalog by itself ---------------------------------------------------------------------------------------

    async def _uncollected(self) -> None:
        dead = await self._catalog.collectable(self._space.id, pending=True)
        if dead and self._repair:
            lost = self._space.collection not in await self._store.list_collections()
            await self._writer.collect(pending=True, lost=lost)
        self._found("uncollected", len(dead), "versions of documents that were replaced or never finished")

    async def _leftovers(self) -> None:
        left = await self._catalog.leftovers(self._space.id)
        stuck = await self._clear() if left and self._repair else 0
        what = "collections that a move or a new embedding left, half made or replaced"
        self._found("leftovers", len(left), what, mended=self._repair and not stuck)

    async def _counters(self) -> None:
        wrong = await self._catalog.recount(self._space.id, repair=self._repair)
        self._found("counters", int(wrong), "the space's counts of documents and chunks")

    async def _documents(self) -> int:
        """Texts against their chunks and files; returns how many documents there are."""
        drifted: list[str] = []
        gone: list[str] = []
        changed: list[str] = []
        documents, total = await self._catalog.list_documents(self._space.id)
        # Of what was handed over, the source is somebody's word, and not a file that was read here.
        uploaded = await self._catalog.upload_states(self._space.id, [listed.id for listed in documents])
        states = await self._catalog.source_states(self._space.id, [listed.name for listed in documents])
        for listed in documents:
            document = await self._catalog.get_document(self._space.id, listed.id, with_text=True)
            chunks = await self._catalog.document_chunks(listed.id)
            if not await self._threads.read(_fits, document, chunks):
                drifted.append(document.name)
            state = states.get(listed.name)
            if listed.id in uploaded or state is None:
                continue
            match await self._threads.read(_original, document, state.size):
                case "gone":
                    gone.append(document.name)
                case "changed":
                    changed.append(document.name)
        what = "documents whose chunks are not what stands in their text; ingest them again"
        self._found("text_drift", len(drifted), _some(what, drifted), mended=False)
        self._found("original_missing", len(gone), _some("documents whose file is gone", gone), mended=False)
        self._found("original_changed", len(changed), _some("documents whose file has changed", changed), mended=False)
        return total

    async def _orphans(self, strange: set[int]) -> list[int]:
        """Those that no row of the catalog stands for. Rows are written first, and their ids never given again: what
        has one is being written, or is collected with its version. Asked after the index, for it may have come since.
        """
        return sorted(strange.difference(await self._catalog.chunk_owners(list(strange))))

    # -- vectors -----------------------------------------------------------------------------------------------------

    async def _collection(self, *, needed: bool) -> bool:
        """Whether the collection is there as it should be, at the latest when it was mended."""
        name, pin = self._space.collection, self._space.embedder
        if pin is None:
            return False  # Nothing was ever embedded for it: it has none, nor a dimension.
        if name not in await self._store.list_collections():
            if not needed:
                return False
            self._found("collection_missing", 1, f"the vector collection {name}")
        else:
            try:
                await self._store.create_collection(name, dimension=pin.dimension)
                return True
            except VectorError as error:
                self._found("collection_changed", 1, error.message)
        if self._repair:
            await self._store.drop_collection(name)
            await self._store.create_collection(name, dimension=pin.dimension)
        return self._repair

    async def _vectors(self, live: set[int], *, usable: bool) -> None:
        name = self._space.collection
        there = {key async for page in self._store.iterate(name) for key in page} if usable else set()
        orphans = await self._orphans(there - live)
        if orphans and self._repair:
            await self._store.delete(name, orphans)
        self._found("vectors_orphaned", len(orphans), "vectors of chunks that are not there")
        missing = 0
        async for chunks in self._pages():
            lacking = [chunk for chunk in chunks if chunk.id not in there]
            if self._repair:
                missing += await self._embed(lacking)
                continue
            # What the model knows no word of has none. Where a collection stands, that may be all that lacks: only as
            # many are embedded as it takes to find one that should be there.
            while usable and lacking and not missing:
                some, lacking = lacking[:SAMPLE], lacking[SAMPLE:]
                missing += len(known_rows(await self._fresh(some)))
            missing += len(lacking)
        self._found("vectors_missing", missing, "chunks without a vector")
        if self._repair and usable:
            await self._store.flush(name)

    async def _fresh(self, chunks: Sequence[Chunk]) -> Vectors:
        """Vectors of chunks as the embedder makes them now. Raises `EmbedderError` for what cannot be any."""
        import numpy as np

        vectors = await embed_all(self._embedder, [text_of(chunk) for chunk in chunks])
        if not np.isfinite(vectors).all():
            raise EmbedderError(f"embedder {self._embedder.name!r}: it gave numbers that are not finite")
        return vectors

    async def _embed(self, chunks: Sequence[Chunk]) -> int:
        """Embed chunks and write their vectors; returns how many have one."""
        if not chunks:
            return 0
        vectors = await self._fresh(chunks)
        found = known_rows(vectors)
        if found:
            await self._store.upsert(self._space.collection, [chunks[row].id for row in found], vectors[found])
        return len(found)

    async def _drift(self) -> None:
        """A few vectors against ones made now."""
        sample = await self._catalog.embedding_fields(self._space.id, limit=SAMPLE)
        kept = await self._store.fetch(self._space.collection, [chunk.id for chunk in sample])
        sample = [chunk for chunk in sample if chunk.id in kept]
        fresh = await self._fresh(sample)
        drifted = [chunk for chunk, vector in zip(sample, fresh, strict=True) if cosine(vector, kept[chunk.id]) < ALIKE]
        if drifted and self._repair:
            async for chunks in self._pages():
                await self._embed(chunks)
            await self._store.flush(self._space.collection)
        self._found("vectors_drifted", len(drifted), f"of {len(sample)} vectors that are not those of their text")

    # -- terms -------------------------------------------------------------------------------------------------------

    async def _terms(self, live: set[int]) -> None:
        name = self._space.lexical_name
        try:
            await self._follow()
            there = {key async for page in self._lexical.iterate(name) for key in page}
        except LexicalIndexError as error:
            self._found("terms_damaged", 1, error.message)
            there = set()
            if not self._repair:
                return
            await self._lexical.drop(name)
        orphans, missing = await self._orphans(there - live), live - there
        self._found("terms_orphaned", len(orphans), "entries of chunks that are not there")
        self._found("terms_missing", len(missing), "chunks that the lexical index does not hold")
        if not self._repair or not (orphans or missing):
            return
        async with releasing(self._lexical, name):
            await self._lexical.delete(name, orphans)
            async for chunks in self._pages():
                wanted = [chunk for chunk in chunks if chunk.id in missing]
                terms = await self._threads.read(lambda some: [analyse(text_of(chunk)) for chunk in some], wanted)
                await self._lexical.upsert(name, [LexicalEntry(it.id, t) for it, t in zip(wanted, terms, strict=True)])
            await self._lexical.commit(name)


def _fits(document: Document, chunks: Iterable[Chunk]) -> bool:
    """Whether each chunk is what stands in the text."""
    if document.text is None:
        return not list(chunks)
    return all(document.text[chunk.start : chunk.end] == chunk.content for chunk in chunks)


def _original(document: Document, size: int | None) -> Literal["same", "gone", "changed", "unknown"]:
    """What became of the file that a document was read from, which was so large, as far as that is known."""
    if document.doc_type != "DOCUMENT" or document.source is None or not document.content_hash:
        return "unknown"
    try:
        digest = _digest(document.source, size)
    except (OSError, ValueError):
        return "gone"
    return "same" if digest is not None and ContentHash.parse(document.content_hash).digest == digest else "changed"


def _digest(path: str, size: int | None) -> str | None:
    """What the hash of a file's content ends in; None where it is not so large. Raises `OSError` for anything but a
    file: a device would never end, and a pipe would never begin."""
    if not Path(path).is_file():
        raise FileNotFoundError(path)
    with open_at_once(path) as file:
        there = os.fstat(file.fileno())  # It may be something else by now.
        if not stat.S_ISREG(there.st_mode):
            raise FileNotFoundError(path)
        if size not in (None, there.st_size):
            return None
        return digest_of_file(file, there.st_size)


def _some(what: str, names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:3])
    return f"{what}: {shown}{', …' if len(names) > 3 else ''}" if names else what
