"""Milvus Lite where it cannot start: that is said, and whatever was in its way gone, it starts."""

import tempfile
from pathlib import Path

import numpy as np
import pytest

from kbchat.errors import StoreUnavailableError
from kbchat.stores.milvus import MilvusStore
from kbchat.threads import Threads

pytest.importorskip("milvus_lite")


async def test_a_long_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is no place for a socket: it is in another one, and nothing is left in either."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    store = MilvusStore(uri=tmp_path / "lite", threads=Threads())
    await store.create_collection("kb-a", dimension=2)
    await store.upsert("kb-a", [1], np.ones((1, 2), dtype=np.float32))
    assert await store.count("kb-a") == 1
    await store.aclose()
    assert list(long.iterdir()) == []


async def test_a_start_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves neither the database open nor a folder behind, so that the next one is not told of another process."""
    short = Path(tempfile.mkdtemp(prefix="kb"))
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    store = MilvusStore(uri=tmp_path / "lite", threads=Threads())
    with monkeypatch.context() as patch:
        patch.setattr("kbchat.stores.lite._SOCKET", "no/such/folder")
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match="no socket can be made"):
                await store.create_collection("kb-a", dimension=2)
    assert list(short.iterdir()) == []
    await store.create_collection("kb-a", dimension=2)
    assert await store.list_collections() == ["kb-a"]
    await store.aclose()
    short.rmdir()
