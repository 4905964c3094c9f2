"""Worker processes read files within limits; whatever a reader does, one document fails and the others go in."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders import formats
from kbchat.loaders.formats import Format, by_name, format_of
from kbchat.loaders.readers import DocumentReaders
from kbchat.processes import Processes
from kbchat.threads import Threads
from made_files import PHRASE, bomb, docx, pdf
from plugin_loader import Misbehaving
from plugins import plugin

__all__ = ["plugin"]


@pytest.fixture(autouse=True)
def _known() -> None:
    """Looking for plugins reads folders, which is not for the event loop."""
    formats.by_suffix()


@pytest.fixture
async def readers() -> AsyncIterator[DocumentReaders]:
    async with DocumentReaders(threads=Threads(8), seconds=20, memory=256 << 20, limit=2) as readers:
        yield readers


async def load(readers: DocumentReaders, data: bytes, name: str) -> str:
    # In a thread, because it looks for plugins.
    known = await anyio.to_thread.run_sync(lambda: format_of(data, name=name))
    return (await readers.load(known, data, name=name)).text


async def test_a_process_reads_one_file_after_another(readers: DocumentReaders) -> None:
    """The text comes back whole, with its blocks and metadata."""
    data = pdf("one", PHRASE, title="Keys")
    document = await readers.load(by_name("pdf"), data, name="a.pdf")
    assert (document.text, document.metadata) == (f"one\n\n{PHRASE}", {"title": "Keys"})
    assert [block.metadata for block in document.blocks] == [{"page": 1}, {"page": 2}]
    assert "Rotation" in await load(readers, docx(), "a.docx")
    with pytest.raises(UnreadableDocumentError, match="no text on any page"):
        await load(readers, pdf(""), "a.pdf")


async def test_plugins_add_formats(plugin: Format, readers: DocumentReaders) -> None:
    """By the suffixes and the content that they say are theirs."""
    assert ".misbehave" in formats.by_suffix()
    assert (await load(readers, b"fine", "a.misbehave")).startswith("read a.misbehave in ")
    assert format_of(b"MISBEHAVE print", name="a.txt") is plugin
    assert plugin.plugin is not None
    assert isinstance(plugin.plugin, Misbehaving) or type(plugin.plugin).__name__ == "Misbehaving"


async def test_a_reader_that_hangs_is_killed(plugin: Format) -> None:
    """After its time; the next document is read by another process."""
    async with DocumentReaders(threads=Threads(8), seconds=20, memory=256 << 20, limit=1) as readers:
        await load(readers, b"warm", "a.misbehave")
        readers.seconds = 1.0
        with pytest.raises(UnreadableDocumentError, match=r"longer than 1 s \(document_timeout\)"):
            await load(readers, b"MISBEHAVE hang", "a")
        readers.seconds = 20
        assert await load(readers, b"fine", "a.misbehave")


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("crash", "its reader crashed"),
        ("eat", "needs more than 268,435,456 bytes of memory"),
        ("raise", "its reader failed: RuntimeError: library trouble"),
    ],
)
async def test_a_reader_that_fails_costs_one_document(
    plugin: Format, readers: DocumentReaders, what: str, reason: str
) -> None:
    """The reason is said; the others are read."""
    with pytest.raises(UnreadableDocumentError, match=reason):
        await load(readers, f"MISBEHAVE {what}".encode(), "a")
    assert await load(readers, b"fine", "a.misbehave")


async def test_what_a_reader_prints_does_no_harm(plugin: Format, readers: DocumentReaders) -> None:
    """Neither to the reply nor to our own output."""
    assert (await load(readers, b"MISBEHAVE print", "a")).startswith("read a in ")


async def test_a_zip_bomb_is_refused(readers: DocumentReaders) -> None:
    """By what it says that it unpacks to, which its reader is held to."""
    with pytest.raises(UnreadableDocumentError, match="unpacks to more than 536,870,912 bytes"):
        await load(readers, bomb(), "a.docx")


async def test_a_cancelled_read_kills_its_process(plugin: Format, readers: DocumentReaders) -> None:
    """At once: Ctrl-C does not wait for a reader."""
    pid = int((await load(readers, b"fine", "a.misbehave")).split()[-1])
    with anyio.move_on_after(0.2) as scope:
        await load(readers, b"MISBEHAVE hang", "a")
    assert scope.cancelled_caught
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_process_that_nobody_waits_for_any_more_is_kept() -> None:
    """Whoever wanted it may be cancelled while it starts; it is then there for others, and ends with them."""
    processes = Processes(threads=Threads(), limit=1)
    call = asyncio.create_task(processes.call("json:loads", b"", seconds=10))
    for _ in range(20):  # until a thread starts it
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert processes.is_warm
    await processes.aclose()


async def test_a_wait_for_a_thread_is_no_work_of_a_document(plugin: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time begins when a thread asks the process: others may keep all of them busy for longer than it has."""
    loop, threads, busy, free = asyncio.get_running_loop(), Threads(1), anyio.Event(), threading.Event()

    def keep_busy() -> None:
        loop.call_soon_threadsafe(busy.set)
        free.wait()

    async with DocumentReaders(threads=threads, seconds=20, memory=256 << 20, limit=1) as readers:
        await load(readers, b"warm", "a.misbehave")
        known = by_name("misbehave")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(threads.read, keep_busy)
            await busy.wait()
            try:
                tasks.start_soon(partial(readers.load, known, b"fine", name="a"))
                await anyio.wait_all_tasks_blocked()
                now = loop.time
                monkeypatch.setattr(loop, "time", lambda: now() + 60)
                for _ in range(5):  # until whatever is due by then is done
                    await anyio.sleep(0)
            finally:
                free.set()
        assert readers.processes.is_warm


async def test_many_at_once_take_turns(plugin: Format, readers: DocumentReaders) -> None:
    """No more processes than the limit, and each reply goes to whom it belongs."""
    texts: dict[str, str] = {}

    async def read(name: str) -> None:
        texts[name] = await load(readers, b"fine", name)

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(read, f"{number}.misbehave")
    assert all(text.startswith(f"read {name} in ") for name, text in texts.items())
    assert len({text.split()[-1] for text in texts.values()}) <= 2


ORPHAN = """
import asyncio, sys
from kbchat.loaders.formats import by_name
from kbchat.loaders.readers import DocumentReaders
from kbchat.threads import Threads

async def main():
    readers = DocumentReaders(threads=Threads(4), seconds=60, memory=256 << 20)
    print((await readers.load(by_name("misbehave"), b"fine", name="x")).text, flush=True)
    await readers.load(by_name("misbehave"), b"MISBEHAVE hang", name="x")

asyncio.run(main())
"""


async def test_processes_end_with_their_parent(plugin: Format, tmp_path: Path) -> None:
    """Also when it is killed while a reader hangs."""
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN], env=env, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline().split()[-1])
    parent.kill()
    parent.wait()
    parent.stdout.close()
    with anyio.fail_after(10):
        while alive(pid):
            await anyio.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
