"""Transactions on documents. Each function runs inside the caller's transaction."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from pydantic import JsonValue
from sqlalchemy import Connection, bindparam, func, select

from kbchat.catalog import schema, spaces
from kbchat.catalog.narrowing import All
from kbchat.catalog.records import SourceState
from kbchat.catalog.schema import GenerationState, among
from kbchat.errors import DocumentNotFoundError
from kbchat.models import Document, DocumentStatus, Metadata

_documents = schema.documents
_generations = schema.generations
_seen = (_documents.c.space_id == bindparam("space_id"), _documents.c.visible)
_BY_ID = select(_documents).where(*_seen, _documents.c.id == bindparam("id"))
_SPACE_OF = (
    select(_documents.c.space_id)
    .join(schema.spaces, schema.spaces.c.id == _documents.c.space_id)
    .where(_documents.c.id == bindparam("id"), _documents.c.visible, spaces.visible_to(None))
)
_BY_NAME = select(_documents).where(*_seen, _documents.c.name == bindparam("name"))
STATES = select(
    _documents.c.id,
    _documents.c.name,
    _documents.c.content_hash,
    _documents.c.status,
    _documents.c.source,
    _documents.c.size,
    _documents.c.mtime_ns,
).where(_documents.c.visible)
"""What `state_rows` reads."""
_STATUSES = {status.value: status for status in DocumentStatus}
_STATES = STATES.where(_documents.c.space_id == bindparam("space_id"), among(_documents.c.name, schema.texts("names")))

_METADATA = select(_documents.c.id, _documents.c.live_generation_id, _documents.c.metadata).where(*_seen)

load: Callable[[str], Metadata] = msgspec.json.Decoder(dict[str, Any]).decode
"""Metadata from what `dump` made of it."""
_encode = msgspec.json.Encoder(enc_hook=lambda value: dict(value)).encode


def dump(metadata: Mapping[str, JsonValue]) -> str:
    """Metadata as it is stored: JSON text, the same on every database."""
    return _encode(dict(metadata)).decode()


def _document(row: sa.Row[Any], text: str | None = None) -> Document:
    return Document(
        id=row.id,
        space_id=row.space_id,
        name=row.name,
        doc_type=row.doc_type,
        source=row.source,
        status=DocumentStatus(row.status),
        error=row.error,
        attempts=row.attempts,
        metadata=load(row.metadata),
        content_hash=row.content_hash,
        chunk_count=row.chunk_count,
        created_at=row.created_at,
        updated_at=row.updated_at,
        text=text,
    )


def states(conn: Connection, space_id: int, names: Sequence[str]) -> dict[str, SourceState]:
    spaces.require(conn, space_id)
    return state_rows(conn.execute(_STATES, {"space_id": space_id, "names": names}))


def state_rows(result: sa.CursorResult[Any]) -> dict[str, SourceState]:
    """States of documents by name."""
    # From the driver itself, which knows these types: there may be very many.
    assert result.cursor is not None
    return {
        name: SourceState(document_id, content_hash, _STATUSES[status], source, size, mtime_ns)
        for document_id, name, content_hash, status, source, size, mtime_ns in result.cursor.fetchall()
    }


def get(conn: Connection, space_id: int, document_id: int, *, with_text: bool) -> Document:
    spaces.require(conn, space_id)
    known = bool(spaces.possible([document_id]))
    row = conn.execute(_BY_ID, {"space_id": space_id, "id": document_id}).one_or_none() if known else None
    if row is None:
        raise DocumentNotFoundError(document_id)
    return _document(row, _text(conn, row) if with_text else None)


def one(conn: Connection, space_id: int, document_id: int) -> Document:
    """A document that the transaction itself has just written."""
    return _document(conn.execute(_BY_ID, {"space_id": space_id, "id": document_id}).one())


def find(conn: Connection, space_id: int, name: str, *, with_text: bool) -> Document | None:
    spaces.require(conn, space_id)
    row = conn.execute(_BY_NAME, {"space_id": space_id, "name": name}).one_or_none()
    if row is None:
        return None
    return _document(row, _text(conn, row) if with_text else None)


def _text(conn: Connection, document: sa.Row[Any]) -> str | None:
    """The live text; None while there is none."""
    statement = select(_generations.c.text).where(_generations.c.id == document.live_generation_id)
    return conn.execute(statement).scalar_one_or_none()


def page(conn: Connection, space_id: int, *, offset: int, limit: int | None) -> tuple[list[Document], int]:
    total = spaces.get(conn, space_id).document_count
    where = [_documents.c.space_id == space_id, _documents.c.visible]
    rows = conn.execute(select(_documents).where(*where).order_by(_documents.c.id).offset(offset).limit(limit))
    return [_document(row) for row in rows], total


def anywhere(conn: Connection, document_id: int, *, owner: str | None, with_text: bool) -> Document:
    space_id = conn.execute(_SPACE_OF, {"id": document_id}).scalar_one_or_none()
    if space_id is None or (owner is not None and spaces.get(conn, space_id).owner != owner):
        raise DocumentNotFoundError(document_id)
    return get(conn, space_id, document_id, with_text=with_text)


def all_anywhere(conn: Connection, document_ids: Sequence[int], *, owner: str | None) -> list[Document]:
    statement = (
        select(_documents)
        .join(schema.spaces, schema.spaces.c.id == _documents.c.space_id)
        .where(among(_documents.c.id, schema.ids("ids")), _documents.c.visible, spaces.visible_to(owner))
    )
    found = {row.id: _document(row) for row in conn.execute(statement, {"ids": spaces.possible(document_ids)})}
    for document_id in document_ids:
        if document_id not in found:
            raise DocumentNotFoundError(document_id)
    return [found[document_id] for document_id in document_ids]


def page_of_all(conn: Connection, *, owner: str | None, offset: int, limit: int | None) -> tuple[list[Document], int]:
    of_owner = spaces.visible_to(owner)
    total = conn.execute(select(func.coalesce(func.sum(schema.spaces.c.document_count), 0)).where(of_owner))
    rows = conn.execute(
        select(_documents)
        .join(schema.spaces, schema.spaces.c.id == _documents.c.space_id)
        .where(of_owner, _documents.c.visible)
        .order_by(_documents.c.id)
        .offset(offset)
        .limit(limit)
    )
    return [_document(row) for row in rows], int(total.scalar_one())


def matching(
    conn: Connection, space_id: int, test: Callable[[Metadata], bool], must: All
) -> list[tuple[int, int | None]]:
    spaces.require(conn, space_id)
    # One at a time: to keep all the metadata of a large space costs more than to read it.
    rows = conn.execute(_METADATA.where(*_holds(conn, must)), {"space_id": space_id})
    return [(key, generation) for key, generation, stored in rows if test(load(stored))]


def _holds(conn: Connection, must: All) -> list[sa.ColumnElement[bool]]:
    find = func.strpos if conn.dialect.name == "postgresql" else func.instr
    texts = [find(_documents.c.metadata, text) > 0 for text in must.texts if text]
    return texts + [
        sa.or_(*(sa.and_(sa.true(), *_holds(conn, part)) for part in either.parts)) for either in must.parts
    ]


def count(conn: Connection, space_id: int) -> dict[DocumentStatus, int]:
    spaces.require(conn, space_id)
    where = (_documents.c.space_id == space_id, _documents.c.visible)
    rows = conn.execute(select(_documents.c.status, func.count()).where(*where).group_by(_documents.c.status))
    return {DocumentStatus(status): number for status, number in rows}


def delete(conn: Connection, space_id: int, document_id: int, *, writer: str, now: datetime) -> Document:
    spaces.lock(conn, space_id)
    document = get(conn, space_id, document_id, with_text=False)
    # The pending ones too: an ingest that began before the deletion must not bring the document back.
    conn.execute(
        _generations.update()
        .where(_generations.c.document_id == document_id, _generations.c.state != GenerationState.DEAD)
        .values(state=GenerationState.DEAD.value)
    )
    conn.execute(schema.uploads.delete().where(schema.uploads.c.document_id == document_id))
    conn.execute(_documents.delete().where(_documents.c.id == document_id))
    spaces.changed(conn, space_id, documents=-1, chunks=-document.chunk_count, writer=writer, now=now)
    return document
