"""The proxy of the compose file in `docs/deployment.md`, a real nginx, before two real servers that stand as there."""

import asyncio
import io
import os
import re
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from kbchat.settings import Settings
from postgresql import needs_postgresql
from servers import MilvusServer, cannot_start, free_port
from serving import CHAT, SPACES, frames, said
from test_compose import file, text
from test_servers import DOCUMENTS, KEYS, Server, started
from upstream import Exchange, Upstream, model

__all__ = ["file", "model", "text"]

pytestmark = [pytest.mark.server, needs_postgresql, pytest.mark.timeout(400)]

ADDRESSES = ("127.0.0.2", "127.0.0.3")
QUESTION = "How are keys rotated?"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Names(asyncio.DatagramProtocol):
    """A name server that knows one name, by whatever name it is asked for: the servers' addresses."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        name_end = data.index(b"\0", 12) + 1
        question, kind = data[12 : name_end + 4], data[name_end : name_end + 2]
        # Only IPv4. A record: the name asked for, its kind, Internet, for five seconds, four bytes.
        record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04"
        found = [record + socket.inet_aton(it) for it in ADDRESSES] if kind == b"\x00\x01" else []
        head = data[:2] + b"\x81\x80\x00\x01" + len(found).to_bytes(2) + b"\x00\x00\x00\x00"
        self._transport.sendto(head + question + b"".join(found), addr)


@asynccontextmanager
async def names() -> AsyncIterator[int]:
    """The name server's port."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Names, local_addr=("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


@asynccontextmanager
async def nginx(configuration: str, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """It, with a file of the compose file's in the place of its `conf.d`, listening on that port."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        cannot_start("nginx is not installed; on Debian: tools/browser.sh")
    assert program is not None
    with tempfile.TemporaryDirectory(prefix="kb-nginx-") as folder:
        temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in TEMPORARY)
        (Path(folder) / "nginx.conf").write_text(
            f"daemon off;\nuser root;\npid {folder}/pid;\nevents {{}}\n"
            f"http {{\naccess_log off;\n{temporary}{configuration}\n}}\n"
        )
        command = (program, "-p", folder, "-c", "nginx.conf", "-e", "stderr")
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        assert process.stderr is not None
        errors = asyncio.create_task(process.stderr.read())
        try:
            await listens(port, process)
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
            assert b"[emerg]" not in await errors


async def listens(port: int, process: asyncio.subprocess.Process) -> None:
    while process.returncode is None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return


@pytest.fixture
async def servers(
    file: dict[str, Any], postgresql_url: str, milvus_server: MilvusServer, model: Upstream, tmp_path: Path
) -> AsyncIterator[list[Server]]:
    """The proxy and, behind it, two servers: what the compose file says, but for where things are."""
    port, outer = free_port(), free_port()
    environment = file["services"]["kbchat"]["environment"] | {
        "KBCHAT_CATALOG_URL": postgresql_url,
        "KBCHAT_MILVUS_URI": milvus_server.uri,
        "KBCHAT_MILVUS_TOKEN": milvus_server.token,
        "KBCHAT_LLM_BASE_URL": model.base_url,
        "KBCHAT_LLM_MODEL": "m",
        "KBCHAT_PORT": str(port),
        "KBCHAT_STORE_TIMEOUT": "5",
    }
    key = {"Authorization": f"Bearer {environment['KBCHAT_API_KEYS']}"}
    async with AsyncExitStack() as stack:
        configuration = file["configs"]["proxy"]["content"]
        for here, there in (
            ("listen 80;", f"listen 127.0.0.1:{outer};"),
            ("resolver 127.0.0.11 ", f"resolver 127.0.0.1:{await stack.enter_async_context(names())} "),
            (f"http://kbchat:{Settings().port};", f"http://kbchat:{port};"),
        ):
            assert here in configuration
            configuration = configuration.replace(here, there)
        servers = [
            await stack.enter_async_context(started(environment | {"KBCHAT_HOST": address}, tmp_path / address))
            for address in ADDRESSES
        ]
        proxy = await stack.enter_async_context(nginx(configuration, outer))
        # Each request by a connection of its own, as from many clients.
        apart = aiohttp.TCPConnector(force_close=True)
        client = aiohttp.ClientSession(f"http://127.0.0.1:{outer}", connector=apart)
        every = [Server(proxy, await stack.enter_async_context(client)), *servers]
        for each in every:
            each.client.headers.update(key)
        yield every


async def with_keys(server: Server) -> int:
    """A space with a document."""
    status, body, _ = await server.send("POST", SPACES, {"name": "handbook", "vector_type": "Milvus"})
    assert status == 200, body
    space: int = body["data"]["id"]
    assert (await server.add(space, "keys", KEYS))["status"] == "FINISHED"
    return space


async def test_answers_stream_through_it(servers: list[Server], model: Upstream) -> None:
    """A delta is read while the model has not said the next one; a reader who leaves stops the model."""
    proxy, *_ = servers
    space = await with_keys(proxy)
    go_on = asyncio.Event()

    async def slowly(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.say("one")
        await go_on.wait()
        await exchange.say(" two")
        await exchange.end()

    model.behave = slowly
    question = {"messages": QUESTION, "chat_mode": "chat_knowledge", "chat_param": str(space), "stream": True}
    async with asyncio.timeout(60), proxy.client.post(CHAT, json=question) as response:
        assert (response.status, response.headers["Content-Type"]) == (200, "text/event-stream")
        come = b""
        while b"one" not in come:
            come += await response.content.readany()
        go_on.set()
        come += await response.content.read()
    assert said(frames(come.decode())).startswith("one two")

    async def silently(exchange: Exchange) -> None:
        await exchange.open()
        await exchange.say("one")
        await exchange.hang()

    model.behave = silently
    async with asyncio.timeout(60):
        async with proxy.client.post(CHAT, json=question) as response:
            assert await response.content.readany()
        await model.last.gone.wait()


async def test_documents_go_up_through_it(servers: list[Server]) -> None:
    """As large as kbchat takes them, and no larger; what went up through one is whole on each."""
    proxy, *behind = servers
    space = await with_keys(proxy)
    largest = Settings().max_body_bytes
    for size, expected in ((largest - 4096, 200), (largest + 4096, 413)):
        form = aiohttp.FormData({"doc_name": "large", "space_id": str(space)})
        form.add_field("doc_file", io.BytesIO(b"keys " * (size // 5)), filename="large.txt", content_type="text/plain")
        async with proxy.client.post(DOCUMENTS, data=form) as response:
            assert response.status == expected, await response.text()
    for server in behind:
        _, body, _ = await server.send("GET", f"{DOCUMENTS}?space_id={space}")
        assert "large" in str(body["data"])


async def test_whoever_is_there_answers(servers: list[Server], milvus_server: MilvusServer) -> None:
    """Requests are spread; when a server dies, the other one answers all; a store that is silent is 503 with
    `Retry-After` and kbchat's own words, and works again when it is back."""
    proxy, one, other = servers
    space = await with_keys(proxy)
    before = await proxy.found(space, QUESTION)
    assert [name for name, _ in before] == ["keys"]
    for _ in range(40):
        assert (await proxy.send("GET", f"{SPACES}/{space}"))[0] == 200
    assert min([await requests(it) for it in (one, other)]) > 5

    milvus_server.pause()
    try:
        status, body, headers = await proxy.send("POST", f"{SPACES}/{space}/retrieve", {"query": "keys"})
        assert (status, body["error"]["code"]) == (503, "store_unavailable")
        assert int(headers["Retry-After"]) > 0
    finally:
        milvus_server.resume()
    assert await proxy.found(space, QUESTION) == before

    one.process.kill()
    await one.process.wait()
    for _ in range(20):
        assert (await proxy.send("GET", f"{SPACES}/{space}"))[0] == 200
    assert await proxy.found(space, QUESTION) == before
    assert (await proxy.add(space, "lunch", "Lunch is served at noon."))["status"] == "FINISHED"


async def requests(server: Server) -> int:
    """How many there were of a space, by a server's own count."""
    async with server.client.get("/metrics") as response:
        counts = re.findall(r"^kbchat_requests_total\{.*spaces/.*\} (\d+)", await response.text(), re.MULTILINE)
    return sum(map(int, counts))
