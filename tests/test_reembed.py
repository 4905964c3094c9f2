"""`kbchat reembed --embedder`: another model's vectors beside the old ones, while servers answer."""

import json
import os
import sys
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from serving import SPACES
from test_servers import Server, started

pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]

EMBEDDER = "openai:hashed"
QUESTION = "How are keys rotated?"


class Hashing(ThreadingHTTPServer):
    """An embedding server. Texts other than questions wait until it is told to go on."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked, self.go_on = threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Answer(BaseHTTPRequestHandler):
    server: Hashing

    def do_POST(self) -> None:
        texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
        if any("every ninety days by the vault" in text for text in texts):
            self.server.asked.set()
            self.server.go_on.wait(60)
        data = [{"index": number, "embedding": vector(text)} for number, text in enumerate(texts)]
        body = json.dumps({"data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


def vector(text: str) -> list[float]:
    numbers = [0.01] * 32
    for word in text.lower().split():
        numbers[zlib.crc32(word.encode()) % 32] += 1
    return numbers


@pytest.fixture
def hashing() -> Iterator[Hashing]:
    with Hashing() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


async def kbchat(data: Path, *words: str, **environment: str) -> tuple[int, str, str]:
    """Run a command as a process; its exit code, and what it said."""
    command = [sys.executable, "-m", "kbchat", *words, "--data-dir", str(data)]
    ran = await anyio.run_process(command, check=False, env={**os.environ, **environment})
    return ran.returncode, ran.stdout.decode(), ran.stderr.decode()


async def ask(server: Server) -> tuple[int, Any]:
    """The status, and the names that were found or the error's code."""
    status, body, _ = await server.send("POST", f"{SPACES}/1/retrieve", {"query": QUESTION, "top_k": 1})
    return status, [hit["name"] for hit in body["data"]] if status == 200 else body["error"]["code"]


async def test_another_model_takes_over(tmp_path: Path, hashing: Hashing) -> None:
    """Who has the old setting answers until the switch, and says what to do after it; who has the new one answers."""
    data, note = tmp_path / "data", tmp_path / "keys.md"
    note.write_text("Keys are rotated every ninety days by the vault.")
    where = {"KBCHAT_EMBEDDER_BASE_URL": hashing.url}
    assert (await kbchat(data, "ingest", "handbook", str(note)))[0] == 0
    ran: list[tuple[int, str, str]] = []

    async def reembed() -> None:
        ran.append(await kbchat(data, "reembed", "handbook", "--embedder", EMBEDDER, **where))

    async with started(where, data) as old:
        assert await ask(old) == (200, ["keys.md"])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reembed)
            assert await anyio.to_thread.run_sync(hashing.asked.wait, 60)
            assert await ask(old) == (200, ["keys.md"])
            hashing.go_on.set()
        ((code, out, said),) = ran
        assert (code, "openai:hashed, 32 dimensions" in out) == (0, True), said
        assert f"set KBCHAT_EMBEDDER={EMBEDDER}" in said
        assert await ask(old) == (409, "embedder_mismatch")
    async with started({**where, "KBCHAT_EMBEDDER": EMBEDDER}, data) as new:
        assert await ask(new) == (200, ["keys.md"])
    code, _, said = await kbchat(data, "search", "handbook", QUESTION)
    assert code == 2
    assert "KBCHAT_EMBEDDER" in said
    assert "kbchat reembed handbook" in said
    assert (await kbchat(data, "reembed", "handbook"))[0] == 0
    assert "keys.md" in (await kbchat(data, "search", "handbook", QUESTION))[1]
    code, _, said = await kbchat(data, "reembed", "handbook", "--embedder", "word2vec")
    assert code == 2
    assert "use 'static', 'openai:MODEL'" in said
