"""How the name of an uploaded file ended, whatever the document is called."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("uploads", sa.Column("suffix", sa.Text))
