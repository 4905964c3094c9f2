"""Ingest: documents in, by generations.

A document's new chunks are written beside its old ones, one catalog transaction makes them the live ones, and the old
ones are collected afterwards. Whatever process is killed wherever, a reader finds the old document or the new one; what
was begun and never published is collected by the next ingest. While one group of documents is embedded and written, the
next ones are read and split; several groups are published together.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from kbchat.catalog import Catalog, NewChunk, PendingGeneration, SourceState
from kbchat.embedders import Embedder, Vector, Vectors
from kbchat.errors import BusyError
from kbchat.ingestion.items import Failed, Item, Prepared, Source, Unchanged
from kbchat.ingestion.preparing import Group, Preparer
from kbchat.lexical import LexicalEntry, LexicalIndex, releasing
from kbchat.models import DocumentFailure, DocumentStatus, IngestProgress, IngestReport, IngestStage, SpaceInfo
from kbchat.stores import VectorStore
from kbchat.text.analysis import JoinedTerms, Terms, analyse
from kbchat.text.splitting import text_of
from kbchat.threads import Threads, together

__all__ = ["Ingester", "Source", "embed_all", "known_rows"]

PUBLISH_CHUNKS = 8192
PUBLISH_SECONDS = 2.0
"""What was written is published when it is so much or so old: large enough that a commit costs little, and the lexical
index has few segments to merge; small enough that little is lost when it is cut short."""
SLICE_CHUNKS = 512
"""What is embedded and indexed at once: a document may have any number of chunks."""
AHEAD_GROUPS = 3
"""Groups that are prepared at the same time, or wait to be written."""
SHARES = {IngestStage.READING: 0.0, IngestStage.SPLITTING: 0.1, IngestStage.WRITING: 0.4, IngestStage.DONE: 1.0}
"""How much of a document's work is usually behind it when a stage begins."""


class _Tell(Protocol):
    """Tells how far a document is; `part` is how much of the stage is done."""

    def __call__(self, name: str, stage: IngestStage = IngestStage.DONE, part: float = 0.0, /) -> None: ...


def _tell_nobody(name: str, stage: IngestStage = IngestStage.DONE, part: float = 0.0, /) -> None:
    """For who is not waited for."""


@dataclass(slots=True)
class _Tally:
    total: int
    started: float = field(default_factory=time.perf_counter)
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    chunks: int = 0
    failed: list[DocumentFailure] = field(default_factory=list)

    def progress(self, name: str, stage: IngestStage, part: float) -> IngestProgress:
        return IngestProgress(
            done=self.added + self.updated + self.unchanged + len(self.failed),
            total=self.total,
            chunks=self.chunks,
            name=name,
            seconds=time.perf_counter() - self.started,
            stage=stage,
            share=SHARES[stage] + part * (1 - SHARES[stage]),
        )

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
        preparer: Preparer,
        writer: str,
    ) -> None:
        self._space = space
        self._index = space.lexical_name
        self._catalog = catalog
        self._store = store
        self._lexical = lexical
        self._embedder = embedder
        self._threads = threads
        self._preparer = preparer
        self._writer = writer

    async def ingest(
        self, sources: Sequence[Source], *, progress: Callable[[IngestProgress], None] | None = None
    ) -> IngestReport:
        """Bring the space up to date with the sources. A document that cannot be read is reported, the others go in.

        What the report and the progress count is acknowledged: it survives whatever happens later. An error of a part
        (store, embedder, catalog) ends the ingest; what is published already stays.
        """
        tally = _Tally(total=len(sources))
        open_ = _Open()

        def tell(name: str, stage: IngestStage = IngestStage.DONE, part: float = 0.0) -> None:
            if progress is not None:
                progress(tally.progress(name, stage, part))

        await self.collect(pending=True)
        # No room in between: at any time one group is being written, and few are being prepared.
        ready, groups = anyio.create_memory_object_stream[list[Item]](0)

        async def write() -> None:
            async with groups:
                async for items in groups:
                    await self._take(items, open_, tally, tell)

        async with releasing(self._lexical, self._index):
            await together(lambda: self._prepare(sources, ready, tell), write)
            await self._publish(open_, tally, tell)
        if tally.updated:
            await self.collect(pending=False)
        return tally.report()

    async def _prepare(self, sources: Sequence[Source], ready: MemoryObjectSendStream[list[Item]], tell: _Tell) -> None:
        """Prepare groups, some at a time, and hand them over in their order."""

        async def states_of(names: Sequence[str]) -> tuple[dict[str, SourceState], set[int]]:
            states = await self._catalog.source_states(self._space.id, names)
            # What was uploaded waits, or has no file whose time is known.
            done = DocumentStatus.FINISHED
            ids = [it.document_id for it in states.values() if it.mtime_ns is None or it.status is not done]
            return states, set(await self._catalog.upload_states(self._space.id, ids)) if ids else set()

        async def prepare(group: Group, before: anyio.Event, sent: anyio.Event) -> None:
            for todo in group.todo:
                tell(todo.source.name, IngestStage.READING)
            items = await self._preparer.prepare(group, split=lambda name: tell(name, IngestStage.SPLITTING))
            await before.wait()
            await ready.send(items)
            sent.set()
            ahead.release()

        ahead = anyio.Semaphore(AHEAD_GROUPS)
        before = anyio.Event()
        before.set()
        async with (
            ready,
            anyio.create_task_group() as tasks,
            aclosing(self._preparer.groups(sources, states_of)) as found,
        ):
            async for group in found:
                await ahead.acquire()
                sent = anyio.Event()
                tasks.start_soon(prepare, group, before, sent)
                before = sent

    async def _take(self, items: Sequence[Item], open_: "_Open", tally: _Tally, tell: _Tell) -> None:
        """Write what is to be written of a group, publish that when it is time, and count the rest."""
        await self._remember([item for item in items if isinstance(item, Unchanged)])
        if batch := [item for item in items if isinstance(item, Prepared)]:
            await self._write(batch, open_, tell)
            if open_.is_due:
                await self._publish(open_, tally, tell, more=True)
        tally.unchanged += sum(isinstance(item, Unchanged) for item in items)
        failed = [item for item in items if isinstance(item, Failed)]
        if records := [item.record for item in failed if item.record is not None]:
            await self._catalog.fail(self._space.id, records, writer=self._writer)
        tally.failed += [item.failure for item in failed]
        match items[-1]:
            case Unchanged(name=name) | Failed(failure=DocumentFailure(name=name)):
                tell(name)
            case _:
                pass

    async def _remember(self, unchanged: Sequence[Unchanged]) -> None:
        """Keep the stat and the place of files that were hashed and found unchanged: next time a look will do."""
        stats = {item.document_id: (item.stat.size, item.stat.mtime_ns) for item in unchanged if item.stat}
        if stats:
            sources = {item.document_id: item.source for item in unchanged if item.source}
            await self._catalog.touch(self._space.id, stats, sources=sources)

    async def collect(self, *, pending: bool) -> None:
        """Remove what no reader can see any more from the indexes, then from the catalog.

        With `pending` also what was begun by a process that did not live to publish it.
        """
        dead = await self._catalog.collectable(self._space.id, pending=pending)
        if not dead:
            return
        if pending:
            await self._catalog.abandon(self._space.id)
            dead = await self._catalog.collectable(self._space.id, pending=False)
        ids = [chunk_id for chunk_ids in dead.values() for chunk_id in chunk_ids]
        await self._store.delete(self._space.collection, ids)
        async with releasing(self._lexical, self._index):
            await self._lexical.delete(self._index, ids)
            await self._lexical.commit(self._index)
        await self._catalog.collect(self._space.id, list(dead))

    async def write(self, batch: Sequence[Prepared]) -> None:
        """Write and publish documents that are prepared."""
        open_ = _Open()
        async with releasing(self._lexical, self._index):
            await self._write(batch, open_, _tell_nobody)
            await self._publish(open_, _Tally(total=len(batch)), _tell_nobody)

    async def _write(self, batch: Sequence[Prepared], open_: "_Open", tell: _Tell) -> None:
        """Write a batch beside what is live."""
        pending = await self._catalog.begin_generations(self._space.id, [item.generation for item in batch])
        rows = [
            _Row(chunk_id, chunk, reusable.get(chunk.key), vector, terms)
            for item, generation, reusable in zip(batch, pending, await self._reusable(batch), strict=True)
            for chunk_id, chunk, vector, terms in zip(
                generation.chunk_ids,
                item.chunks,
                [None] * len(item.chunks) if item.vectors is None else item.vectors,
                [None] * len(item.chunks) if item.terms is None else item.terms,
                strict=True,
            )
        ]
        for first in range(0, len(rows), SLICE_CHUNKS):
            part = rows[first : first + SLICE_CHUNKS]
            await together(lambda: self._write_vectors(part), lambda: self._write_terms(part))  # noqa: B023 (awaited)
            for name, share in _written(batch, first, first + len(part)):
                tell(name, IngestStage.WRITING, share)
        open_.add(batch, pending)

    async def _publish(self, open_: "_Open", tally: _Tally, tell: _Tell, *, more: bool = False) -> None:
        """Make what was written since the last time the live one, and count it. With `more` there will be more."""
        space, pending = self._space, open_.pending
        if not pending:
            if tally.chunks:
                await self._lexical.commit(self._index, more=more)
            return
        await together(
            lambda: self._store.flush(space.collection), lambda: self._lexical.commit(self._index, more=more)
        )
        live = await self._catalog.publish(space.id, [generation.id for generation in pending], writer=self._writer)
        if len(live) < len({generation.document_id for generation in pending}):
            raise BusyError(
                f"another server took over the writing to space {space.name!r}, because the connection that held its "
                "lock was lost; ingest again",
                place=space.name,
            )
        tally.added += open_.new
        tally.updated += len(pending) - open_.new
        tally.chunks += open_.chunks
        tell(open_.name)
        open_.clear()

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


@dataclass(slots=True)
class _Open:
    """What is written and not yet published."""

    pending: list[PendingGeneration] = field(default_factory=list)
    new: int = 0
    chunks: int = 0
    name: str = ""
    since: float = float("-inf")
    """When it was last published. The first group is published alone, so that something is soon seen."""

    @property
    def is_due(self) -> bool:
        return self.chunks >= PUBLISH_CHUNKS or time.perf_counter() - self.since >= PUBLISH_SECONDS

    def add(self, batch: Sequence[Prepared], pending: Sequence[PendingGeneration]) -> None:
        self.pending += pending
        self.new += sum(item.known is None or not item.known.content_hash for item in batch)
        self.chunks += sum(len(item.chunks) for item in batch)
        self.name = batch[-1].generation.name

    def clear(self) -> None:
        self.pending, self.new, self.chunks, self.since = [], 0, 0, time.perf_counter()


def _written(batch: Sequence[Prepared], first: int, last: int) -> Iterator[tuple[str, float]]:
    """The documents whose chunks are among these of the batch, and how much of each is written by now."""
    start = 0
    for item in batch:
        end = start + len(item.chunks)
        if start < last and first < end:
            yield item.generation.name, min(1.0, (last - start) / (end - start))
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
