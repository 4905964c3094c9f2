"""Where an archive is put: a file, with the rights it had, and nothing beside it."""

import os
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

import kbchat
from kbchat.errors import InvalidInputError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such rights")

EXPORT = """
import asyncio, os, sys
import kbchat

async def main(data, archive):
    def die(progress):
        os.kill(os.getpid(), 9)

    async with kbchat.KnowledgeBase(data) as kb:
        await (await kb.get_space("handbook")).export(archive, progress=die)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def space(tmp_path: Path) -> AsyncIterator[kbchat.KnowledgeSpace]:
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        space = await kb.create_space("handbook")
        await space.ingest([kbchat.TextDocument(name=f"n{n}", text=f"Lighthouse {n} shines.") for n in range(3)])
        yield space


async def test_only_a_file_is_replaced(space: kbchat.KnowledgeSpace, tmp_path: Path) -> None:
    """A pipe, and so a device, stays what it is, also for the one who could replace it."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        with pytest.raises(InvalidInputError, match="no file but a device or a pipe"):
            await space.export(tmp_path / name)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "link", "pipe"]


async def test_a_file_keeps_its_rights(space: kbchat.KnowledgeSpace, tmp_path: Path) -> None:
    """Whoever could not read it cannot read the new one."""
    for mode in (0o640, 0o600):
        (tmp_path / "archive").write_bytes(b"old")
        (tmp_path / "archive").chmod(mode)
        assert await space.export(tmp_path / "archive") == 3
        assert stat.S_IMODE((tmp_path / "archive").stat().st_mode) == mode


async def test_what_a_killed_export_left_is_removed(space: kbchat.KnowledgeSpace, tmp_path: Path) -> None:
    """By the next one to that place; one that is under way is left alone."""
    command = [sys.executable, "-c", EXPORT, str(tmp_path / "data"), str(tmp_path / "archive")]
    for _ in range(2):
        assert (await anyio.run_process(command, check=False)).returncode == -9
        assert len(list(tmp_path.glob(".kbchat-export-*"))) == 1
    async with kbchat.KnowledgeBase(tmp_path / "other") as kb:
        other = await kb.create_space("other")
        await other.ingest(kbchat.TextDocument(name="n", text="Lighthouse."))
        begun, go_on = anyio.Event(), anyio.Event()
        fetch = kb._open.catalog.live_vectors

        async def stopped(*given: object) -> object:
            begun.set()
            await go_on.wait()
            return await fetch(*given)  # type: ignore[arg-type]

        kb._open.catalog.live_vectors = stopped  # type: ignore[method-assign, assignment]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other.export, tmp_path / "others")
            await begun.wait()
            assert await space.export(tmp_path / "archive") == 3
            assert len(list(tmp_path.glob(".kbchat-export-*"))) == 1
            go_on.set()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "data", "other", "others"]
