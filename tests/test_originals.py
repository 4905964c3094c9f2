"""A check looks at the files that documents were read from, and at nothing else that a source may name."""

import os
import sys
from pathlib import Path

import pytest

import kbchat
from kbchat.ingestion import items
from kbchat.maintenance.checking import CheckReport
from made_files import write

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")


def told(report: CheckReport) -> list[tuple[str, int]]:
    return [(finding.kind, finding.count) for finding in report.findings]


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """One that nobody writes to: who opens it to read waits for ever."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


async def test_the_source_of_an_upload_is_not_opened(tmp_path: Path, pipe: Path) -> None:
    """It is what a client said. A device would never end, and another file is none of the client's business."""
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        space = await kb.create_space("handbook")
        for name, source in (("a.txt", "/dev/zero"), ("b.txt", str(pipe)), ("c.txt", __file__)):
            document = await space.add_document(name, data=b"Keys are rotated.", source=source)
            await space.index_documents([document.id])
        assert told(await space.check()) == []


async def test_a_source_that_is_no_file(tmp_path: Path, pipe: Path) -> None:
    """What stood there is gone: a pipe or a device in its place is not waited for, whoever brought the document."""
    folder = write(tmp_path / "docs", {"a.txt": b"Keys are rotated.", "b.txt": b"Lunch is at noon."})
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        space = await kb.create_space("handbook")
        await space.ingest(folder)
        await space.export(tmp_path / "archive")
        copy = await kb.import_space(tmp_path / "archive", name="copy")
        for each in (space, copy):
            assert told(await each.check()) == []
        (folder / "a.txt").unlink()
        os.mkfifo(folder / "a.txt")
        (folder / "b.txt").unlink()
        (folder / "b.txt").symlink_to("/dev/zero")
        for each in (space, copy):
            assert told(await each.check()) == [("original_missing", 2)]


async def test_a_file_of_another_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has changed. One without a known size is read, in pieces."""
    folder = write(tmp_path / "docs", {"a.txt": b"Keys are rotated."})
    monkeypatch.setattr(items, "RACY_NS", 0)  # The size of one that was just written is not relied on.
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        space = await kb.create_space("handbook")
        await space.ingest(folder)
        await space.export(tmp_path / "archive")
        copy = await kb.import_space(tmp_path / "archive", name="copy")
        os.truncate(folder / "a.txt", 1 << 36)  # A hole: more than could be read in time.
        assert told(await space.check()) == [("original_changed", 1)]
        os.truncate(folder / "a.txt", 1 << 22)
        assert told(await copy.check()) == [("original_changed", 1)]
