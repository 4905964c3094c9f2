"""Bad files of every kind in one folder: each has its reason in the report, all the others go in."""

import os
from pathlib import Path

import anyio.to_thread
import pytest

import kbchat
from made_files import PHRASE, bomb, docx, locked_pdf, pdf, write

pytestmark = pytest.mark.timeout(300)

REASONS = {
    "locked.pdf": "encrypted with a password; save it without one",
    "scan.pdf": "no text on any page: a scan; make its text readable (OCR) first",
    "cut.docx": "damaged or cut short: not a whole Word file",
    "bomb.docx": "unpacks to more than",
    "huge.txt": "1,073,741,824 bytes are more than the limit of",
    "loop.md": "Too many levels of symbolic links",
    "device.md": "not a file but a folder, device, pipe or socket",
    "pipe.md": "not a file but a folder, device, pipe or socket",
    "empty.md": "the document is empty",
    "two\nlines.md": "U+000A",
}
GOOD = {
    "utf16.txt": f"UTF-16: {PHRASE}".encode("utf-16"),
    "gb18030.txt": f"{PHRASE} 知识库支持多种文档格式。".encode("gb18030"),
    "latin1.txt": f"{PHRASE} Größe für Schlüssel".encode("latin-1"),
    "oneline.html": f"<html><body><p>{PHRASE} {'filler ' * 150_000}</p></body></html>".encode(),
    "wide.csv": "\n".join(
        ",".join([*(f"{word}{column}" for column in range(9_999)), last])
        for word, last in (("name", "text"), ("value", PHRASE))
    ).encode(),
    "\u202eleft\u200f.md": f"# Marks\n\n{PHRASE}\n".encode(),
    "plain.md": f"{PHRASE}\n".encode(),
}


def fill(root: Path) -> Path:
    write(
        root,
        {
            **GOOD,
            "locked.pdf": locked_pdf(),
            "scan.pdf": pdf("", ""),
            "cut.docx": docx()[:1000],
            "bomb.docx": bomb(),
            "empty.md": b"",
            "two\nlines.md": PHRASE.encode(),
        },
    )
    with (root / "huge.txt").open("wb") as file:
        file.truncate(1 << 30)
    (root / "loop.md").symlink_to(root / "loop.md")
    (root / "circle").symlink_to(root)
    (root / "device.md").symlink_to("/dev/zero")
    os.mkfifo(root / "pipe.md")
    return root


async def test_each_bad_file_has_its_reason_and_the_others_go_in(tmp_path: Path) -> None:
    """No hang, nothing lost, and what went in is found; a second run says the same of the bad ones alone."""
    root = await anyio.to_thread.run_sync(fill, tmp_path / "docs")
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        space = await kb.create_space("bad")
        for added, unchanged in ((len(GOOD), 0), (0, len(GOOD))):
            report = await space.ingest(root)
            reasons = {failure.name.removeprefix("docs/"): failure.reason for failure in report.failed}
            assert reasons.keys() == REASONS.keys()
            assert [name for name, reason in reasons.items() if REASONS[name] not in reason] == []
            assert (report.added, report.unchanged) == (added, unchanged)
        found = {it.name for it in await space.retrieve(PHRASE, top_k=100) if PHRASE in it.content}
        assert found == {f"docs/{name}" for name in GOOD}
