"""What is SQLite's own: its addresses, and readers beside a writer."""

import sqlite3
import sys
import threading
from asyncio import CancelledError, create_task, gather, sleep
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from sqlalchemy import event

from catalogs import catalog, file, opened
from kbchat.catalog import Catalog
from kbchat.errors import BusyError, CatalogError, MissingExtraError, SettingsError
from kbchat.testing.catalog_samples import a_space, generation, put
from kbchat.threads import Threads

__all__ = ["catalog", "file"]


# -- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "sp ace", "问?#%20&=x", "quo\"te'", "file:x?mode=ro"])
async def test_any_path_will_do(tmp_path: Path, name: str) -> None:
    """A path is a path, whatever characters are in it."""
    catalog = await opened(tmp_path / name)
    await a_space(catalog)
    await catalog.aclose()
    assert (tmp_path / name).stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == [name]


async def test_an_address_is_one_of_two(tmp_path: Path) -> None:
    """Only SQLite files and PostgreSQL are catalogs; the error does not repeat what may hold a password."""
    await (await opened(f"sqlite:///{tmp_path}/catalog.sqlite")).aclose()
    for url in (
        "mysql://u:secret@h/d",
        "postgresql://u:secret@h:x/d",
        "sqlite://",
        "sqlite:///:memory:",
        "x",
        "",
        "sqlite:",
    ):
        with pytest.raises(SettingsError) as caught:
            Catalog(url, threads=Threads())
        assert "secret" not in str(caught.value)
        assert "sqlite:///PATH" in str(caught.value)


def test_a_password_with_an_at_sign() -> None:
    """It would be cut in two, and half of it taken for the server's name: the error says how to write it."""
    with pytest.raises(SettingsError, match="%40") as caught:
        Catalog("postgresql://u:se@cret@h/d", threads=Threads())
    assert "cret" not in str(caught.value)


async def test_postgresql_without_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"kbchat\[postgres\]"):
        await opened("postgresql://localhost/d")


# -- readers and writers ----------------------------------------------------------------------------------------------


async def test_a_reader_does_not_wait_for_a_writer(catalog: Catalog, file: Path) -> None:
    """While another process holds the write lock, reads answer and writes say who is in the way, in time."""
    writer = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    await anyio.to_thread.run_sync(writer.execute, "BEGIN IMMEDIATE")
    await anyio.to_thread.run_sync(writer.execute, "UPDATE spaces SET name = 'uncommitted'")
    [space], _ = await catalog.list_spaces()
    assert space.name == "handbook"
    with pytest.raises(BusyError, match="another process"):
        await catalog.update_space(space.id, desc="x")
    await anyio.to_thread.run_sync(writer.execute, "ROLLBACK")
    assert (await catalog.update_space(space.id, desc="x")).desc == "x"
    await anyio.to_thread.run_sync(writer.close)


async def test_a_writer_waits_its_turn(file: Path) -> None:
    """A write goes on when the other process has finished in time."""
    catalog = await opened(file)
    writer = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    await anyio.to_thread.run_sync(writer.execute, "BEGIN IMMEDIATE")
    threading.Timer(0.1, lambda: (writer.execute("COMMIT"), writer.close())).start()
    assert (await catalog.update_space(1, desc="x")).desc == "x"
    await catalog.aclose()


async def test_a_file_that_lost_its_log_gets_it_back(file: Path) -> None:
    """One in another journal mode, as some tools for copying leave it, is switched as soon as nobody reads it."""
    reader = sqlite3.connect(file, isolation_level=None, check_same_thread=False)

    def read() -> None:
        reader.execute("PRAGMA journal_mode = DELETE")
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM spaces").fetchall()

    await anyio.to_thread.run_sync(read)
    with pytest.raises(BusyError):
        await opened(file, timeout=0.1)
    threading.Timer(0.1, reader.close).start()
    await (await opened(file)).aclose()

    def mode() -> str:
        with closing(sqlite3.connect(file)) as connection:
            [[mode]] = connection.execute("PRAGMA journal_mode").fetchall()
            return str(mode)

    assert await anyio.to_thread.run_sync(mode) == "wal"


async def test_many_tasks_use_one_catalog(catalog: Catalog) -> None:
    """More readers and writers than there are threads, all at once."""

    async def write(number: int) -> None:
        await put(catalog, space, generation(f"new{number}", "x"))

    async def read() -> None:
        assert len((await catalog.list_documents(space.id, limit=5))[0]) == 5

    [space], _ = await catalog.list_spaces()
    async with anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon(write, number)
            group.start_soon(read)
    assert (await catalog.get_space(space.id)).document_count == 80


async def test_it_is_as_safe_as_sqlite_can_be(catalog: Catalog) -> None:
    """The log is written ahead and waited for, and foreign keys are checked."""
    pragmas = ("journal_mode", "synchronous", "foreign_keys")
    values = await catalog._read(
        lambda connection: [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas]
    )
    assert values == ["wal", 2, 1]


async def test_no_statement_goes_through_a_whole_table(catalog: Catalog) -> None:
    """Every statement that a life of a document needs is served by an index."""
    from sqlalchemy import event

    statements: dict[str, object] = {}
    engine = catalog._database._engine
    assert engine is not None
    event.listen(
        engine,
        "before_cursor_execute",
        lambda _c, _k, statement, values, _x, _m: statements.update({statement: values}),
    )
    space = await a_space(catalog, "explained")
    [old, other] = await put(catalog, space, generation("a", "x"), generation("b", "y"))
    [new] = await put(catalog, space, generation("a", "z"))
    await catalog.delete_document(space.id, other.document_id, writer="w")
    await catalog.collect(space.id, list(await catalog.collectable(space.id, pending=True)))
    await catalog.live_chunks(space.id, new.chunk_ids)
    await catalog.document_chunks(old.document_id)
    await catalog.reusable_chunks([old.document_id])
    await catalog.embedding_fields(space.id)
    await catalog.source_states(space.id, ["a", "b"])
    await catalog.find_document(space.id, "a", with_text=True)
    await catalog.list_documents(space.id, limit=1)
    await catalog.find_spaces("explained")
    await catalog.begin_space_deletion(space.id)
    await catalog.finish_space_deletion(space.id)

    def explain() -> list[str]:
        slow = []
        for statement, values in statements.items():
            if not statement.startswith(("SELECT", "UPDATE", "DELETE")) or "sqlite_sequence" in statement:
                continue
            one = values[0] if isinstance(values, list) else values
            with sqlite3.connect(str(engine.url.database)) as connection:
                plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", one).fetchall()  # type: ignore[arg-type]
            connection.close()
            slow += [f"{step[3]}: {statement}" for step in plan if step[3].startswith(("SCAN c", "SCAN d", "SCAN g"))]
        return slow

    assert len(statements) > 30
    assert await anyio.to_thread.run_sync(explain) == []


async def test_unknown_failures_are_catalog_errors(catalog: Catalog) -> None:
    """What no table of ours foresees is still an error of kbchat, without the statement's values."""
    from sqlalchemy import text

    with pytest.raises(CatalogError) as caught:
        await catalog._read(lambda connection: connection.execute(text("SELECT nothing FROM nowhere")))
    assert type(caught.value) is CatalogError


async def test_many_who_ask_the_same_at_once_are_answered_together(catalog: Catalog) -> None:
    """The first goes alone; those who asked meanwhile share a transaction, sixteen of them at most."""
    space = await a_space(catalog, "asked at once")
    began: list[object] = []
    assert catalog._database._engine is not None
    event.listen(catalog._database._engine, "begin", began.append)
    assert {found.id for found in await gather(*(catalog.get_space(space.id) for _ in range(20)))} == {space.id}
    assert len(began) <= 3


async def test_who_asks_after_a_change_sees_it(catalog: Catalog) -> None:
    """Also while others, who asked before it, are still being answered; and one who leaves disturbs nobody."""
    space = await a_space(catalog, "asked after")
    early = [create_task(catalog.get_space(space.id)) for _ in range(3)]
    await sleep(0)
    early[0].cancel()
    await catalog.update_space(space.id, desc="changed")
    assert (await catalog.get_space(space.id)).desc == "changed"
    assert {found.desc for found in await gather(*early[1:])} <= {space.desc, "changed"}
    with pytest.raises(CancelledError):
        await early[0]
