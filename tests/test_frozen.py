"""A PostgreSQL that keeps its connections and says nothing: every call ends in an error, and the next ones go on."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from kbchat.catalog import Catalog
from kbchat.errors import CatalogUnavailableError
from kbchat.testing.catalog_samples import a_space
from kbchat.threads import Threads
from postgresql import PostgresqlServer, needs_postgresql
from serving import SPACES, serving

pytestmark = [pytest.mark.server, needs_postgresql]


async def in_turn(catalog: Catalog) -> None:
    async with catalog.writing(1, timeout=0):
        pass


CALLS: dict[str, Callable[[Catalog], Awaitable[object]]] = {
    "read": lambda catalog: catalog.list_spaces(),
    "write": lambda catalog: a_space(catalog, "new"),
    "writing": in_turn,
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_ends(postgresql: PostgresqlServer, postgresql_url: str, call: str) -> None:
    """On a connection of the pool, and on each of the others that were there. Once it speaks again all is as before."""
    catalog = Catalog(postgresql_url, threads=Threads(), timeout=1.0)
    await catalog.open()
    space = await a_space(catalog)
    await asyncio.gather(*(catalog.get_space(space.id) for _ in range(4)))
    with postgresql.frozen():
        ended = await asyncio.gather(*(CALLS[call](catalog) for _ in range(4)), return_exceptions=True)
    assert {type(error) for error in ended} == {CatalogUnavailableError}
    assert await catalog.list_spaces() == ([space], 1)
    await CALLS[call](catalog)
    await catalog.aclose()


async def test_requests_end(postgresql: PostgresqlServer, postgresql_url: str, tmp_path: Path) -> None:
    """Those that change something, which nothing else ends, and those that no key is asked for."""
    async with serving(tmp_path, catalog_url=postgresql_url, store_timeout=1.5) as served:
        assert (await served.post(SPACES, {"name": "handbook"}))[0] == 200
        with postgresql.frozen():
            ready, made, listed = await asyncio.gather(
                served.get("/readyz"), served.post(SPACES, {"name": "other"}), served.get(SPACES)
            )
        assert [status for status, _ in (ready, made, listed)] == [503, 503, 503]
        assert ready[1]["error"]["message"] == "not ready: catalog_unavailable"
        assert (await served.get("/readyz"))[0] == 200
    async with serving(tmp_path, catalog_url=postgresql_url, store_timeout=5, request_timeout=0.5) as served:
        with postgresql.frozen():
            assert (await served.get("/readyz"))[0] == 504
