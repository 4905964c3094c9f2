"""Keeping spaces sound and taking them elsewhere: count, check, move, export, import, remove."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING

from kbchat.errors import BusyError, CatalogError, KbchatError, LexicalIndexError, SpaceExistsError, SpaceNotFoundError
from kbchat.inputs import checked_name, checked_owner, checked_path, checked_prose, checked_vector_type
from kbchat.intake import Progress, clear_leftovers, drop_leftover, must_fit, open_writer
from kbchat.models import DocumentStatus, SpaceInfo, VectorType
from kbchat.summaries import SpaceStats
from kbchat.threads import undoing

if TYPE_CHECKING:
    from kbchat.maintenance.checking import CheckReport
    from kbchat.maintenance.moving import Agreement
    from kbchat.wiring import Parts

_log = logging.getLogger("kbchat.upkeep")


async def check(parts: Parts, space_id: int, *, repair: bool) -> CheckReport:
    """Compare a space's indexes and files with its catalog, and mend what can be mended."""
    from kbchat.maintenance.checking import Checker

    async with parts.writing(space_id):
        writer = await open_writer(parts, space_id, create=False)
        checker = Checker(
            writer.info,
            catalog=parts.catalog,
            store=parts.store(writer.info.vector_type),
            lexical=parts.lexical,
            embedder=parts.embedder,
            threads=parts.threads,
            writer=writer.generations,
            clear=partial(clear_leftovers, parts, writer.info),
            follow=partial(parts.freshness.follow, writer.info),
            repair=repair,
        )
        return await checker.run()


async def reembed(parts: Parts, space_id: int, *, progress: Progress) -> SpaceInfo:
    """Embed every chunk of a space anew with the embedder in use."""
    from kbchat.maintenance.reembed import reembed

    async with parts.writing(space_id):
        info = await parts.catalog.get_space(space_id)
        store, pin = parts.store(info.vector_type), await parts.pin()
        await reembed(
            info,
            catalog=parts.catalog,
            store=store,
            embedder=parts.embedder,
            pin=pin,
            writer=parts.writer_id,
            progress=progress,
        )
        info = await parts.catalog.get_space(space_id)
        await clear_leftovers(parts, info)
        return info


async def move(
    parts: Parts,
    space_id: int,
    to: VectorType | str,
    *,
    progress: Progress,
    before_switch: Callable[[Agreement], None] | None,
) -> SpaceInfo:
    """Take a space to another kind of store, and its words to where the settings want them there."""
    from kbchat.catalog import Leftover
    from kbchat.maintenance.moving import Mover

    kind = checked_vector_type(to)
    async with parts.writing(space_id):
        info = await parts.catalog.get_space(space_id)
        words = await parts.words.planned(kind)
        if info.vector_type is kind and (info.words == words or info.embedder is None):
            await clear_leftovers(parts, info)
            return info
        generations = (await open_writer(parts, space_id, keep=kind)).generations
        await generations.open()
        await generations.collect(pending=True)
        info = await parts.catalog.get_space(space_id)
        if words == "milvus" != info.words:
            await parts.catalog.note_leftover(space_id, Leftover(kind, info.terms_collection))
        await parts.words.fill(info, words)
        if info.vector_type is kind:
            await parts.catalog.move_space(space_id, kind, words=words, writer=parts.writer_id, revision=info.revision)
        else:
            source, target = parts.store(info.vector_type), parts.store(kind)
            await target.refresh()
            mover = Mover(info, catalog=parts.catalog, source=source, target=target, writer=parts.writer_id)
            await mover.run(kind, words=words, progress=progress, before_switch=before_switch)
        info = await parts.catalog.get_space(space_id)
        await clear_leftovers(parts, info)
        return info


async def export(parts: Parts, space_id: int, path: str | os.PathLike[str], *, progress: Progress) -> int:
    """Write a space to one file."""
    from kbchat.maintenance.exporting import export

    place = checked_path(path, field="path")
    async with parts.writing(space_id):
        info = await parts.catalog.get_space(space_id)
        pin = info.embedder or await parts.pin()
        return await export(
            info,
            place,
            catalog=parts.catalog,
            store=parts.store(info.vector_type),
            threads=parts.threads,
            dimension=pin.dimension,
            progress=progress,
        )


async def import_space(
    parts: Parts,
    path: str | os.PathLike[str],
    *,
    name: str | None,
    owner: str | None,
    vector_type: VectorType | str | None,
    progress: Progress,
) -> SpaceInfo:
    """Make a space of an archive. It is hidden until it is whole, so that there is none when that fails, or when the
    process dies: what is left then, or cannot be undone, is removed by the next opening of the data."""
    from kbchat.maintenance.archive import Archive, read_into

    # As bytes of JSON a document may be longer than it was, and has its chunks' places with it.
    longest = 4 * parts.settings.max_document_bytes
    archive = await parts.threads.read(partial(Archive, checked_path(path, field="path"), longest=longest))
    try:
        await parts.threads.read(archive.check)
        kept = archive.space
        await must_fit(parts, kept)
        called = checked_name(name or kept.name, field="name")
        owner = checked_owner(kept.owner if owner is None else owner)
        if await parts.catalog.find_spaces(called, owner=owner):
            raise SpaceExistsError(called, owner)
        info = await parts.catalog.create_space(
            name=called,
            owner=owner,
            vector_type=checked_vector_type(vector_type or kept.vector_type),
            desc=checked_prose(kept.desc, field="desc"),
            context=None if kept.context is None else checked_prose(kept.context, field="context"),
            splitting=kept.splitting,
            hidden=True,
        )
        hidden = f"the space {info.id}, half imported, stays hidden until the next opening"
        # Undone under the lock; where that cannot be had, the space is nowhere but in the catalog.
        async with AsyncExitStack() as lock, undoing(lambda _: _forget(parts, info), otherwise=hidden):
            await lock.enter_async_context(parts.writing(info.id))
            writer = await open_writer(parts, info.id)
            await read_into(archive, writer.generations, threads=parts.threads, progress=progress)
            await parts.catalog.reveal_space(info.id)
        return await parts.catalog.get_space(info.id)
    finally:
        archive.close()


async def delete(parts: Parts, info: SpaceInfo) -> SpaceInfo:
    """Remove a space; returns it as it was. Nothing is begun that cannot be finished now."""
    async with parts.writing(info.id):
        left = await parts.catalog.leftovers(info.id)
        for kind in {info.vector_type, *(leftover.vector_type for leftover in left)}:
            await parts.store(kind).ping()
        info = await parts.catalog.begin_space_deletion(info.id)
        await remove(parts, info)
    return info


async def _forget(parts: Parts, info: SpaceInfo) -> None:
    """Remove a space that nobody sees, be it that it was deleted or never whole."""
    with suppress(SpaceNotFoundError):
        await parts.catalog.begin_space_deletion(info.id)
    await remove(parts, info)


async def remove(parts: Parts, info: SpaceInfo) -> None:
    """Take away all of a space whose deletion has begun. What was done of it before does not matter."""
    await parts.store(info.vector_type).drop_collection(info.collection)
    for leftover in await parts.catalog.leftovers(info.id):
        await drop_leftover(parts, info, leftover)
    await parts.words.drop(info)
    await parts.catalog.finish_space_deletion(info.id)


async def finish_deletions(parts: Parts) -> None:
    """Finish what a process that died left of its deletions, and remove what it left of spaces that it was making,
    unless another one is at work. One that cannot be finished
    now, its store being away or a file held, keeps nobody from the data: the next opening tries again."""
    for info in await parts.catalog.deleted_spaces():
        try:
            async with parts.writing(info.id, timeout=0):
                if info.id in {left.id for left in await parts.catalog.deleted_spaces()}:
                    await _forget(parts, info)
        except BusyError:
            if not parts.catalog.is_shared:
                return  # Whoever holds the data folder holds it for all spaces.
        except CatalogError:
            raise
        except KbchatError as error:
            _log.warning("the deletion of space %s waits for the next opening: %s", info.id, error.message)
    try:
        await parts.freshness.forget_deleted()
    except LexicalIndexError as error:
        _log.warning("the words of deleted spaces stay here until the next opening: %s", error.message)


async def stats(parts: Parts, info: SpaceInfo) -> SpaceStats:
    """What is in a space, counted."""
    statuses = await parts.catalog.count_documents(info.id)
    busy = statuses.get(DocumentStatus.RUNNING, 0) or statuses.get(DocumentStatus.TODO, 0)
    return SpaceStats(
        documents=info.document_count,
        chunks=info.chunk_count,
        tokens=await parts.count_tokens(info),
        statuses=statuses,
        state="indexing" if busy else "ready" if info.chunk_count else "empty",
        embedder=info.embedder.name if info.embedder else None,
    )
