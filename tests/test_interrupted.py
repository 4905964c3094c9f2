"""Ctrl-C stops an ingest soon and leaves a sound space; the next one goes on where it stopped. Memory is bounded."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

import kbchat
from kbchat.loaders.formats import Format
from plugins import plugin

__all__ = ["plugin"]

WORDS = "keys vault rotation ninety days owner audit access secret policy server client".split()  # noqa: SIM905


def folder_of(root: Path, files: int, sentences: int) -> Path:
    """Files of text that differ from each other."""
    root.mkdir()
    for number in range(files):
        lines = (
            f"{WORDS[(number + i) % 12]} {WORDS[(number * i) % 12]} number {number * i}." for i in range(sentences)
        )
        (root / f"f{number}.md").write_text(f"# File {number}\n\n" + "\n\n".join(lines))
    return root


async def count(data: Path) -> int:
    async with kbchat.KnowledgeBase(data) as kb:
        found = await kb.list_spaces()
        return found[0].info.document_count if found else 0


@pytest.mark.timeout(200)
async def test_ctrl_c_stops_an_ingest_and_the_next_run_goes_on(plugin: Format, tmp_path: Path) -> None:
    """Amid a document whose reading never ends it stops at once: what was published is there, nothing of what comes
    after that document is, and the rest follows."""
    folder, data = folder_of(tmp_path / "docs", 600, 12), tmp_path / "data"
    endless = folder / "g.misbehave"
    endless.write_text("MISBEHAVE hang")
    folder_of(folder / "later", 600, 12)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "KBCHAT_DOCUMENT_TIMEOUT": "3600"}
    command = [sys.executable, "-m", "kbchat", "ingest", "notes", str(folder), "--data-dir", str(data)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        while not (data / "catalog.sqlite").exists() or not await count(data):
            assert process.poll() is None
            await anyio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = await anyio.to_thread.run_sync(process.communicate)
    finally:
        process.kill()
    assert (process.returncode, errors) == (130, "kbchat: interrupted\n")
    endless.unlink()
    async with kbchat.KnowledgeBase(data) as kb:
        space = await kb.get_space("notes")
        names = {document.name for document in await space.documents()}
        assert names
        assert all(name.startswith("docs/f") for name in names)
        report = await space.ingest(folder)
        assert (report.unchanged, report.added) == (len(names), 1200 - len(names))
        assert (await space.check()).findings == ()


MEASURED = """
import asyncio, re, sys
from pathlib import Path
import kbchat

async def main():
    async with kbchat.KnowledgeBase(sys.argv[1]) as kb:
        space = await kb.create_space("big")
        for path in sys.argv[2:]:
            report = await space.ingest(path)
            assert not report.failed, report
            # Not `getrusage`: a process begins with the peak of the one that it was forked from.
            status = Path("/proc/self/status").read_text()
            print(int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) * 1024, flush=True)

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_memory_does_not_grow_with_the_folder(tmp_path: Path) -> None:
    """A folder more than twice as large needs hardly more, and stays within a gigabyte."""
    small = folder_of(tmp_path / "small", 1000, 400)
    large = folder_of(tmp_path / "large", 2500, 400)
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "data"), str(small), str(large)]
    ran = await anyio.run_process(command)
    first, second = map(int, ran.stdout.split())
    assert second < 1024**3, (first, second)
    assert second - first < 200 * 1024**2
