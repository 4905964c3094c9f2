"""A real Milvus server that is asked to stop, and takes its time for it."""

from contextlib import aclosing
from pathlib import Path

import anyio
import pytest

from kbchat.errors import StoreUnavailableError
from kbchat.testing.vectors import DIMENSION, some_vectors
from servers import MilvusServer

pytestmark = [pytest.mark.server, pytest.mark.timeout(240)]


async def test_being_stopped(tmp_path: Path) -> None:
    """While it stops it still answers, with errors of its own for parts that are gone: it is unavailable then."""
    with MilvusServer(tmp_path) as server:
        async with aclosing(server.open(timeout=5)) as store:
            await store.create_collection("kb-stopped", dimension=DIMENSION)
            await store.upsert("kb-stopped", [1], some_vectors(1))
            assert await store.count("kb-stopped") == 1
            server.ask_to_stop()
            with anyio.fail_after(60), pytest.raises(StoreUnavailableError):
                while True:
                    await store.list_collections()
