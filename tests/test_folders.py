"""A space in step with folders: added, changed, moved and removed files, and nothing else touched."""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

import kbchat
from kbchat.embedders import Vector, Vectors
from kbchat.embedders.static import StaticEmbedder
from kbchat.errors import CollectionNotFoundError, EmbedderError, InvalidInputError
from kbchat.models import DocumentStatus
from kbchat.threads import Threads
from made_files import PHRASE, good, more, write


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    for name in ("keys.md", "vault.md", "old/plan.md"):
        path = tmp_path / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n\nThis file tells of {name}.\n")
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return tmp_path / "docs"


class Disturbed:
    """An embedder of one's own: something happens first whenever documents are embedded."""

    name = "disturbed"
    batch_size = 8

    def __init__(self) -> None:
        self._static = StaticEmbedder(threads=Threads())
        self.first: Callable[[], Awaitable[object]] | None = None

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        if self.first is not None:
            await self.first()
        return await self._static.embed_documents(texts)

    async def embed_query(self, text: str) -> Vector:
        return await self._static.embed_query(text)

    async def aclose(self) -> None:
        await self._static.aclose()


async def is_down() -> None:
    raise EmbedderError("the server is down")


def counts(report: kbchat.IngestReport) -> dict[str, int]:
    """What is not zero."""
    numbers = {"failed": len(report.failed), **report.model_dump(exclude={"failed", "seconds", "chunks"})}
    return {name: number for name, number in numbers.items() if number}


async def names(space: kbchat.KnowledgeSpace) -> list[str]:
    return sorted(document.name for document in await space.documents())


async def test_every_change_of_a_folder_is_followed(space: kbchat.KnowledgeSpace, docs: Path) -> None:
    """Added, changed, moved and removed files in one run; the rest is unchanged."""
    assert counts(await space.sync(docs)) == {"added": 3}
    assert counts(await space.sync(docs)) == {"unchanged": 3}
    (docs / "new.md").write_text("A new one.")
    (docs / "keys.md").write_text("Keys are changed.")
    (docs / "old/plan.md").rename(docs / "plan.md")
    (docs / "vault.md").unlink()
    assert counts(await space.sync(docs)) == {"added": 1, "updated": 1, "moved": 1, "removed": 1}
    assert await names(space) == ["docs/keys.md", "docs/new.md", "docs/plan.md"]
    assert counts(await space.sync(docs)) == {"unchanged": 3}


async def test_nothing_is_asked_of_the_store_where_nothing_changed(tmp_path: Path, docs: Path) -> None:
    """It is not even opened. What it is needed for is refused while it is gone, and before anything is changed."""
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        space = await kb.create_space("handbook")
        await space.sync(docs)
    vectors, away = tmp_path / "data/chroma", tmp_path / "away"
    vectors.rename(away)
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        space = await kb.get_space("handbook")
        assert counts(await space.sync(docs)) == {"unchanged": 3}
        assert counts(await space.ingest(docs)) == {"unchanged": 3}
        assert not vectors.exists()
        text = (docs / "keys.md").read_text()
        (docs / "keys.md").write_text("Keys are changed.")
        (docs / "vault.md").unlink()
        for refused in (space.sync(docs), space.ingest(docs), space.delete_document("docs/vault.md")):
            with pytest.raises(CollectionNotFoundError, match="fsck --repair"):
                await refused
        assert (await space.get_document("docs/keys.md")).text == text
        assert len(await names(space)) == 3
    shutil.rmtree(vectors)
    away.rename(vectors)
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        space = await kb.get_space("handbook")
        assert counts(await space.sync(docs)) == {"updated": 1, "removed": 1, "unchanged": 1}
        assert (await space.check()).findings == ()


async def test_what_waits_to_be_collected_waits_for_its_store(tmp_path: Path, docs: Path) -> None:
    """While a collection is away, the catalog keeps in mind what is to be removed from it."""
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        space = await kb.create_space("handbook")
        await space.sync(docs)
        gone = await space.get_document("docs/vault.md")
        await kb._open.catalog.delete_document(space.id, gone.id, writer="killed after this")
    (docs / "vault.md").unlink()
    vectors, away = tmp_path / "data/chroma", tmp_path / "away"
    vectors.rename(away)
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        with pytest.raises(CollectionNotFoundError):
            await (await kb.get_space("handbook")).sync(docs)
    shutil.rmtree(vectors)
    away.rename(vectors)
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        space = await kb.get_space("handbook")
        assert {it.kind for it in (await space.check()).findings} == {"uncollected"}
        assert counts(await space.sync(docs)) == {"unchanged": 2}
        assert (await space.check()).findings == ()


async def test_a_moved_document_is_the_same_one(space: kbchat.KnowledgeSpace, docs: Path) -> None:
    """Its id and chunks stay; it is found under its new name."""
    await space.sync(docs)
    before = await space.get_document("docs/old/plan.md")
    (docs / "old").rename(docs / "new")
    report = await space.sync(docs)
    assert (report.moved, report.chunks, report.removed) == (1, 0, 0)
    after = await space.get_document("docs/new/plan.md")
    assert (after.id, after.text) == (before.id, before.text)
    assert after.source == str(docs / "new/plan.md")
    assert "docs/new/plan.md" in [reference.name for reference in await space.retrieve("tells of plan.md")]


@pytest.mark.parametrize("name", [b"\xff.md", b"new\nline.md", b"n" * 250 + b".md"])
async def test_a_file_that_moved_to_no_name_is_reported(
    space: kbchat.KnowledgeSpace, docs: Path, tmp_path: Path, name: bytes
) -> None:
    """As an ingest does; what else changed goes in."""
    await space.sync(docs)
    deep = docs / "deep" / ("d" * 50)
    deep.mkdir(parents=True)
    (docs / "old/plan.md").rename(deep / os.fsdecode(name))
    (docs / "new.md").write_text("Something else.")
    report = await space.sync(docs)
    assert counts(report) == {"added": 1, "failed": 1, "removed": 1, "unchanged": 2}
    await space.export(tmp_path / "archive")


async def test_a_document_keeps_the_name_that_it_was_given(space: kbchat.KnowledgeSpace, docs: Path) -> None:
    """And what else was edited of it; its file is followed all the same."""
    await space.sync(docs)
    named = await space.update_document("docs/keys.md", name="The keys", metadata={"by": "Ann"})
    assert counts(await space.sync(docs)) == {"unchanged": 3}
    assert (await space.get_document("The keys")).metadata == {"by": "Ann"}
    (docs / "keys.md").write_text("Keys are rotated every ninety days.")
    assert counts(await space.sync(docs)) == {"updated": 1, "unchanged": 2}
    assert (await space.get_document("The keys")).id == named.id
    (docs / "keys.md").unlink()
    assert counts(await space.sync(docs)) == {"removed": 1, "unchanged": 2}


async def test_a_moved_file_may_be_edited_at_once(space: kbchat.KnowledgeSpace, docs: Path) -> None:
    """Within a tick of the file system's clock its stat would not tell, so it is read next time."""
    await space.sync(docs)
    (docs / "old/plan.md").rename(docs / "plan.md")
    assert (await space.sync(docs)).moved == 1
    states = await space._parts.catalog.source_states(space.id, ["docs/plan.md"])
    assert states["docs/plan.md"].mtime_ns is None


async def test_a_folder_that_moved_as_a_whole_is_followed(
    space: kbchat.KnowledgeSpace, docs: Path, tmp_path: Path
) -> None:
    """Names and content stay, so nothing is written anew, but what goes from its new place later is seen to be gone."""
    await space.sync(docs)
    (tmp_path / "new").mkdir()
    docs = docs.rename(tmp_path / "new/docs")
    assert counts(await space.sync(docs)) == {"unchanged": 3}
    assert {it.source for it in await space.documents()} == {
        str(docs / name) for name in ("keys.md", "vault.md", "old/plan.md")
    }
    assert (await space.check()).findings == ()
    (docs / "keys.md").unlink()
    assert counts(await space.sync(docs)) == {"removed": 1, "unchanged": 2}
    assert await names(space) == ["docs/old/plan.md", "docs/vault.md"]


async def test_a_folder_may_move_to_where_no_text_can_name_it(
    space: kbchat.KnowledgeSpace, docs: Path, tmp_path: Path
) -> None:
    """Its documents are unchanged, and keep the path they had."""
    await space.ingest(docs)
    nameless = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff"))
    nameless.mkdir()
    assert counts(await space.ingest(docs.rename(nameless / "docs"))) == {"unchanged": 3}
    assert (await space.get_document("docs/keys.md")).source == str(docs / "keys.md")


async def test_a_folder_may_lie_where_no_text_can_name_it(
    space: kbchat.KnowledgeSpace, docs: Path, tmp_path: Path
) -> None:
    """Its documents go in, and every change of it is followed; where they came from is told as well as can be."""
    nameless = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff"))
    nameless.mkdir()
    docs = docs.rename(nameless / "docs")
    assert counts(await space.sync(docs)) == {"added": 3}
    (docs / "keys.md").unlink()
    (docs / "vault.md").rename(docs / "safe.md")
    assert counts(await space.sync(docs)) == {"moved": 1, "removed": 1, "unchanged": 1}
    assert (await space.get_document("docs/safe.md")).source == f"{tmp_path}/bad\\udcff/docs/safe.md"


async def test_an_ingest_that_failed_is_in_the_way_of_no_move(tmp_path: Path, docs: Path) -> None:
    """What it began under the new name was never seen: the document is renamed all the same."""
    embedder = Disturbed()
    async with kbchat.KnowledgeBase(tmp_path / "data", embedder=embedder) as kb:
        space = await kb.create_space("handbook")
        await space.sync(docs)
        before = await space.get_document("docs/keys.md")
        (docs / "keys.md").rename(docs / "locks.md")
        embedder.first = is_down
        with pytest.raises(EmbedderError):
            await space.ingest(docs)
        embedder.first = None
        assert counts(await space.sync(docs)) == {"moved": 1, "unchanged": 2}
        assert (await space.get_document("docs/locks.md")).id == before.id
        assert (await space.check()).findings == ()
        (docs / "locks.md").rename(docs / "keys.md")
        embedder.first = is_down
        with pytest.raises(EmbedderError):
            await space.ingest(docs)
        await space.update_document("docs/locks.md", name="docs/keys.md")
        embedder.first = None
        assert counts(await space.sync(docs)) == {"unchanged": 3}
        after = await space.get_document("docs/keys.md")
        assert (after.id, after.source) == (before.id, before.source)


async def test_two_documents_do_not_move_to_one_name(space: kbchat.KnowledgeSpace, tmp_path: Path) -> None:
    """Of files of one name in two folders the first is taken, as ever; the other is reported."""
    folders = [tmp_path / "x/docs", tmp_path / "y/docs"]
    write(folders[0], {"one.md": b"The first."})
    write(folders[1], {"two.md": b"The second."})
    await space.sync(folders)
    before = await space.get_document("docs/one.md")
    (folders[0] / "one.md").rename(folders[0] / "readme.md")
    (folders[1] / "two.md").rename(folders[1] / "readme.md")
    report = await space.sync(folders)
    assert counts(report) == {"moved": 1, "removed": 1, "failed": 1}
    assert report.failed[0].reason.startswith("given twice")
    after = await space.get_document("docs/readme.md")
    assert (after.id, after.source) == (before.id, str(folders[0] / "readme.md"))
    assert counts(await space.sync(folders)) == {"unchanged": 1, "failed": 1}


async def test_another_kind_of_file_is_no_move(space: kbchat.KnowledgeSpace, docs: Path) -> None:
    """The same bytes are read in another way."""
    await space.sync(docs)
    (docs / "keys.md").rename(docs / "keys.txt")
    assert counts(await space.sync(docs)) == {"added": 1, "removed": 1, "unchanged": 2}


async def test_what_is_elsewhere_is_left_alone(space: kbchat.KnowledgeSpace, docs: Path, tmp_path: Path) -> None:
    """Texts, files of other folders, and a folder whose name begins alike."""
    other = write(tmp_path / "docs-2", {"other.md": b"Another folder."})
    await space.ingest([other, kbchat.TextDocument(name="note", text="A note.")])
    await space.sync(docs)
    (docs / "vault.md").unlink()
    assert (await space.sync(docs)).removed == 1
    assert await names(space) == ["docs-2/other.md", "docs/keys.md", "docs/old/plan.md", "note"]


async def test_what_is_no_longer_selected_is_removed(space: kbchat.KnowledgeSpace, docs: Path) -> None:
    """The space is what the patterns say."""
    await space.sync(docs)
    assert counts(await space.sync(docs, exclude=["old/"])) == {"removed": 1, "unchanged": 2}
    assert counts(await space.sync(docs, include=["vault.*"])) == {"removed": 1, "unchanged": 1}


@pytest.mark.parametrize("field", ["include", "exclude"])
async def test_patterns_come_in_a_list(space: kbchat.KnowledgeSpace, docs: Path, field: str) -> None:
    """A text alone would be a pattern for each of its letters, and `*` fits everything: the space would be emptied."""
    await space.sync(docs)
    for given, said in (("*.tmp", r'write \["\*\.tmp"\]'), (7, "not int"), (b"*.tmp", "not bytes"), ([7], "not int")):
        patterns: dict[str, Any] = {field: given}
        for call in (
            lambda patterns=patterns: space.ingest(docs, **patterns),
            lambda patterns=patterns: space.sync(docs, allow_empty=True, **patterns),
            lambda patterns=patterns: space.watch(docs, **patterns).__aenter__(),
        ):
            with pytest.raises(InvalidInputError, match=said) as caught:
                await call()
            assert caught.value.field == field
    assert len(await names(space)) == 3


async def test_an_upload_that_waits_is_no_longer_its_files(space: kbchat.KnowledgeSpace, docs: Path) -> None:
    """Bytes that were taken are kept though the file is gone or moved, until they are indexed."""
    await space.sync(docs)
    (docs / "keys.md").unlink()
    (docs / "vault.md").rename(docs / "locks.md")
    keys = await space.add_document("docs/keys.md", data=b"Keys that were uploaded.", replace=True)
    vault = await space.add_document("docs/vault.md", data=b"A vault that was uploaded.", replace=True)
    assert counts(await space.sync(docs)) == {"added": 1, "unchanged": 1}
    assert await names(space) == ["docs/keys.md", "docs/locks.md", "docs/old/plan.md", "docs/vault.md"]
    await space.index_documents([keys.id, vault.id])
    assert (await space.get_document("docs/keys.md")).text == "Keys that were uploaded."
    assert (await space.get_document("docs/vault.md")).text == "A vault that was uploaded."
    assert counts(await space.sync(docs)) == {"unchanged": 2}
    assert len(await names(space)) == 4


async def test_what_is_uploaded_while_a_folder_is_synced_is_kept(tmp_path: Path, docs: Path) -> None:
    """Also when it comes after the sync has looked for what is gone."""
    embedder = Disturbed()
    async with kbchat.KnowledgeBase(tmp_path / "data", embedder=embedder) as kb:
        space = await kb.create_space("handbook")
        await space.sync(docs)
        (docs / "keys.md").unlink()
        (docs / "new.md").write_text("A new one.")
        embedder.first = lambda: space.add_document("docs/keys.md", data=b"Keys that were uploaded.", replace=True)
        assert counts(await space.sync(docs)) == {"added": 1, "unchanged": 2}
        embedder.first = None
        keys = await space.get_document("docs/keys.md")
        assert keys.status is DocumentStatus.TODO
        await space.index_documents([keys.id])
        assert (await space.get_document("docs/keys.md")).text == "Keys that were uploaded."


async def test_an_empty_folder_does_not_empty_the_space(space: kbchat.KnowledgeSpace, docs: Path) -> None:
    """It may be a disk that is not mounted; unless one says that it is meant."""
    await space.sync(docs)
    away = docs.rename(docs.with_name("away"))
    with pytest.raises(InvalidInputError, match="there is no file or folder"):
        await space.sync(docs)
    docs.mkdir()
    with pytest.raises(InvalidInputError, match="holds no readable documents"):
        await space.sync(docs)
    assert len(await names(space)) == 3
    assert (await space.sync(docs, allow_empty=True)).removed == 3
    assert away.exists()


async def test_the_data_folder_is_never_taken_in(tmp_path: Path, docs: Path) -> None:
    """Also where it lies in the folder that is ingested: its files are of known types."""
    async with kbchat.KnowledgeBase(docs / "kb-data") as kb:
        space = await kb.create_space("own")
        await space.sync(docs)
        assert len(await names(space)) == 3
        assert counts(await space.sync(docs)) == {"unchanged": 3}


async def test_a_file_that_fails_is_a_failed_document(space: kbchat.KnowledgeSpace, docs: Path) -> None:
    """With its reason and attempts; what was live stays, and is right again once the file is."""
    await space.sync(docs)
    (docs / "keys.md").write_bytes(b"\x00\x01 broken")
    (docs / "bad.pdf").write_bytes(b"%PDF-1.4 broken")
    for attempt in (1, 2):
        assert counts(await space.sync(docs)) == {"failed": 2, "unchanged": 2}
        keys = await space.get_document("docs/keys.md")
        assert (keys.status, keys.attempts) == (DocumentStatus.FAILED, attempt)
        assert "binary data" in (keys.error or "")
        assert keys.text is not None
        bad = await space.get_document("docs/bad.pdf")
        assert (bad.status, bad.attempts, bad.text) == (DocumentStatus.FAILED, attempt, None)
    assert (await space.refresh()).document_count == 4
    assert "docs/keys.md" in [reference.name for reference in await space.retrieve("tells of keys.md")]
    (docs / "keys.md").write_text("Mended.")
    (docs / "bad.pdf").unlink()
    assert counts(await space.sync(docs)) == {"updated": 1, "removed": 1, "unchanged": 2}
    keys = await space.get_document("docs/keys.md")
    assert (keys.status, keys.attempts, keys.error) == (DocumentStatus.FINISHED, 0, None)


HEADED = """guide.md guide.rst page.html report.docx crlf.md setext.markdown accents-é.md page.htm latin.html
oneline.html""".split()  # noqa: SIM905
"""The files whose phrase stands below a heading."""


async def test_a_folder_of_every_kind_goes_in(space: kbchat.KnowledgeSpace, tmp_path: Path) -> None:
    """Each file's phrase is found by search, with the place it stands in."""
    files = good() | more()
    assert len(files) >= 40
    folder = write(tmp_path / "files", files)
    report = await space.ingest(folder)
    assert (report.added, report.failed) == (len(files), ())
    found = {it.name.removeprefix("files/"): it for it in reversed(await space.retrieve(PHRASE, top_k=200))}
    assert files.keys() == {name for name, it in found.items() if PHRASE in it.content.replace("\n", " ")}
    assert found["paper.pdf"].metadata["page"] == 1
    assert found["paper.pdf"].metadata["page_end"] == 2
    assert found["slides.pptx"].metadata["slide"] == 2
    assert found["second.pdf"].metadata["page"] == 1
    assert found["second.pdf"].metadata["page_end"] == 3
    for name in HEADED:
        assert (found[name].metadata.get("headings") or [""])[0] == "Security", name  # type: ignore[index]
    for name, it in found.items():
        document = await space.get_document(it.document_id)
        assert document.text is not None
        assert document.text[it.start : it.end] == it.content, name
    assert counts(await space.ingest(folder)) == {"unchanged": len(files)}


async def test_changes_are_followed_while_they_happen(space: kbchat.KnowledgeSpace, docs: Path) -> None:
    """A report for each that matters, until the block is left."""
    with anyio.fail_after(60):
        async with space.watch(docs) as reports:
            assert counts(await anext(reports)) == {"added": 3}
            (docs / "new.md").write_text("A new one.")
            assert (await anext(reports)).added == 1
            (docs / "new.md").unlink()
            assert (await anext(reports)).removed == 1
            (docs / "bad.md").write_bytes(b"\x00\x01\x02")
            report = await anext(reports)
            assert [failure.name for failure in report.failed] == ["docs/bad.md"]
            # Told once: it fails each time.
            (docs / "more.md").write_text("More.")
            assert counts(await anext(reports)) == {"added": 1, "failed": 1, "unchanged": 3}
            (docs / "nothing.part").write_text("No document.")
            next_one = asyncio.ensure_future(anext(reports))
            await anyio.sleep(1)
            assert not next_one.done()
            next_one.cancel()
            await asyncio.wait([next_one])
    assert len(await names(space)) == 5


@pytest.mark.parametrize("how", ["removed", "renamed"])
async def test_a_folder_that_goes_away_for_a_moment_is_waited_for(
    space: kbchat.KnowledgeSpace, docs: Path, how: str
) -> None:
    """Nothing is deleted meanwhile; changes of the folder that comes back are followed as those of the first."""
    kept = shutil.copytree(docs, docs.with_name("kept"))
    with anyio.fail_after(20):
        async with space.watch(docs) as reports:
            assert counts(await anext(reports)) == {"added": 3}
            if how == "removed":
                shutil.rmtree(docs)
            else:
                docs.rename(docs.with_name("away"))
            reader = asyncio.ensure_future(anext(reports))
            await anyio.sleep(1)  # as long as a checkout takes
            assert len(await names(space)) == 3
            (kept / "new.md").write_text("A new one.")
            kept.rename(docs)
            assert counts(await reader) == {"added": 1, "unchanged": 3}
            (docs / "new.md").unlink()
            assert (await anext(reports)).removed == 1


async def test_what_cannot_be_a_path_is_refused(space: kbchat.KnowledgeSpace) -> None:
    """With the remedy: an empty one would be the working folder, and a text is no path."""
    for source in ("", ["docs", ""]):
        with pytest.raises(InvalidInputError, match=r"the working folder is '\.'") as caught:
            await space.ingest(source)
        assert caught.value.field == "sources"
        with pytest.raises(InvalidInputError, match=r"the working folder is '\.'"):
            await space.sync(source)
    for source in ("a\0b", "x" * 300, "Keys are rotated by the vault, every ninety days. " * 200):
        with pytest.raises(InvalidInputError, match=r"kbchat\.TextDocument") as caught:
            await space.ingest(source)
        assert caught.value.field == "sources"
        assert len(caught.value.message) < 250
