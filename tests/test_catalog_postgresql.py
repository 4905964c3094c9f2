"""The catalog on a real PostgreSQL server against its conformance suite."""

import random
from collections.abc import AsyncIterator, Callable

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
from postgresql import CUT_OTHERS, PostgresqlServer, needs_postgresql, run

pytestmark = [pytest.mark.server, needs_postgresql]


@pytest.fixture
def url(postgresql_url: str) -> str:
    return postgresql_url


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
async def test_a_server_that_is_not_there(postgresql: PostgresqlServer, address: str) -> None:
    """Refused, or without the database: an error in time that names the address, without its password."""
    with pytest.raises(CatalogUnavailableError) as caught:
        await opened(address.format(host=postgresql.url.partition("host=")[2]), timeout=2)
    assert "secret" not in str(caught.value)
    assert "postgresql" in str(caught.value)


async def test_a_restarted_server_is_found_again(catalog: Catalog, url: str) -> None:
    """When the server cut all connections, the next call makes a new one."""
    space = await a_space(catalog)
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(catalog.get_space, space.id)
    await anyio.to_thread.run_sync(run, url, CUT_OTHERS)
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


@pytest.fixture
async def other(url: str, catalog: Catalog) -> AsyncIterator[Catalog]:
    """Another server's catalog, in the same database."""
    other = await opened(url)
    yield other
    await other.aclose()


async def test_one_server_at_a_time_writes_to_a_space(catalog: Catalog, other: Catalog) -> None:
    """The lock keeps another server out of that space and of no other one, until it is let go."""
    async with catalog.writing(1, timeout=0):
        with pytest.raises(BusyError, match="another server is writing to space 1"):
            async with other.writing(1, timeout=0.05):
                pass
        async with other.writing(2, timeout=0), other.writing(2**31 + 3, timeout=0):
            pass
    async with other.writing(1, timeout=0):
        pass


async def test_who_waits_for_the_lock_gets_it(catalog: Catalog, other: Catalog) -> None:
    """As soon as the holder has left, also when that ended in an error; a cancelled wait leaves nothing behind."""
    order = []

    async def wait() -> None:
        async with other.writing(1, timeout=60):
            order.append("second")

    async with anyio.create_task_group() as group:
        with pytest.raises(ZeroDivisionError):
            async with catalog.writing(1, timeout=0):
                group.start_soon(wait)
                with anyio.move_on_after(0.05):
                    async with other.writing(1, timeout=60):
                        order.append("cancelled")
                order.append("first")
                raise ZeroDivisionError
    assert order == ["first", "second"]


async def test_a_lock_whose_connection_is_lost(catalog: Catalog, other: Catalog, url: str) -> None:
    """Others get it at once, who held it is told, and what it began cannot be published after it was abandoned."""
    space = await a_space(catalog)
    with pytest.raises(CatalogUnavailableError, match="held the writer's lock was lost"):
        async with catalog.writing(space.id, timeout=0):
            [begun] = await catalog.begin_generations(space.id, [generation("a", "x")])
            await anyio.to_thread.run_sync(run, url, CUT_OTHERS)
            async with other.writing(space.id, timeout=0):
                await other.abandon(space.id)
                assert await other.collectable(space.id, pending=False) == {begun.id: list(begun.chunk_ids)}
            with pytest.raises(BusyError, match="took over"):
                await catalog.publish(space.id, [begun.id], writer="w")
    async with catalog.writing(space.id, timeout=0):
        await put(catalog, space, generation("a", "x"))
