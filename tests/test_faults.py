"""What a client of `kbchat serve` sees of a store that is away, that refuses it, or whose collections another changed.

Each time: a clear error within the time-out, 503 with `Retry-After`, nothing that was acknowledged lost, and all works
again without a restart once the store is as it should be.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from time import monotonic

import anyio.to_thread
import pytest

from servers import ChromaServer, MilvusServer
from serving import CHAT, SPACES
from test_reembed import kbchat
from test_servers import KEYS, Server, started

pytestmark = [pytest.mark.server, pytest.mark.timeout(240)]

QUESTION = "How are keys rotated?"


@pytest.fixture(params=["Chroma", "Milvus"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ChromaServer | MilvusServer]:
    """A server that is not started yet."""
    server = ChromaServer(tmp_path) if request.param == "Chroma" else MilvusServer(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def where(store: ChromaServer | MilvusServer) -> dict[str, str]:
    """The settings that name it."""
    found = {"KBCHAT_STORE_TIMEOUT": "10"}
    if isinstance(store, ChromaServer):
        return found | {"KBCHAT_CHROMA_URL": store.url}
    return found | {"KBCHAT_MILVUS_URI": store.uri, "KBCHAT_MILVUS_TOKEN": store.token}


@pytest.fixture
async def served(where: dict[str, str], tmp_path: Path) -> AsyncIterator[Server]:
    async with started(where, tmp_path / "data") as server:
        yield server


async def refused(server: Server, space: int, code: str, *words: str) -> None:
    """Questions are answered 503 with `Retry-After` in time, and say why; what needs no store is answered."""
    question = {"messages": QUESTION, "chat_mode": "chat_knowledge", "chat_param": str(space), "stream": True}
    for path, body in ((f"{SPACES}/{space}/retrieve", {"query": QUESTION}), (CHAT, question)):
        begin = monotonic()
        status, answer, headers = await server.send("POST", path, body)
        assert (status, answer["error"]["code"]) == (503, code), answer
        assert int(headers["Retry-After"]) > 0
        assert all(word in answer["err_msg"] for word in words), answer["err_msg"]
        assert monotonic() - begin < 30
    assert (await server.send("GET", f"{SPACES}/{space}"))[0] == 200


async def test_what_a_client_sees(
    store: ChromaServer | MilvusServer, where: dict[str, str], served: Server, tmp_path: Path
) -> None:
    """From a store that is not there at the start to a collection that another put in the place of ours."""
    kind = "Chroma" if isinstance(store, ChromaServer) else "Milvus"
    status, body, _ = await served.send("POST", SPACES, {"name": "handbook", "vector_type": kind})
    assert status == 200, body
    space: int = body["data"]["id"]

    # Not there yet.
    failed = await served.add(space, "keys", KEYS)
    assert failed["status"] == "FAILED"
    assert "is it running" in failed["result"]
    status, body, headers = await served.send("GET", "/readyz")
    assert (status, int(headers["Retry-After"]) > 0) == (503, True), body
    await anyio.to_thread.run_sync(store.start)
    assert (await served.add(space, "keys", KEYS))["status"] == "FINISHED"
    before = await served.found(space, QUESTION)
    assert [name for name, _ in before] == ["keys"]

    # One that refuses the token.
    if kind == "Milvus":
        async with started(where | {"KBCHAT_MILVUS_TOKEN": "root:wrong"}, tmp_path / "data") as other:
            await refused(other, space, "store_unavailable", "refused the token", "milvus_token")

    async with aclosing(store.open(timeout=30)) as behind:
        for code, changed in (("collection_missing", False), ("invalid_vector", True)):
            # Another takes the collection away, and the second time puts one of another dimension in its place.
            (name,) = await behind.list_collections()
            await behind.drop_collection(name)
            if changed:
                await behind.create_collection(name, dimension=5)
                await behind.count(name)
            await refused(served, space, code, "kbchat fsck --repair")
            # What would come in now would stand alone in a new collection.
            failed = await served.add(space, "lunch", "Lunch is served at noon.")
            assert failed["status"] == "FAILED"
            assert "kbchat fsck --repair" in failed["result"]
            data, environment = tmp_path / "data", where | {"KBCHAT_STORE_TIMEOUT": "60"}
            code_, out, said = await kbchat(data, "fsck", "handbook", "--repair", **environment)
            assert code_ == 0, out + said
            assert await served.found(space, QUESTION) == before
    assert (await served.add(space, "lunch", "Lunch is served at noon."))["status"] == "FINISHED"
    assert sorted(name for name, _ in await served.found(space, QUESTION)) == ["keys", "lunch"]
