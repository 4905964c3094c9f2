"""Keeping a space in step with folders: what was added, changed, moved and removed there is so in the space."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePath

from kbchat.catalog import Catalog, DocumentEdit, SourceState
from kbchat.errors import UnreadableDocumentError
from kbchat.ingestion.ingest import Ingester
from kbchat.ingestion.items import Stat
from kbchat.ingestion.preparing import Preparer
from kbchat.ingestion.writing import GenerationWriter
from kbchat.loaders.files import FileSource, Found, is_beneath, read, with_end
from kbchat.models import DocumentFailure, DocumentStatus, IngestProgress, IngestReport, SpaceInfo
from kbchat.text.readable import can_be_kept, is_text, printable
from kbchat.threads import Threads

DELETED_AT_ONCE = 500


class FolderSync:
    """Brings a space in step with what was found in folders. The caller holds the data's writer lock."""

    def __init__(
        self,
        space: SpaceInfo,
        *,
        catalog: Catalog,
        generations: GenerationWriter,
        ingester: Ingester,
        preparer: Preparer,
        threads: Threads,
        writer: str,
        max_document_bytes: int,
    ) -> None:
        self._space = space
        self._catalog = catalog
        self._generations = generations
        self._ingester = ingester
        self._preparer = preparer
        self._threads = threads
        self._writer = writer
        self._max_bytes = max_document_bytes

    async def run(self, found: Found, progress: Callable[[IngestProgress], None] | None = None) -> IngestReport:
        """Take over moved documents, ingest what is there, and remove what is gone, in this order: cut short at any
        point, nothing that is there is missing.

        A document is gone when its file was in one of the folders and the selection finds it there no more. What lies
        in a folder that may not be listed is left alone, and the folder reported; so is what was uploaded in its place
        and is not indexed yet.
        """
        # First of all, so that nobody publishes any more what was begun under the new name of a moved document.
        await self._generations.collect(pending=True)
        known: dict[str, SourceState] = {}
        for root in found.roots:
            known |= await self._catalog.sources_beneath(self._space.id, printable(root.path))
        names = {source.name for source in found.files}
        closed = [with_end(printable(folder.path)) for folder in found.closed]
        gone = {
            name: state
            for name, state in known.items()
            if name not in names and state.source is not None and not is_beneath(state.source, closed)
        }
        awaited = await self._awaited(gone)
        gone = {name: state for name, state in gone.items() if state.document_id not in awaited}
        files = _called(found.files, gone)
        if gone:
            names = {source.name for source in files}
            gone = {name: state for name, state in gone.items() if name not in names}
        moved = await self._take_over(files, gone)
        report = await self._ingester.ingest(files, progress=progress)
        removed = await self._remove([state.document_id for name, state in gone.items() if name not in moved])
        reason = "the folder cannot be listed; its documents are left as they are"
        failed = tuple(DocumentFailure(name=folder.name, reason=reason) for folder in found.closed)
        changes = {"moved": len(moved), "removed": removed, "failed": report.failed + failed}
        return report.model_copy(update={**changes, "unchanged": max(report.unchanged - len(moved), 0)})

    async def _awaited(self, gone: Mapping[str, SourceState]) -> set[int]:
        """Documents that were uploaded and are not indexed: no longer their file's, though what is found still is."""
        open_ = [state.document_id for state in gone.values() if state.status is not DocumentStatus.FINISHED]
        return await self._catalog.awaited(self._space.id, open_) if open_ else set()

    async def _take_over(self, files: Sequence[FileSource], gone: Mapping[str, SourceState]) -> set[str]:
        """Rename documents whose content now stands under a name that no document has; returns their old names."""
        if not gone:
            return set()
        named = await self._catalog.source_states(self._space.id, [it.name for it in files if is_text(it.name)])
        # Of files of one name the first, which the ingest takes too; and why it does not take others, it says itself.
        new = {
            source.name: source for source in reversed(files) if source.name not in named and can_be_kept(source.name)
        }
        pairs = await self._threads.read(self._pairs, reversed(new.values()), gone)
        for source, old, _ in pairs:
            change = DocumentEdit(name=source.name, source=printable(source.path))
            await self._catalog.edit_document(self._space.id, gone[old].document_id, change)
        if pairs:
            stats = {gone[old].document_id: (stat.size, stat.mtime_ns) for _, old, stat in pairs}
            await self._catalog.touch(self._space.id, stats)
        return {old for _, old, _ in pairs}

    def _pairs(self, new: Iterable[FileSource], gone: Mapping[str, SourceState]) -> list[tuple[FileSource, str, Stat]]:
        """New files with the gone document that each was. The kind of file must be the same: it says how it is read."""
        by_content: dict[tuple[str, str], list[str]] = {}
        for name, state in gone.items():
            by_content.setdefault((state.content_hash, _suffix(name)), []).append(name)
        sizes = {state.size for state in gone.values()}
        pairs = []
        for source in new:
            try:
                if None not in sizes and os.stat(source.path).st_size not in sizes:  # noqa: PTH116 (very many)
                    continue
                data, stat = read(source, max_bytes=self._max_bytes)
            except (OSError, UnreadableDocumentError):
                continue  # The ingest will say why.
            if olds := by_content.get((self._preparer.hash(data), _suffix(source.name))):
                pairs.append((source, olds.pop(0), Stat.of(stat)))
        return pairs

    async def _remove(self, document_ids: Sequence[int]) -> int:
        removed = 0
        if document_ids:
            await self._generations.open()
        for first in range(0, len(document_ids), DELETED_AT_ONCE):
            part = document_ids[first : first + DELETED_AT_ONCE]
            removed += await self._catalog.delete_documents(self._space.id, part, writer=self._writer)
        if removed:
            await self._generations.collect(pending=False)
        return removed


def _called(files: Sequence[FileSource], gone: Mapping[str, SourceState]) -> Sequence[FileSource]:
    """The files, under the names that their documents were given since they came: a name that ends no path of theirs
    is one that somebody gave."""
    given = {
        state.source: name
        for name, state in gone.items()
        if state.source and not FileSource.named("", state.source).name.endswith(f"/{name}")
    }
    if not given:
        return files
    return [source._replace(name=given.get(source.path, source.name)) for source in files]


def _suffix(name: str) -> str:
    return PurePath(name).suffix.lower()
