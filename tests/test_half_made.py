"""An import is seen when it is whole: whatever becomes of the process that makes it, nobody finds half a space."""

import logging
import sys
from pathlib import Path

import anyio
import pytest

import kbchat
from kbchat.errors import BusyError, CatalogUnavailableError, SpaceExistsError, StoreUnavailableError
from kbchat.models import VectorType

IMPORT = """
import asyncio, os, sys
import kbchat

async def main(data, archive):
    def die(progress):
        os.kill(os.getpid(), 9)

    async with kbchat.KnowledgeBase(data) as kb:
        await kb.import_space(archive, name="copy", progress=die)

asyncio.run(main(*sys.argv[1:]))
"""


async def exported(kb: kbchat.KnowledgeBase, path: Path) -> Path:
    space = await kb.create_space("handbook")
    await space.ingest([kbchat.TextDocument(name=f"n{n}", text=f"Lighthouse {n} shines.") for n in range(200)])
    await space.export(path)
    return path


async def test_an_import_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    """Its documents were half in: the space is in no list, and gone with its vectors when the data is opened again."""
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        archive = await exported(kb, tmp_path / "archive")
        command = [sys.executable, "-c", IMPORT, str(tmp_path / "data"), str(archive)]
        assert (await anyio.run_process(command, check=False)).returncode == -9
        assert [space.name for space in await kb.list_spaces()] == ["handbook"]
        assert await kb.count_documents() == 200
        assert [half.name for half in await kb._open.catalog.deleted_spaces()] == ["copy"]
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        assert await kb._open.catalog.deleted_spaces() == []
        assert len(await kb._open.store(VectorType.CHROMA).list_collections()) == 1
        copy = await kb.import_space(archive, name="copy")
        assert (copy.info.document_count, (await copy.check()).findings) == (200, ())


async def test_an_import_whose_catalog_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor can it be undone then: it stays hidden, and is in nobody's way. What it failed in is what is raised."""
    reasons = iter(["lost first", *["lost again"] * 9])
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        archive = await exported(kb, tmp_path / "archive")
        catalog = kb._open.catalog

        def lose(_: object) -> None:
            def lost(*_: object) -> None:
                raise CatalogUnavailableError(next(reasons))

            monkeypatch.setattr(catalog._database, "write", lost)

        with pytest.raises(CatalogUnavailableError, match="lost first"):
            await kb.import_space(archive, name="copy", progress=lose)
        monkeypatch.undo()
        said = "the space 2, half imported, stays hidden until the next opening: lost again"
        assert caplog.record_tuples == [("kbchat.threads", logging.WARNING, said)]
        assert [space.name for space in await kb.list_spaces()] == ["handbook"]
        copy = await kb.import_space(archive, name="copy")
        assert (copy.info.document_count, len(await kb.list_spaces())) == (200, 2)
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        assert await kb._open.catalog.deleted_spaces() == []
        assert [space.name for space in await kb.list_spaces()] == ["handbook", "copy"]


async def test_an_import_that_is_cancelled_while_its_store_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is cancelled, though it cannot be undone; nobody else writes while that is tried."""
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb, kbchat.KnowledgeBase(tmp_path / "data") as other:
        archive = await exported(kb, tmp_path / "archive")

        async def refuse(_: str) -> None:
            with pytest.raises(BusyError):
                async with other._open.writing(2, timeout=0):
                    pass
            raise StoreUnavailableError("away")

        monkeypatch.setattr(kb._open.store(VectorType.CHROMA), "drop_collection", refuse)
        with anyio.CancelScope() as scope:
            await kb.import_space(archive, name="copy", progress=lambda _: scope.cancel())
        assert scope.cancelled_caught
        assert [record.getMessage() for record in caplog.records] == [
            "the space 2, half imported, stays hidden until the next opening: away"
        ]
        monkeypatch.undo()
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        assert [space.name for space in await kb.list_spaces()] == ["handbook"]
        assert len(await kb._open.store(VectorType.CHROMA).list_collections()) == 1


async def test_an_import_that_cannot_begin(tmp_path: Path) -> None:
    """Because another process writes for too long: there is nothing left of it."""
    async with kbchat.KnowledgeBase(settings=kbchat.Settings(data_dir=tmp_path / "data", busy_timeout=0.1)) as kb:
        archive = await exported(kb, tmp_path / "archive")
        async with kbchat.KnowledgeBase(tmp_path / "data") as other, other._open.writing(1):
            with pytest.raises(BusyError):
                await kb.import_space(archive, name="copy")
            assert await kb._open.catalog.space_ids() == {1}


async def test_a_name_that_is_taken_meanwhile(tmp_path: Path) -> None:
    """Belongs to who took it, and the import is gone."""
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb, kbchat.KnowledgeBase(tmp_path / "data") as other:
        archive = await exported(kb, tmp_path / "archive")
        ended: list[BaseException] = []

        async def take() -> None:
            try:
                await other.import_space(archive, name="copy", progress=lambda _: begun.set())
            except SpaceExistsError as error:
                ended.append(error)

        begun = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take)
            await begun.wait()
            taken = await kb.create_space("copy")
        assert len(ended) == 1
        assert [space.id for space in await kb.list_spaces()] == [1, taken.id]
        assert await kb._open.catalog.deleted_spaces() == []
