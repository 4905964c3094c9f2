"""Transactions on conversations. Each function runs inside the caller's transaction.

What was last said in before `since` is expired: nobody sees it, and `expire` removes it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy import Connection, bindparam, func, select

from kbchat.catalog import schema
from kbchat.errors import ConversationNotFoundError
from kbchat.summaries import ConversationInfo, Sources, Turn

_conversations = schema.conversations
_turns = schema.turns
_COUNT = (
    select(func.count()).where(_turns.c.conversation_id == _conversations.c.id).correlate(_conversations)
).scalar_subquery()
_ONE = select(_conversations, _COUNT.label("turn_count")).where(
    _conversations.c.owner == bindparam("owner"),
    _conversations.c.uid == bindparam("uid"),
    _conversations.c.updated_at >= bindparam("since", type_=schema.UtcDateTime),
)
_EXPIRED = select(_conversations.c.id).where(
    _conversations.c.owner == bindparam("owner"),
    _conversations.c.uid == bindparam("uid"),
    _conversations.c.updated_at < bindparam("since", type_=schema.UtcDateTime),
)
_LAST = (
    select(_turns.c.role, _turns.c.content, _turns.c.sources)
    .where(_turns.c.conversation_id == bindparam("id"))
    .order_by(_turns.c.id.desc())
    .limit(bindparam("most", type_=sa.Integer))
)


def _info(row: sa.Row[Any]) -> ConversationInfo:
    return ConversationInfo(
        id=row.id,
        uid=row.uid,
        owner=row.owner,
        title=row.title,
        space_id=row.space_id,
        turn_count=row.turn_count,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def get(conn: Connection, owner: str, uid: str, *, since: datetime) -> ConversationInfo:
    row = conn.execute(_ONE, {"owner": owner, "uid": uid, "since": since}).one_or_none()
    if row is None:
        raise ConversationNotFoundError(uid)
    return _info(row)


def turns(conn: Connection, owner: str, uid: str, *, most: int, since: datetime) -> list[Turn]:
    conversation = get(conn, owner, uid, since=since)
    rows = conn.execute(_LAST, {"id": conversation.id, "most": most}).all()
    return [Turn(role=row.role, content=row.content, sources=_sources(row.sources)) for row in reversed(rows)]


def _sources(kept: str | None) -> Sources | None:
    try:
        return None if kept is None else Sources.model_validate_json(kept)
    except ValidationError:
        return None  # as another version of kbchat wrote them: what was said can be read all the same


def page(
    conn: Connection, owner: str, *, since: datetime, space_id: int | None, offset: int, limit: int | None
) -> tuple[list[ConversationInfo], int]:
    where = [_conversations.c.owner == owner, _conversations.c.updated_at >= since]
    if space_id is not None:
        where.append(_conversations.c.space_id == space_id)
    total = conn.execute(select(func.count()).select_from(_conversations).where(*where)).scalar_one()
    newest = select(_conversations, _COUNT.label("turn_count")).where(*where)
    ordered = newest.order_by(_conversations.c.updated_at.desc(), _conversations.c.id.desc())
    return [_info(row) for row in conn.execute(ordered.offset(offset).limit(limit))], total


def add(
    conn: Connection,
    owner: str,
    uid: str,
    said: Sequence[Turn],
    *,
    title: str,
    space_id: int | None,
    keep: int,
    since: datetime,
    now: datetime,
) -> None:
    # What is expired and not removed yet does not come back with a new turn.
    _remove(conn, list(conn.execute(_EXPIRED, {"owner": owner, "uid": uid, "since": since}).scalars()))
    values = {"owner": owner, "uid": uid, "title": title, "created_at": now, "updated_at": now}
    conn.execute(schema.insert_new(conn, _conversations), [values])
    this = (_conversations.c.owner == owner, _conversations.c.uid == uid)
    # Whoever else adds to the same conversation waits here: turns stand together, in order.
    touched = (
        _conversations.update().where(*this).values(updated_at=now, space_id=space_id).returning(_conversations.c.id)
    )
    conversation_id = conn.execute(touched).scalar_one()
    rows = [
        {
            "conversation_id": conversation_id,
            "role": it.role,
            "content": it.content,
            "sources": it.sources and it.sources.model_dump_json(),
        }
        for it in said
    ]
    conn.execute(_turns.insert(), rows)
    kept = (
        select(_turns.c.id).where(_turns.c.conversation_id == conversation_id).order_by(_turns.c.id.desc()).limit(keep)
    )
    conn.execute(_turns.delete().where(_turns.c.conversation_id == conversation_id, _turns.c.id.not_in(kept)))


def delete(conn: Connection, owner: str, uid: str, *, since: datetime) -> ConversationInfo:
    conversation = get(conn, owner, uid, since=since)
    _remove(conn, [conversation.id])
    return conversation


def expire(conn: Connection, *, before: datetime, most: int) -> bool:
    """Remove some of what is expired; returns whether there is more."""
    old = select(_conversations.c.id).where(_conversations.c.updated_at < before).limit(most)
    ids = list(conn.execute(old).scalars())
    _remove(conn, ids)
    return len(ids) == most


def _remove(conn: Connection, ids: Sequence[int]) -> None:
    conn.execute(_turns.delete().where(schema.among(_turns.c.conversation_id, schema.ids("ids"))), {"ids": ids})
    conn.execute(_conversations.delete().where(schema.among(_conversations.c.id, schema.ids("ids"))), {"ids": ids})
