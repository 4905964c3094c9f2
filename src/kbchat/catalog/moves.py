"""Transactions on where spaces are: their collections, their embedders, their words, and what is left over of a move.

Each function runs inside the caller's transaction.
"""

from datetime import datetime

from sqlalchemy import Connection, select

from kbchat.catalog import schema, spaces
from kbchat.catalog.records import Leftover
from kbchat.errors import BusyError
from kbchat.models import EmbedderPin, LexicalPlace, SpaceInfo, VectorType

_spaces = schema.spaces
_leftovers = schema.leftovers


def pin(conn: Connection, space_id: int, wanted: EmbedderPin, words: LexicalPlace | None) -> SpaceInfo:
    space = spaces.lock(conn, space_id)
    values = {} if space.embedder else spaces.pin_values(wanted)
    if words is not None and space.words is None:
        values["words"] = words
    if values:
        conn.execute(_spaces.update().where(_spaces.c.id == space_id).values(values))
    return spaces.get(conn, space_id)


def update(conn: Connection, space_id: int, change: spaces.SpaceChange, *, now: datetime) -> SpaceInfo:
    before = spaces.lock(conn, space_id)
    after = spaces.update(conn, space_id, change, now=now)
    _cross_over(conn, before, after)
    return after


def replace_collection(
    conn: Connection,
    space_id: int,
    *,
    collection: str,
    pin: EmbedderPin,
    writer: str,
    revision: int | None,
    now: datetime,
) -> None:
    space = _lock_unchanged(conn, space_id, revision)
    values = spaces.pin_values(pin) | {"collection": collection}
    conn.execute(_spaces.update().where(_spaces.c.id == space_id).values(values))
    spaces.changed(conn, space_id, documents=0, chunks=0, writer=writer, now=now)
    _cross_over(conn, space, spaces.get(conn, space_id))


def move(
    conn: Connection,
    space_id: int,
    to: VectorType,
    *,
    words: LexicalPlace,
    writer: str,
    revision: int | None,
    now: datetime,
) -> None:
    space = _lock_unchanged(conn, space_id, revision)
    values = {"vector_type": to.value, "words": words}
    conn.execute(_spaces.update().where(_spaces.c.id == space_id).values(values))
    spaces.changed(conn, space_id, documents=0, chunks=0, writer=writer, now=now)
    _cross_over(conn, space, spaces.get(conn, space_id))


def note(conn: Connection, space_id: int, leftover: Leftover) -> None:
    spaces.lock(conn, space_id)
    _note(conn, space_id, leftover)


def _note(conn: Connection, space_id: int, leftover: Leftover) -> None:
    place = {"vector_type": leftover.vector_type.value, "collection": leftover.collection}
    values = {"space_id": space_id, **place, **spaces.pin_values(leftover.embedder)}
    conn.execute(schema.insert_new(conn, _leftovers).values(values))


def forget(conn: Connection, space_id: int, leftover: Leftover) -> None:
    conn.execute(
        _leftovers.delete().where(
            _leftovers.c.space_id == space_id,
            _leftovers.c.vector_type == leftover.vector_type.value,
            _leftovers.c.collection == leftover.collection,
        )
    )


def left(conn: Connection, space_id: int) -> list[Leftover]:
    rows = conn.execute(select(_leftovers).where(_leftovers.c.space_id == space_id).order_by(_leftovers.c.id))
    return [Leftover(VectorType(row.vector_type), row.collection, spaces.pin_of(row)) for row in rows]


def own(space: SpaceInfo) -> set[Leftover]:
    """Where the space is: what would be left over if it were elsewhere."""
    places = {Leftover(space.vector_type, space.collection)}
    if space.words == "milvus":
        places.add(Leftover(VectorType.MILVUS, space.terms_collection))
    return places


def _cross_over(conn: Connection, before: SpaceInfo, after: SpaceInfo) -> None:
    """What the space was in and is not any more is left over, and what it is in now is not."""
    for place in own(before) - own(after) if before.embedder else ():
        _note(conn, before.id, place)
    for place in own(after):
        forget(conn, before.id, place)


def _lock_unchanged(conn: Connection, space_id: int, revision: int | None) -> SpaceInfo:
    space = spaces.lock(conn, space_id)
    if revision not in (None, space.revision):
        raise BusyError(f"space {space.name!r} was written to by another server meanwhile; try again")
    return space
