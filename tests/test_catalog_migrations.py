"""The tables' revisions: every one leads to the present, and the present is what the code expects."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from catalogs import file, opened
from kbchat.catalog import migrations, schema
from kbchat.catalog.versions import HEAD, VERSION_TABLE
from kbchat.errors import CatalogUnavailableError
from kbchat.models import DocumentStatus
from kbchat.testing.catalog_samples import PIN, a_space, assert_consistent, generation, put

__all__ = ["file"]

REVISIONS = [script.revision for script in reversed(list(migrations.scripts().walk_revisions()))]
FIRST = Path(__file__).parent / "fixtures" / "catalog_0001.sql"
"""A catalog as the first revision wrote it."""


@contextmanager
def connected(path: Path) -> Iterator[sa.Connection]:
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def test_the_newest_revision_is_named() -> None:
    """`HEAD`, which spares an up-to-date catalog from loading Alembic, is the one head there is."""
    assert migrations.scripts().get_heads() == [HEAD]
    assert REVISIONS[0] == "0001"


def test_tables_are_what_the_code_expects(tmp_path: Path) -> None:
    """Alembic finds no difference between what the revisions made and what `schema` says."""
    with connected(tmp_path / "catalog.sqlite") as connection:
        migrations.upgrade(connection)
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, schema.metadata) == []


@pytest.mark.parametrize("revision", REVISIONS)
async def test_every_revision_leads_to_the_present(tmp_path: Path, revision: str) -> None:
    """An empty catalog of any revision is brought up to date when it is opened, and works."""
    path = tmp_path / "catalog.sqlite"

    def make() -> None:
        with connected(path) as connection:
            migrations.upgrade(connection, revision)

    await anyio.to_thread.run_sync(make)
    catalog = await opened(path)
    space = await a_space(catalog)
    await put(catalog, space, generation("a", "x"))
    await assert_consistent(catalog, space.id)
    await catalog.aclose()


async def test_a_catalog_of_the_first_revision_keeps_everything(tmp_path: Path) -> None:
    """Spaces, documents, texts, chunks, what is pending, dead or hidden: all is as it was written then."""
    path = tmp_path / "catalog.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(FIRST.read_text())
    connection.close()
    catalog = await opened(path)
    [space], _ = await catalog.list_spaces()
    assert (space.id, space.name, space.owner, space.embedder) == (1, "员工手册", "alice", PIN)
    assert (space.document_count, space.chunk_count, space.revision, space.last_writer) == (2, 3, 2, "w")
    await assert_consistent(catalog, space.id)
    document = await catalog.find_document(space.id, "a", with_text=True)
    assert document is not None
    assert (document.text, document.metadata, document.status) == (
        "one\n\ntwo",
        {"title": "é"},
        DocumentStatus.FINISHED,
    )
    assert [chunk.content for chunk in await catalog.document_chunks(document.id)] == ["one", "two"]
    state = (await catalog.source_states(space.id, ["a"]))["a"]
    assert (state.source, state.size, state.mtime_ns) == ("/x/a.md", 3, 2**60)
    assert len(await catalog.collectable(space.id, pending=False)) == 1
    assert len(await catalog.collectable(space.id, pending=True)) == 2
    assert [gone.name for gone in await catalog.deleted_spaces()] == ["gone"]
    [begun] = await put(catalog, space, generation("new", "x"))
    assert begun.chunk_ids[0] > 6
    await catalog.aclose()


async def test_a_catalog_of_a_newer_kbchat_is_not_touched(file: Path) -> None:
    """An unknown revision is an error that says what to do."""
    with sqlite3.connect(file) as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    connection.close()
    content = file.read_bytes()
    with pytest.raises(CatalogUnavailableError, match=r"newer kbchat.*9999.*upgrade kbchat"):
        await opened(file)
    assert file.read_bytes() == content
