"""Reading chunks. Each function runs inside the caller's transaction."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam, exists, func, select

from kbchat.catalog import documents, schema, spaces
from kbchat.catalog.records import LiveVectors, Surroundings
from kbchat.catalog.schema import SpaceState, among
from kbchat.models import Chunk, Metadata

_chunks = schema.chunks
_documents = schema.documents
_is_live = sa.and_(_documents.c.id == _chunks.c.document_id, _documents.c.live_generation_id == _chunks.c.generation_id)
_in_live_space = exists().where(schema.spaces.c.id == _documents.c.space_id, schema.spaces.c.state == SpaceState.LIVE)
_SELECT = select(
    _chunks.c.id,
    _chunks.c.document_id,
    _documents.c.name,
    _chunks.c.position,
    _chunks.c.start,
    _chunks.c.end,
    _chunks.c.content,
    _documents.c.metadata,
    _chunks.c.metadata,
).join(_documents, _is_live)
_OF_SPACE = _SELECT.where(
    among(_chunks.c.id, schema.ids("ids")),
    # `+ 0`, lest SQLite goes through all documents of the space by its index instead of by the chunks' ids.
    _documents.c.space_id + 0 == bindparam("space_id"),
)
_LIVE = _OF_SPACE.where(
    exists().where(schema.spaces.c.id == bindparam("space_id"), schema.spaces.c.state == SpaceState.LIVE)
)
_LIVE_VECTORS = _OF_SPACE.add_columns(_chunks.c.vectors)
_OF_DOCUMENT = _SELECT.where(_documents.c.id == bindparam("document_id"), _in_live_space).order_by(_chunks.c.position)
_AFTER = (
    _SELECT.where(_chunks.c.space_id == bindparam("space_id"), _chunks.c.id > bindparam("after"))
    .order_by(_chunks.c.id)
    .limit(bindparam("limit"))
)
_LIVE_IDS = (
    select(_chunks.c.id)
    .join(_documents, _is_live)
    .where(_chunks.c.space_id == bindparam("space_id"))
    .order_by(_chunks.c.id)
)
_OF_GENERATIONS = select(_chunks.c.id).where(among(_chunks.c.generation_id, schema.ids("ids")))
_OWNERS = select(_chunks.c.id, _chunks.c.document_id).where(among(_chunks.c.id, schema.ids("ids")))
_KEYS = (
    select(_chunks.c.document_id, _chunks.c.key, _chunks.c.id)
    .join(_documents, _is_live)
    .where(among(_documents.c.id, schema.ids("ids")), _in_live_space)
    .order_by(_chunks.c.id.desc())
)


_hits = _chunks.alias("hits")
_AROUND = (
    _SELECT.add_columns(_hits.c.id.label("hit"), _hits.c.generation_id.label("generation"))
    .join(
        _hits,
        sa.and_(
            _hits.c.generation_id == _chunks.c.generation_id,
            _chunks.c.position.between(
                _hits.c.position - bindparam("reach", type_=sa.BigInteger),
                _hits.c.position + bindparam("reach", type_=sa.BigInteger),
            ),
        ),
    )
    .where(
        among(_hits.c.id, schema.ids("ids")),
        _documents.c.space_id + 0 == bindparam("space_id"),
        exists().where(schema.spaces.c.id == bindparam("space_id"), schema.spaces.c.state == SpaceState.LIVE),
    )
    .order_by(_hits.c.id, _chunks.c.position)
)
_TEXT = select(
    func.substr(schema.generations.c.text, bindparam("first", type_=sa.Integer), bindparam("length", type_=sa.Integer))
).where(schema.generations.c.id == bindparam("generation"))


_FIELDS = set(Chunk.model_fields)
_set = object.__setattr__


def _chunk(values: dict[str, Any]) -> Chunk:
    """`Chunk.model_construct` with every field given, at a third of its price: a question makes a hundred."""
    chunk = Chunk.__new__(Chunk)
    _set(chunk, "__dict__", values)
    _set(chunk, "__pydantic_fields_set__", _FIELDS)
    _set(chunk, "__pydantic_extra__", None)
    _set(chunk, "__pydantic_private__", None)
    return chunk


def _read(rows: Sequence[Any]) -> list[Chunk]:
    of_document: dict[int, Metadata] = {}
    chunks = []
    for chunk_id, document_id, name, position, start, end, content, shared, own in rows:
        inherited = of_document.get(document_id)
        if inherited is None:
            inherited = of_document[document_id] = documents.load(shared)
        chunks.append(
            _chunk(
                {
                    "id": chunk_id,
                    "document_id": document_id,
                    "document_name": name,
                    "position": position,
                    "start": start,
                    "end": end,
                    "content": content,
                    "metadata": {**inherited, **documents.load(own)},
                }
            )
        )
    return chunks


def live(conn: Connection, space_id: int, ids: Sequence[int]) -> dict[int, Chunk]:
    found = {chunk.id: chunk for chunk in _read(conn.execute(_LIVE, {"space_id": space_id, "ids": ids}).all())}
    if not found:
        spaces.require(conn, space_id)
    return found


def live_vectors(conn: Connection, space_id: int, ids: Sequence[int]) -> LiveVectors:
    space = spaces.get(conn, space_id)
    rows = conn.execute(_LIVE_VECTORS, {"space_id": space_id, "ids": ids}).all()
    chunks = _read([row[:-1] for row in rows])
    return LiveVectors(space, {chunk.id: (chunk, row[-1] or b"") for chunk, row in zip(chunks, rows, strict=True)})


def surroundings(conn: Connection, space_id: int, ids: Sequence[int], *, reach: int) -> dict[int, Surroundings]:
    rows = conn.execute(_AROUND, {"space_id": space_id, "ids": ids, "reach": reach}).all()
    if not rows:
        spaces.require(conn, space_id)
    chunks: dict[tuple[int, int], list[Chunk]] = {}
    for chunk, row in zip(_read([row[:-2] for row in rows]), rows, strict=True):
        chunks.setdefault((row.hit, row.generation), []).append(chunk)
    found = {}
    for (hit, generation), around in chunks.items():
        start, end = around[0].start, max(chunk.end for chunk in around)
        # A database counts characters from 1.
        place = {"generation": generation, "first": start + 1, "length": end - start}
        found[hit] = Surroundings(around, conn.execute(_TEXT, place).scalar_one(), start)
    return found


def live_ids(conn: Connection, space_id: int) -> tuple[int, list[int]]:
    revision = spaces.get(conn, space_id).revision
    return revision, list(conn.execute(_LIVE_IDS, {"space_id": space_id}).scalars())


def of_generations(conn: Connection, generation_ids: Sequence[int]) -> list[int]:
    return list(conn.execute(_OF_GENERATIONS, {"ids": generation_ids}).scalars())


def owners(conn: Connection, ids: Sequence[int]) -> dict[int, int]:
    return {row.id: row.document_id for row in conn.execute(_OWNERS, {"ids": ids})}


def of_document(conn: Connection, document_id: int) -> list[Chunk]:
    return _read(conn.execute(_OF_DOCUMENT, {"document_id": document_id}).all())


def after(conn: Connection, space_id: int, *, after: int, limit: int) -> list[Chunk]:
    spaces.require(conn, space_id)
    return _read(conn.execute(_AFTER, {"space_id": space_id, "after": after, "limit": limit}).all())


def reusable(conn: Connection, document_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    found: dict[int, dict[str, int]] = {document_id: {} for document_id in document_ids}
    for document_id, key, chunk_id in conn.execute(_KEYS, {"ids": document_ids}):
        found[document_id][key] = chunk_id
    return found
