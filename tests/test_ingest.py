"""Documents go in by generations: whole or not at all, skipped when unchanged, reported when they cannot be read."""

import os
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

import kbchat
from kbchat.chunking import ChunkStrategy, Splitting
from kbchat.embedders import Vector, Vectors
from kbchat.embedders.static import StaticEmbedder
from kbchat.errors import (
    BusyError,
    DocumentNotFoundError,
    EmbedderMismatchError,
    InvalidInputError,
    SpaceInUseError,
    StoreUnavailableError,
)
from kbchat.stores.memory import MemoryStore
from kbchat.threads import Threads

AWEL = (
    "# AWEL\n\nAWEL is a workflow expression language for agents.\n\n## Operators\n\nA map operator transforms data.\n"
)
KEYS = "# Keys\n\nKeys are rotated every ninety days by the vault.\n"


def old(path: Path, text: str) -> Path:
    """A file that was last written long enough ago for its stat to be trusted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


async def test_a_folder_goes_in_and_is_found(space: kbchat.KnowledgeSpace, tmp_path: Path) -> None:
    """What was ingested is found with its document, offsets, headings and a score."""
    old(tmp_path / "docs/awel.md", AWEL)
    old(tmp_path / "docs/keys.md", KEYS)
    report = await space.ingest(tmp_path / "docs")
    assert (report.added, report.updated, report.unchanged, report.failed) == (2, 0, 0, ())
    assert report.chunks >= 2
    best = (await space.retrieve("How are keys rotated?"))[0]
    assert best.name == "docs/keys.md"
    assert best.metadata["title"] == "Keys"
    document = await space.get_document(best.document_id)
    assert document.text == KEYS
    assert document.text[best.start : best.end] == best.content
    assert [d.name for d in await space.documents()] == ["docs/awel.md", "docs/keys.md"]


async def test_what_did_not_change_is_left_alone(space: kbchat.KnowledgeSpace, tmp_path: Path) -> None:
    """By its stat, by its bytes where only the time changed, and for texts by the text."""
    path = old(tmp_path / "docs/keys.md", KEYS)
    text = kbchat.TextDocument(name="note", text="The vault is blue.", metadata={"team": "ops"})
    await space.ingest([path, text])
    revision = (await space.refresh()).revision
    assert (await space.ingest([path, text])).unchanged == 2
    os.utime(path)
    assert (await space.ingest([path, text])).unchanged == 2
    assert (await space.refresh()).revision == revision
    changed = await space.ingest(text.model_copy(update={"metadata": {"team": "dev"}}))
    assert changed.updated == 1


async def test_an_update_replaces_the_text(space: kbchat.KnowledgeSpace) -> None:
    """The old text is not found any more, and nothing of it is left."""
    await space.ingest(kbchat.TextDocument(name="vault", text="The vault is blue."))
    await space.ingest(kbchat.TextDocument(name="vault", text="The vault is green."))
    found = await space.retrieve("vault blue green", top_k=10)
    assert [reference.content for reference in found] == ["The vault is green."]
    info = await space.refresh()
    assert (info.document_count, info.chunk_count) == (1, 1)


class Counting:
    """An embedder of one's own that remembers what it was given."""

    name = "counting"
    batch_size = 8

    def __init__(self) -> None:
        self._static = StaticEmbedder(threads=Threads())
        self.texts: list[str] = []

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        self.texts += texts
        return await self._static.embed_documents(texts)

    async def embed_query(self, text: str) -> Vector:
        return await self._static.embed_query(text)

    async def aclose(self) -> None:
        await self._static.aclose()


async def test_only_what_changed_of_a_document_is_embedded_anew(tmp_path: Path) -> None:
    """The vectors of its other chunks are taken over, wherever in the document they stand now."""
    sections = [f"# Part {number}\n\n{'A sentence about it. ' * 40}{number}.\n\n" for number in range(5)]
    embedder = Counting()
    async with kbchat.KnowledgeBase(tmp_path / "data", embedder=embedder) as kb:
        space = await kb.create_space("handbook")
        await space.ingest(kbchat.TextDocument(name="guide", text="".join(sections)))
        assert len(embedder.texts) >= 5
        embedder.texts.clear()
        new = f"# Part 2\n\n{'The vault is green. ' * 40}\n\n"
        changed = [sections[4], sections[0], sections[1], new, sections[3]]
        report = await space.ingest(kbchat.TextDocument(name="guide", text="".join(changed)))
        assert report.updated == 1
        assert [text.strip() for text in embedder.texts] == [new.strip()]
        assert (await space.check()).findings == ()


async def test_a_space_is_split_in_its_own_way(kb: kbchat.KnowledgeBase, space: kbchat.KnowledgeSpace) -> None:
    """From the next ingest on, which takes in anew what was split in another; one ingest may differ."""
    text = kbchat.TextDocument(name="guide", text="# One\n\nA first part.\n\n# Two\n\nA second part.\n")
    assert (await space.ingest(text)).chunks == 1
    await kb.update_space(space.id, splitting=Splitting(strategy=ChunkStrategy.HEADING))
    report = await space.ingest(text)
    assert (report.updated, report.chunks) == (1, 2)
    assert (await space.ingest(text)).unchanged == 1
    once = await space.ingest(text, splitting=Splitting(strategy=ChunkStrategy.DOCUMENT))
    assert (once.updated, once.chunks) == (1, 1)


async def test_metadata_is_of_the_content(space: kbchat.KnowledgeSpace, tmp_path: Path) -> None:
    """What was edited stays when the same content is split in another way, and goes with the content."""
    sources = [old(tmp_path / "keys.md", KEYS), kbchat.TextDocument(name="note", text=KEYS, metadata={"a": 1})]
    await space.ingest(sources)
    for name in ("keys.md", "note"):
        await space.update_document(name, metadata={"team": "ops"})
    report = await space.ingest(sources, splitting=Splitting(strategy=ChunkStrategy.TOKENS))
    assert report.updated == 2
    assert [document.metadata for document in await space.documents()] == [{"team": "ops"}] * 2
    (tmp_path / "keys.md").write_text("# Keys anew\n")
    await space.ingest([sources[0], kbchat.TextDocument(name="note", text="Other.", metadata={"a": 1})])
    assert [document.metadata for document in await space.documents()] == [{"title": "Keys anew"}, {"a": 1}]


async def test_one_bad_document_does_not_keep_the_others_out(space: kbchat.KnowledgeSpace, tmp_path: Path) -> None:
    """Each failure is reported with its name and reason; the rest goes in."""
    folder = tmp_path / "docs"
    old(folder / "good.md", KEYS)
    (folder / "empty.md").write_text(" \n")
    (folder / "binary.txt").write_bytes(b"\x00\x01\x02")
    (folder / "broken.txt").write_bytes("钥匙每九十天更换一次。".encode() * 9 + b"\xff")
    Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff.md")).write_text("x")
    report = await space.ingest([folder, kbchat.TextDocument(name="nul", text="a\x00b")])
    assert report.added == 1
    reasons = {failure.name: failure.reason for failure in report.failed}
    assert "empty" in reasons["docs/empty.md"]
    assert "binary data" in reasons["docs/binary.txt"]
    assert "not UTF-8" in reasons["docs/broken.txt"]
    assert "U+DCFF" in reasons["docs/bad\\udcff.md"]
    assert "NUL character at offset 1" in reasons["nul"]


async def test_a_name_given_twice_is_reported(space: kbchat.KnowledgeSpace) -> None:
    """The first one goes in."""
    report = await space.ingest([kbchat.TextDocument(name="a", text=t) for t in ("one", "two")])
    assert (report.added, [failure.name for failure in report.failed]) == (1, ["a"])


async def test_a_name_that_belongs_to_another_file_is_reported(space: kbchat.KnowledgeSpace, tmp_path: Path) -> None:
    """Two folders of one name do not overwrite each other; a folder that moved does replace."""
    first, second = old(tmp_path / "x/docs/a.md", KEYS), old(tmp_path / "y/docs/a.md", AWEL)
    await space.ingest(first.parent)
    report = await space.ingest(second.parent)
    assert "its name is taken by" in report.failed[0].reason
    first.unlink()
    assert (await space.ingest(second.parent)).updated == 1


async def test_paths_that_stand_for_nothing_are_the_callers_mistake(
    space: kbchat.KnowledgeSpace, tmp_path: Path
) -> None:
    """A missing path and a folder without documents change nothing."""
    with pytest.raises(InvalidInputError, match="there is no file or folder"):
        await space.ingest(tmp_path / "missing")
    (tmp_path / "none").mkdir()
    with pytest.raises(InvalidInputError, match="holds no readable documents"):
        await space.ingest(tmp_path / "none")


async def test_progress_is_told(space: kbchat.KnowledgeSpace) -> None:
    """The last message says that all are done."""
    told: list[kbchat.IngestProgress] = []
    texts = [kbchat.TextDocument(name=f"n{i}", text=f"text number {i}") for i in range(300)]
    await space.ingest(texts, progress=told.append)
    assert [p.done for p in told] == sorted(p.done for p in told)
    assert (told[-1].done, told[-1].total) == (300, 300)
    assert len(told) >= 2
    assert told[-1].rate > 0
    assert told[-1].seconds_left == 0


async def test_how_far_each_document_is(space: kbchat.KnowledgeSpace) -> None:
    """Read, split, written in parts and done; its share never falls, and a small one's neighbours are told of too."""
    told: list[kbchat.IngestProgress] = []
    large = "\n\n".join(f"# Part {n}\n\n{'The vault is opened by two keys at noon. ' * 30}" for n in range(900))
    texts = [kbchat.TextDocument(name="large", text=large), kbchat.TextDocument(name="small", text="A vault.")]
    await space.ingest(texts, progress=told.append)
    of_large = [(p.stage.value, p.share) for p in told if p.name == "large"]
    assert [stage for stage, _ in of_large][:2] == ["reading", "splitting"]
    writing = [share for stage, share in of_large if stage == "writing"]
    assert len(writing) >= 2
    assert of_large[0][1] == 0.0
    assert writing[-1] == 1.0
    assert [share for _, share in of_large] == sorted(share for _, share in of_large)
    assert {p.stage.value for p in told if p.name == "small"} >= {"reading", "splitting", "writing"}


async def test_a_deleted_document_leaves_no_trace(kb: kbchat.KnowledgeBase, space: kbchat.KnowledgeSpace) -> None:
    """It is not found, not listed, and its vectors and terms are gone."""
    await space.ingest([kbchat.TextDocument(name=n, text=f"The {n} vault is blue.") for n in ("red", "white")])
    deleted = await space.delete_document("red")
    assert deleted.name == "red"
    assert [r.name for r in await space.retrieve("vault", top_k=10)] == ["white"]
    with pytest.raises(DocumentNotFoundError, match="'red'"):
        await space.get_document("red")
    parts = kb._open
    assert await parts.store(space.vector_type).count(space.info.collection) == 1
    assert await parts.lexical.count(space.info.lexical_name) == 1


async def test_what_a_dead_process_left_is_healed_by_the_next_ingest(
    kb: kbchat.KnowledgeBase, space: kbchat.KnowledgeSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure between writing and publishing shows nothing; ingesting again puts the document in once."""
    parts = kb._open

    async def fail(*_: object, **__: object) -> None:
        raise StoreUnavailableError("pulled the plug")

    with monkeypatch.context() as patch:
        patch.setattr(parts.catalog, "publish", fail)
        with pytest.raises(StoreUnavailableError):
            await space.ingest(kbchat.TextDocument(name="vault", text="The vault is blue."))
    assert await space.retrieve("vault") == []
    assert await space.documents() == []
    assert (await space.ingest(kbchat.TextDocument(name="vault", text="The vault is blue."))).added == 1
    assert len(await space.retrieve("vault", top_k=10)) == 1
    assert await parts.store(space.vector_type).count(space.info.collection) == 1
    assert await parts.lexical.count(space.info.lexical_name) == 1


async def test_ingests_side_by_side_do_not_disturb_each_other(space: kbchat.KnowledgeSpace) -> None:
    """Several tasks may ingest into one space at once."""

    async def ingest(part: int) -> None:
        texts = [kbchat.TextDocument(name=f"{part}-{i}", text=f"part {part} number {i}") for i in range(20)]
        await space.ingest(texts)

    async with anyio.create_task_group() as group:
        for part in range(4):
            group.start_soon(ingest, part)
    info = await space.refresh()
    assert (info.document_count, info.chunk_count) == (80, 80)
    assert len(await space.retrieve("number 7", top_k=200)) == 80


async def test_another_embedder_is_noticed(space: kbchat.KnowledgeSpace, kb: kbchat.KnowledgeBase) -> None:
    """Also one of the same name and dimension, where something is to be embedded; embedding anew makes the space fit
    again."""
    vault = kbchat.TextDocument(name="vault", text="The vault is blue.")
    await space.ingest(vault)
    parts = kb._open
    real = await parts.pin()
    parts._pin = real.model_copy(update={"fingerprint": "another"})
    with pytest.raises(EmbedderMismatchError, match="kbchat reembed handbook"):
        await space.retrieve("vault")
    with pytest.raises(EmbedderMismatchError, match="set the embedder back"):
        await space.ingest(kbchat.TextDocument(name="b", text="text"))
    assert (await space.ingest(vault)).unchanged == 1
    for refused in (space.retrieve("vault"), space.check(), space.check(repair=True)):
        with pytest.raises(EmbedderMismatchError):
            await refused
    before = space.info.collection
    info = await space.reembed()
    assert info.embedder == parts._pin
    assert info.collection != before
    assert before not in await parts.store(space.vector_type).list_collections()
    assert [r.name for r in await space.retrieve("vault")] == ["vault"]


async def test_a_source_that_no_file_can_have_holds_no_name(space: kbchat.KnowledgeSpace, tmp_path: Path) -> None:
    """A text may say of itself that it is from anywhere; a file of its name takes its place."""
    source = "Exported from the wiki of operations; " * 10
    await space.ingest(kbchat.TextDocument(name="docs/keys.md", text="From elsewhere.", source=source))
    keys = old(tmp_path / "docs" / "keys.md", KEYS)
    old(tmp_path / "docs" / "awel.md", AWEL)
    report = await space.ingest(tmp_path / "docs")
    assert (report.added, report.updated, report.failed) == (1, 1, ())
    assert (await space.get_document("docs/keys.md")).source == str(keys)


async def test_a_first_ingest_ends_where_it_began(tmp_path: Path) -> None:
    """Whoever would take the space to another store meanwhile waits, and finds it in use."""
    async with kbchat.KnowledgeBase(tmp_path, stores={"Chroma": MemoryStore(), "Milvus": MemoryStore()}) as kb:
        space = await kb.create_space("handbook")
        begun = anyio.Event()
        texts = [kbchat.TextDocument(name=f"n{i}", text=f"Note {i} says keys rotate. " * 400) for i in range(20)]

        async def change() -> None:
            await begun.wait()
            with pytest.raises(SpaceInUseError):
                await kb.update_space("handbook", vector_type="Milvus")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(change)
            await space.ingest(texts, progress=lambda _: begun.set())
        assert (await space.refresh()).vector_type == "Chroma"
        assert (await space.check()).findings == ()


async def test_a_space_that_another_process_writes_to_stays_where_it_is(kb: kbchat.KnowledgeBase) -> None:
    """What takes no store is changed all the same."""
    await kb.create_space("handbook")
    settings = kb.settings.model_copy(update={"busy_timeout": 0.0})
    async with kbchat.KnowledgeBase(settings=settings) as other:
        info = (await other.get_space("handbook")).info
        async with kb._open.writing(info.id):
            with pytest.raises(BusyError):
                await other.update_space("handbook", vector_type="Milvus")
            changed = await other.update_space("handbook", vector_type="Chroma", desc="About keys")
        assert changed.info == (await other.get_space("handbook")).info
        assert (changed.vector_type, changed.desc) == ("Chroma", "About keys")
