"""How often a document failed, and how a space splits its documents."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("documents", sa.Column("attempts", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("spaces", sa.Column("splitting", sa.Text))
