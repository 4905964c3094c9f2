"""Spaces, documents, generations and chunks."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_spaces()
    _create_documents()
    _create_generations()
    _create_chunks()


def _create_spaces() -> None:
    op.create_table(
        "spaces",
        sa.Column("id", _ID, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("vector_type", sa.Text, nullable=False),
        sa.Column("desc", sa.Text, nullable=False),
        sa.Column("context", sa.Text),
        sa.Column("collection", sa.Text, nullable=False),
        sa.Column("embedder_name", sa.Text),
        sa.Column("embedder_dimension", sa.Integer),
        sa.Column("embedder_fingerprint", sa.Text),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("last_writer", sa.Text, nullable=False),
        sa.Column("document_count", sa.BigInteger, nullable=False),
        sa.Column("chunk_count", sa.BigInteger, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_spaces"),
        sa.UniqueConstraint("collection", name="uq_spaces_collection"),
        sqlite_autoincrement=True,
    )
    live = sa.text("state = 'live'")
    op.create_index(
        "uq_spaces_name_owner_live",
        "spaces",
        ["name", "owner"],
        unique=True,
        sqlite_where=live,
        postgresql_where=live,
    )


def _create_documents() -> None:
    op.create_table(
        "documents",
        sa.Column("id", _ID, nullable=False),
        sa.Column("space_id", _ID, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("visible", sa.Boolean, nullable=False),
        sa.Column("live_generation_id", _ID),
        sa.Column("doc_type", sa.Text, nullable=False),
        sa.Column("source", sa.Text),
        sa.Column("size", sa.BigInteger),
        sa.Column("mtime_ns", sa.BigInteger),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("chunk_count", sa.BigInteger, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_documents"),
        sa.ForeignKeyConstraint(["space_id"], ["spaces.id"], name="fk_documents_space_id"),
        sa.UniqueConstraint("space_id", "name", name="uq_documents_space_id_name"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_documents_space_id_id", "documents", ["space_id", "id"])


def _create_generations() -> None:
    op.create_table(
        "generations",
        sa.Column("id", _ID, nullable=False),
        sa.Column("space_id", _ID, nullable=False),
        sa.Column("document_id", _ID, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("doc_type", sa.Text, nullable=False),
        sa.Column("source", sa.Text),
        sa.Column("size", sa.BigInteger),
        sa.Column("mtime_ns", sa.BigInteger),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("chunk_count", sa.BigInteger, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_generations"),
        sa.ForeignKeyConstraint(["space_id"], ["spaces.id"], name="fk_generations_space_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_generations_space_id_state", "generations", ["space_id", "state"])
    op.create_index("ix_generations_document_id", "generations", ["document_id"])


def _create_chunks() -> None:
    op.create_table(
        "chunks",
        sa.Column("id", _ID, nullable=False),
        sa.Column("space_id", _ID, nullable=False),
        sa.Column("document_id", _ID, nullable=False),
        sa.Column("generation_id", _ID, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("end", sa.BigInteger, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_chunks"),
        sa.ForeignKeyConstraint(["generation_id"], ["generations.id"], name="fk_chunks_generation_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_chunks_space_id_id", "chunks", ["space_id", "id"])
    op.create_index("ix_chunks_generation_id_position", "chunks", ["generation_id", "position"])
