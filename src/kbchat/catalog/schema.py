"""The catalog's tables, and the types that mean the same on SQLite and PostgreSQL.

A change here needs a new file in `migrations/versions`; a test compares the two.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy import Column, Connection, ForeignKey, Index, MetaData, Table, Text
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine


class SpaceState(StrEnum):
    MAKING = "making"
    """In no list and without a name until it is whole: only who makes it has its id."""
    LIVE = "live"
    DELETED = "deleted"
    """Hidden from everybody; its rows are being removed."""


class GenerationState(StrEnum):
    PENDING = "pending"
    """Written, not published."""
    LIVE = "live"
    """The one of its document that readers see."""
    DEAD = "dead"
    """Replaced or abandoned; its rows and index entries may be removed."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC. SQLite knows no time zones, so they are taken off and put on again."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


# SQLite gives ids that are never used again only to a column declared exactly INTEGER PRIMARY KEY AUTOINCREMENT.
Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

spaces = Table(
    "spaces",
    metadata,
    Column("id", Id, primary_key=True),
    Column("state", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("vector_type", Text, nullable=False),
    Column("desc", Text, nullable=False),
    Column("context", Text),
    Column("collection", Text, nullable=False, unique=True),
    Column("embedder_name", Text),
    Column("embedder_dimension", sa.Integer),
    Column("embedder_fingerprint", Text),
    Column("revision", sa.BigInteger, nullable=False),
    Column("last_writer", Text, nullable=False),
    # Counters, so that a question need not count: changed only in the transaction that changes what they count.
    Column("document_count", sa.BigInteger, nullable=False),
    Column("chunk_count", sa.BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    # JSON of a `Splitting`; null for that of the settings.
    Column("splitting", Text),
    # Where its words are searched; null until something was written to it.
    Column("words", Text),
    # Raised by each server that takes the writer's lock: who lost it without knowing is told by its number.
    Column("turn", sa.BigInteger, nullable=False, server_default="0"),
    sqlite_autoincrement=True,
)

# Only of spaces that can be seen: a deleted one keeps its name and stands in nobody's way. So on PostgreSQL too, but to
# say it here would load that dialect for everybody.
Index(
    "uq_spaces_name_owner_live",
    spaces.c.name,
    spaces.c.owner,
    unique=True,
    sqlite_where=sa.text(f"state = '{SpaceState.LIVE}'"),
)

documents = Table(
    "documents",
    metadata,
    Column("id", Id, primary_key=True),
    Column("space_id", Id, ForeignKey("spaces.id"), nullable=False),
    Column("name", Text, nullable=False),
    # False only while an ingest wrote its first generation and did not publish it.
    Column("visible", sa.Boolean, nullable=False),
    Column("live_generation_id", Id),
    Column("doc_type", Text, nullable=False),
    Column("source", Text),
    Column("size", sa.BigInteger),
    Column("mtime_ns", sa.BigInteger),
    Column("status", Text, nullable=False),
    Column("error", Text),
    Column("metadata", Text, nullable=False),
    Column("content_hash", Text, nullable=False),
    Column("chunk_count", sa.BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    # Failures in a row; 0 once it is in.
    Column("attempts", sa.BigInteger, nullable=False, server_default="0"),
    sa.UniqueConstraint("space_id", "name"),
    Index(None, "space_id", "id"),
    sqlite_autoincrement=True,
)

generations = Table(
    "generations",
    metadata,
    Column("id", Id, primary_key=True),
    Column("space_id", Id, ForeignKey("spaces.id"), nullable=False),
    # No foreign key: dead generations outlive their document until they are collected.
    Column("document_id", Id, nullable=False),
    Column("state", Text, nullable=False),
    Column("doc_type", Text, nullable=False),
    Column("source", Text),
    Column("size", sa.BigInteger),
    Column("mtime_ns", sa.BigInteger),
    Column("metadata", Text, nullable=False),
    Column("content_hash", Text, nullable=False),
    Column("chunk_count", sa.BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # Last, because SQLite walks through a long text to reach what is stored behind it.
    Column("text", Text, nullable=False),
    Index(None, "space_id", "state"),
    Index(None, "document_id"),
    sqlite_autoincrement=True,
)

chunks = Table(
    "chunks",
    metadata,
    Column("id", Id, primary_key=True),
    Column("space_id", Id, nullable=False),
    Column("document_id", Id, nullable=False),
    Column("generation_id", Id, ForeignKey("generations.id"), nullable=False),
    Column("position", sa.BigInteger, nullable=False),
    Column("start", sa.BigInteger, nullable=False),
    Column("end", sa.BigInteger, nullable=False),
    Column("content", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    # Derived from the content, for scoring; last, because it is read by questions alone.
    Column("vectors", sa.LargeBinary),
    Index(None, "space_id", "id"),
    Index(None, "generation_id", "position"),
    sqlite_autoincrement=True,
)


uploads = Table(
    "uploads",
    metadata,
    Column("id", Id, primary_key=True),
    Column("space_id", Id, nullable=False, index=True),
    Column("document_id", Id, ForeignKey("documents.id"), nullable=False, unique=True),
    Column("doc_type", Text, nullable=False),
    Column("source", Text),
    Column("metadata", Text, nullable=False),
    Column("size", sa.BigInteger, nullable=False),
    # SQLite walks through it to reach what is stored behind it: that is read with it.
    Column("data", sa.LargeBinary, nullable=False),
    # Of the file, whatever the document is called.
    Column("suffix", Text),
    sqlite_autoincrement=True,
)

# Collections on a store that a space is not, or no longer, searched in. Noted before one is made, and in the
# transaction that puts another in its place, so that whatever process dies, the next one knows of it.
leftovers = Table(
    "leftovers",
    metadata,
    Column("id", Id, primary_key=True),
    Column("space_id", Id, ForeignKey("spaces.id"), nullable=False),
    Column("vector_type", Text, nullable=False),
    Column("collection", Text, nullable=False),
    # By which embedder, of one that is being filled with new vectors.
    Column("embedder_name", Text),
    Column("embedder_dimension", sa.Integer),
    Column("embedder_fingerprint", Text),
    sa.UniqueConstraint("space_id", "vector_type", "collection"),
    sqlite_autoincrement=True,
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", Id, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("uid", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False, index=True),
    Column("title", Text, nullable=False, server_default=""),
    # No foreign key: a conversation outlives the space it asked.
    Column("space_id", Id),
    sa.UniqueConstraint("owner", "uid"),
    sqlite_autoincrement=True,
)

turns = Table(
    "turns",
    metadata,
    Column("id", Id, primary_key=True),
    Column("conversation_id", Id, ForeignKey("conversations.id"), nullable=False),
    Column("role", Text, nullable=False),
    Column("content", Text, nullable=False),
    # JSON of `Sources` without the passages' texts, which are the documents' own: what is removed there is gone.
    Column("sources", Text),
    Index(None, "conversation_id", "id"),
    sqlite_autoincrement=True,
)

keys = Table(
    "keys",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("role", Text, nullable=False),
    # SHA-256 of the key in hexadecimal. A key has 256 random bits: no salt and no slow hash could add to that.
    Column("digest", Text, nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
    sqlite_autoincrement=True,
)

VALID_KEY = sa.text("revoked_at IS NULL")
Index("uq_keys_name_valid", keys.c.name, unique=True, sqlite_where=VALID_KEY, postgresql_where=VALID_KEY)


class Many(TypeDecorator[Sequence[Any]]):
    """Any number of values in one bind parameter: an array on PostgreSQL, JSON on SQLite. Use with `among`."""

    impl = Text
    cache_ok = True

    def __init__(self, item: type[TypeEngine[Any]]) -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(sa.ARRAY(self.item()) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Sequence[Any] | None, dialect: Dialect) -> Any:
        assert value is not None
        items = list(value)
        return items if dialect.name == "postgresql" else msgspec.json.encode(items).decode()


class among(FunctionElement[bool]):  # noqa: N801 (reads as SQL)
    """`among(column, bindparam(name, type_=Many(…)))`: the column's value is one of the parameter's.

    Unlike `IN` the statement's text is the same for any number of values, and there is no limit to it.
    """

    type = sa.Boolean()
    inherit_cache = True
    name = "among"

    def self_group(self, against: object = None) -> "among":
        # It is a condition already. SQLAlchemy would write `(…) = 1` on SQLite, and no index would serve that.
        return self


@compiles(among, "sqlite")
def _among_sqlite(element: among, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({column} IN (SELECT value FROM json_each({values})))"  # noqa: S608 (compiled clauses)


@compiles(among, "postgresql")
def _among_postgresql(element: among, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({column} = ANY ({values}))"


def ids(name: str) -> sa.BindParameter[Sequence[int]]:
    """A parameter of `among` that holds ids."""
    return sa.bindparam(name, type_=Many(sa.BigInteger))


def texts(name: str) -> sa.BindParameter[Sequence[str]]:
    """A parameter of `among` that holds texts."""
    return sa.bindparam(name, type_=Many(Text))


def insert_new(connection: Connection, table: Table) -> sqlite.Insert:
    """An INSERT that passes over rows that are there already, by whatever is unique."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        # The two classes share no base that has what they share.
        return cast("sqlite.Insert", postgresql.insert(table).on_conflict_do_nothing())
    return sqlite.insert(table).on_conflict_do_nothing()
