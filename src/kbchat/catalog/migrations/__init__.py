"""Bringing a catalog's tables up to date, with Alembic. Loaded only when there is something to do."""

import threading
from pathlib import Path

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from kbchat.catalog.versions import VERSION_TABLE

_HERE = Path(__file__).parent
# Alembic's `op` is one for the whole process.
_one_at_a_time = threading.Lock()


def scripts() -> ScriptDirectory:
    """The revisions that this version of kbchat knows."""
    return ScriptDirectory(_HERE, version_locations=[_HERE / "versions"])


def is_known(revision: str) -> bool:
    return any(script.revision == revision for script in scripts().walk_revisions())


def upgrade(connection: Connection, target: str = "head") -> None:
    """Run the revisions that are missing, inside the connection's transaction."""
    known = scripts()

    def steps(revision: str, context: MigrationContext) -> list[RevisionStep]:
        return known._upgrade_revs(target, revision)

    context = MigrationContext.configure(connection, opts={"fn": steps, "version_table": VERSION_TABLE})
    with _one_at_a_time, Operations.context(context):
        context.run_migrations()
