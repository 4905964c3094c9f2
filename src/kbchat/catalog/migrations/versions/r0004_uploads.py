"""What was uploaded and is to be indexed."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", _ID, nullable=False),
        sa.Column("space_id", _ID, nullable=False),
        sa.Column("document_id", _ID, nullable=False),
        sa.Column("doc_type", sa.Text, nullable=False),
        sa.Column("source", sa.Text),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
        sa.ForeignKeyConstraint(["document_id"], ["documents.id"], name="fk_uploads_document_id_documents"),
        sa.UniqueConstraint("document_id", name="uq_uploads_document_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_uploads_space_id", "uploads", ["space_id"])
