"""Embedding a space anew, from the texts in its catalog."""

import uuid
from collections.abc import Callable

from kbchat.catalog import Catalog, Leftover
from kbchat.embedders import Embedder
from kbchat.embedders.fingerprint import is_same
from kbchat.ingestion.writing import embed_all, known_rows
from kbchat.maintenance import BATCH_CHUNKS
from kbchat.models import EmbedderPin, IngestProgress, SpaceInfo
from kbchat.stores import VectorStore
from kbchat.text.splitting import text_of


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
    """Fill a new collection with vectors of every live chunk, then make it the space's; the old one is left over then.

    The caller holds the writer's lock. Should it be cut short, the space still has its old collection, and the next
    call with the same embedder goes on with the new one.
    """
    collection = await _begin(space, catalog, pin)
    await store.create_collection(collection, dimension=pin.dimension)
    _, live = await catalog.live_chunk_ids(space.id)
    there = {key async for part in store.iterate(collection) for key in part}
    await store.delete(collection, sorted(there.difference(live)))
    done, last = 0, 0
    while chunks := await catalog.embedding_fields(space.id, after=last, limit=BATCH_CHUNKS):
        missing = [chunk for chunk in chunks if chunk.id not in there]
        vectors = await embed_all(embedder, [text_of(chunk) for chunk in missing])
        found = known_rows(vectors)
        await store.upsert(collection, [missing[row].id for row in found], vectors[found])
        done, last = done + len(chunks), chunks[-1].id
        if progress is not None:
            progress(IngestProgress(done=done, total=space.chunk_count, chunks=done))
    await store.flush(collection)
    await catalog.replace_collection(space.id, collection=collection, pin=pin, writer=writer, revision=space.revision)


async def _begin(space: SpaceInfo, catalog: Catalog, pin: EmbedderPin) -> str:
    """The collection to fill: one that a call which was cut short has begun with this embedder, or a new one."""
    for leftover in await catalog.leftovers(space.id):
        begun = leftover.embedder
        if begun is not None and leftover.vector_type is space.vector_type and is_same(begun, pin):
            return leftover.collection
    collection = f"kb-{uuid.uuid4().hex}"
    await catalog.note_leftover(space.id, Leftover(space.vector_type, collection, pin))
    return collection
