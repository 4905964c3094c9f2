"""An import is seen when it is whole: whatever becomes of the process that makes it, nobody finds half a space."""

import sys
from pathlib import Path

import anyio
import pytest

import kbchat
from kbchat.errors import CatalogUnavailableError, SpaceExistsError
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


async def test_an_import_whose_catalog_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor can it be undone then: it stays hidden, and is in nobody's way."""
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        archive = await exported(kb, tmp_path / "archive")
        catalog = kb._open.catalog

        def lose(_: object) -> None:
            def lost(*_: object) -> None:
                raise CatalogUnavailableError("away")

            monkeypatch.setattr(catalog._database, "write", lost)

        with pytest.raises(CatalogUnavailableError):
            await kb.import_space(archive, name="copy", progress=lose)
        monkeypatch.undo()
        assert [space.name for space in await kb.list_spaces()] == ["handbook"]
        copy = await kb.import_space(archive, name="copy")
        assert (copy.info.document_count, len(await kb.list_spaces())) == (200, 2)
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        assert await kb._open.catalog.deleted_spaces() == []
        assert [space.name for space in await kb.list_spaces()] == ["handbook", "copy"]


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
