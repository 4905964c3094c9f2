"""Every vector store against the one conformance suite."""

from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Literal

import anyio
import anyio.to_thread
import pytest

from kbchat.stores import VectorStore
from kbchat.stores.chroma import ChromaStore
from kbchat.stores.memory import MemoryStore
from kbchat.stores.milvus import MilvusSettings, MilvusStore
from kbchat.testing.store_suite import PersistentStoreSuite, VectorStoreSuite
from kbchat.testing.vectors import DIMENSION, Indexed
from kbchat.threads import Threads
from servers import ChromaServer, MilvusServer


class TestMemoryStore(VectorStoreSuite):
    @pytest.fixture
    def open_store(self) -> Callable[[], VectorStore]:
        return MemoryStore


class TestChromaEmbedded(PersistentStoreSuite):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Callable[[], VectorStore]:
        return lambda: ChromaStore(path=tmp_path / "vectors", threads=Threads())


class TestMilvusLite(PersistentStoreSuite):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Callable[[], VectorStore]:
        return lambda: MilvusStore(uri=tmp_path / "vectors", threads=Threads())


class TestMilvusLiteInnerProduct(PersistentStoreSuite):
    test_hundred_thousand = None  # `TestMilvusLite` has them: how many there are has nothing to do with the metric.

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Callable[[], VectorStore]:
        return lambda: MilvusStore(uri=tmp_path / "vectors", threads=Threads(), settings=by_metric("IP"))


class TestMilvusLiteEuclidean(PersistentStoreSuite):
    test_hundred_thousand = None

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Callable[[], VectorStore]:
        return lambda: MilvusStore(uri=tmp_path / "vectors", threads=Threads(), settings=by_metric("L2"))


def by_metric(metric: Literal["IP", "L2"]) -> MilvusSettings:
    return MilvusSettings("FLAT", {}, {}, metric)


@pytest.mark.server
@pytest.mark.timeout(300)  # a server is started first
class TestChromaServer(PersistentStoreSuite):
    @pytest.fixture
    def open_store(self, chroma_server: ChromaServer) -> Callable[[], VectorStore]:
        return chroma_server.open


@pytest.fixture(scope="module")
def collections(milvus_server: MilvusServer) -> list[str]:
    """Empty collections that are loaded: the server needs seconds for one, and hardly more for many at once."""
    names = [f"kb-ready-{number}" for number in range(50)]

    async def make() -> None:
        async with aclosing(milvus_server.open(timeout=60)) as store:

            async def one(name: str) -> None:
                await store.create_collection(name, dimension=DIMENSION)
                await store.count(name)

            async with anyio.create_task_group() as tasks:
                for name in names:
                    tasks.start_soon(one, name)

    anyio.run(make)
    return names


@pytest.mark.server
@pytest.mark.timeout(300)  # a server is started first
class TestMilvusServer(PersistentStoreSuite):
    @pytest.fixture
    def open_store(self, milvus_server: MilvusServer) -> Callable[[], VectorStore]:
        return milvus_server.open

    @pytest.fixture
    async def kb(self, store: VectorStore, name: str, collections: list[str]) -> str:
        if collections:
            return collections.pop()
        await store.create_collection(name, dimension=DIMENSION)
        return name

    @pytest.fixture
    def indexed(self, milvus_server: MilvusServer) -> Iterator[Indexed]:
        from pymilvus import MilvusClient

        client = MilvusClient(milvus_server.uri, token=milvus_server.token, dedicated=True)

        async def wait(name: str) -> None:
            theirs = name.replace("-", "_")
            await anyio.to_thread.run_sync(client.flush, theirs)
            while True:
                about = await anyio.to_thread.run_sync(client.describe_index, theirs, "vector")
                if about["index_type"] == "HNSW" and about["total_rows"] and not about["pending_index_rows"]:
                    return
                await anyio.sleep(0.2)

        yield wait
        client.close()
