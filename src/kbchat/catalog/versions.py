"""Which revision of the tables this version of kbchat works with. Loads nothing."""

HEAD = "0010"
VERSION_TABLE = "catalog_version"
"""Not Alembic's usual name, so that another program's tables may stand in the same PostgreSQL database."""
