"""`kbchat serve` as several processes on one PostgreSQL and one Milvus server, as they are deployed."""

import asyncio
import itertools
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import anyio.to_thread
import pytest

from postgresql import PostgresqlServer, needs_postgresql
from servers import MilvusServer
from serving import CHAT, DOCUMENTS, SPACES
from upstream import Exchange, Upstream, model

__all__ = ["model"]

pytestmark = [pytest.mark.server, needs_postgresql, pytest.mark.timeout(400)]

KEYS = "Keys are rotated every ninety days by the vault. Nobody rotates them by hand."
WITHIN = 60.0
"""Seconds for what takes one or two on a machine that does nothing else: a fresh collection is loaded first."""


class Server:
    """One process, and a client of it."""

    def __init__(self, process: asyncio.subprocess.Process, client: aiohttp.ClientSession) -> None:
        self.process = process
        self.client = client

    async def send(self, method: str, path: str, body: object = None) -> tuple[int, Any, dict[str, str]]:
        async with self.client.request(method, path, json=body) as response:
            return response.status, await response.json(), dict(response.headers)

    async def add(self, space: int, name: str, text: str) -> dict[str, Any]:
        """Take a document in, and return it when it is indexed or has failed."""
        sent = {"doc_name": name, "doc_type": "TEXT", "content": text, "space_id": str(space), "replace": True}
        status, body, _ = await self.send("POST", DOCUMENTS, sent)
        assert status == 200, body
        key = body["data"]["id"]
        while True:
            await self.send("POST", f"{DOCUMENTS}/sync", [{"doc_id": str(key), "space_id": str(space)}])
            while True:
                status, body, _ = await self.send("GET", f"{DOCUMENTS}/{key}")
                assert status == 200, body
                if body["data"]["status"] not in ("TODO", "RUNNING"):
                    break
                await asyncio.sleep(0.05)
            # Another server may be writing to the space for longer than this one waits.
            if "another" not in (body["data"]["result"] or ""):
                data: dict[str, Any] = body["data"]
                return data

    async def found(self, space: int, query: str) -> list[tuple[str, float]]:
        """Names and scores; asked again while Milvus loads a collection that is new."""
        deadline = monotonic() + WITHIN
        while True:
            status, body, _ = await self.send("POST", f"{SPACES}/{space}/retrieve", {"query": query, "top_k": 10})
            if status != 503 or monotonic() > deadline:
                assert status == 200, body
                return [(hit["name"], hit["recall_score"]) for hit in body["data"]]
            await asyncio.sleep(0.2)


@asynccontextmanager
async def started(environment: dict[str, str], folder: Path) -> AsyncIterator[Server]:
    own = {**os.environ, "KBCHAT_PORT": "0", **environment, "KBCHAT_DATA_DIR": str(folder)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kbchat", "serve"),
        env=own,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    drained = None
    try:
        url = ""
        while not url:
            line = (await process.stdout.readline()).decode()
            assert line, "the server ended"
            url = next((word.rstrip("/.,") for word in line.split() if word.startswith("http://127")), "")
        drained = asyncio.create_task(process.stdout.read())
        async with aiohttp.ClientSession(url) as client:
            yield Server(process, client)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        if drained is not None:
            await drained


@pytest.fixture
async def servers(
    postgresql_url: str, milvus_server: MilvusServer, model: Upstream, tmp_path: Path
) -> AsyncIterator[list[Server]]:
    """Two of them."""
    environment = {
        "KBCHAT_CATALOG_URL": postgresql_url,
        "KBCHAT_MILVUS_URI": milvus_server.uri,
        "KBCHAT_MILVUS_TOKEN": milvus_server.token,
        "KBCHAT_LLM_BASE_URL": model.base_url,
        "KBCHAT_LLM_MODEL": "m",
        "KBCHAT_STORE_TIMEOUT": "5",
        "KBCHAT_BUSY_TIMEOUT": "20",
    }
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(started(environment, tmp_path / name)) for name in ("one", "other")]


async def make_space(server: Server) -> int:
    status, body, _ = await server.send("POST", SPACES, {"name": "handbook", "vector_type": "Milvus"})
    assert status == 200, body
    space: int = body["data"]["id"]
    return space


async def test_servers_on_one_milvus(
    servers: list[Server], model: Upstream, milvus_server: MilvusServer, tmp_path: Path
) -> None:
    """What one took in both find; both taking in one document leave one; a store that does not answer is 503 with
    `Retry-After` and then works again; a space that is deleted while another streams from it ends in no hang."""
    one, other = servers
    space = await make_space(one)

    # In on one, found on both, with the same scores.
    assert (await one.add(space, "keys", KEYS))["status"] == "FINISHED"
    assert [name for name, _ in await other.found(space, "How are keys rotated?")] == ["keys"]
    assert await other.found(space, "rotated keys") == await one.found(space, "rotated keys")
    # This Milvus has no sparse vectors: words are in an index of each server's own.
    assert all([path.name for path in (tmp_path / name / "lexical").iterdir()] for name in ("one", "other"))

    # The same document on both at once: one of the two texts is live, on both.
    await asyncio.gather(
        one.add(space, "lunch", "Lunch is served on Mondays."),
        other.add(space, "lunch", "Lunch is served on Tuesdays."),
    )
    found = [await server.found(space, "When is lunch served?") for server in servers]
    assert found[0] == found[1]
    assert sorted(name for name, _ in found[0]) == ["keys", "lunch"]
    _, body, _ = await one.send("GET", f"{DOCUMENTS}?space_id={space}")
    assert len(body["data"]["items"] if isinstance(body["data"], dict) else body["data"]) == 2

    # The store falls silent, and comes back.
    milvus_server.pause()
    try:
        begin = monotonic()
        status, body, headers = await other.send("POST", f"{SPACES}/{space}/retrieve", {"query": "keys"})
        assert (status, body["error"]["code"]) == (503, "store_unavailable")
        assert int(headers["Retry-After"]) > 0
        assert monotonic() - begin < 20
        assert (await other.send("GET", f"{SPACES}/{space}"))[0] == 200
    finally:
        milvus_server.resume()
    assert await other.found(space, "When is lunch served?") == found[0]

    # Deleted by one while the other streams from it.
    going, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.say("one")
        going.set()
        await go_on.wait()
        await exchange.say(" two")
        await exchange.end()

    model.behave = slowly
    question = {"messages": "How are keys rotated?", "chat_mode": "chat_knowledge", "chat_param": str(space)}
    async with other.client.post(CHAT, json=question | {"stream": True}) as response:
        assert response.status == 200
        async with asyncio.timeout(30):
            await going.wait()
            assert (await one.send("DELETE", f"{SPACES}/{space}"))[0] == 200
            go_on.set()
            rest = (await response.content.read()).decode()
    assert "[DONE]" in rest or '"error"' in rest
    for server in servers:
        status, body, _ = await server.send("POST", f"{SPACES}/{space}/retrieve", {"query": "keys"})
        assert (status, body["error"]["code"]) == (404, "space_not_found")


class Load:
    """Documents that come in and questions that are asked until `done`: each is answered, or 503 with `Retry-After`."""

    def __init__(self, space: int) -> None:
        self.space = space
        self.acknowledged: dict[str, int] = {}
        self.refusals: list[str] = []
        self.done = False

    async def ask(self, server: Server) -> None:
        while not self.done:
            await self._send(server, "POST", f"{SPACES}/{self.space}/retrieve", {"query": "rotated keys"})

    async def write(self, server: Server, by: str) -> None:
        sent = {"doc_type": "TEXT", "space_id": str(self.space)}
        for number in itertools.count():
            if self.done:
                return
            name = f"{by}{number}"
            made = await self._send(server, "POST", DOCUMENTS, sent | {"doc_name": name, "content": f"{name} shines."})
            asked = [{"doc_id": str(made["id"]), "space_id": str(self.space)}] if made else []
            if asked and await self._send(server, "POST", f"{DOCUMENTS}/sync", asked):
                self.acknowledged[name] = made["id"]

    async def more(self) -> None:
        """Return when more has been acknowledged."""
        enough = len(self.acknowledged) + 6
        while len(self.acknowledged) < enough:
            await asyncio.sleep(0.01)

    async def _send(self, server: Server, method: str, path: str, body: object) -> Any:
        """The data of an answer, or None where it is refused."""
        begin = monotonic()
        status, said, headers = await server.send(method, path, body)
        assert monotonic() - begin < WITHIN
        if status == 200:
            return said["data"]
        assert (status, int(headers["Retry-After"]) > 0) == (503, True), said
        self.refusals.append(said["error"]["code"])
        return None


async def test_postgresql_restarted_under_load(servers: list[Server], postgresql: PostgresqlServer) -> None:
    """Each request is answered as ever or 503 with `Retry-After`; what was acknowledged is there and is indexed, also
    what was on its way when the catalog went; afterwards all works, and no server had to be started anew."""
    one, other = servers
    space = await make_space(one)
    assert (await one.add(space, "keys", KEYS))["status"] == "FINISHED"
    load = Load(space)
    async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
        for work in (load.ask(other), load.write(one, "one"), load.write(other, "other")):
            tasks.create_task(work)
        await load.more()
        await anyio.to_thread.run_sync(postgresql.restart)
        await load.more()
        load.done = True
    assert load.refusals
    async with asyncio.timeout(WITHIN):
        for key in load.acknowledged.values():
            while (found := (await one.send("GET", f"{DOCUMENTS}/{key}"))[1]["data"])["status"] in ("TODO", "RUNNING"):
                await asyncio.sleep(0.05)
            # Only one of them writes to a space at a time.
            assert found["status"] == "FINISHED" or "another" in found["result"], found
    assert (await other.found(space, "How are keys rotated?"))[0][0] == "keys"
    assert (await other.add(space, "lunch", "Lunch is served at noon."))["status"] == "FINISHED"
