"""A disk that fills up in mid-ingest: a clear error, nothing half done, and on it goes when there is room again."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import kbchat
from kbchat.errors import InvalidInputError, KbchatError

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="mounting a small file system needs root on Linux"
)
Resize = Callable[[str], None]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Resize]:
    """A file system of its own at the test's folder, of a size that can be changed."""

    def mount(options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", tmp_path], check=True)

    mount("size=80m")
    try:
        yield lambda size: mount(f"remount,size={size}")
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def texts(count: int) -> list[kbchat.TextDocument]:
    """Documents of 6 KB of which no two share a word."""
    chance = random.Random(1)

    def word() -> str:
        return "".join(chance.choices("abcdefghijklmnop", k=7))

    return [kbchat.TextDocument(name=f"n{i}", text=" ".join(word() for _ in range(800))) for i in range(count)]


async def test_nothing_acknowledged_is_lost(small_disk: Resize, tmp_path: Path) -> None:
    """What went in before stays found; what did not go in goes in later, once."""
    documents = texts(700)
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        space = await kb.create_space("a")
        await space.ingest(documents[:20])
        filler = tmp_path / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(tmp_path).free - 4_000_000))
        with pytest.raises(KbchatError, match=r"disk is full|No space left|cannot be (used|written)"):
            await space.ingest(documents)
        assert (await space.retrieve(documents[3].text[:100]))[0].name == "n3"
        acknowledged = (await space.refresh()).document_count
        assert 20 <= acknowledged < 700
    small_disk("200m")
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        space = await kb.get_space("a")
        report = await space.ingest(documents[:150])
        assert (report.added + report.unchanged, report.failed) == (150, ())
        info = await space.refresh()
        assert info.document_count == max(acknowledged, 150)
        parts = kb._open
        assert await parts.store(info.vector_type).count(info.collection) == info.chunk_count
        assert await parts.lexical.count(info.lexical_name) == info.chunk_count
        assert (await space.retrieve(documents[149].text[:100]))[0].name == "n149"


async def test_an_archive_that_finds_no_room_is_told_of(
    small_disk: Resize, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Nothing of it is left. It goes to another disk all the same, also by a link."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    async with kbchat.KnowledgeBase(elsewhere / "data") as kb:
        space = await kb.create_space("a")
        await space.ingest(texts(20))
        link, filler = elsewhere / "link.kbchat", tmp_path / "filler"
        link.symlink_to(tmp_path / "there.kbchat")
        for room in (0, 50_000, 150_000, 250_000):
            filler.write_bytes(bytes(shutil.disk_usage(tmp_path).free - room))
            with pytest.raises(InvalidInputError, match=r"link\.kbchat' cannot be written: No space left"):
                await space.export(link)
            assert [path.name for path in tmp_path.iterdir()] == ["filler"]
            filler.unlink()
        assert await space.export(link) == 20
        assert (await kb.import_space(tmp_path / "there.kbchat", name="b")).info.document_count == 20
