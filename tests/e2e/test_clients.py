"""Clients that we did not write, each in an environment of its own, over a real socket: the same questions to each.

A client that reads `/api/v2` gets the references in its text, one that reads `/v1` beside it. None of them may take a
cut answer for a whole one, and the model must stop when any of them leaves.
"""

import asyncio
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from environments import FOLDER, NODE, python
from live import KBCHAT, kbchat_serve

from kbchat import references
from upstream import AT_ONCE, Exchange, upstream

HERE = Path(__file__).parent
KEY = "key-one"
ANSWER = ("Keys are rotated ", "every ninety days", " [1].\n☕\u2028<b> &amp; ")
TEXT = "".join(ANSWER)
USAGE = (21, 8)
DOCUMENT = "# Keys\n\nKeys are rotated every ninety days by the vault.\n"

pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]


# -- the model server, in a thread of its own, and what it saw -------------------------------------------------------


class Model:
    """A model server that answers by the words of the question, and notes when the reader of an endless one left."""

    def __init__(self) -> None:
        self.base_url = ""
        self.left: list[float] = []
        self._ready = threading.Event()
        self._over = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> "Model":
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *error: object) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with upstream() as server:
            server.behave = self._behave
            self.base_url = server.base_url
            self._ready.set()
            await self._over.wait()

    async def _behave(self, exchange: Exchange) -> None:
        question = exchange.request["messages"][-1]["content"]
        await exchange.open()
        if "for ever" in question:
            while not exchange.gone.is_set():
                await exchange.say("on ")
                await asyncio.wait([asyncio.ensure_future(exchange.gone.wait())], timeout=0.02)
            self.left.append(time.monotonic())
        elif "break off" in question:
            await exchange.say("Hello")
            await exchange.piece(b'data: {"choi')
        else:
            for text in ANSWER:
                await exchange.say(text)
            await exchange.end(usage=USAGE)


@dataclass(frozen=True, slots=True)
class Live:
    port: int
    model: Model


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server with one space, one key and the model."""
    folder = tmp_path_factory.mktemp("clients")
    (folder / "keys.md").write_text(DOCUMENT)
    ingest = [KBCHAT, "ingest", "handbook", folder / "keys.md", "--data-dir", folder / "data"]
    subprocess.run(ingest, check=True, capture_output=True)
    with Model() as model:
        variables = {"KBCHAT_LLM_BASE_URL": model.base_url, "KBCHAT_LLM_MODEL": "m", "KBCHAT_API_KEYS": KEY}
        with kbchat_serve(folder / "data", **variables) as port:
            yield Live(port, model)


# -- the clients -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Client:
    name: str
    environment: str
    driver: tuple[str, ...]

    def __str__(self) -> str:
        return self.name

    def run(self, live: Live, scenario: str) -> Any:
        """What the client makes of a scenario."""
        base = f"http://127.0.0.1:{live.port}"
        done = subprocess.run(
            [*self._command(), base, KEY, scenario],
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def _command(self) -> list[str | Path]:
        if self.environment == NODE:
            if shutil.which("npm") is None:
                pytest.skip("there is no Node here")
            return ["node", FOLDER / NODE / self.driver[0]]
        return [python(self.environment), HERE / "drivers" / self.driver[0], *self.driver[1:]]


DBGPT = [
    Client("dbgpt 0.6.3", "dbgpt-0.6.3", ("dbgpt_both.py", "dbgpt.client")),
    Client("dbgpt-client 0.8.2", "dbgpt-0.8.2", ("dbgpt_both.py", "dbgpt_client")),
]
OPENAI = [
    Client("openai", "openai", ("openai_sync.py",)),
    Client("openai async", "openai", ("openai_async.py",)),
    Client("openai for Node", NODE, ("openai.mjs",)),
]
FRAMEWORKS = [
    Client("LangChain", "langchain", ("langchain_chat.py",)),
    Client("Vercel AI SDK", NODE, ("ai.mjs",)),
]
each = pytest.mark.parametrize("client", [*DBGPT, *OPENAI, *FRAMEWORKS], ids=str)


@each
@pytest.mark.parametrize("scenario", ["whole", "stream"])
def test_an_answer_arrives_whole(live: Live, client: Client, scenario: str) -> None:
    """Word for word, with its references where that client looks for them."""
    found = client.run(live, scenario)
    text = found["text"]
    if client in DBGPT:
        assert text.startswith(TEXT)
        answer, cited = references.parse(text)
        assert answer == TEXT
        assert [(one.name, one.content in DOCUMENT) for one in cited] == [("keys.md", True)]
    else:
        assert text == TEXT
    if client in OPENAI:
        (document,) = found["references"]
        assert document["name"] == "keys.md"
    assert found["finish"] == "stop"
    if not (client in DBGPT and scenario == "stream"):
        assert found["usage"] == list(USAGE)


@each
@pytest.mark.parametrize("scenario", ["unknown", "unknown stream"])
def test_a_failure_before_the_answer_is_understood(live: Live, client: Client, scenario: str) -> None:
    """Each client finds the code where it looks for it."""
    found = client.run(live, scenario)
    if client in DBGPT:
        assert found["failed"]["success"] is False
        assert found["failed"]["err_code"] == "E4045"
    else:
        assert found == {"status": 404, "code": "model_not_found"}


@each
def test_a_cut_answer_is_noticed(live: Live, client: Client) -> None:
    """What was said arrives, and then the client raises."""
    found = client.run(live, "break off")
    assert found["text"] == "Hello"
    assert "raised" in found
    assert "model_unavailable" in found["raised"] or "broke off" in found["raised"]


@each
def test_a_client_that_leaves_stops_the_model(live: Live, client: Client) -> None:
    """Seen at the model's own socket."""
    before = len(live.model.left)
    left = client.run(live, "for ever")["left"]
    deadline = time.monotonic() + 10
    while len(live.model.left) == before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert live.model.left[-1] - left < AT_ONCE


@pytest.mark.parametrize("client", DBGPT, ids=str)
def test_spaces_live_and_die(live: Live, client: Client) -> None:
    """Made, changed, shown, listed and deleted; what fails is told by its code."""
    found = client.run(live, "crud")
    made = found["made"]
    assert (made["name"], made["vector_type"], made["desc"], made["owner"]) == ("crud", "Chroma", "a", "x")
    changed = {**made, "desc": "b"}
    assert found["changed"] == found["shown"] == found["deleted"] == changed
    assert changed in found["listed"]
    assert "E4091" in found["twice"]
    assert "E4042" in found["gone"]


@pytest.mark.parametrize("client", DBGPT, ids=str)
def test_documents_go_in_and_are_found(live: Live, client: Client) -> None:
    """Made, synced, shown, listed, asked about and deleted with the client's own calls."""
    found = client.run(live, "documents")
    made = found["made"]
    assert (made["doc_name"], made["doc_type"]) == ("lunch", "TEXT")
    assert found["synced"] == [made["id"]]
    assert found["shown"] == found["deleted"] == made
    assert made in found["listed"]
    assert "noon" in found["text"]
    assert "<references" in found["text"]


@pytest.mark.parametrize("client", OPENAI, ids=str)
def test_models_are_listed(live: Live, client: Client) -> None:
    """Spaces among them."""
    assert client.run(live, "models")["models"] == ["kb/handbook", "m", "extractive"]


# -- curl ------------------------------------------------------------------------------------------------------------


def curl(live: Live, body: object, *more: str) -> "subprocess.CompletedProcess[str]":
    command = [
        *("curl", "--silent", "--no-buffer", *more),
        *("--header", f"Authorization: Bearer {KEY}", "--header", "Content-Type: application/json"),
        *("--data", json.dumps(body), f"http://127.0.0.1:{live.port}/api/v2/chat/completions"),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


def test_curl_reads_a_stream(live: Live) -> None:
    """Line by line; its exit code tells that it was whole."""
    done = curl(live, {"messages": "Hi", "stream": True})
    assert done.returncode == 0
    assert done.stdout.endswith("data: [DONE]\n\n")
    assert all(line.startswith("data: ") for line in done.stdout.splitlines() if line)


def test_curl_is_told_of_failures(live: Live) -> None:
    """By the status, or by the frame that takes the place of the end."""
    assert curl(live, {"messages": "Hi", "model": "nope"}, "--fail").returncode == 22
    done = curl(live, {"messages": "break off", "stream": True})
    assert "[DONE]" not in done.stdout
    assert '"code": "model_unavailable"' in done.stdout


def test_curl_that_leaves_stops_the_model(live: Live) -> None:
    """It gives up after a while, as people do."""
    before = len(live.model.left)
    assert curl(live, {"messages": "for ever", "stream": True}, "--max-time", "1").returncode == 28
    left = time.monotonic()
    while len(live.model.left) == before:
        assert time.monotonic() < left + 10
        time.sleep(0.01)
    assert live.model.left[-1] - left < AT_ONCE
