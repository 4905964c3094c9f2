"""Ingest: documents in, stage by stage.

Groups of documents are prepared (read and split), begun in the catalog, indexed and published. Each stage takes them in
their order, all stages work at the same time on different groups, and several groups are published together.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from kbchat.catalog import Catalog, PendingGeneration, SourceState
from kbchat.ingestion.items import Failed, Item, Prepared, Source, Unchanged
from kbchat.ingestion.preparing import Group, Preparer, StatesOf
from kbchat.ingestion.writing import Begun, GenerationWriter
from kbchat.lexical import LexicalIndex, releasing
from kbchat.models import DocumentFailure, DocumentStatus, IngestProgress, IngestReport, IngestStage, SpaceInfo
from kbchat.threads import side_by_side

PUBLISH_CHUNKS = 8192
PUBLISH_SECONDS = 2.0
"""What was written is published when it is so much or so old: large enough that a commit costs little, and the lexical
index has few segments to merge; small enough that little is lost when it is cut short."""
PUBLISH_TIMES = 8
PUBLISH_LATEST = 20.0
"""What was written waits for so many times as long as it took to publish what was before it, so many seconds at most:
on a store or a machine that is slow at it, little of the time goes into that."""
AHEAD_GROUPS = 2
"""Groups that are prepared at the same time, or wait to be begun."""
BEHIND = {IngestStage.READING: 0.0, IngestStage.SPLITTING: 0.1, IngestStage.WRITING: 0.4, IngestStage.DONE: 1.0}
"""How much of a document's work is usually behind it when a stage begins."""


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
            share=BEHIND[stage] + part * (1 - BEHIND[stage]),
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


@dataclass(slots=True)
class _Open:
    """What is written and not yet published."""

    pending: list[PendingGeneration] = field(default_factory=list)
    new: int = 0
    chunks: int = 0
    name: str = ""
    since: float = float("-inf")
    """When it was begun. The first group is published alone, so that something is soon seen."""
    is_last: bool = False

    def is_due(self, took: float) -> bool:
        """Whether it is to be published, where the last that was took so many seconds to be."""
        wait = min(max(PUBLISH_SECONDS, PUBLISH_TIMES * took), PUBLISH_LATEST)
        return bool(self.pending) and (self.chunks >= PUBLISH_CHUNKS or time.perf_counter() - self.since >= wait)

    def add(self, begun: Begun) -> None:
        self.pending += begun.pending
        whole = [item for item in begun.batch if item.is_last]
        self.new += sum(item.known is None or not item.known.content_hash for item in whole)
        self.chunks += len(begun.rows)
        self.name = begun.batch[-1].generation.name


class _Group(NamedTuple):
    """A group of documents, and what of it was begun, if anything had to be."""

    items: Sequence[Item]
    begun: Begun | None


class Ingester:
    """Takes documents into one space. The caller holds the data's writer lock while a method runs."""

    def __init__(
        self, space: SpaceInfo, *, catalog: Catalog, lexical: LexicalIndex, preparer: Preparer, writer: GenerationWriter
    ) -> None:
        self._space = space
        self._catalog = catalog
        self._lexical = lexical
        self._preparer = preparer
        self._writer = writer

    async def ingest(
        self, sources: Sequence[Source], *, progress: Callable[[IngestProgress], None] | None = None
    ) -> IngestReport:
        """Bring the space up to date with the sources. A document that cannot be read is reported, the others go in.

        What the report and the progress count is acknowledged: it survives whatever happens later. An error of a part
        (store, embedder, catalog) ends the ingest; what is published already stays.
        """
        async with releasing(self._lexical, self._space.lexical_name):
            await self._writer.collect(pending=True)
            run = _Run(self._writer, self._preparer, sources, self._states, progress)
            report = await run.run()
        if report.updated:
            await self._writer.collect(pending=False)
        return report

    async def _states(self, names: Sequence[str]) -> tuple[dict[str, SourceState], set[int]]:
        """What `preparing.StatesOf` asks for."""
        states = await self._catalog.source_states(self._space.id, names)
        # What was uploaded waits, or has no file whose time is known.
        done = DocumentStatus.FINISHED
        ids = [it.document_id for it in states.values() if it.mtime_ns is None or it.status is not done]
        return states, set(await self._catalog.upload_states(self._space.id, ids)) if ids else set()


class _Run:
    """One ingest: its stages, each a loop over what the stage before hands over."""

    def __init__(
        self,
        writer: GenerationWriter,
        preparer: Preparer,
        sources: Sequence[Source],
        states_of: StatesOf,
        progress: Callable[[IngestProgress], None] | None,
    ) -> None:
        self._writer = writer
        self._preparer = preparer
        self._sources = sources
        self._states_of = states_of
        self._progress = progress
        self._tally = _Tally(total=len(sources))
        self._took = 0.0

    async def run(self) -> IngestReport:
        # No room in between: few groups are being prepared at any time, one is begun, one is indexed, and some are
        # published.
        ready, prepared = anyio.create_memory_object_stream[list[Item]](0)
        ahead, begun = anyio.create_memory_object_stream[_Group](0)
        done, indexed = anyio.create_memory_object_stream[_Open](0)
        await side_by_side(
            [
                lambda: self._prepare(ready),
                lambda: self._begin(prepared, ahead),
                lambda: self._index(begun, done),
                lambda: self._publish(indexed),
            ]
        )
        return self._tally.report()

    async def _prepare(self, ready: MemoryObjectSendStream[list[Item]]) -> None:
        """Prepare groups, some at a time, and hand them over in their order."""

        async def prepare(group: Group, before: anyio.Event, sent: anyio.Event) -> None:
            for todo in group.todo:
                self._tell(todo.source.name, IngestStage.READING)
            tell = partial(self._tell, stage=IngestStage.SPLITTING)
            async with aclosing(self._preparer.prepare(group, split=tell)) as parts:
                async for items in parts:
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
            aclosing(self._preparer.groups(self._sources, self._states_of)) as found,
        ):
            async for group in found:
                await ahead.acquire()
                sent = anyio.Event()
                tasks.start_soon(prepare, group, before, sent)
                before = sent

    async def _begin(
        self, prepared: MemoryObjectReceiveStream[list[Item]], ahead: MemoryObjectSendStream[_Group]
    ) -> None:
        async with prepared, ahead:
            async for items in prepared:
                batch = [item for item in items if isinstance(item, Prepared)]
                await ahead.send(_Group(items, await self._writer.begin(batch) if batch else None))

    async def _index(self, begun: MemoryObjectReceiveStream[_Group], done: MemoryObjectSendStream[_Open]) -> None:
        """Index what was begun, hand it over when it is time to publish it, and count what is not to be indexed."""

        def tell(name: str, share: float) -> None:
            self._tell(name, IngestStage.WRITING, share)

        open_ = _Open()
        async with begun, done:
            async for group in begun:
                if group.begun is not None:
                    await self._writer.index(group.begun, indexed=tell)
                    open_.add(group.begun)
                    if open_.is_due(self._took):
                        await done.send(open_)
                        open_ = _Open(since=time.perf_counter())
                await self._settle(group.items)
            open_.is_last = True
            await done.send(open_)

    async def _settle(self, items: Sequence[Item]) -> None:
        """Remember and count what is not to be indexed."""
        unchanged = [item for item in items if isinstance(item, Unchanged)]
        failed = [item for item in items if isinstance(item, Failed)]
        await self._writer.remember(unchanged)
        await self._writer.fail([item.record for item in failed if item.record is not None])
        self._tally.unchanged += len(unchanged)
        self._tally.failed += [item.failure for item in failed]
        match items[-1]:
            case Unchanged(name=name) | Failed(failure=DocumentFailure(name=name)):
                self._tell(name)
            case _:
                pass

    async def _publish(self, indexed: MemoryObjectReceiveStream[_Open]) -> None:
        """Publish what was indexed, and count it: from then on it is acknowledged."""
        tally = self._tally
        async with indexed:
            async for open_ in indexed:
                if open_.pending:
                    began = time.perf_counter()
                    await self._writer.publish(open_.pending, more=not open_.is_last)
                    self._took = time.perf_counter() - began
                    tally.added += open_.new
                    tally.updated += len(open_.pending) - open_.new
                    tally.chunks += open_.chunks
                    self._tell(open_.name)
                elif tally.chunks:
                    await self._writer.finish()

    def _tell(self, name: str, stage: IngestStage = IngestStage.DONE, part: float = 0.0) -> None:
        """Say how far a document is; `part` is how much of the stage is done."""
        if self._progress is not None:
            self._progress(self._tally.progress(name, stage, part))
