"""What a client of `kbchat serve` sees of a store that is away, that refuses it, or whose collections another changed.

Each time: a clear error within the time-out, 503 with `Retry-After`, nothing that was acknowledged lost, and all works
again without a restart once the store is as it should be.
"""

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import anyio.to_thread
import pytest

from servers import ChromaServer, MilvusServer, Proxy
from serving import CHAT, SPACES
from test_reembed import kbchat
from test_servers import KEYS, Server, started

pytestmark = [pytest.mark.server, pytest.mark.timeout(400)]

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


def address(store: ChromaServer | MilvusServer) -> int | Path:
    """Where a `Proxy` finds it."""
    if isinstance(store, ChromaServer):
        return urlsplit(store.url).port or 0
    return Path(store.uri.removeprefix("unix:"))


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

    # One that refuses the token: this Chroma asks for none itself.
    async with Proxy(address(store), token="Bearer right" if kind == "Chroma" else None) as proxy:
        at = f"http://127.0.0.1:{proxy.port}"
        wrong = {"KBCHAT_CHROMA_URL": at, "KBCHAT_CHROMA_TOKEN": "wrong", "KBCHAT_MILVUS_TOKEN": "root:wrong"}
        async with started(where | wrong, tmp_path / "data") as other:
            await refused(other, space, "store_unavailable", "refused the token", f"{kind.lower()}_token")

    # One that is slow.
    async with Proxy(address(store)) as proxy:
        at = f"http://127.0.0.1:{proxy.port}"
        through = {"KBCHAT_CHROMA_URL": at, "KBCHAT_MILVUS_URI": at, "KBCHAT_STORE_TIMEOUT": "3"}
        async with started(where | through, tmp_path / "data") as other:
            assert await other.found(space, QUESTION) == before
            proxy.delay = 7.0
            await refused(other, space, "store_unavailable", "did not answer within 3 seconds")
            proxy.delay = 0.0
            assert await other.found(space, QUESTION) == before

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


async def test_killed_under_load(
    store: ChromaServer | MilvusServer, where: dict[str, str], served: Server, tmp_path: Path
) -> None:
    """A store that dies while documents come in and questions are asked: until it is back, and on Milvus until it has
    loaded its collections, each question is 503 with `Retry-After` in time, each document fails and says why; what was
    acknowledged is all there, and nobody starts the server anew."""
    kind = "Chroma" if isinstance(store, ChromaServer) else "Milvus"
    await anyio.to_thread.run_sync(store.start)
    _, body, _ = await served.send("POST", SPACES, {"name": "handbook", "vector_type": kind})
    space: int = body["data"]["id"]
    acknowledged: list[str] = []
    failed: list[str] = []
    refused: list[str] = []
    done = False

    async def write() -> None:
        for number in itertools.count():
            name = f"note{number}"
            became = await served.add(space, name, f"{name} is about a lighthouse.")
            if became["status"] == "FINISHED":
                acknowledged.append(name)
            else:
                failed.append(became["result"])
            if done:
                return

    async def ask() -> None:
        while not done:
            begin = monotonic()
            status, answer, headers = await served.send("POST", f"{SPACES}/{space}/retrieve", {"query": "lighthouse"})
            assert monotonic() - begin < 30
            if status != 200:
                assert (status, answer["error"]["code"]) == (503, "store_unavailable"), answer
                assert int(headers["Retry-After"]) > 0
                refused.append(answer["err_msg"])

    with anyio.fail_after(180):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await more_than(acknowledged, 2)
            tasks.start_soon(ask)
            await more_than(acknowledged, 5)
            await anyio.to_thread.run_sync(store.kill)
            await more_than(failed, 0)
            await more_than(refused, 1)
            await anyio.to_thread.run_sync(store.start)
            await more_than(acknowledged, len(acknowledged) + 1)
            done = True
    told = ("is it running", "is still loading", "does not answer as Chroma")
    assert all(any(words in it for words in told) for it in (*failed, *refused)), (failed, refused)
    with anyio.fail_after(120):
        status = 503
        while status == 503:  # Milvus takes writes before it has loaded what it is to read.
            asked = {"query": "lighthouse", "top_k": 100}
            status, body, _ = await served.send("POST", f"{SPACES}/{space}/retrieve", asked)
    assert status == 200, body
    assert {hit["name"] for hit in body["data"]} == set(acknowledged)
    code, out, said = await kbchat(tmp_path / "data", "fsck", "handbook", **where)
    assert code == 0, out + said


async def more_than(some: list[str], number: int) -> None:
    while len(some) <= number:
        await anyio.sleep(0.02)
