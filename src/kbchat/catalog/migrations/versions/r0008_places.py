"""Where a space's words are, and which collections on a store are not, or no longer, in use."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("spaces", sa.Column("words", sa.Text))
    op.create_table(
        "leftovers",
        sa.Column("id", _ID, nullable=False),
        sa.Column("space_id", _ID, nullable=False),
        sa.Column("vector_type", sa.Text, nullable=False),
        sa.Column("collection", sa.Text, nullable=False),
        sa.Column("embedder_name", sa.Text),
        sa.Column("embedder_dimension", sa.Integer),
        sa.Column("embedder_fingerprint", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_leftovers"),
        sa.ForeignKeyConstraint(["space_id"], ["spaces.id"], name="fk_leftovers_space_id_spaces"),
        sa.UniqueConstraint(
            "space_id", "vector_type", "collection", name="uq_leftovers_space_id_vector_type_collection"
        ),
        sqlite_autoincrement=True,
    )
