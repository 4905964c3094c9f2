"""What goes into a space: files, folders and texts, once, in step, or for as long as they change."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anyio

from kbchat.chunking import Splitting
from kbchat.errors import EmbedderMismatchError, UnreadableDocumentError
from kbchat.inputs import checked_splitting, composed
from kbchat.models import DocumentFailure, EmbedderPin, IngestProgress, IngestReport, SpaceInfo, TextDocument
from kbchat.threads import bare

if TYPE_CHECKING:
    from kbchat.ingestion.ingest import Ingester
    from kbchat.ingestion.preparing import FileContent, Preparer
    from kbchat.loaders.files import Found, Selection
    from kbchat.wiring import Parts

Source = str | os.PathLike[str] | TextDocument
"""A file, a folder, a URL (where the settings allow its host), or a text."""
Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
Progress = Callable[[IngestProgress], None] | None

WEB = ("http://", "https://")
FETCHES = 8
"""Documents that are fetched at once."""
WATCH_MS = 400
"""Changes that follow each other this closely are taken in together."""
LOOK_MS = 60_000
"""A look without any sign of change: not every file system tells of all."""


class Writer(NamedTuple):
    """What writes to a space, as the catalog holds it now."""

    info: SpaceInfo
    ingester: Ingester
    preparer: Preparer


async def open_writer(
    parts: Parts,
    space_id: int,
    splitting: Splitting | None = None,
    *,
    create: bool = True,
) -> Writer:
    """A writer for a space that was embedded by the embedder in use. Its collection is made unless it is there.

    `splitting` goes before the space's own, and that before the settings'. The caller holds the data's writer lock.
    Raises `SpaceNotFoundError` and `EmbedderMismatchError`.
    """
    from kbchat.ingestion.ingest import Ingester
    from kbchat.ingestion.preparing import Preparer

    pin = await parts.pin()
    info = await parts.catalog.get_space(space_id)
    if not await parts.fits(await parts.catalog.pin_embedder(info.id, pin)):
        raise mismatch(info, pin)
    store = parts.store(info.vector_type)
    await parts.see_vectors(info)
    if create:
        await store.create_collection(info.collection, dimension=pin.dimension)
    preparer = Preparer(
        threads=parts.threads,
        readers=parts.readers,
        static=parts.static,
        is_static=parts.embedder is parts.static,
        splitting=checked_splitting(splitting) or info.splitting or parts.settings.splitting,
        max_document_bytes=parts.settings.max_document_bytes,
    )
    ingester = Ingester(
        info,
        catalog=parts.catalog,
        store=store,
        lexical=parts.lexical,
        embedder=parts.embedder,
        threads=parts.threads,
        preparer=preparer,
        writer=parts.writer,
    )
    return Writer(info, ingester, preparer)


async def ingest(
    parts: Parts,
    space_id: int,
    sources: Source | Iterable[Source],
    *,
    selection: Selection,
    splitting: Splitting | None,
    progress: Progress,
) -> IngestReport:
    """Take in what is new or changed."""
    given = [sources] if isinstance(sources, str | os.PathLike | TextDocument) else list(sources)
    texts = [_composed(source) for source in given if isinstance(source, TextDocument)]
    urls = [source for source in given if isinstance(source, str) and source.startswith(WEB)]
    paths = [Path(it) for it in given if not isinstance(it, TextDocument) and it not in urls]
    found = await _discover(parts, paths, selection, field="sources")
    fetched, failed = await _fetch(parts, urls)
    async with parts.writing(space_id):
        writer = await open_writer(parts, space_id, splitting)
        report = await writer.ingester.ingest([*found.files, *texts, *fetched], progress=progress)
    return report.model_copy(update={"failed": (*report.failed, *failed)})


async def sync(
    parts: Parts,
    space_id: int,
    paths: Paths,
    *,
    selection: Selection,
    splitting: Splitting | None,
    allow_empty: bool,
    progress: Progress,
) -> IngestReport:
    """Bring the space in step with folders."""
    from kbchat.ingestion.folders import FolderSync

    found = await _discover(parts, _paths(paths), selection, allow_empty=allow_empty)
    async with parts.writing(space_id):
        writer = await open_writer(parts, space_id, splitting)
        folders = FolderSync(
            writer.info,
            catalog=parts.catalog,
            ingester=writer.ingester,
            preparer=writer.preparer,
            threads=parts.threads,
            writer=parts.writer,
            max_document_bytes=parts.settings.max_document_bytes,
        )
        return await folders.run(found, progress)


async def index(parts: Parts, space_id: int, ids: Sequence[int], *, splitting: Splitting | None) -> None:
    """Index documents that were added."""
    from kbchat.ingestion.indexing import Indexing

    checked_splitting(splitting)

    async def ingester() -> Ingester:
        return (await open_writer(parts, space_id, splitting)).ingester

    indexing = Indexing(space_id, catalog=parts.catalog, writing=lambda: parts.writing(space_id), ingester=ingester)
    await indexing.run(ids)


@asynccontextmanager
async def watch(
    parts: Parts,
    space_id: int,
    paths: Paths,
    *,
    selection: Selection,
    splitting: Splitting | None,
    progress: Progress,
) -> AsyncIterator[AsyncIterator[IngestReport]]:
    """Sync, and again whenever something changes; the reports of all that changed anything, the first one always."""
    roots = _paths(paths)
    found = await _discover(parts, roots, selection, allow_empty=True)
    own = await parts.threads.read(lambda: f"{parts.folder.path.resolve()}{os.sep}")
    watched = [*found.roots, *(file.path for file in found.files if not file.path.startswith(found.roots))]
    changes = _Changes()

    async def reports() -> AsyncIterator[IngestReport]:
        first = True
        while True:
            report = await sync(
                parts, space_id, roots, selection=selection, splitting=splitting, allow_empty=True, progress=progress
            )
            if first or report.added or report.updated or report.moved or report.removed:
                yield report
            first = False
            await changes.wait()

    try:
        async with anyio.create_task_group() as tasks:
            # Begins before the first look, so that no change falls in between.
            tasks.start_soon(changes.notice, watched, own)
            try:
                yield reports()
            finally:
                # The watcher's thread looks at this, and at no cancellation.
                changes.stop.set()
    except BaseExceptionGroup as errors:
        raise bare(errors) from None


class _Changes:
    """Whether something changed since it was last asked."""

    def __init__(self) -> None:
        self._changed = anyio.Event()
        self.stop = anyio.Event()

    async def notice(self, paths: Sequence[str], without: str) -> None:
        from watchfiles import awatch

        def counts(_: object, path: str) -> bool:
            return not path.startswith(without)

        async for _ in awatch(
            *paths,
            debounce=WATCH_MS,
            watch_filter=counts,
            rust_timeout=LOOK_MS,
            yield_on_timeout=True,
            stop_event=self.stop,
        ):
            self._changed.set()

    async def wait(self) -> None:
        await self._changed.wait()
        self._changed = anyio.Event()


async def _fetch(parts: Parts, urls: Sequence[str]) -> tuple[list[FileContent], list[DocumentFailure]]:
    """Documents by URL, some at a time, and those that cannot be had."""
    from kbchat.ingestion.preparing import FileContent
    from kbchat.loaders.web import WebPolicy, fetch

    settings = parts.settings
    policy = WebPolicy(settings.url_hosts, settings.url_seconds, settings.max_document_bytes)
    outcomes: dict[str, FileContent | DocumentFailure] = {}
    turns = anyio.Semaphore(FETCHES)

    async def one(url: str) -> None:
        try:
            async with turns:
                outcomes[url] = FileContent(url, await fetch(url, policy), url)
        except UnreadableDocumentError as error:
            outcomes[url] = DocumentFailure(name=url, reason=error.message)

    async with anyio.create_task_group() as tasks:
        for url in dict.fromkeys(urls):
            tasks.start_soon(one, url)
    in_turn = [outcomes[url] for url in dict.fromkeys(urls)]
    failed = [outcome for outcome in in_turn if isinstance(outcome, DocumentFailure)]
    return [outcome for outcome in in_turn if isinstance(outcome, FileContent)], failed


async def _discover(
    parts: Parts, paths: Sequence[Path], selection: Selection, *, allow_empty: bool = False, field: str = "paths"
) -> Found:
    from kbchat.loaders.files import discover

    return await parts.threads.read(
        lambda: discover(paths, selection, allow_empty=allow_empty, without=parts.folder.path, field=field)
    )


def _composed(source: TextDocument) -> TextDocument:
    """Under its name in composed form, as every name is."""
    name = composed(source.name)
    return source if name == source.name else source.model_copy(update={"name": name})


def _paths(paths: Paths) -> list[Path]:
    return [Path(paths)] if isinstance(paths, str | os.PathLike) else [Path(path) for path in paths]


def mismatch(info: SpaceInfo, pin: EmbedderPin) -> EmbedderMismatchError:
    """The error for a space that was embedded by another model than the one in use."""
    was = f"{info.embedder.name!r} ({info.embedder.dimension} dimensions)" if info.embedder else "another embedder"
    return EmbedderMismatchError(
        info.name,
        f"the space {info.name!r} was embedded by {was}, and the vectors of {pin.name!r} ({pin.dimension} dimensions) "
        f"that the settings ask for do not go with its own; set the embedder back, or embed the space "
        f"anew with `kbchat spaces reembed {info.name}`",
    )


def selected(include: Iterable[str], exclude: Iterable[str], gitignore: bool) -> Selection:
    """Which files of folders are taken."""
    from kbchat.loaders.files import Selection

    return Selection(tuple(include), tuple(exclude), gitignore)
