"""Embedding a space anew, from the texts in its catalog."""

import uuid
from collections.abc import Callable

from kbchat.catalog import Catalog
from kbchat.embedders import Embedder
from kbchat.ingestion.ingest import embed_all, known_rows
from kbchat.models import Chunk, EmbedderPin, IngestProgress, SpaceInfo
from kbchat.stores import VectorStore
from kbchat.text.splitting import embedded_text

BATCH_CHUNKS = 1000


async def reembed(
    space: SpaceInfo,
    *,
    catalog: Catalog,
    store: VectorStore,
    embedder: Embedder,
    pin: EmbedderPin,
    writer: str,
    progress: Callable[[IngestProgress], None] | None = None,
) -> None:
    """Fill a new collection with vectors of every live chunk, then make it the space's and drop the old one.

    The caller holds the writer's lock. Should it be cut short, the space still has its old collection.
    """
    collection = f"kb-{uuid.uuid4().hex}"
    await store.create_collection(collection, dimension=pin.dimension)
    done, last = 0, 0
    while chunks := await catalog.embedding_fields(space.id, after=last, limit=BATCH_CHUNKS):
        vectors = await embed_all(embedder, [embedded_text(headings_of(chunk), chunk.content) for chunk in chunks])
        found = known_rows(vectors)
        await store.upsert(collection, [chunks[row].id for row in found], vectors[found])
        done, last = done + len(chunks), chunks[-1].id
        if progress is not None:
            progress(IngestProgress(done=done, total=space.chunk_count, chunks=done))
    await store.flush(collection)
    await catalog.replace_collection(space.id, collection=collection, pin=pin, writer=writer, revision=space.revision)
    await store.drop_collection(space.collection)


def headings_of(chunk: Chunk) -> tuple[str, ...]:
    """The headings above a chunk, outermost first."""
    headings = chunk.metadata.get("headings")
    return tuple(str(heading) for heading in headings) if isinstance(headings, list) else ()
