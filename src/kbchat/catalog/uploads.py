"""Transactions on uploads: documents that were handed over, before and after they are indexed.

Each function runs inside the caller's transaction.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, exists, select

from kbchat.catalog import documents, schema, spaces
from kbchat.catalog.records import KeptUpload, Upload
from kbchat.catalog.schema import among
from kbchat.errors import DocumentExistsError
from kbchat.models import Document, DocumentStatus, SpaceInfo

_documents = schema.documents
_uploads = schema.uploads
_NAMED = select(_documents.c.id, _documents.c.visible).where(
    _documents.c.space_id == bindparam("space_id"), _documents.c.name == bindparam("name")
)
_KEPT = (
    select(_uploads, _documents.c.name)
    .join(_documents, _documents.c.id == _uploads.c.document_id)
    .where(_uploads.c.space_id == bindparam("space_id"), among(_uploads.c.document_id, schema.ids("ids")))
)
_NEW = _documents.insert().returning(_documents.c.id)
_AGAIN = (
    _documents.update()
    .where(_documents.c.id == bindparam("of"))
    .values(visible=True, status=bindparam("to"), error=None, updated_at=bindparam("now"))
)
_FORGET = _uploads.delete().where(_uploads.c.document_id == bindparam("of"))
_KEEP = _uploads.insert()
_STATES = select(_uploads.c.document_id, _uploads.c.id, _uploads.c.size).where(
    _uploads.c.space_id == bindparam("space_id"), among(_uploads.c.document_id, schema.ids("ids"))
)


def keep(
    conn: Connection, space_id: int, upload: Upload, *, replace: bool, now: datetime
) -> tuple[Document, SpaceInfo]:
    spaces.lock(conn, space_id)
    there = conn.execute(_NAMED, {"space_id": space_id, "name": upload.name}).one_or_none()
    if there is not None and there.visible and not replace:
        raise DocumentExistsError(upload.name)
    if there is None:
        document_id = conn.execute(_NEW, _new_row(space_id, upload, now)).scalar_one()
    else:
        document_id = there.id
        conn.execute(_AGAIN, {"of": document_id, "to": DocumentStatus.TODO.value, "now": now})
        conn.execute(_FORGET, {"of": document_id})
    conn.execute(_KEEP, _upload_row(space_id, document_id, upload))
    if there is None or not there.visible:
        spaces.changed(conn, space_id, documents=1, chunks=0, writer=None, now=now)
    return documents.one(conn, space_id, document_id), spaces.get(conn, space_id)


def _new_row(space_id: int, upload: Upload, now: datetime) -> dict[str, Any]:
    return {
        "space_id": space_id,
        "name": upload.name,
        "doc_type": upload.doc_type,
        "source": upload.source,
        "metadata": documents.dump(upload.metadata),
        "content_hash": "",
        "chunk_count": 0,
        "created_at": now,
        "visible": True,
        "status": DocumentStatus.TODO.value,
        "error": None,
        "updated_at": now,
    }


def _upload_row(space_id: int, document_id: int, upload: Upload) -> dict[str, Any]:
    return {
        "space_id": space_id,
        "document_id": document_id,
        "doc_type": upload.doc_type,
        "source": upload.source,
        "metadata": documents.dump(upload.metadata),
        "size": len(upload.data),
        "data": upload.data,
        "suffix": upload.suffix,
    }


def states(conn: Connection, space_id: int, ids: Sequence[int]) -> dict[int, KeptUpload]:
    spaces.require(conn, space_id)
    rows = conn.execute(_STATES, {"space_id": space_id, "ids": spaces.possible(ids)})
    return {row.document_id: KeptUpload(row.id, row.size) for row in rows}


def kept(conn: Connection, space_id: int, ids: Sequence[int]) -> dict[int, Upload]:
    spaces.require(conn, space_id)
    return {
        row.document_id: Upload(
            name=row.name,
            data=row.data,
            doc_type=row.doc_type,
            source=row.source,
            metadata=documents.load(row.metadata),
            id=row.id,
            suffix=row.suffix,
        )
        for row in conn.execute(_KEPT, {"space_id": space_id, "ids": ids})
    }


def mark(
    conn: Connection,
    space_id: int,
    states: Mapping[int, tuple[DocumentStatus, str | None]],
    *,
    uploads: Mapping[int, int],
    now: datetime,
) -> None:
    spaces.hold(conn, space_id)
    marked = _documents.update().where(
        _documents.c.space_id == space_id,
        _documents.c.id == bindparam("of"),
        _documents.c.status != bindparam("to"),
        exists().where(
            _uploads.c.document_id == _documents.c.id, (_uploads.c.id == bindparam("upload")) == bindparam("same")
        ),
    )
    rows = [
        {"of": document_id, "upload": uploads[document_id], "same": same, "to": to.value, "why": why}
        for document_id, state in states.items()
        for same, (to, why) in ((True, state), (False, (DocumentStatus.TODO, None)))
    ]
    if rows:
        conn.execute(marked.values(status=bindparam("to"), error=bindparam("why"), updated_at=now), rows)
