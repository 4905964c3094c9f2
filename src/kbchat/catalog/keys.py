"""Transactions on API keys. Each function runs inside the caller's transaction."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from kbchat.catalog import schema
from kbchat.errors import KeyExistsError, KeyNotFoundError
from kbchat.models import KeyInfo, KeyRole

_keys = schema.keys
_is_valid = _keys.c.revoked_at.is_(None)
_BY_DIGEST = select(_keys).where(_keys.c.digest == sa.bindparam("digest"), _is_valid)
_ANY = select(_keys.c.id).limit(1)


def _info(row: sa.Row[Any]) -> KeyInfo:
    return KeyInfo(
        id=row.id,
        name=row.name,
        owner=row.owner,
        role=KeyRole(row.role),
        created_at=row.created_at,
        revoked_at=row.revoked_at,
    )


def create(conn: Connection, *, name: str, owner: str, role: KeyRole, digest: str, now: datetime) -> KeyInfo:
    values = {"name": name, "owner": owner, "role": role.value, "digest": digest, "created_at": now}
    try:
        return _info(conn.execute(_keys.insert().values(values).returning(_keys)).one())
    except IntegrityError:
        raise KeyExistsError(name) from None


def find(conn: Connection, digest: str) -> KeyInfo | None:
    row = conn.execute(_BY_DIGEST, {"digest": digest}).one_or_none()
    return None if row is None else _info(row)


def all_there_are(conn: Connection) -> list[KeyInfo]:
    return [_info(row) for row in conn.execute(select(_keys).order_by(_keys.c.id))]


def is_any(conn: Connection) -> bool:
    return conn.execute(_ANY).first() is not None


def revoke(conn: Connection, key: str | int, *, now: datetime) -> KeyInfo:
    named = _keys.c.id == key if isinstance(key, int) else _keys.c.name == key
    statement = _keys.update().where(named, _is_valid).values(revoked_at=now).returning(_keys)
    row = conn.execute(statement).one_or_none()
    if row is None:
        raise KeyNotFoundError(key)
    return _info(row)
