"""What a conversation is called, which space it asked, and what its answers were written from."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("conversations", sa.Column("title", sa.Text, nullable=False, server_default=""))
    op.add_column("conversations", sa.Column("space_id", _ID))
    op.add_column("turns", sa.Column("sources", sa.Text))
