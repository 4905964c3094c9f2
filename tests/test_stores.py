"""Every vector store against the one conformance suite."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kbchat.stores import VectorStore
from kbchat.stores.chroma import ChromaStore
from kbchat.stores.memory import MemoryStore
from kbchat.stores.milvus import MilvusStore
from kbchat.testing.store_suite import PersistentStoreSuite, VectorStoreSuite
from kbchat.threads import Threads
from servers import ChromaServer


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


@pytest.fixture(scope="module")
def chroma_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChromaServer]:
    with ChromaServer(tmp_path_factory.mktemp("chroma")) as server:
        yield server


@pytest.mark.server
class TestChromaServer(PersistentStoreSuite):
    @pytest.fixture
    def open_store(self, chroma_server: ChromaServer) -> Callable[[], VectorStore]:
        return lambda: ChromaStore(url=chroma_server.url, threads=Threads())
