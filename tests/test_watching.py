"""Folders that are followed: what is a change, and what is only away."""

import asyncio
import errno
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
import watchfiles

import kbchat
from kbchat.errors import InvalidInputError
from kbchat.ingestion import watching
from kbchat.ingestion.watching import Changes, Presence
from kbchat.loaders.files import Found, Root
from kbchat.threads import Threads
from made_files import write
from rights import unprivileged


@pytest.fixture
async def space(tmp_path: Path) -> AsyncIterator[kbchat.KnowledgeSpace]:
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        yield await kb.create_space("handbook")


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    return write(tmp_path / "docs", {f"{name}.md": f"# {name}\n\nOf {name}.\n".encode() for name in ("a", "b", "c")})


async def test_a_folder_that_may_not_be_listed_is_passed_over(docs: Path) -> None:
    """What lies beside it is watched on."""
    (docs / "closed").mkdir(mode=0)
    changes = Changes([str(docs)], without=(), threads=Threads())
    async with anyio.create_task_group() as tasks:
        with unprivileged(docs):
            tasks.start_soon(changes.notice, await changes.identities())
            await anyio.sleep(0.5)
        (docs / "new.md").write_text("New.")
        with anyio.fail_after(15):
            await changes.wait()
        changes.stop.set()
    (docs / "closed").rmdir()


async def test_what_cannot_be_watched_is_looked_at(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the system watches no more files than it does."""

    async def awatch(*paths: str, **options: object) -> AsyncIterator[None]:
        raise OSError(errno.ENOSPC, "OS file watch limit reached")
        yield

    monkeypatch.setattr(watchfiles, "awatch", awatch)
    monkeypatch.setattr(watching, "LOOK_MS", 10)
    changes = Changes([str(docs)], without=(), threads=Threads())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(changes.notice, await changes.identities())
        await changes.wait()
        await changes.wait()
        changes.stop.set()


async def names(space: kbchat.KnowledgeSpace) -> list[str]:
    return sorted(document.name for document in await space.documents())


async def test_a_folder_in_whose_place_an_empty_one_stands_is_waited_for(
    space: kbchat.KnowledgeSpace, docs: Path
) -> None:
    """As where a disk is unmounted: nothing is removed, and what comes back is followed."""
    with anyio.fail_after(30):
        async with space.watch(docs) as reports:
            assert (await anext(reports)).added == 3
            away = docs.rename(docs.with_name("away"))
            docs.mkdir()
            reader = asyncio.ensure_future(anext(reports))
            # Something else changes there, which is looked at, and does not make the rest be gone.
            (docs / "new.txt.part").write_text("x")
            await anyio.sleep(2)
            assert not reader.done()
            assert len(await names(space)) == 3
            (docs / "new.txt.part").unlink()
            docs.rmdir()
            (away / "d.md").write_text("Another.")
            away.rename(docs)
            report = await reader
            assert (report.added, report.removed) == (1, 0)
            # The same folder, emptied file by file, is empty.
            for file in sorted(docs.iterdir()):
                file.unlink()
            removed = 0
            while removed < 4:
                removed += (await anext(reports)).removed
    assert await names(space) == []


async def test_a_disk_that_is_not_mounted_yet_is_an_error(space: kbchat.KnowledgeSpace, docs: Path) -> None:
    """When the watching begins nobody can tell whether the folder was emptied."""
    await space.sync(docs)
    docs.rename(docs.with_name("away"))
    docs.mkdir()
    with pytest.raises(InvalidInputError, match=r"came from there; mount the disk") as caught:
        await space.watch(docs).__aenter__()
    assert caught.value.field == "paths"
    assert len(await names(space)) == 3


async def test_an_empty_folder_may_be_watched(space: kbchat.KnowledgeSpace, tmp_path: Path) -> None:
    """Where the space has nothing from there, nothing can be lost."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    with anyio.fail_after(15):
        async with space.watch(folder) as reports:
            assert (await anext(reports)).added == 0
            (folder / "a.md").write_text("A first one.")
            assert (await anext(reports)).added == 1


async def test_one_folder_that_is_away_keeps_no_other_from_being_followed(
    space: kbchat.KnowledgeSpace, docs: Path, tmp_path: Path
) -> None:
    """What is removed elsewhere is removed."""
    other = write(tmp_path / "other", {"x.md": b"Of x.", "y.md": b"Of y."})
    with anyio.fail_after(30):
        async with space.watch([docs, other]) as reports:
            assert (await anext(reports)).added == 5
            shutil.move(docs, tmp_path / "away")
            docs.mkdir()
            (other / "y.md").unlink()
            assert (await anext(reports)).removed == 1
    assert await names(space) == ["docs/a.md", "docs/b.md", "docs/c.md", "other/x.md"]


async def test_a_link_that_is_turned_is_followed(space: kbchat.KnowledgeSpace, tmp_path: Path) -> None:
    """The documents are called by the link, whichever release it leads to."""
    write(tmp_path / "v1", {"a.md": b"Keys of the first release.", "b.md": b"In both.", "old.md": b"In the first."})
    write(tmp_path / "v2", {"a.md": b"Keys of the second release.", "b.md": b"In both.", "new.md": b"In the second."})
    current = tmp_path / "current"
    current.symlink_to("v1")
    with anyio.fail_after(20):
        async with space.watch(current) as reports:
            assert (await anext(reports)).added == 3
            assert await names(space) == ["current/a.md", "current/b.md", "current/old.md"]
            (tmp_path / "next").symlink_to("v2")
            (tmp_path / "next").rename(current)
            report = await anext(reports)
            assert (report.added, report.updated, report.removed) == (1, 1, 1)
            (tmp_path / "v2/new.md").unlink()
            assert (await anext(reports)).removed == 1
    assert (await space.get_document("current/a.md")).text == "Keys of the second release."
    assert (await space.get_document("current/a.md")).source == str(current / "a.md")


async def test_a_mount_is_another_folder_at_the_same_place() -> None:
    """By its device, though the folder's number is the same; one that changed while it was looked at may be either."""

    async def holds(root: str) -> bool:
        return root != "/new/"

    presence = Presence(holds)
    full = Root("/mnt/", holds=True, identity=(1, 2))
    assert await presence.missing(Found((), (full,))) == []
    for identity in ((9, 2), (1, 9), None):
        empty = Root("/mnt/", holds=False, identity=identity)
        assert await presence.missing(Found((), (empty,))) == [empty]
    emptied = Root("/mnt/", holds=False, identity=(1, 2))
    assert await presence.missing(Found((), (emptied, Root("/new/", holds=False, identity=(1, 3))))) == []
