"""What goes into a space: files, folders and texts, once, in step, or for as long as they change."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kbchat.chunking import Splitting
from kbchat.errors import (
    CollectionNotFoundError,
    EmbedderMismatchError,
    InvalidInputError,
    MissingExtraError,
    StoreError,
)
from kbchat.inputs import checked_path, checked_patterns, checked_splitting, composed
from kbchat.models import (
    IngestProgress,
    IngestReport,
    SpaceInfo,
    TextDocument,
    VectorType,
)

if TYPE_CHECKING:
    from kbchat.catalog import Leftover
    from kbchat.ingestion.ingest import Ingester
    from kbchat.ingestion.preparing import Preparer
    from kbchat.ingestion.writing import GenerationWriter
    from kbchat.loaders.files import FileSource, Found, Selection
    from kbchat.wiring import Parts

_log = logging.getLogger("kbchat.intake")

Source = str | os.PathLike[str] | TextDocument
"""A file, a folder, a URL (where the settings allow its host), or a text."""
Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
Progress = Callable[[IngestProgress], None] | None

WEB = ("http://", "https://")


class Writer(NamedTuple):
    """What writes to a space, as the catalog holds it now."""

    info: SpaceInfo
    generations: GenerationWriter
    ingester: Ingester
    preparer: Preparer


async def open_writer(
    parts: Parts,
    space_id: int,
    splitting: Splitting | None = None,
    *,
    create: bool = True,
    keep: VectorType | None = None,
) -> Writer:
    """A writer for a space. Store and embedder of one that holds something are not opened before
    `GenerationWriter.open`, which raises what `_open` does; but the collection of an empty one is made at once, and
    what moves left over is removed, except on the store to `keep`.

    `splitting` goes before the space's own, and that before the settings'. Without `create` nothing is made or removed,
    and the embedder is compared at once. The caller holds the data's writer lock. Raises `SpaceNotFoundError`, and
    `EmbedderMismatchError` where an embedder of another name is in use.
    """
    from kbchat.ingestion.ingest import Ingester
    from kbchat.ingestion.preparing import Preparer
    from kbchat.ingestion.writing import GenerationWriter

    info = await parts.catalog.get_space(space_id)
    # A pin only ever changes with the space's vectors, which the writer's lock guards.
    if create and (info.embedder is None or info.words is None):
        words = info.words or await parts.words.planned(info.vector_type)
        info = await parts.catalog.pin_embedder(info.id, await parts.pin(), words=words)
    if not create or info.embedder is None or info.embedder.name != parts.embedder.name:
        await must_fit(parts, info)
    await parts.freshness.see_vectors(info)
    preparer = Preparer(
        threads=parts.threads,
        readers=parts.readers,
        static=parts.static,
        is_static=parts.embedder is parts.static,
        splitting=checked_splitting(splitting) or info.splitting or parts.settings.splitting,
        max_document_bytes=parts.settings.max_document_bytes,
    )
    generations = GenerationWriter(
        info,
        catalog=parts.catalog,
        store=parts.store(info.vector_type),
        lexical=parts.lexical,
        embedder=parts.embedder,
        threads=parts.threads,
        writer=parts.writer_id,
        opening=partial(_open, parts, info, keep=keep) if create else partial(must_fit, parts, info),
    )
    if create and (not info.chunk_count or await parts.catalog.leftovers(info.id)):
        await generations.open()
    ingester = Ingester(info, catalog=parts.catalog, lexical=parts.lexical, preparer=preparer, writer=generations)
    return Writer(info, generations, ingester, preparer)


async def _open(parts: Parts, info: SpaceInfo, *, keep: VectorType | None) -> None:
    """See to it that vectors of the embedder in use can be written to a space's collection; that of an empty space is
    made. Raises `EmbedderMismatchError`, and `CollectionNotFoundError` or `VectorError` when another took the
    collection away or put one of another dimension in its place."""
    await must_fit(parts, info)
    await clear_leftovers(parts, info, keep=keep)
    store = parts.store(info.vector_type)
    if info.chunk_count and info.collection not in await store.list_collections():
        # One made now would hold what comes in and miss what was there.
        raise CollectionNotFoundError(info.collection)
    await store.create_collection(info.collection, dimension=(await parts.pin()).dimension)


async def must_fit(parts: Parts, info: SpaceInfo) -> None:
    """Raises `EmbedderMismatchError` for a space that was embedded by another model than the one in use."""
    if await parts.fits(info.embedder):
        return
    pin = await parts.pin()
    was = f"{info.embedder.name!r} ({info.embedder.dimension} dimensions)" if info.embedder else "another embedder"
    raise EmbedderMismatchError(
        info.name,
        f"the space {info.name!r} was embedded by {was}, and the vectors of {pin.name!r} ({pin.dimension} dimensions) "
        f"that the settings ask for do not go with its own; set the embedder back to that one "
        f"(KBCHAT_EMBEDDER), or embed the space anew with `kbchat reembed {info.name}`",
    )


async def clear_leftovers(parts: Parts, info: SpaceInfo, *, keep: VectorType | None = None) -> int:
    """Drop the collections that moves of a space left over, but for those on the store to `keep`; returns how many
    could not be dropped. A store that does not answer keeps its own until the next time, and stops nobody."""
    stuck = 0
    for leftover in await parts.catalog.leftovers(info.id):
        if leftover.vector_type is keep:
            continue
        try:
            await drop_leftover(parts, info, leftover)
        except (StoreError, MissingExtraError) as error:
            _log.warning("the collection %s is left over and stays: %s", leftover.collection, error.message)
            stuck += 1
    return stuck


async def drop_leftover(parts: Parts, info: SpaceInfo, leftover: Leftover) -> None:
    """Drop a collection that a move left over."""
    if leftover.collection == info.terms_collection:
        await parts.words.drop_collection(leftover.collection)
    else:
        await parts.store(leftover.vector_type).drop_collection(leftover.collection)
    await parts.catalog.forget_leftover(info.id, leftover)


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
    texts, urls, paths = _parted(_listed(sources, "sources"))
    found = await _discover(parts, paths, selection, field="sources")
    at_hand: list[FileSource | TextDocument] = [*found.files, *texts]

    async def ingester() -> Ingester:
        return (await open_writer(parts, space_id, splitting)).ingester

    if not urls:
        async with parts.writing(space_id):
            return await (await ingester()).ingest(at_hand, progress=progress)
    from kbchat.ingestion.fetching import Fetching
    from kbchat.loaders.web import WebPolicy

    settings = parts.settings
    fetching = Fetching(
        WebPolicy(settings.url_hosts, settings.url_timeout, settings.max_document_bytes),
        writing=lambda: parts.writing(space_id),
        ingester=ingester,
        progress=progress,
    )
    return await fetching.run(at_hand, urls)


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
    found = await _discover(parts, _paths(paths), selection, allow_empty=allow_empty)
    return await _sync(parts, space_id, found, splitting=splitting, progress=progress)


async def _sync(
    parts: Parts, space_id: int, found: Found, *, splitting: Splitting | None, progress: Progress
) -> IngestReport:
    from kbchat.ingestion.folders import FolderSync

    async with parts.writing(space_id):
        writer = await open_writer(parts, space_id, splitting)
        folders = FolderSync(
            writer.info,
            catalog=parts.catalog,
            generations=writer.generations,
            ingester=writer.ingester,
            preparer=writer.preparer,
            threads=parts.threads,
            writer=parts.writer_id,
            max_document_bytes=parts.settings.max_document_bytes,
        )
        return await folders.run(found, progress)


async def index(
    parts: Parts, space_id: int, ids: Sequence[int], *, splitting: Splitting | None, progress: Progress
) -> None:
    """Index documents that were added."""
    from kbchat.ingestion.indexing import Indexing

    checked_splitting(splitting)

    async def ingester() -> Ingester:
        return (await open_writer(parts, space_id, splitting)).ingester

    indexing = Indexing(
        space_id,
        catalog=parts.catalog,
        writing=lambda: parts.writing(space_id),
        ingester=ingester,
        progress=progress,
    )
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
    """Sync, and again whenever something changes."""
    from kbchat.ingestion.watching import following
    from kbchat.text.readable import printable

    roots = _paths(paths)

    async def holds(root: str) -> bool:
        return bool(await parts.catalog.sources_beneath(space_id, printable(root)))

    own = await parts.threads.read(lambda: f"{parts.folder.path.resolve()}{os.sep}")
    async with following(
        find=lambda: _discover(parts, roots, selection, allow_empty=True),
        holds=holds,
        sync=lambda found: _sync(parts, space_id, found, splitting=splitting, progress=progress),
        own=own,
        threads=parts.threads,
    ) as reports:
        yield reports


async def _discover(
    parts: Parts, paths: Sequence[Path], selection: Selection, *, field: str = "paths", allow_empty: bool = False
) -> Found:
    from kbchat.loaders.files import discover

    return await parts.threads.read(
        lambda: discover(paths, selection, field=field, allow_empty=allow_empty, without=parts.folder.path)
    )


def _parted(given: Iterable[Source]) -> tuple[list[TextDocument], list[str], list[Path]]:
    """Texts, URLs (each once) and paths."""
    texts: list[TextDocument] = []
    urls: dict[str, None] = {}
    paths: list[Path] = []
    for source in given:
        match source:
            case TextDocument():
                texts.append(_composed(source))
            case str() if source.lower().startswith(WEB):
                urls[source] = None
            case _:
                paths.append(_path(source, "sources"))
    return texts, [*urls], paths


def _composed(source: TextDocument) -> TextDocument:
    """Under its name in composed form, as every name is."""
    name = composed(source.name)
    return source if name == source.name else source.model_copy(update={"name": name})


def _paths(paths: Paths) -> list[Path]:
    return [_path(path, "paths") for path in _listed(paths, "paths")]


def _listed(given: Source | Iterable[Source], field: str) -> list[Source]:
    if isinstance(given, str | os.PathLike | TextDocument):
        return [given]
    if not isinstance(given, Iterable):
        raise InvalidInputError(field, f"must be a path or a list of them, not {type(given).__name__}")
    return list(given)


def _path(given: Source, field: str) -> Path:
    if given == "":
        raise InvalidInputError(field, "an empty path is refused; the working folder is '.'")
    return checked_path(given, field=field)


def selected(include: Iterable[str], exclude: Iterable[str], gitignore: bool) -> Selection:
    """Which files of folders are taken."""
    from kbchat.loaders.files import Selection

    included = checked_patterns(include, field="include")
    return Selection(included, checked_patterns(exclude, field="exclude"), gitignore)
