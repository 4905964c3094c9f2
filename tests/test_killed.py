"""A real process is killed at every labelled step and at random moments; nothing acknowledged is lost, nothing is torn.

`KBCHAT_KILLS=200 python -m pytest tests/test_killed.py` kills that often at random, on each store; by default a few do.
On Milvus the space is moved to Chroma and back as well. Milvus Lite lets one process in at a time, so there the process
that is killed searches itself; on Chroma another one does too.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

import kbchat
from kbchat.models import DocumentStatus
from killing import LABELS, MOVES, text

KILLS = int(os.environ.get("KBCHAT_KILLS", "2"))
ALL = KILLS > 2
PIECE = 20
"""Kills upon one data folder: each piece is a test of its own, and can be run alone."""
SOME = [
    "catalog.begin_generations:after",
    "catalog.extend_generation:after",
    "store.upsert:after",
    "catalog.publish:after",
    "catalog.collect:before",
]
STORES = ["Chroma", "Milvus"]
PROGRAM = Path(__file__).with_name("killing.py")

pytestmark = [pytest.mark.timeout(300 + 30 * min(KILLS, PIECE))]


class Expected:
    """What must be there: acknowledged versions by name, and versions that were begun and not acknowledged."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}
        self.open: dict[str, int] = {}

    def hear(self, line: str) -> None:
        said = json.loads(line)
        if "begun" in said:
            self.open = said["begun"]
        if "done" in said:
            self.known |= said["done"]
            self.open = {}

    def allows(self, name: str, version: int) -> bool:
        return version in (self.known.get(name, 0), self.open.get(name, self.known.get(name, 0)))


def run(data: Path, store: str, seed: int, label: str, expected: Expected, *, moment: float | None = None) -> int:
    """Let a process work until it kills itself, or is killed at a moment (seconds); returns its exit code."""
    moves = ["moves"] if store == "Milvus" else []
    command = [sys.executable, str(PROGRAM), str(data), store, str(seed), label, *moves]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        timer: threading.Timer | None = None
        for line in process.stdout:
            if "ready" in line and moment is not None:
                timer = threading.Timer(moment, process.kill)
                timer.start()
            expected.hear(line)
        code = process.wait()
        if timer is not None:
            timer.cancel()
            timer.join()
    # Anything else is a failure of its own, or a torn search.
    assert code in (0, -signal.SIGKILL), (code, seed, label)
    return code


def version_of(content: str) -> int:
    (version,) = set(re.findall(r"version(\d+)", content))
    return int(version)


async def look(data: Path, expected: Expected) -> None:
    """What a reader sees: of each document one version, whole, that was acknowledged or begun; none twice."""
    async with kbchat.KnowledgeBase(data) as kb:
        space = await kb.get_space("killed")
        documents = {document.name: document for document in await space.documents()}
        for name in expected.known.keys() | expected.open.keys() | documents.keys():
            there = documents.get(name)
            version = 0 if there is None else int(there.metadata["version"])  # type: ignore[arg-type]
            assert expected.allows(name, version), (name, version, expected.known, expected.open)
            if there is not None:
                assert there.status is DocumentStatus.FINISHED
                assert (await space.get_document(there.id)).text == text(name, version)
                chunks = await space.document_chunks(there.id)
                assert {version_of(chunk.content) for chunk in chunks} == {version}
        found = await space.retrieve("version part filler", top_k=1000)
        assert len({it.chunk_id for it in found}) == len(found)
        for it in found:
            assert version_of(it.content) == int(documents[it.name].metadata["version"])  # type: ignore[arg-type]


async def heal(data: Path, expected: Expected) -> None:
    """The next ingest mends what the dead process left; a check finds nothing after it."""
    async with kbchat.KnowledgeBase(data) as kb:
        space = await kb.get_space("killed")
        healer = kbchat.TextDocument(name="healer", text=text("healer", 1), metadata={"version": 1})
        await space.ingest(healer)
        expected.known["healer"] = 1
        report = await space.check()
        assert report.findings == (), report
        # What is there is what was acknowledged from now on.
        documents = await space.documents()
        expected.known = {it.name: int(it.metadata["version"]) for it in documents}  # type: ignore[arg-type]
        expected.open = {}


class Searching:
    """A process of its own that searches all the time. A search may fail while a store is away, but never be wrong."""

    PROGRAM = """
import asyncio, re, sys
import kbchat

async def main():
    async with kbchat.KnowledgeBase(sys.argv[1]) as kb:
        space = await kb.get_space("killed")
        print("ready", flush=True)
        while True:
            versions = {}
            for it in await space.retrieve("version part filler", top_k=100):
                said = set(re.findall(r"version(\\d+)", it.content))
                assert len(said) == 1 and said == {str(it.metadata["version"])}, (it.name, said, it.metadata)
                assert versions.setdefault(it.name, said) == said, (it.name, said)
            await asyncio.sleep(0.05)

asyncio.run(main())
"""

    def __init__(self, data: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM, str(data)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def stop(self) -> None:
        """End it, and raise what it ran into."""
        running = self.process.poll() is None
        self.process.kill()
        _, errors = self.process.communicate()
        assert running, errors


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    return tmp_path / "data"


@pytest.mark.parametrize("label", [*LABELS, *MOVES] if ALL else [*SOME, MOVES[1]])
async def test_killed_at_a_step(data: Path, store: str, label: str) -> None:
    """Before or after each step that changes something, the first time and later."""
    if label in MOVES and store != "Milvus":
        pytest.skip("a space on Chroma is not moved: another process searches it")
    if not ALL and store == "Milvus" and label not in ("catalog.publish:after", MOVES[1]):
        pytest.skip("on one store only, unless KBCHAT_KILLS is set")
    expected = Expected()
    for seed, number in enumerate((1, 4) if ALL else (1,) if label in MOVES else (2,)):
        code = await anyio.to_thread.run_sync(run, data, store, seed, f"{label}:{number}", expected)
        assert ALL or code == -signal.SIGKILL  # A step that was never passed shows nothing.
        await look(data, expected)
        await heal(data, expected)


@pytest.mark.parametrize("piece", range(-(-KILLS // PIECE)))
async def test_killed_at_random_while_searching_goes_on(data: Path, store: str, piece: int) -> None:
    """Again and again on the same data: what is acknowledged adds up."""
    expected, choose = Expected(), random.Random(2026 + piece)
    await anyio.to_thread.run_sync(lambda: run(data, store, 99 + piece, "-", expected, moment=2.0))
    await heal(data, expected)
    searching = await anyio.to_thread.run_sync(Searching, data) if store == "Chroma" else None
    try:
        for seed in range(PIECE * piece, min(PIECE * (piece + 1), KILLS)):
            moment = choose.uniform(0, 1.5)
            await anyio.to_thread.run_sync(lambda s=seed, m=moment: run(data, store, s, "-", expected, moment=m))
            await look(data, expected)
            await heal(data, expected)
    finally:
        if searching is not None:
            await anyio.to_thread.run_sync(searching.stop)
