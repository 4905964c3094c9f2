"""Whose turn it is to write to a space."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("spaces", sa.Column("turn", sa.BigInteger, nullable=False, server_default="0"))
