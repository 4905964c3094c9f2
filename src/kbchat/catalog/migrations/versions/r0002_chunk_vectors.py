"""Vectors of a chunk and its sentences, kept with it for scoring."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("chunks", sa.Column("vectors", sa.LargeBinary))
