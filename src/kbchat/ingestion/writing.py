"""Documents into one space's catalog and indexes, by generations.

A document's new chunks are written beside its old ones, one catalog transaction makes them the live ones, and the old
ones are collected afterwards. Whatever process is killed wherever, a reader finds the old document or the new one; what
was begun and never published is collected by the next ingest.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kbchat.catalog import Catalog, FailedSource, NewChunk, PendingGeneration
from kbchat.embedders import Embedder, Vector, Vectors
from kbchat.errors import BusyError
from kbchat.ingestion.items import Prepared, Unchanged
from kbchat.lexical import LexicalEntry, LexicalIndex, releasing
from kbchat.models import SpaceInfo
from kbchat.stores import VectorStore
from kbchat.text.analysis import JoinedTerms, Terms, analyse
from kbchat.text.splitting import text_of
from kbchat.threads import Threads, together

SLICE_CHUNKS = 512
"""What is embedded and indexed at once: a document may have any number of chunks."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A chunk to be indexed. `twin` is an older chunk of the same text, whose vector will do unless it has its own."""

    id: int
    chunk: NewChunk
    twin: int | None
    vector: Vector | None
    terms: JoinedTerms | None

    def analysed(self) -> Terms:
        return analyse(text_of(self.chunk))


@dataclass(frozen=True, slots=True)
class Begun:
    """Documents that are in the catalog beside what is live, and not yet in the indexes."""

    batch: Sequence[Prepared]
    pending: Sequence[PendingGeneration]
    rows: Sequence[_Row]


@dataclass(frozen=True, slots=True)
class _Unfinished:
    """A document that comes in parts, of which some are still to come; its old chunks by their keys."""

    generation: PendingGeneration
    reusable: Mapping[str, int]


class GenerationWriter:
    """Writes documents into one space. The caller holds the data's writer lock while a method runs.

    `begin`, `index` and `publish` may run at the same time for different documents.
    """

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
        opening: Callable[[], Awaitable[None]],
    ) -> None:
        """`opening` sees to it that the space's collection can be written to, or raises why it cannot; see `open`."""
        self._space = space
        self._index = space.lexical_name
        self._catalog = catalog
        self._store = store
        self._lexical = lexical
        self._embedder = embedder
        self._threads = threads
        self._writer = writer
        self._opening = opening
        self._is_open = False
        self._unfinished: _Unfinished | None = None

    async def open(self) -> None:
        """Open what is written to, once, before chunks are begun or removed. Not where none are: to open a store and
        load an embedder takes longer than to find a folder unchanged."""
        if not self._is_open:
            await self._opening()
            self._is_open = True

    async def begin(self, batch: Sequence[Prepared]) -> Begun:
        """Keep documents' texts in the catalog, beside what is live, where every chunk gets its id.

        A part of a document is a batch for itself, and comes right after the part before it.
        """
        unfinished, self._unfinished = self._unfinished, None
        if unfinished is not None and (part := batch[0].part) is not None and part.first:
            return await self._extend(unfinished, batch[0])
        await self.open()
        pending = await self._catalog.begin_generations(self._space.id, [item.generation for item in batch])
        rows: list[_Row] = []
        whole: list[PendingGeneration] = []
        for item, generation, reusable in zip(batch, pending, await self._reusable(batch), strict=True):
            rows += _rows(item, generation.chunk_ids, reusable)
            if item.is_last:
                whole.append(generation)
            else:
                self._unfinished = _Unfinished(generation, reusable)
        return Begun(batch, whole, rows)

    async def _extend(self, unfinished: _Unfinished, item: Prepared) -> Begun:
        generation = unfinished.generation
        ids = await self._catalog.extend_generation(self._space.id, generation.id, item.chunks)
        if len(ids) < len(item.chunks):
            raise self._taken_over()
        if not item.is_last:
            self._unfinished = unfinished
        return Begun([item], [generation] if item.is_last else [], _rows(item, ids, unfinished.reusable))

    async def index(self, begun: Begun, *, indexed: Callable[[str, float], None]) -> None:
        """Write the vectors and words of what is begun. `indexed` is told which documents are in so far, and how much
        of each."""
        for first in range(0, len(begun.rows), SLICE_CHUNKS):
            part = begun.rows[first : first + SLICE_CHUNKS]
            await together(lambda: self._write_vectors(part), lambda: self._write_terms(part))  # noqa: B023 (awaited)
            for name, share in _written(begun.batch, first, first + len(part)):
                indexed(name, share)

    async def publish(self, pending: Sequence[PendingGeneration], *, more: bool = False) -> None:
        """Make lasting what was indexed, and generations the live ones. With `more` there will be more."""
        await together(
            lambda: self._store.flush(self._space.collection), lambda: self._lexical.commit(self._index, more=more)
        )
        ids = [generation.id for generation in pending]
        live = await self._catalog.publish(self._space.id, ids, writer=self._writer)
        if len(live) < len({generation.document_id for generation in pending}):
            raise self._taken_over()

    def _taken_over(self) -> BusyError:
        return BusyError(
            f"another server took over the writing to space {self._space.name!r}, because the connection that held "
            "its lock was lost; ingest again",
            place=self._space.name,
        )

    async def write(self, batch: Sequence[Prepared]) -> None:
        """Begin, index and publish documents that are prepared."""
        async with releasing(self._lexical, self._index):
            begun = await self.begin(batch)
            await self.index(begun, indexed=lambda name, share: None)
            await self.publish(begun.pending)

    async def finish(self) -> None:
        """Let go of what is held for writing, when nothing is left to be published."""
        await self._lexical.commit(self._index)

    async def remember(self, unchanged: Sequence[Unchanged]) -> None:
        """Keep the stat and the place of files that were hashed and found unchanged: next time a look will do."""
        stats = {item.document_id: (item.stat.size, item.stat.mtime_ns) for item in unchanged if item.stat is not None}
        if stats:
            sources = {item.document_id: item.source for item in unchanged if item.source}
            await self._catalog.touch(self._space.id, stats, sources=sources)

    async def fail(self, records: Sequence[FailedSource]) -> None:
        """Keep why documents could not be taken in."""
        if records:
            await self._catalog.fail(self._space.id, records, writer=self._writer)

    async def collect(self, *, pending: bool, lost: bool = False) -> None:
        """Remove what no reader can see any more from the indexes, then from the catalog.

        With `pending` also what was begun by a process that did not live to publish it. The collection may be `lost`:
        its vectors went with it.
        """
        dead = await self._catalog.collectable(self._space.id, pending=pending)
        if not dead:
            return
        await self.open()
        if pending:
            await self._catalog.abandon(self._space.id)
            dead = await self._catalog.collectable(self._space.id, pending=False)
        ids = [chunk_id for chunk_ids in dead.values() for chunk_id in chunk_ids]
        if not lost:
            await self._store.delete(self._space.collection, ids)
        async with releasing(self._lexical, self._index):
            await self._lexical.delete(self._index, ids)
            await self._lexical.commit(self._index)
        await self._catalog.collect(self._space.id, list(dead))

    async def _write_vectors(self, rows: Sequence["_Row"]) -> None:
        """A vector for each chunk: that of an unchanged chunk is taken over, the others are embedded."""
        import numpy as np

        if all(row.vector is not None for row in rows):
            await self._upsert(rows, np.stack([row.vector for row in rows if row.vector is not None]))
            return
        old = await self._store.fetch(self._space.collection, [row.twin for row in rows if row.twin is not None])
        missing = [place for place, row in enumerate(rows) if row.twin is None or row.twin not in old]
        fresh = await embed_all(self._embedder, [text_of(rows[place].chunk) for place in missing])
        dimension = fresh.shape[1] if len(fresh) else next(iter(old.values())).shape[0] if old else 1
        vectors = np.zeros((len(rows), dimension), dtype=np.float32)
        for place, row in enumerate(rows):
            if row.twin is not None and row.twin in old:
                vectors[place] = old[row.twin]
        vectors[missing] = fresh
        await self._upsert(rows, vectors)

    async def _upsert(self, rows: Sequence["_Row"], vectors: Vectors) -> None:
        found = known_rows(vectors)
        await self._store.upsert(self._space.collection, [rows[place].id for place in found], vectors[found])

    async def _write_terms(self, rows: Sequence["_Row"]) -> None:
        entries = await self._threads.read(lambda: [LexicalEntry(row.id, row.terms or row.analysed()) for row in rows])
        await self._lexical.upsert(self._index, entries)

    async def _reusable(self, batch: Sequence[Prepared]) -> list[dict[str, int]]:
        """For each document of the batch, the chunks that it has by their keys."""
        known = [item.known.document_id for item in batch if item.known is not None]
        found = await self._catalog.reusable_chunks(known) if known else {}
        return [found.get(item.known.document_id, {}) if item.known is not None else {} for item in batch]


def _rows(item: Prepared, ids: Sequence[int], reusable: Mapping[str, int]) -> list[_Row]:
    nothing = [None] * len(item.chunks)
    return [
        _Row(chunk_id, chunk, reusable.get(chunk.key), vector, terms)
        for chunk_id, chunk, vector, terms in zip(
            ids,
            item.chunks,
            nothing if item.vectors is None else item.vectors,
            nothing if item.terms is None else item.terms,
            strict=True,
        )
    ]


def _written(batch: Sequence[Prepared], first: int, last: int) -> Iterator[tuple[str, float]]:
    """The documents whose chunks are among these of the batch, and how much of each is written by now."""
    start = 0
    for item in batch:
        end = start + len(item.chunks)
        if start < last and first < end:
            before, total = item.part or (0, len(item.chunks))
            yield item.generation.name, (before + min(last, end) - start) / total
        start = end


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
