"""Loading beforehand: the first who ask and ingest wait for less, and nobody notices when it fails."""

import sys
from pathlib import Path

import anyio
import pytest

import kbchat
from kbchat_aiohttp.indexer import warm_up

LOADED = """
import asyncio, sys
import kbchat

async def main(data, kind):
    async with kbchat.KnowledgeBase(data) as kb:
        if kind:
            await kb.create_space("first", vector_type=kind)
        before = {name for name in ("chromadb", "pymilvus") if name in sys.modules}
        await kb.warm_up()
        print(*sorted({name for name in ("chromadb", "pymilvus") if name in sys.modules} - before))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize(("kind", "library"), [("", "chromadb"), ("Chroma", "chromadb"), ("Milvus", "pymilvus")])
async def test_what_spaces_need_is_loaded(tmp_path: Path, kind: str, library: str) -> None:
    """The libraries of the stores that spaces are on, and of no other; of Chroma where there is no space yet."""
    ran = await anyio.run_process([sys.executable, "-c", LOADED, str(tmp_path), kind])
    assert ran.stdout.decode().split() == [library]


async def test_worker_processes_wait_for_the_first_documents(tmp_path: Path) -> None:
    """With `ingest` there are as many as work at once, and what is ingested goes to them."""
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        await kb.warm_up(ingest=True)
        processes = kb._open.readers.processes
        assert len(processes._idle) == processes.limit
        space = await kb.create_space("notes")
        await space.ingest(kbchat.TextDocument(name="long", text="Some words of a long text. " * 4000))
        assert len(await space.retrieve("words of a text")) > 0
        assert max(worker.asked for worker in processes._idle) == 2


async def test_a_missing_library_is_told_of_by_who_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading beforehand passes over it."""
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        monkeypatch.setitem(sys.modules, "chromadb.api.rust", None)
        await kb.warm_up()


async def test_a_server_goes_on_though_nothing_can_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so in its log."""
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    caplog.set_level("INFO", "kbchat.http")
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        await warm_up(kb, ingest=False)
    assert "could be loaded" in caplog.text
