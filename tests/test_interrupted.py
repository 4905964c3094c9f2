"""Ctrl-C stops an ingest soon and leaves a sound space; the next one goes on where it stopped. Memory is bounded."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

import kbchat

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


async def test_ctrl_c_stops_soon_and_the_next_run_goes_on(tmp_path: Path) -> None:
    """Within about a second; what was reported as done by then is there, the rest follows."""
    folder, data = folder_of(tmp_path / "docs", 3000, 12), tmp_path / "data"
    command = [sys.executable, "-m", "kbchat", "ingest", "notes", str(folder), "--data-dir", str(data)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        with anyio.fail_after(60):
            while not (data / "catalog.sqlite").exists() or not await count(data):
                await anyio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, errors = await anyio.to_thread.run_sync(process.communicate)
        # A busy machine gets some more.
        assert time.monotonic() - started < 1 + os.getloadavg()[0]
    finally:
        process.kill()
    assert (process.returncode, errors) == (130, "kbchat: interrupted\n")
    async with kbchat.KnowledgeBase(data) as kb:
        space = await kb.get_space("notes")
        done = space.info.document_count
        assert 0 < done < 3000
        report = await space.ingest(folder)
        assert (report.unchanged, report.added) == (done, 3000 - done)
        assert (await space.check()).findings == ()


MEASURED = """
import asyncio, resource, sys
import kbchat

async def main():
    async with kbchat.KnowledgeBase(sys.argv[1]) as kb:
        space = await kb.create_space("big")
        for path in sys.argv[2:]:
            report = await space.ingest(path)
            assert not report.failed, report
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, flush=True)

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_memory_does_not_grow_with_the_folder(tmp_path: Path) -> None:
    """A folder four times as large needs hardly more, and stays within a gigabyte."""
    small = folder_of(tmp_path / "small", 400, 400)
    large = folder_of(tmp_path / "large", 1600, 400)
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "data"), str(small), str(large)]
    ran = await anyio.run_process(command)
    first, second = map(int, ran.stdout.split())
    assert second < 1024**3, (first, second)
    assert second - first < 200 * 1024**2
