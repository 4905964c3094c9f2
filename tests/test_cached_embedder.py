"""An embedder whose vectors are kept in a file: what happens when the file cannot be written."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from kbchat.embedders.cached import CachedEmbedder
from kbchat.embedders.static import StaticEmbedder
from kbchat.errors import InvalidInputError
from kbchat.threads import Threads


@pytest.fixture
async def cached(tmp_path: Path) -> AsyncIterator[CachedEmbedder]:
    threads = Threads(2)
    cached = CachedEmbedder(StaticEmbedder(threads=threads), tmp_path / "kept", threads=threads, busy_seconds=0.05)
    await cached.open()
    yield cached
    await cached.aclose()


async def test_a_file_that_another_run_holds(cached: CachedEmbedder, tmp_path: Path) -> None:
    """The error names the cache; when the file is free again the same embedder goes on."""
    first = await cached.embed_documents(["one"])
    with closing(sqlite3.connect(tmp_path / "kept", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InvalidInputError, match=r"cache: .*kept cannot be used: database is locked"):
            await cached.embed_documents(["two"])
        other.execute("ROLLBACK")
    both = await cached.embed_documents(["one", "two"])
    assert np.array_equal(both[0], first[0])


async def test_a_file_that_is_spoilt_meanwhile(cached: CachedEmbedder, tmp_path: Path) -> None:
    """What SQLite says comes with the name of the file, from reading as from writing."""
    with closing(sqlite3.connect(tmp_path / "kept", isolation_level=None)) as other:
        other.execute("DROP TABLE vectors")
    with pytest.raises(InvalidInputError, match=r"cache: .*kept cannot be used: no such table"):
        await cached.embed_query("one")
    with pytest.raises(InvalidInputError, match=r"cache: .*kept cannot be used: no such table"):
        await cached.time_query("one")


async def test_the_time_of_a_question_is_taken_anew(cached: CachedEmbedder) -> None:
    """Also where its vector is known; what is kept is the vector."""
    known = await cached.embed_query("one")
    assert await cached.time_query("one") > 0
    assert np.array_equal(await cached.embed_query("one"), known)
