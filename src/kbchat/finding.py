"""What a handle stands for; and a question to one space: its indexes in step with its row in the catalog, and what is
found in them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from kbchat import inputs, intake
from kbchat.errors import (
    AmbiguousSpaceError,
    CollectionNotFoundError,
    DocumentNotFoundError,
    KbchatError,
    SpaceNotFoundError,
)
from kbchat.inputs import DocumentHandle, RetrievalOptions, SpaceHandle
from kbchat.models import Document, Reference, SpaceInfo, VectorType

if TYPE_CHECKING:
    from kbchat.catalog import Catalog
    from kbchat.retrieval.retriever import Retrieval
    from kbchat.wiring import Parts

Found = tuple[SpaceInfo, Sequence[Reference]]
"""The space as it was when it was asked, and the hits, best first."""


async def find_space(catalog: Catalog, asked: SpaceHandle, *, owner: str | None = None) -> SpaceInfo:
    """The space that a handle stands for, as it is now; with an owner, no other's. Raises `SpaceNotFoundError` and
    `AmbiguousSpaceError`."""
    handle = inputs.checked_handle(asked, field="name_or_id", of=SpaceInfo)
    owner = inputs.asked_owner(owner)
    if isinstance(handle, str):
        found = await catalog.find_spaces(handle, owner=owner)
    else:
        found = [await catalog.get_space(handle)] if handle else []
    if len(found) > 1:
        raise AmbiguousSpaceError(str(handle), [info.id for info in found])
    known = getattr(asked, "info", asked)
    # Another catalog's space may have the same id, but is not as old.
    is_another = isinstance(known, SpaceInfo) and found and found[0].created_at != known.created_at
    if not found or is_another or (owner is not None and found[0].owner != owner):
        raise SpaceNotFoundError(asked if isinstance(asked, str | int) else handle)
    return found[0]


async def find_document(catalog: Catalog, space_id: int, asked: DocumentHandle, *, with_text: bool) -> Document:
    """The document of a space that a handle stands for. Raises `DocumentNotFoundError`."""
    handle = inputs.checked_handle(asked, field="id_or_name", of=Document)
    if isinstance(handle, str):
        document = await catalog.find_document(space_id, handle, with_text=with_text)
    else:
        document = await catalog.get_document(space_id, handle, with_text=with_text) if handle else None
    if document is None:
        raise DocumentNotFoundError(asked if isinstance(asked, str | int) else handle)
    return document


async def ready(parts: Parts, space_id: int) -> SpaceInfo:
    """The space as it is now, with its indexes in step if there is anything in it."""
    info = await parts.catalog.get_space(space_id)
    await intake.must_fit(parts, info)
    if info.chunk_count:
        await parts.freshness.see_writes(info)
    return info


async def find(parts: Parts, known: SpaceInfo, question: str, options: RetrievalOptions) -> Found:
    """What is found in a space that was last seen as `known`."""
    # Who only wrote to it may not have compared the embedder.
    if parts.freshness.is_in_step(known) and await parts.fits(known.embedder):
        # Most often it still is: what it is now was read with the chunks.
        with suppress(CollectionNotFoundError):
            found = await _search(parts, known, question, options)
            now = found.space or await ready(parts, known.id)
            if now.revision == known.revision:
                return now, found.references
    return await find_in(parts, await ready(parts, known.id), question, options)


async def find_in(parts: Parts, info: SpaceInfo, question: str, options: RetrievalOptions) -> Found:
    """What is found in a space that is ready."""
    while info.chunk_count:
        try:
            return info, (await _search(parts, info, question, options)).references
        except CollectionNotFoundError:
            # Another collection may have taken its place meanwhile.
            was, info = info, await ready(parts, info.id)
            if (info.collection, info.vector_type) == (was.collection, was.vector_type):
                raise
    return info, ()


async def warm(parts: Parts) -> None:
    """Find something on each kind of store, in the newest space that holds anything, for all that takes to be open."""
    from kbchat.stores.milvus import is_server

    infos, _ = await parts.catalog.list_spaces()
    newest = {info.vector_type: info for info in infos if info.chunk_count}
    if not is_server(parts.settings.milvus_uri or ""):
        newest.pop(VectorType.MILVUS, None)  # Milvus Lite is kept from other processes while it is open.
    options = parts.options(1, None, None, {}, caller="warm()")
    errors: list[KbchatError] = []
    for info in newest.values():
        try:
            await find(parts, info, "warm", options)
        except KbchatError as error:
            errors.append(error)
    if errors:
        raise errors[0]


async def _search(parts: Parts, info: SpaceInfo, question: str, options: RetrievalOptions) -> Retrieval:
    store = parts.store(info.vector_type)
    return await parts.retriever.retrieve(info, question, options, store=store, embedder=parts.embedder)
