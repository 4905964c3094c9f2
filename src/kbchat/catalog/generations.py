"""Transactions on generations: written beside the live ones, published in one step, collected later.

Each function runs inside the caller's transaction.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam, exists, func, select

from kbchat.catalog import schema, spaces
from kbchat.catalog.documents import dump
from kbchat.catalog.records import NewChunk, NewGeneration, PendingGeneration
from kbchat.catalog.schema import GenerationState, among
from kbchat.models import DocumentStatus

_documents = schema.documents
_generations = schema.generations
_chunks = schema.chunks
_DOCUMENT_IDS = select(_documents.c.name, _documents.c.id).where(
    _documents.c.space_id == bindparam("space_id"), among(_documents.c.name, schema.texts("names"))
)
_KEPT = select(_documents.c.id, _documents.c.metadata).where(among(_documents.c.id, schema.ids("ids")))
_CARRIED = ("doc_type", "source", "size", "mtime_ns", "metadata", "content_hash", "chunk_count")
"""What a generation brings to its document."""
_PENDING = (
    select(
        _generations.c.id,
        _generations.c.document_id,
        *(_generations.c[name] for name in _CARRIED),
        # Uploaded anew since: what is published is not what is to be indexed.
        sa.and_(
            _documents.c.status == DocumentStatus.TODO.value, _documents.c.updated_at > _generations.c.created_at
        ).label("is_old"),
        _documents.c.visible,
        _documents.c.live_generation_id,
        _documents.c.chunk_count.label("old_chunk_count"),
    )
    .join(_documents, _documents.c.id == _generations.c.document_id)
    .where(
        _generations.c.space_id == bindparam("space_id"),
        _generations.c.state == GenerationState.PENDING,
        among(_generations.c.id, schema.ids("ids")),
    )
)


def _reserve_ids(conn: Connection, table: sa.Table, number: int) -> list[int]:
    """`number` ids that nobody else gets, ascending: rows go in at once, without asking back for the id of each."""
    if conn.dialect.name == "postgresql":
        sequence = func.pg_get_serial_sequence(table.name, "id")
        rows = conn.execute(select(func.nextval(sequence)).select_from(func.generate_series(1, number)))
        return sorted(rows.scalars())
    # The transaction holds SQLite's only write lock. Inserting an id raises the sequence.
    last = conn.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = ?", (table.name,)).scalar_one_or_none()
    return list(range((last or 0) + 1, (last or 0) + 1 + number))


def _insert(conn: Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        conn.execute(table.insert(), rows)


def _document_ids(conn: Connection, space_id: int, new: Sequence[NewGeneration], now: datetime) -> dict[str, int]:
    """The ids of the documents by name; those that are not there are made, unseen."""
    # In order, so that two servers that write the same documents cannot wait for each other.
    names = sorted({generation.name for generation in new})
    rows = conn.execute(_DOCUMENT_IDS, {"space_id": space_id, "names": names})
    known: dict[str, int] = {row.name: row.id for row in rows}
    missing = [name for name in names if name not in known]
    if not missing:
        return known
    shared = {
        "space_id": space_id,
        "visible": False,
        "doc_type": "TEXT",
        "status": DocumentStatus.RUNNING.value,
        "metadata": "{}",
        "content_hash": "",
        "chunk_count": 0,
        "created_at": now,
        "updated_at": now,
    }
    new_ids = _reserve_ids(conn, _documents, len(missing))
    conn.execute(
        schema.insert_new(conn, _documents),
        [{**shared, "id": new_id, "name": name} for new_id, name in zip(new_ids, missing, strict=True)],
    )
    rows = conn.execute(_DOCUMENT_IDS, {"space_id": space_id, "names": missing})
    return known | {row.name: row.id for row in rows}


def begin(conn: Connection, space_id: int, new: Sequence[NewGeneration], *, now: datetime) -> list[PendingGeneration]:
    spaces.hold(conn, space_id)
    document_ids = _document_ids(conn, space_id, new, now)
    generation_ids = _reserve_ids(conn, _generations, len(new))
    chunk_ids = iter(_reserve_ids(conn, _chunks, sum(len(generation.chunks) for generation in new)))
    pending = [
        PendingGeneration(
            id=generation_id,
            document_id=document_ids[generation.name],
            chunk_ids=tuple(next(chunk_ids) for _ in generation.chunks),
        )
        for generation_id, generation in zip(generation_ids, new, strict=True)
    ]
    kept = _kept_metadata(conn, [document_ids[generation.name] for generation in new if generation.metadata is None])
    _insert(
        conn,
        _generations,
        [
            _generation_row(space_id, begun, generation, kept, now)
            for begun, generation in zip(pending, new, strict=True)
        ],
    )
    _insert(
        conn,
        _chunks,
        [
            row
            for begun, generation in zip(pending, new, strict=True)
            for row in _chunk_rows(space_id, begun, generation.chunks)
        ],
    )
    return pending


def extend(conn: Connection, space_id: int, generation_id: int, chunks: Sequence[NewChunk]) -> list[int]:
    spaces.hold(conn, space_id)
    pending = sa.and_(
        _generations.c.id == generation_id,
        _generations.c.space_id == space_id,
        _generations.c.state == GenerationState.PENDING.value,
    )
    counted = _generations.update().where(pending).values(chunk_count=_generations.c.chunk_count + len(chunks))
    row = conn.execute(counted.returning(_generations.c.document_id, _generations.c.chunk_count)).one_or_none()
    if row is None:
        return []
    chunk_ids = _reserve_ids(conn, _chunks, len(chunks))
    begun = PendingGeneration(id=generation_id, document_id=row.document_id, chunk_ids=tuple(chunk_ids))
    _insert(conn, _chunks, [*_chunk_rows(space_id, begun, chunks, first=row.chunk_count - len(chunks))])
    return chunk_ids


def _kept_metadata(conn: Connection, document_ids: Sequence[int]) -> dict[int, str]:
    if not document_ids:
        return {}
    return {row.id: row.metadata for row in conn.execute(_KEPT, {"ids": document_ids})}


def _generation_row(
    space_id: int, begun: PendingGeneration, new: NewGeneration, kept: dict[int, str], now: datetime
) -> dict[str, Any]:
    return {
        "id": begun.id,
        "space_id": space_id,
        "document_id": begun.document_id,
        "state": GenerationState.PENDING.value,
        "doc_type": new.doc_type,
        "source": new.source,
        "size": new.size,
        "mtime_ns": new.mtime_ns,
        "metadata": kept[begun.document_id] if new.metadata is None else dump(new.metadata),
        "content_hash": new.content_hash,
        "chunk_count": len(new.chunks),
        "created_at": now,
        "text": new.text,
    }


def _chunk_rows(
    space_id: int, begun: PendingGeneration, chunks: Sequence[NewChunk], *, first: int = 0
) -> Iterator[dict[str, Any]]:
    for position, (chunk_id, chunk) in enumerate(zip(begun.chunk_ids, chunks, strict=True), first):
        yield {
            "id": chunk_id,
            "space_id": space_id,
            "document_id": begun.document_id,
            "generation_id": begun.id,
            "position": position,
            "start": chunk.start,
            "end": chunk.end,
            "content": chunk.content,
            "key": chunk.key,
            "metadata": dump(chunk.metadata),
            "vectors": chunk.vectors or None,
        }


def publish(conn: Connection, space_id: int, generation_ids: Sequence[int], *, writer: str, now: datetime) -> list[int]:
    spaces.lock(conn, space_id)
    pending = {row.id: row for row in conn.execute(_PENDING, {"space_id": space_id, "ids": generation_ids})}
    # Of two generations of one document the last one wins.
    in_turn = [pending[generation_id] for generation_id in generation_ids if generation_id in pending]
    live = {row.document_id: row for row in in_turn}
    if not live:
        return []
    winners = {row.id for row in live.values()}
    replaced = [row.live_generation_id for row in live.values() if row.live_generation_id is not None]
    _set_state(conn, [*replaced, *(pending.keys() - winners)], GenerationState.DEAD)
    _set_state(conn, sorted(winners), GenerationState.LIVE)
    conn.execute(
        _documents.update().where(_documents.c.id == bindparam("of_document")),
        [
            {
                "of_document": row.document_id,
                "visible": True,
                "live_generation_id": row.id,
                "status": (DocumentStatus.TODO if row.is_old else DocumentStatus.FINISHED).value,
                "error": None,
                "attempts": 0,
                "updated_at": now,
                **{name: row._mapping[name] for name in _CARRIED},
            }
            for row in live.values()
        ],
    )
    spaces.changed(
        conn,
        space_id,
        documents=sum(not row.visible for row in live.values()),
        chunks=sum(row.chunk_count - row.old_chunk_count for row in live.values()),
        writer=writer,
        now=now,
    )
    return [row.id for row in live.values()]


def _set_state(conn: Connection, ids: Sequence[int], state: GenerationState) -> None:
    statement = _generations.update().where(among(_generations.c.id, schema.ids("ids"))).values(state=state.value)
    conn.execute(statement, {"ids": ids})


def abandon(conn: Connection, space_id: int) -> None:
    spaces.lock(conn, space_id)
    pending = sa.and_(_generations.c.space_id == space_id, _generations.c.state == GenerationState.PENDING)
    conn.execute(_generations.update().where(pending).values(state=GenerationState.DEAD.value))


def collectable(conn: Connection, space_id: int, *, pending: bool) -> dict[int, list[int]]:
    spaces.require(conn, space_id)
    states = [GenerationState.DEAD, GenerationState.PENDING] if pending else [GenerationState.DEAD]
    statement = (
        select(_generations.c.id, _chunks.c.id)
        .outerjoin(_chunks, _chunks.c.generation_id == _generations.c.id)
        .where(_generations.c.space_id == space_id, _generations.c.state.in_(states))
        .order_by(_generations.c.id, _chunks.c.position)
    )
    found: dict[int, list[int]] = {}
    for generation_id, chunk_id in conn.execute(statement):
        chunk_ids = found.setdefault(generation_id, [])
        if chunk_id is not None:
            chunk_ids.append(chunk_id)
    return found


def collect(conn: Connection, space_id: int, generation_ids: Sequence[int]) -> bool:
    """Remove a slice of what dead and pending generations hold; returns whether there is more."""
    spaces.lock(conn, space_id)
    of_these = sa.and_(_generations.c.space_id == space_id, among(_generations.c.id, schema.ids("ids")))
    given = {"ids": generation_ids}
    # First of all dead, so that nobody publishes what is half removed.
    abandoned = sa.and_(of_these, _generations.c.state == GenerationState.PENDING)
    conn.execute(_generations.update().where(abandoned).values(state=GenerationState.DEAD.value), given)

    dead = sa.and_(of_these, _generations.c.state == GenerationState.DEAD)
    of_dead = _chunks.c.generation_id == _generations.c.id
    some = select(_chunks.c.id).join(_generations, of_dead).where(dead).limit(spaces.SLICE_CHUNKS)
    if conn.execute(_chunks.delete().where(_chunks.c.id.in_(some)), given).rowcount == spaces.SLICE_CHUNKS:
        return True
    # Only generations without chunks: the slice above may have ended within one.
    empty = select(_generations.c.id).where(dead).limit(spaces.SLICE_ROWS)
    gone = _generations.delete().where(_generations.c.id.in_(empty)).returning(_generations.c.document_id)
    document_ids = conn.execute(gone, given).scalars().all()
    conn.execute(
        _documents.delete().where(
            among(_documents.c.id, schema.ids("document_ids")),
            ~_documents.c.visible,
            ~exists().where(_generations.c.document_id == _documents.c.id),
        ),
        {"document_ids": document_ids},
    )
    return len(document_ids) == spaces.SLICE_ROWS
