"""Transactions on what befalls documents beside being written: failing, moving, being edited or removed in numbers.

Each function runs inside the caller's transaction.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam, exists, func, select

from kbchat.catalog import documents, schema, spaces
from kbchat.catalog.records import DocumentEdit, FailedSource, SourceState
from kbchat.catalog.schema import GenerationState, among
from kbchat.errors import DocumentExistsError
from kbchat.models import Document, DocumentStatus

_documents = schema.documents
_generations = schema.generations


def beneath(conn: Connection, space_id: int, prefix: str) -> dict[str, SourceState]:
    """The documents whose source begins so, by name."""
    begins = func.substr(_documents.c.source, 1, len(prefix)) == prefix
    return documents.state_rows(conn.execute(documents.STATES.where(_documents.c.space_id == space_id, begins)))


def fail(conn: Connection, space_id: int, failures: Sequence[FailedSource], *, writer: str, now: datetime) -> None:
    spaces.lock(conn, space_id)
    names = [failure.name for failure in failures]
    known = {row.name: row for row in conn.execute(_KNOWN, {"space_id": space_id, "names": names})}
    old = [failure for failure in failures if failure.name in known]
    new = [failure for failure in failures if failure.name not in known]
    if new:
        shared = {"space_id": space_id, "visible": True, "metadata": "{}", "content_hash": "", "chunk_count": 0}
        shared |= {"status": DocumentStatus.FAILED.value, "attempts": 1, "created_at": now, "updated_at": now}
        rows = [
            {**shared, "name": it.name, "doc_type": it.doc_type, "source": it.source, "error": it.reason} for it in new
        ]
        conn.execute(_documents.insert(), rows)
    if old:
        change = _documents.update().where(_documents.c.id == bindparam("of"))
        change = change.values(
            status=DocumentStatus.FAILED.value,
            visible=True,
            error=bindparam("why"),
            attempts=_documents.c.attempts + 1,
            updated_at=now,
        )
        conn.execute(change, [{"of": known[it.name].id, "why": it.reason} for it in old])
    shown = len(new) + sum(not known[it.name].visible for it in old)
    spaces.changed(conn, space_id, documents=shown, chunks=0, writer=writer, now=now)


_KNOWN = select(_documents.c.id, _documents.c.name, _documents.c.visible).where(
    _documents.c.space_id == bindparam("space_id"), among(_documents.c.name, schema.texts("names"))
)


def touch(
    conn: Connection,
    space_id: int,
    stats: Mapping[int, tuple[int | None, int | None]],
    sources: Mapping[int, str],
) -> None:
    spaces.hold(conn, space_id)
    rows = [
        {"of": document_id, "now": size, "at": mtime_ns, "from": sources.get(document_id)}
        for document_id, (size, mtime_ns) in stats.items()
    ]
    touched = _documents.update().where(_documents.c.space_id == space_id, _documents.c.id == bindparam("of"))
    source = func.coalesce(bindparam("from", type_=sa.Text), _documents.c.source)
    conn.execute(touched.values(size=bindparam("now"), mtime_ns=bindparam("at"), source=source), rows)


def edit(conn: Connection, space_id: int, document_id: int, change: DocumentEdit, *, now: datetime) -> Document:
    spaces.lock(conn, space_id)
    document = documents.get(conn, space_id, document_id, with_text=False)
    values: dict[str, Any] = {"updated_at": now}
    if change.name is not None and change.name != document.name:
        taken = conn.execute(_KNOWN, {"space_id": space_id, "names": [change.name]}).one_or_none()
        if taken is not None and taken.visible:
            raise DocumentExistsError(change.name)
        if taken is not None:
            _bury(conn, [taken.id])  # Begun by an ingest that did not live to publish it.
        values["name"] = change.name
    told: dict[str, Any] = {}
    if change.source is not None:
        told["source"] = change.source
    if change.metadata is not None:
        told["metadata"] = documents.dump(change.metadata)
    if told:  # Also of what was uploaded, or it would be undone when that is indexed.
        conn.execute(schema.uploads.update().where(schema.uploads.c.document_id == document_id).values(**told))
    values |= told
    conn.execute(_documents.update().where(_documents.c.id == document_id).values(**values))
    spaces.changed(conn, space_id, documents=0, chunks=0, writer=None, now=now)
    return documents.get(conn, space_id, document_id, with_text=False)


_AWAITED = sa.and_(
    _documents.c.status != DocumentStatus.FINISHED.value,
    exists().where(schema.uploads.c.document_id == _documents.c.id),
)
"""Bytes that were handed over and are not indexed, be it that this failed: they are nowhere else."""


def awaited(conn: Connection, space_id: int, document_ids: Sequence[int]) -> set[int]:
    of_these = among(_documents.c.id, schema.ids("ids"))
    found = select(_documents.c.id).where(_documents.c.space_id == space_id, of_these, _AWAITED)
    return set(conn.execute(found, {"ids": list(document_ids)}).scalars())


def recount(conn: Connection, space_id: int, *, repair: bool) -> bool:
    space = spaces.lock(conn, space_id)
    shown = sa.and_(_documents.c.space_id == space_id, _documents.c.visible)
    counted = select(func.count(), func.coalesce(func.sum(_documents.c.chunk_count), 0)).where(shown)
    documents_, chunks = conn.execute(counted.select_from(_documents)).one()
    if (documents_, int(chunks)) == (space.document_count, space.chunk_count):
        return False
    if repair:
        values = {"document_count": documents_, "chunk_count": int(chunks)}
        conn.execute(schema.spaces.update().where(schema.spaces.c.id == space_id).values(values))
    return True


def delete(conn: Connection, space_id: int, document_ids: Sequence[int], *, writer: str, now: datetime) -> int:
    """Remove those that are there, but for those that were uploaded and are not indexed; returns how many."""
    spaces.lock(conn, space_id)
    given = {"ids": list(document_ids)}
    of_these = sa.and_(_documents.c.space_id == space_id, among(_documents.c.id, schema.ids("ids")))
    found = conn.execute(select(_documents.c.id, _documents.c.chunk_count).where(of_these, ~_AWAITED), given).all()
    if not found:
        return 0
    _bury(conn, [row.id for row in found])
    chunks = -sum(row.chunk_count for row in found)
    spaces.changed(conn, space_id, documents=-len(found), chunks=chunks, writer=writer, now=now)
    return len(found)


def _bury(conn: Connection, document_ids: Sequence[int]) -> None:
    """Remove the rows of documents; their generations are dead, and collected later."""
    given = {"ids": document_ids}
    dead = _generations.update().where(
        among(_generations.c.document_id, schema.ids("ids")), _generations.c.state != GenerationState.DEAD
    )
    conn.execute(dead.values(state=GenerationState.DEAD.value), given)
    conn.execute(schema.uploads.delete().where(among(schema.uploads.c.document_id, schema.ids("ids"))), given)
    conn.execute(_documents.delete().where(among(_documents.c.id, schema.ids("ids"))), given)
