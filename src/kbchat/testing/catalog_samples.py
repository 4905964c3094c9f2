"""Documents in few words, and what must hold of every catalog. Needs no pytest."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from kbchat.catalog import NewChunk, NewGeneration
from kbchat.models import EmbedderPin, Metadata, SpaceInfo, VectorType

if TYPE_CHECKING:
    from kbchat.catalog import Catalog, PendingGeneration

NOWHERE = 2**63 - 1
"""An id that nothing has."""
PIN = EmbedderPin(name="static", dimension=256, fingerprint="f")
MANY = 40_000
"""More values than a statement of SQLite or PostgreSQL takes one by one."""


def text_of(*parts: str) -> str:
    return "\n\n".join(parts)


def generation(name: str, *parts: str, metadata: Metadata | None = None, **own: str | int) -> NewGeneration:
    """A document whose text is the parts, each of them a chunk with its number as metadata."""
    chunks, start = [], 0
    for number, part in enumerate(parts):
        end = start + len(part)
        key = sha256(part.encode("utf-8", "replace")).hexdigest()
        chunks.append(NewChunk(start=start, end=end, content=part, metadata={"part": number}, key=key))
        start = end + 2
    text = text_of(*parts)
    digest = sha256(text.encode("utf-8", "replace")).hexdigest()
    return NewGeneration(
        name=name,
        text=text,
        content_hash=digest,
        metadata={} if metadata is None else metadata,
        chunks=chunks,
        **own,  # type: ignore[arg-type]
    )


async def a_space(catalog: Catalog, name: str = "handbook", owner: str = "") -> SpaceInfo:
    return await catalog.create_space(name=name, owner=owner, vector_type=VectorType.CHROMA, desc="", context=None)


async def put(
    catalog: Catalog, space: SpaceInfo, *generations: NewGeneration, writer: str = "w"
) -> list[PendingGeneration]:
    """Write the documents and publish them."""
    pending = await catalog.begin_generations(space.id, generations)
    await catalog.publish(space.id, [begun.id for begun in pending], writer=writer)
    return pending


async def assert_consistent(catalog: Catalog, space_id: int) -> None:
    """Every document is whole, its chunks are of one generation, and the counters are what is there."""
    info = await catalog.get_space(space_id)
    documents, total = await catalog.list_documents(space_id)
    assert (len(documents), total) == (info.document_count, info.document_count)
    found: list[int] = []
    for document in documents:
        text = (await catalog.get_document(space_id, document.id, with_text=True)).text or ""
        chunks = await catalog.document_chunks(document.id)
        assert len(chunks) == document.chunk_count
        assert [chunk.position for chunk in chunks] == list(range(len(chunks)))
        for chunk in chunks:
            assert text[chunk.start : chunk.end] == chunk.content
            assert chunk.document_name == document.name
        found += [chunk.id for chunk in chunks]
    assert sorted(found) == [chunk.id for chunk in await catalog.embedding_fields(space_id, limit=2**31 - 1)]
    assert len(found) == info.chunk_count
    dead = [chunk_id for ids in (await catalog.collectable(space_id, pending=True)).values() for chunk_id in ids]
    assert set(found).isdisjoint(dead)
    assert set(await catalog.live_chunks(space_id, [*found, *dead])) == set(found)
