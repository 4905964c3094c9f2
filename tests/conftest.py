"""What every test shares."""

from collections.abc import Iterator

import pytest

from servers import ChromaServer, MilvusServer


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def chroma_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChromaServer]:
    """A real Chroma server, shared: use names of collections that no other test uses."""
    with ChromaServer(tmp_path_factory.mktemp("chroma")) as server:
        yield server


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    """A real Milvus server, shared like the other."""
    with MilvusServer(tmp_path_factory.mktemp("milvus")) as server:
        yield server
