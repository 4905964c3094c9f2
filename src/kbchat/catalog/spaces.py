"""Transactions on spaces. Each function runs inside the caller's transaction."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam, func, select
from sqlalchemy.exc import IntegrityError

from kbchat.catalog import schema
from kbchat.catalog.schema import SpaceState
from kbchat.chunking import Splitting
from kbchat.errors import BusyError, SpaceExistsError, SpaceInUseError, SpaceNotFoundError
from kbchat.models import MAX_ID, EmbedderPin, SpaceInfo, VectorType

_spaces = schema.spaces
_is_live = _spaces.c.state == SpaceState.LIVE
_is_there = _spaces.c.state != SpaceState.DELETED
_SPACE = select(_spaces).where(_spaces.c.id == bindparam("space_id"), _is_there)
_NAMED = select(_spaces).where(_spaces.c.name == bindparam("name"), _is_live).order_by(_spaces.c.id)
_NAMED_OF = _NAMED.where(_spaces.c.owner == bindparam("owner"))
_EXISTS = select(_spaces.c.id).where(_spaces.c.id == bindparam("space_id"), _is_there)
_SHARED = _EXISTS.with_for_update(read=True)
_EXCLUSIVE = _SPACE.with_for_update()
_TURN = select(_spaces.c.turn, _spaces.c.name).where(_spaces.c.id == bindparam("of"))
_TAKE_TURN = (
    _spaces.update().where(_spaces.c.id == bindparam("of")).values(turn=_spaces.c.turn + 1).returning(_spaces.c.turn)
)

SLICE_CHUNKS = 5000
"""Rows removed in one transaction, so that other writers need not wait long."""
SLICE_ROWS = 500
SLICE_UPLOADS = 20


class SpaceFilter(NamedTuple):
    """Which spaces a listing is of; None means any."""

    owner: str | None = None
    name: str | None = None
    vector_type: VectorType | None = None


class NewSpace(NamedTuple):
    """What a space is made with."""

    name: str
    owner: str
    vector_type: VectorType
    desc: str
    context: str | None
    splitting: Splitting | None = None


class SpaceChange(NamedTuple):
    """What an update sets; None leaves as it is, and "default" takes the space's own splitting away."""

    name: str | None = None
    owner: str | None = None
    vector_type: VectorType | None = None
    desc: str | None = None
    context: str | None = None
    splitting: Splitting | Literal["default"] | None = None


def pin_of(row: sa.Row[Any]) -> EmbedderPin | None:
    """What a row says of an embedder."""
    if row.embedder_name is None:
        return None
    return EmbedderPin(name=row.embedder_name, dimension=row.embedder_dimension, fingerprint=row.embedder_fingerprint)


def pin_values(pin: EmbedderPin | None) -> dict[str, Any]:
    """The columns of a row that say so."""
    return {
        "embedder_name": pin.name if pin else None,
        "embedder_dimension": pin.dimension if pin else None,
        "embedder_fingerprint": pin.fingerprint if pin else None,
    }


def _info(row: sa.Row[Any]) -> SpaceInfo:
    return SpaceInfo(
        id=row.id,
        name=row.name,
        owner=row.owner,
        vector_type=VectorType(row.vector_type),
        desc=row.desc,
        context=row.context,
        collection=row.collection,
        embedder=pin_of(row),
        words=row.words,
        splitting=None if row.splitting is None else Splitting.model_validate_json(row.splitting),
        revision=row.revision,
        last_writer=row.last_writer,
        document_count=row.document_count,
        chunk_count=row.chunk_count,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def possible(ids: Sequence[int]) -> list[int]:
    """Those that a database can be asked for; there is nothing behind the others."""
    return [it for it in ids if 0 <= it <= MAX_ID]


def _one(conn: Connection, statement: sa.Select[Any], space_id: int) -> sa.Row[Any]:
    row = conn.execute(statement, {"space_id": space_id}).one_or_none() if possible([space_id]) else None
    if row is None:
        raise SpaceNotFoundError(space_id)
    return row


def require(conn: Connection, space_id: int) -> None:
    """Raises `SpaceNotFoundError` unless the space is there."""
    _one(conn, _EXISTS, space_id)


def hold(conn: Connection, space_id: int) -> None:
    """As `require`, and keep the space from being changed or deleted until the transaction ends."""
    _one(conn, _SHARED, space_id)


def lock(conn: Connection, space_id: int) -> SpaceInfo:
    """The space, as nobody else can change it until the transaction ends."""
    return _info(_one(conn, _EXCLUSIVE, space_id))


def take_turn(conn: Connection, space_id: int) -> int | None:
    """Raise the number of who may write to a space, and be it; None for a space that is not there."""
    turn: int | None = conn.execute(_TAKE_TURN, {"of": space_id}).scalar_one_or_none()
    return turn


def in_turn(conn: Connection, space_id: int, turn: int) -> None:
    """Raises `BusyError` where another server took its turn since. The transaction holds the space's row, so that none
    does before it ends."""
    row = conn.execute(_TURN, {"of": space_id}).one()
    if row.turn != turn:
        raise BusyError(
            f"another server took over the writing to space {row.name!r}, because the connection that held its lock "
            "was lost; repeat what is not done",
            place=row.name,
        )


def create(conn: Connection, new: NewSpace, *, hidden: bool, now: datetime) -> SpaceInfo:
    statement = (
        schema.insert_new(conn, _spaces)
        .values(
            state=SpaceState.MAKING if hidden else SpaceState.LIVE,
            **new._asdict() | {"splitting": _kept(new.splitting)},
            collection=f"kb-{uuid4().hex}",
            revision=0,
            last_writer="",
            document_count=0,
            chunk_count=0,
            created_at=now,
            updated_at=now,
        )
        .returning(_spaces)
    )
    row = conn.execute(statement).one_or_none()
    if row is None:
        raise SpaceExistsError(new.name, new.owner)
    return _info(row)


def _kept(splitting: Splitting | Literal["default"] | None) -> str | None:
    return splitting.model_dump_json() if isinstance(splitting, Splitting) else None


def visible_to(owner: str | None) -> sa.ColumnElement[bool]:
    """Which spaces there are for an owner; for None, which there are."""
    return _is_live if owner is None else sa.and_(_is_live, _spaces.c.owner == owner)


def get(conn: Connection, space_id: int) -> SpaceInfo:
    return _info(_one(conn, _SPACE, space_id))


def find(conn: Connection, name: str, owner: str | None) -> list[SpaceInfo]:
    rows = conn.execute(_NAMED if owner is None else _NAMED_OF, {"name": name, "owner": owner})
    return [_info(row) for row in rows]


def page(conn: Connection, where: SpaceFilter, *, offset: int, limit: int | None) -> tuple[list[SpaceInfo], int]:
    given = [_spaces.c[column] == value for column, value in where._asdict().items() if value is not None]
    total = conn.execute(select(func.count()).select_from(_spaces).where(_is_live, *given)).scalar_one()
    rows = conn.execute(select(_spaces).where(_is_live, *given).order_by(_spaces.c.id).offset(offset).limit(limit))
    return [_info(row) for row in rows], total


def update(conn: Connection, space_id: int, change: SpaceChange, *, now: datetime) -> SpaceInfo:
    space = lock(conn, space_id)
    if change.vector_type not in (None, space.vector_type) and _is_used(conn, space):
        raise SpaceInUseError(
            space.name,
            f"space {space.name!r} holds documents in {space.vector_type}; take it to the other store with "
            f"`kbchat migrate {space.id} --to {change.vector_type}`, or empty it first",
        )
    values = {column: value for column, value in change._asdict().items() if value is not None}
    if change.vector_type not in (None, space.vector_type):
        values["words"] = None
    if change.splitting is not None:
        values["splitting"] = _kept(change.splitting)
    statement = _spaces.update().where(_spaces.c.id == space_id).values(**values, updated_at=now).returning(_spaces)
    try:
        return _info(conn.execute(statement).one())
    except IntegrityError:
        raise SpaceExistsError(
            change.name or space.name, space.owner if change.owner is None else change.owner
        ) from None


def _is_used(conn: Connection, space: SpaceInfo) -> bool:
    """Whether the space has a document, or vectors of one that is being written or not yet collected."""
    written = select(schema.generations.c.id).where(schema.generations.c.space_id == space.id).limit(1)
    return space.document_count > 0 or conn.execute(written).first() is not None


def begin_deletion(conn: Connection, space_id: int, *, now: datetime) -> SpaceInfo:
    space = lock(conn, space_id)
    conn.execute(
        _spaces.update().where(_spaces.c.id == space_id).values(state=SpaceState.DELETED.value, updated_at=now)
    )
    return space


def reveal(conn: Connection, space_id: int) -> SpaceInfo:
    space = lock(conn, space_id)
    try:
        conn.execute(_spaces.update().where(_spaces.c.id == space_id).values(state=SpaceState.LIVE.value))
    except IntegrityError:
        raise SpaceExistsError(space.name, space.owner) from None
    return space


def ids(conn: Connection) -> set[int]:
    return set(conn.execute(select(_spaces.c.id)).scalars())


def deleted(conn: Connection) -> list[SpaceInfo]:
    rows = conn.execute(select(_spaces).where(_spaces.c.state != SpaceState.LIVE).order_by(_spaces.c.id))
    return [_info(row) for row in rows]


def finish_deletion(conn: Connection, space_id: int) -> bool:
    """Remove a slice of a hidden space's rows; returns whether there are more."""
    state = conn.execute(select(_spaces.c.state).where(_spaces.c.id == space_id)).scalar_one_or_none()
    if state != SpaceState.DELETED:
        return False
    # Children first; what is left of one kind is looked at again before the next kind is touched.
    for table, count in (
        (schema.chunks, SLICE_CHUNKS),
        (schema.generations, SLICE_ROWS),
        (schema.uploads, SLICE_UPLOADS),
        (schema.leftovers, SLICE_ROWS),
        (schema.documents, SLICE_ROWS),
    ):
        some = select(table.c.id).where(table.c.space_id == space_id).limit(count)
        if conn.execute(table.delete().where(table.c.id.in_(some))).rowcount == count:
            return True
    conn.execute(_spaces.delete().where(_spaces.c.id == space_id))
    return False


def changed(conn: Connection, space_id: int, *, documents: int, chunks: int, writer: str | None, now: datetime) -> None:
    """Raise the revision of a space that the transaction has locked, and add to its counters. `writer` is who changed
    its indexes too; None where nobody did: who did so last is still who did."""
    given = {"of": space_id, "by": writer, "documents": documents, "chunks": chunks, "now": now}
    conn.execute(_CHANGED, given)


_CHANGED = (
    _spaces.update()
    .where(_spaces.c.id == bindparam("of"))
    .values(
        revision=_spaces.c.revision + 1,
        last_writer=func.coalesce(bindparam("by", type_=sa.Text), _spaces.c.last_writer),
        document_count=_spaces.c.document_count + bindparam("documents", type_=sa.BigInteger),
        chunk_count=_spaces.c.chunk_count + bindparam("chunks", type_=sa.BigInteger),
        updated_at=bindparam("now"),
    )
)
