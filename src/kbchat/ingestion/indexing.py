"""Documents that are handed over now and indexed later, as servers do: what was uploaded is kept in the catalog."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from pydantic import JsonValue

from kbchat.catalog import Upload
from kbchat.errors import BusyError, CatalogUnavailableError, InvalidInputError, KbchatError
from kbchat.inputs import checked_metadata, checked_name, checked_prose, checked_text
from kbchat.loaders.formats import suffix_of
from kbchat.models import DocumentStatus, IngestProgress, TextDocument
from kbchat.threads import undoing

if TYPE_CHECKING:
    from kbchat.catalog import Catalog
    from kbchat.ingestion.ingest import Ingester
    from kbchat.ingestion.items import Source

GROUP_BYTES = 48 * 1024 * 1024
GROUP_DOCUMENTS = 256
"""How much is taken out of the catalog at once."""

SUFFIX_CHARS = 32

State = tuple[DocumentStatus, str | None]


def upload(
    name: str,
    *,
    data: bytes | None,
    text: str | None,
    source: str | None,
    metadata: Mapping[str, JsonValue] | None,
    file_name: str | None,
    max_bytes: int,
) -> Upload:
    """What is to be kept of a document: a file's bytes or a text. Raises `InvalidInputError` naming the argument."""
    name = checked_name(name, field="name")
    if (data is None) == (text is None):
        raise InvalidInputError("data", "give either a file's bytes, or a text that is not empty")
    if text is not None:
        data = checked_text(text, field="text").encode()
    if not isinstance(data, bytes | bytearray | memoryview):
        raise InvalidInputError("data", f"must be bytes, not {type(data).__name__}; a text goes to `text`")
    data = bytes(data)
    if not data.strip():
        raise InvalidInputError("text" if text is not None else "data", "the document is empty")
    if len(data) > max_bytes:
        raise InvalidInputError("data", f"{len(data):,} bytes are more than the limit of {max_bytes:,}")
    if source is not None:
        checked_prose(source, field="source")
    doc_type = "DOCUMENT" if text is None else "TEXT"
    return Upload(
        name=name,
        data=data,
        doc_type=doc_type,
        source=source,
        metadata=checked_metadata(metadata or {}, field="metadata"),
        suffix=_kept_suffix(file_name) or _kept_suffix(name),
    )


def _kept_suffix(name: str | None) -> str | None:
    """How a file's name ended, if that may be a suffix: the rest of a name is of no use, and may be anything."""
    suffix = suffix_of(name or "")
    return suffix if 1 < len(suffix) <= SUFFIX_CHARS and suffix[1:].isalnum() else None


class Indexing:
    """One run over uploaded documents of a space. Their status says how far each of them is.

    `writing` makes the caller the only one to write to the space, `ingester` then gives its writer.
    """

    def __init__(
        self,
        space_id: int,
        *,
        catalog: Catalog,
        writing: Callable[[], AbstractAsyncContextManager[None]],
        ingester: Callable[[], Awaitable[Ingester]],
        progress: Callable[[IngestProgress], None] | None = None,
    ) -> None:
        self._space_id = space_id
        self._catalog = catalog
        self._writing = writing
        self._ingester = ingester
        self._progress = progress

    async def run(self, ids: Sequence[int]) -> None:
        """Index those of the documents that were uploaded, and set what became of each.

        When a part fails, what is not indexed is FAILED with the reason, and the error is raised. When the run is
        cancelled, or only has to wait for another process or for the catalog, it is TODO again.
        """
        there = await self._catalog.upload_states(self._space_id, ids)
        left = {document_id: upload.id for document_id, upload in there.items()}
        stuck = f"documents of space {self._space_id} may say that they are being indexed, and are not"
        async with undoing(lambda error: self._mark(dict.fromkeys(left, _end(error)), left), otherwise=stuck):
            await self._mark(dict.fromkeys(left, (DocumentStatus.RUNNING, None)), left)
            for group in _groups({document_id: upload.size for document_id, upload in there.items()}):
                await self._index(group)
                for document_id in group:
                    del left[document_id]

    async def _index(self, ids: Sequence[int]) -> None:
        async with self._writing():
            # Read while nobody can delete: what is gone must not come back.
            kept = await self._catalog.uploads(self._space_id, ids)
            ingester = await self._ingester()
            report = await ingester.ingest([_source(upload) for upload in kept.values()], progress=self._progress)
            reasons = {failure.name: failure.reason for failure in report.failed}
            # Before anybody else indexes: what was uploaded meanwhile is still to be done.
            await self._mark(
                {document_id: _state(reasons.get(upload.name)) for document_id, upload in kept.items()},
                {document_id: upload.id for document_id, upload in kept.items()},
            )

    async def _mark(self, states: Mapping[int, State], uploads: Mapping[int, int]) -> None:
        if states:
            await self._catalog.mark_documents(self._space_id, states, uploads=uploads)


def _source(upload: Upload) -> Source:
    from kbchat.ingestion.items import FileContent

    if upload.doc_type == "TEXT":
        return TextDocument(
            name=upload.name, text=upload.data.decode(), metadata=dict(upload.metadata), source=upload.source
        )
    suffixes = (suffix_of(upload.name), upload.suffix or "")
    return FileContent(upload.name, upload.data, upload.source, upload.metadata, suffixes)


def _state(reason: str | None) -> State:
    return (DocumentStatus.FINISHED, None) if reason is None else (DocumentStatus.FAILED, reason)


def _end(error: BaseException) -> State:
    """What becomes of documents that were not reached."""
    if isinstance(error, KbchatError) and not isinstance(error, BusyError | CatalogUnavailableError):
        return (DocumentStatus.FAILED, error.message)
    return (DocumentStatus.TODO, None)


def _groups(sizes: Mapping[int, int]) -> Iterator[list[int]]:
    group: list[int] = []
    size = 0
    for document_id, each in sizes.items():
        if group and (size + each > GROUP_BYTES or len(group) >= GROUP_DOCUMENTS):
            yield group
            group, size = [], 0
        group.append(document_id)
        size += each
    if group:
        yield group
