"""What stores do when what they stand on is missing, slow, broken or taken away: with real processes."""

import gc
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import anyio
import pytest

from kbchat.errors import MissingExtraError, StoreUnavailableError
from kbchat.stores import VectorStore
from kbchat.stores.chroma import ChromaStore
from kbchat.stores.milvus import MilvusStore
from kbchat.testing.vectors import DIMENSION, all_ids, some_vectors
from kbchat.threads import Threads
from servers import ChromaServer, MilvusServer, Proxy, free_port

# Several processes are started and stopped here; how long that takes depends on what else the machine does.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def nowhere() -> int:
    """A port that nothing listens on."""
    return free_port()


def not_there(kind: str, port: int, timeout: float) -> VectorStore:
    if kind == "chroma":
        return ChromaStore(url=f"http://me:secret@127.0.0.1:{port}", threads=Threads(), timeout=timeout)
    return MilvusStore(uri=f"http://me:secret@127.0.0.1:{port}", threads=Threads(), timeout=timeout)


@pytest.mark.parametrize("kind", ["chroma", "milvus"])
async def test_unreachable_at_start(kind: str, nowhere: int) -> None:
    """A server that is not there is an error within the time-out, also for many at once, with no password in it."""
    async with aclosing(not_there(kind, nowhere, 1.0)) as store:
        failures: list[StoreUnavailableError] = []

        async def ask() -> None:
            with pytest.raises(StoreUnavailableError) as caught:
                await store.count("kb-a")
            failures.append(caught.value)

        await ask()  # which imports the vendor as well
        begin = monotonic()
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(ask)
        assert monotonic() - begin < 4
        assert len(failures) == 9
        assert all(f"http://127.0.0.1:{nowhere}" in error.message for error in failures)
        assert not any("secret" in error.message for error in failures)
        with pytest.raises(StoreUnavailableError):
            await store.ping()


@pytest.fixture(scope="module")
def own_chroma(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChromaServer]:
    """A server to be killed."""
    with ChromaServer(tmp_path_factory.mktemp("chroma")) as server:
        yield server


@pytest.mark.server
class TestChromaServerFaults:
    @pytest.fixture
    async def proxy(self, own_chroma: ChromaServer) -> AsyncIterator[Proxy]:
        async with Proxy(urlsplit(own_chroma.url).port or 0) as proxy:
            yield proxy

    @pytest.fixture
    async def store(self, proxy: Proxy) -> AsyncIterator[ChromaStore]:
        """A store of one collection, `kb-a`, with the ids 0 to 9."""
        store = ChromaStore(url=f"http://127.0.0.1:{proxy.port}", threads=Threads(), timeout=1.0)
        await store.create_collection("kb-a", dimension=DIMENSION)
        await store.upsert("kb-a", range(10), some_vectors(10))
        yield store
        proxy.delay = 0.0
        await store.drop_collection("kb-a")
        await store.aclose()

    async def test_slow(self, store: ChromaStore, proxy: Proxy) -> None:
        """A server that is silent for longer than the time-out is an error then, and works again when it answers."""
        proxy.delay = 3.0
        begin = monotonic()
        with pytest.raises(StoreUnavailableError, match="within 1 seconds"):
            await store.query("kb-a", some_vectors(1)[0], limit=1)
        assert monotonic() - begin < 2.5
        proxy.delay = 0.0
        assert len(await store.query("kb-a", some_vectors(1)[0], limit=1)) == 1

    async def test_broken_off(self, store: ChromaStore, proxy: Proxy) -> None:
        """A connection that breaks in mid-answer is an error, and the next call works."""
        proxy.delay = 0.5
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                with pytest.raises(StoreUnavailableError):
                    await store.count("kb-a")

            tasks.start_soon(ask)
            await anyio.sleep(0.2)
            proxy.break_off()
        proxy.delay = 0.0
        assert await store.count("kb-a") == 10

    async def test_token(self, own_chroma: ChromaServer) -> None:
        """A wrong or missing token is an error that says so; the right one is let through."""
        async with Proxy(urlsplit(own_chroma.url).port or 0, token="Bearer right") as proxy:
            for token, allowed in (("wrong", False), (None, False), ("right", True)):
                url = f"http://127.0.0.1:{proxy.port}"
                async with aclosing(ChromaStore(url=url, token=token, threads=Threads(), timeout=5.0)) as store:
                    if allowed:
                        await store.ping()
                    else:
                        with pytest.raises(StoreUnavailableError, match="refused the token"):
                            await store.ping()
                assert token is None or token not in repr(store._vendor)

    async def test_not_chroma(self, milvus_like: int) -> None:
        """Something else at the address is an error that names it."""
        url = f"http://127.0.0.1:{milvus_like}"
        async with aclosing(ChromaStore(url=url, threads=Threads(), timeout=2.0)) as store:
            with pytest.raises(StoreUnavailableError, match=url):
                await store.ping()

    @pytest.fixture
    async def milvus_like(self) -> AsyncIterator[int]:
        """A port where a web page is, whatever is asked for."""

        async def page(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                await stream.receive()
                await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")

        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, page)
            yield listener.extra(anyio.abc.SocketAttribute.local_port)
            tasks.cancel_scope.cancel()

    async def test_killed_and_back(self, own_chroma: ChromaServer) -> None:
        """Killed under writes and reads, it loses nothing that was acknowledged, and works on when it is back."""
        async with aclosing(own_chroma.open(timeout=30)) as store:
            await store.create_collection("kb-killed", dimension=DIMENSION)
            await killed_and_back(store, own_chroma, "kb-killed")
            await store.drop_collection("kb-killed")


async def killed_and_back(
    store: VectorStore,
    server: ChromaServer | MilvusServer,
    name: str,
    *,
    when_back: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint,
) -> None:
    vectors = some_vectors(4000)
    acknowledged = 0

    async def write() -> None:
        nonlocal acknowledged
        with pytest.raises(StoreUnavailableError):
            for start in range(0, 4000, 20):
                await store.upsert(name, range(start, start + 20), vectors[start : start + 20])
                acknowledged = start + 20

    async def read() -> None:
        with pytest.raises(StoreUnavailableError):
            while True:
                await store.query(name, vectors[0], limit=5)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        tasks.start_soon(read)
        while acknowledged < 100:
            await anyio.sleep(0.01)
        await anyio.to_thread.run_sync(server.kill)
    await anyio.to_thread.run_sync(server.start)
    await when_back()
    await store.upsert(name, [9999], vectors[:1] * -1)
    found = set(await all_ids(store, name))
    assert found >= set(range(acknowledged)) | {9999}
    assert (await store.query(name, vectors[acknowledged - 1], limit=1))[0].id == acknowledged - 1
    assert (await store.query(name, vectors[0] * -1, limit=1))[0].id == 9999


class TestChromaFolderFaults:
    async def test_not_a_database(self, tmp_path: Path) -> None:
        """A damaged database is an error that says where it is."""
        (tmp_path / "chroma.sqlite3").write_bytes(b"garbage" * 1000)
        async with aclosing(ChromaStore(path=tmp_path, threads=Threads())) as store:
            with pytest.raises(StoreUnavailableError, match=str(tmp_path)):
                await store.ping()

    async def test_path_is_a_file(self, tmp_path: Path) -> None:
        """A file where the folder should be is an error, and once it is gone the store works."""
        path = tmp_path / "vectors"
        path.write_text("")
        async with aclosing(ChromaStore(path=path, threads=Threads())) as store:
            with pytest.raises(StoreUnavailableError):
                await store.list_collections()
            path.unlink()
            assert await store.list_collections() == []

    async def test_disk_full(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the disk has no room the write is an error before anything is lost, and works when there is."""
        async with aclosing(ChromaStore(path=tmp_path, threads=Threads())) as store:
            await store.create_collection("kb-a", dimension=DIMENSION)
            await store.upsert("kb-a", [1], some_vectors(1))
            with monkeypatch.context() as full:
                full.setattr("kbchat.stores.chroma._ROOM_BYTES", 2**62)
                with pytest.raises(StoreUnavailableError, match="No space left"):
                    await store.upsert("kb-a", [2], some_vectors(1))
                assert await all_ids(store, "kb-a") == [1]
            await store.upsert("kb-a", [2], some_vectors(1))
            assert sorted(await all_ids(store, "kb-a")) == [1, 2]

    async def test_refreshed_to_see_another_process(self, tmp_path: Path) -> None:
        """What another process wrote is found after a refresh, and its collections are listed."""
        script = """
import asyncio, sys
from kbchat.stores.chroma import ChromaStore
from kbchat.testing.vectors import some_vectors
from kbchat.threads import Threads

async def main():
    store = ChromaStore(path=sys.argv[1], threads=Threads())
    await store.upsert("kb-a", range(1500), some_vectors(1500))
    await store.create_collection("kb-b", dimension=3)
    await store.aclose()

asyncio.run(main())
"""
        vectors = some_vectors(1501)
        async with aclosing(ChromaStore(path=tmp_path, threads=Threads())) as store:
            await store.create_collection("kb-a", dimension=DIMENSION)
            await store.upsert("kb-a", [1500], vectors[1500:])
            assert (await store.query("kb-a", vectors[7], limit=1))[0].id == 1500
            await anyio.run_process([sys.executable, "-c", script, str(tmp_path)])
            await store.refresh()
            assert (await store.query("kb-a", vectors[7], limit=1))[0].id == 7
            assert sorted(await store.list_collections()) == ["kb-a", "kb-b"]

    async def test_nothing_stays_open(self, tmp_path: Path) -> None:
        """Closing lets go of every thread and file, however often it was refreshed."""
        await use(ChromaStore(path=tmp_path, threads=Threads()))
        before = held()
        for _ in range(3):
            await use(ChromaStore(path=tmp_path, threads=Threads()))
        await settle(before)


class TestMilvusLiteFaults:
    async def test_held_by_another_process(self, tmp_path: Path) -> None:
        """A folder that another process has open is an error that says so, until that process ends."""
        script = """
import asyncio, sys
from kbchat.stores.milvus import MilvusStore
from kbchat.threads import Threads

async def main():
    store = MilvusStore(uri=sys.argv[1], threads=Threads())
    await store.create_collection("kb-held", dimension=3)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await store.aclose()

asyncio.run(main())
"""
        command = [sys.executable, "-c", script, str(tmp_path / "lite")]
        async with await anyio.open_process(command, stdin=subprocess.PIPE, stderr=None) as other:
            assert other.stdout is not None
            assert other.stdin is not None
            await other.stdout.receive()
            async with aclosing(MilvusStore(uri=tmp_path / "lite", threads=Threads())) as store:
                with pytest.raises(StoreUnavailableError, match="another process"):
                    await store.list_collections()
                await other.stdin.aclose()
                await other.wait()
                assert await store.list_collections() == ["kb-held"]

    async def test_two_stores_share_a_folder(self, tmp_path: Path) -> None:
        """Two stores of one process share a folder; it is let go when both are closed."""
        one, two = (MilvusStore(uri=tmp_path / "lite", threads=Threads()) for _ in range(2))
        await one.create_collection("kb-a", dimension=DIMENSION)
        await two.upsert("kb-a", [1], some_vectors(1))
        await one.aclose()
        assert await two.count("kb-a") == 1
        await two.aclose()

    async def test_not_installed(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Without its packages the error names the extra to install."""
        monkeypatch.setitem(sys.modules, "pymilvus", None)
        monkeypatch.setitem(sys.modules, "milvus_lite", None)
        for uri in (str(tmp_path / "lite"), "http://127.0.0.1:1"):
            async with aclosing(MilvusStore(uri=uri, threads=Threads())) as store:
                with pytest.raises(MissingExtraError, match=r"kbchat\[milvus\]"):
                    await store.ping()

    async def test_nothing_stays_open(self, tmp_path: Path) -> None:
        """Closing lets go of every thread and file, and of the socket."""
        await use(MilvusStore(uri=tmp_path, threads=Threads()))
        before = held()
        for _ in range(3):
            await use(MilvusStore(uri=tmp_path, threads=Threads()))
        await settle(before)


async def use(store: VectorStore) -> None:
    await store.create_collection("kb-used", dimension=DIMENSION)
    await store.upsert("kb-used", range(50), some_vectors(50))
    await store.query("kb-used", some_vectors(1)[0], limit=3)
    await store.refresh()
    await store.query("kb-used", some_vectors(1)[0], limit=3)
    await store.aclose()


def held() -> tuple[list[str], int]:
    """The files that this process has open, and how many threads it has."""
    gc.collect()
    files = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            files.append(str(link.readlink()))
    kept = sorted(file for file in files if file.startswith("/") and "/proc/" not in file)
    return kept, threading.active_count()


async def settle(before: tuple[list[str], int]) -> None:
    """Threads that were told to end may need a moment."""
    with anyio.move_on_after(5):
        while held()[1] > before[1] or held()[0] != before[0]:
            await anyio.sleep(0.05)
    assert held()[0] == before[0]
    assert held()[1] <= before[1]


@pytest.fixture(scope="module")
def own_milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    """A server to be killed."""
    with MilvusServer(tmp_path_factory.mktemp("milvus")) as server:
        yield server


@pytest.mark.server
@pytest.mark.timeout(500)
class TestMilvusServerFaults:
    async def test_token(self, milvus_server: MilvusServer) -> None:
        """A wrong or missing token is an error that says so; the right one is let through."""
        for token, allowed in (("root:wrong", False), (None, False), (milvus_server.token, True)):
            async with aclosing(
                MilvusStore(uri=milvus_server.uri, token=token, threads=Threads(), timeout=5.0)
            ) as store:
                if allowed:
                    await store.ping()
                else:
                    with pytest.raises(StoreUnavailableError, match="refused the token"):
                        await store.ping()
            assert token is None or token not in repr(store._vendor)

    async def test_slow(self, milvus_server: MilvusServer) -> None:
        """A server that is silent for longer than the time-out is an error then, and works again when it answers."""
        async with Proxy(Path(milvus_server.uri.removeprefix("unix:"))) as proxy:
            url = f"http://127.0.0.1:{proxy.port}"
            async with aclosing(
                MilvusStore(uri=url, token=milvus_server.token, threads=Threads(), timeout=2.0)
            ) as store:
                await store.create_collection("kb-slow", dimension=DIMENSION)
                proxy.delay = 5.0
                begin = monotonic()
                with pytest.raises(StoreUnavailableError, match="within 2 seconds"):
                    await store.list_collections()
                assert monotonic() - begin < 4.5
                proxy.delay = 0.0
                with anyio.fail_after(20):
                    # What was on its way when it was slow must arrive first.
                    while "kb-slow" not in await answer(store):
                        pass
                await store.drop_collection("kb-slow")

    async def test_killed_and_back(self, own_milvus: MilvusServer) -> None:
        """Killed under writes and reads, it loses nothing that was acknowledged. It calls itself healthy long before
        its collections are loaded: until then a read is an error within the time-out; then all works on."""
        store = own_milvus.open(timeout=5)
        async with aclosing(store):
            await store.create_collection("kb-killed", dimension=DIMENSION)
            await store.upsert("kb-killed", [1], some_vectors(1))
            assert await store.count("kb-killed") == 1

            async def loaded() -> None:
                with anyio.fail_after(90):
                    while True:
                        begin = monotonic()
                        try:
                            await store.count("kb-killed")
                        except StoreUnavailableError:
                            assert monotonic() - begin < 20  # Two calls of 5 s, on a machine that may do much else.
                        else:
                            return

            await killed_and_back(store, own_milvus, "kb-killed", when_back=loaded)
            await store.drop_collection("kb-killed")


async def answer(store: VectorStore) -> list[str]:
    try:
        return await store.list_collections()
    except StoreUnavailableError:
        return []
