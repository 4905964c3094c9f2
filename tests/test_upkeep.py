"""Spaces are checked, mended, and taken elsewhere in one file."""

import hashlib
import json
import zipfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import numpy as np
import pytest
import sqlalchemy as sa
from anyio.lowlevel import checkpoint

import kbchat
from kbchat.catalog import Leftover
from kbchat.embedders import Vector
from kbchat.errors import EmbedderError, EmbedderMismatchError, InvalidInputError, SpaceExistsError
from kbchat.lexical import LexicalEntry
from kbchat.lexical.tantivy import TantivyIndex
from kbchat.maintenance.archive import BATCH_CHARS, Archive
from kbchat.maintenance.checking import SAMPLE, CheckReport
from kbchat.stores import Vectors
from kbchat.text.analysis import analyse
from kbchat.threads import Threads
from kbchat.wiring import Parts
from made_files import PHRASE, good, write


@pytest.fixture
async def space(kb: kbchat.KnowledgeBase) -> kbchat.KnowledgeSpace:
    space = await kb.create_space("handbook", desc="About keys", owner="ann")
    await space.ingest([kbchat.TextDocument(name=f"n{i}", text=f"Note number {i} on {PHRASE}") for i in range(20)])
    await space.refresh()
    return space


def parts_of(kb: kbchat.KnowledgeBase) -> Parts:
    return kb._open


def found(report: CheckReport) -> dict[str, int]:
    return {finding.kind: finding.count for finding in report.findings}


async def mended(space: kbchat.KnowledgeSpace, expected: dict[str, int]) -> None:
    """A check finds what is expected, a repair mends it, and another check finds nothing."""
    report = await space.check()
    assert found(report) == expected
    assert not report.sound
    repaired = await space.check(repair=True)
    assert found(repaired) == expected
    assert repaired.sound
    assert (await space.check()).findings == ()


async def test_a_sound_space_has_nothing_to_mend(space: kbchat.KnowledgeSpace) -> None:
    """A check changes nothing either."""
    report = await space.check()
    assert (report.documents, report.chunks, report.findings) == (20, 20, ())
    assert report.sound


async def test_missing_and_foreign_vectors_are_mended(kb: kbchat.KnowledgeBase, space: kbchat.KnowledgeSpace) -> None:
    """Those that are gone are made anew, those of nobody are removed."""
    store = parts_of(kb).store(space.vector_type)
    ids = [chunk.id for name in ("n1", "n2") for chunk in await space.document_chunks(name)]
    await store.delete(space.info.collection, ids)
    foreign: Vectors = np.ones((3, 256), dtype=np.float32)
    await store.upsert(space.info.collection, [10**6, 10**6 + 1, 10**6 + 2], foreign)
    await mended(space, {"vectors_orphaned": 3, "vectors_missing": 2})
    assert (await space.retrieve("Note number 1", top_k=1))[0].dense is not None


async def test_a_lost_collection_is_made_anew(kb: kbchat.KnowledgeBase, space: kbchat.KnowledgeSpace) -> None:
    """From the texts in the catalog."""
    await parts_of(kb).store(space.vector_type).drop_collection(space.info.collection)
    await mended(space, {"collection_missing": 1, "vectors_missing": 20})


async def test_what_a_lost_collection_held_too_much_is_let_go(
    kb: kbchat.KnowledgeBase, space: kbchat.KnowledgeSpace
) -> None:
    """Versions that wait to be collected do not keep the rest from being mended."""
    parts = parts_of(kb)
    gone = await space.get_document("n3")
    await parts.catalog.delete_document(space.id, gone.id, writer=parts.writer_id)
    await parts.store(space.vector_type).drop_collection(space.info.collection)
    await mended(space, {"uncollected": 1, "collection_missing": 1, "vectors_missing": 19})


async def test_what_a_killed_move_left_goes_with_the_next_ingest(
    kb: kbchat.KnowledgeBase, space: kbchat.KnowledgeSpace
) -> None:
    """Also with one that changes nothing."""
    parts = parts_of(kb)
    store = parts.store(space.vector_type)
    await parts.catalog.note_leftover(space.id, Leftover(space.vector_type, "kb-left"))
    await store.create_collection("kb-left", dimension=2)
    assert found(await space.check()) == {"leftovers": 1}
    assert (await space.ingest(kbchat.TextDocument(name="n0", text=f"Note number 0 on {PHRASE}"))).unchanged == 1
    assert (await space.check()).findings == ()
    assert "kb-left" not in await store.list_collections()


async def test_vectors_of_another_text_are_made_anew(kb: kbchat.KnowledgeBase, space: kbchat.KnowledgeSpace) -> None:
    """A sample is compared with what the embedder says now."""
    (chunk,) = await space.document_chunks("n3")
    wrong: Vectors = np.zeros((1, 256), dtype=np.float32)
    wrong[0, 7] = 1
    await parts_of(kb).store(space.vector_type).upsert(space.info.collection, [chunk.id], wrong)
    await mended(space, {"vectors_drifted": 1})


class Counting:
    """An embedder that counts its texts. It knows no word of those that ask something."""

    name = "counting"
    batch_size = 8
    number = 1.0

    def __init__(self) -> None:
        self.texts = 0

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        self.texts += len(texts)
        vectors: Vectors = np.array([[0.0 if "?" in text else self.number, 0.0] for text in texts], dtype=np.float32)
        return vectors

    async def embed_query(self, text: str) -> Vector:
        vector: Vector = (await self.embed_documents([text]))[0]
        return vector

    async def aclose(self) -> None:
        pass


async def counted(kb: kbchat.KnowledgeBase, texts: Sequence[str]) -> kbchat.KnowledgeSpace:
    space = await kb.create_space("handbook")
    await space.ingest([kbchat.TextDocument(name=f"n{n}", text=text) for n, text in enumerate(texts)])
    return space


@pytest.mark.parametrize("repair", [False, True])
async def test_a_check_of_an_empty_space_leaves_it_to_any_embedder(tmp_path: Path, repair: bool) -> None:
    """Nothing is asked of the one in use either."""
    embedder = Counting()
    async with kbchat.KnowledgeBase(tmp_path, embedder=embedder) as kb:
        space = await kb.create_space("handbook")
        before = await space.refresh()
        assert (await space.check(repair=repair)).findings == ()
        assert await space.refresh() == before
        assert (before.embedder, before.words, embedder.texts) == (None, None, 0)


async def test_what_is_missing_is_counted_without_an_embedder(tmp_path: Path) -> None:
    """Where a collection is gone it is asked for nothing; where all vectors of one are, for as many as it takes to see
    that they should be there."""
    embedder = Counting()
    async with kbchat.KnowledgeBase(tmp_path, embedder=embedder) as kb:
        space = await counted(kb, [f"Note number {n}." for n in range(3 * SAMPLE)])
        store, name = parts_of(kb).store(space.vector_type), space.info.collection
        await store.drop_collection(name)
        embedder.texts = 0
        report = await space.check()
        assert (found(report), embedder.texts) == ({"collection_missing": 1, "vectors_missing": 3 * SAMPLE}, 0)
        await store.create_collection(name, dimension=2)
        report = await space.check()
        assert (found(report), embedder.texts) == ({"vectors_missing": 3 * SAMPLE}, SAMPLE)
        await mended(space, {"vectors_missing": 3 * SAMPLE})


async def test_a_chunk_that_can_have_no_vector_lacks_none(tmp_path: Path) -> None:
    """However many there are of them, and beside those that can."""
    async with kbchat.KnowledgeBase(tmp_path, embedder=Counting()) as kb:
        space = await counted(kb, [*(f"What is {n}?" for n in range(2 * SAMPLE)), "One note.", "Two notes."])
        assert (await space.check()).findings == ()
        (last,) = await space.document_chunks(f"n{2 * SAMPLE + 1}")
        await parts_of(kb).store(space.vector_type).delete(space.info.collection, [last.id])
        await mended(space, {"vectors_missing": 1})


async def test_vectors_that_are_none_are_not_compared(tmp_path: Path) -> None:
    """That is the embedder's fault, and said to be."""
    embedder = Counting()
    async with kbchat.KnowledgeBase(tmp_path, embedder=embedder) as kb:
        space = await counted(kb, ["One note."])
        embedder.number = float("nan")
        with pytest.raises(EmbedderError, match="'counting': it gave numbers that are not finite"):
            await space.check()


async def test_missing_and_foreign_terms_are_mended(kb: kbchat.KnowledgeBase, space: kbchat.KnowledgeSpace) -> None:
    """A whole index that is lost is only that."""
    lexical = parts_of(kb).lexical
    await lexical.delete(space.info.lexical_name, [chunk.id for chunk in await space.document_chunks("n4")])
    await lexical.commit(space.info.lexical_name)
    await mended(space, {"terms_missing": 1})
    await lexical.drop(space.info.lexical_name)
    await mended(space, {"terms_missing": 20})
    assert (await space.retrieve("Note number 4", top_k=1))[0].lexical


async def test_wrong_counts_are_mended(kb: kbchat.KnowledgeBase, space: kbchat.KnowledgeSpace) -> None:
    """They are kept, so they can drift."""
    change = "UPDATE spaces SET document_count = 7"
    parts = parts_of(kb)
    await parts.threads.write(parts.catalog._database.write, lambda connection: connection.execute(sa.text(change)))
    await mended(space, {"counters": 1})
    assert (await space.refresh()).document_count == 20


async def test_original_files_are_told_of(space: kbchat.KnowledgeSpace, tmp_path: Path) -> None:
    """One that is gone, one that changed; the space is sound all the same."""
    folder = write(tmp_path / "docs", {name: f"This is {name}".encode() for name in ("a.md", "b.md", "c.md")})
    await space.ingest(folder)
    (folder / "a.md").unlink()
    (folder / "b.md").write_text("Another text.")
    report = await space.check()
    assert found(report) == {"original_missing": 1, "original_changed": 1}
    assert report.sound
    assert "'docs/a.md'" in report.findings[0].detail


async def test_a_space_goes_elsewhere_in_one_file(
    space: kbchat.KnowledgeSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Documents, metadata, chunks, vectors and settings arrive as they were; nothing is embedded again."""
    await space.ingest(write(tmp_path / "files", good()))
    assert await space.export(tmp_path / "handbook.kbchat") == 20 + len(good())
    before = await space.retrieve(PHRASE, top_k=50)
    async with kbchat.KnowledgeBase(tmp_path / "elsewhere") as other:
        await parts_of(other).pin()

        async def refuse(*_: object) -> None:
            raise AssertionError("nothing is to be embedded")

        with monkeypatch.context() as patch:
            patch.setattr(parts_of(other).embedder, "embed_documents", refuse)
            made = await other.import_space(tmp_path / "handbook.kbchat")
        assert (made.name, made.desc, made.owner) == ("handbook", "About keys", "ann")
        after = await made.retrieve(PHRASE, top_k=50)
        shown = {"content", "start", "end", "metadata", "name", "dense", "sentence"}
        assert [it.model_dump(include=shown) for it in after] == [it.model_dump(include=shown) for it in before]
        assert (await made.check()).findings == ()
        with pytest.raises(SpaceExistsError):
            await other.import_space(tmp_path / "handbook.kbchat")
        again = await other.import_space(tmp_path / "handbook.kbchat", name="copy", owner="bo")
        assert again.info.document_count == 20 + len(good())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "elsewhere", "files", "handbook.kbchat"]


async def test_an_import_holds_some_documents_at_a_time(
    kb: kbchat.KnowledgeBase, space: kbchat.KnowledgeSpace, tmp_path: Path
) -> None:
    """However long they are: as many as are long enough, and no more of those that are short than a hundred or so."""
    long = "All lighthouses shine. " * 15_000
    await space.ingest([kbchat.TextDocument(name=f"long{n}", text=f"{n}. {long}") for n in range(7)])
    await space.ingest([kbchat.TextDocument(name=f"short{n}", text=f"Note {n}.") for n in range(140)])
    await space.export(tmp_path / "space.kbchat")

    def lengths() -> list[list[int]]:
        with closing(Archive(tmp_path / "space.kbchat", longest=1 << 20)) as archive:
            return [[len(item.generation.text) for item in batch] for batch in archive.batches()]

    batches = await anyio.to_thread.run_sync(lengths)
    assert [len(batch) for batch in batches] == [23, 3, 128, 13]
    assert max(map(sum, batches)) < BATCH_CHARS + len(long) + 10


async def test_a_damaged_archive_is_refused_whole(
    kb: kbchat.KnowledgeBase, space: kbchat.KnowledgeSpace, tmp_path: Path
) -> None:
    """By its checksums, before anything is made."""
    path = tmp_path / "space.kbchat"
    await space.export(path)
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("documents.jsonl").header_offset + 80
    spoilt = {
        "no archive": b"hello",
        "damaged": data[:-100],
        "documents.jsonl is damaged": data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :],
    }
    for reason, content in spoilt.items():
        path.write_bytes(content)
        with pytest.raises(InvalidInputError, match=reason):
            await kb.import_space(path, name="other")
    with pytest.raises(InvalidInputError, match="cannot be read: No such file"):
        await kb.import_space(tmp_path / "missing")
    assert [found.name for found in await kb.list_spaces()] == ["handbook"]


async def test_no_spoilt_byte_is_more_than_a_damaged_archive(space: kbchat.KnowledgeSpace, tmp_path: Path) -> None:
    """Wherever it is: in what the archive says of itself, in a header or in a text."""
    for number in range(1, 20):
        await space.delete_document(f"n{number}")
    path, spoilt = tmp_path / "space.kbchat", tmp_path / "spoilt.kbchat"
    await space.export(path)

    def refused() -> int:
        data, count = path.read_bytes(), 0
        for position in range(len(data)):
            spoilt.write_bytes(data[:position] + bytes([data[position] ^ 255]) + data[position + 1 :])
            try:
                archive = Archive(spoilt, longest=1 << 20)
                try:
                    archive.check()
                finally:
                    archive.close()
            except InvalidInputError as error:
                assert error.field == "path"
                count += 1
        return count

    assert await anyio.to_thread.run_sync(refused) > 1000


def _deep(levels: int) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    for _ in range(levels):
        metadata = {"a": metadata}
    return metadata


def _changed(line: dict[str, Any], **changes: object) -> bytes:
    return json.dumps(line | changes).encode() + b"\n"


@pytest.mark.parametrize(
    ("member", "change", "reason"),
    [
        ("documents.jsonl", lambda line: b"{not json", "documents.jsonl is damaged"),
        ("documents.jsonl", lambda line: _changed(line, chunks=[[-10, 5, {}]]), "a chunk beyond its text"),
        ("documents.jsonl", lambda line: _changed(line, chunks=[[0, 5000, {}]]), "a chunk beyond its text"),
        ("documents.jsonl", lambda line: _changed(line, chunks=[[5, 5, {}]]), "a chunk beyond its text"),
        (
            "documents.jsonl",
            lambda line: _changed(line, name="a\x1b[2J"),
            "cannot be: name: .* U.001B",
        ),
        ("documents.jsonl", lambda line: _changed(line, text="a\0b", chunks=[]), "cannot be: text: holds a NUL"),
        ("documents.jsonl", lambda line: _changed(line, metadata=_deep(300)), "cannot be: metadata: .* 64 levels"),
        (
            "documents.jsonl",
            lambda line: _changed(line, chunks=[[0, 5, _deep(300)]]),
            "cannot be: metadata: .* 64 levels",
        ),
        (
            "documents.jsonl",
            lambda line: _changed(line, metadata=0).replace(b'"metadata": 0', b'"metadata": ' + b'{"a":' * 10**5),
            "documents.jsonl is damaged",
        ),
        ("vectors.f32", lambda line: b"1234", "vectors.f32 is shorter"),
        ("packed.bin", lambda line: b"\1", "packed.bin is shorter"),
        ("packed.bin", lambda line: b"\xff\xff\xff\xff1", "packed.bin is shorter"),
        ("packed.bin", lambda line: b"\3\0\0\0abc" * 20, "packed.bin is damaged"),
    ],
)
async def test_a_made_up_archive_is_refused(
    kb: kbchat.KnowledgeBase,
    space: kbchat.KnowledgeSpace,
    tmp_path: Path,
    member: str,
    change: Callable[[dict[str, Any]], bytes],
    reason: str,
) -> None:
    """Also where its checksums fit; there is no space of it."""
    path = tmp_path / "space.kbchat"
    await space.export(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[member] = change(json.loads(members["documents.jsonl"].splitlines()[0]))
    about = json.loads(members.pop("kbchat.json"))
    about["sha256"] = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {"kbchat.json": json.dumps(about).encode(), **members}.items():
            archive.writestr(name, data)
    with pytest.raises(InvalidInputError, match=reason) as caught:
        await kb.import_space(path, name="other")
    assert caught.value.field == "path"
    assert [found.name for found in await kb.list_spaces()] == ["handbook"]


@pytest.mark.parametrize(("target", "reason"), [("", "is a folder"), ("no/x.kb", "No such file"), ("a\0b", "null")])
async def test_where_no_archive_can_be(space: kbchat.KnowledgeSpace, tmp_path: Path, target: str, reason: str) -> None:
    """It is told before anything is written."""
    with pytest.raises(InvalidInputError, match=reason) as caught:
        await space.export(tmp_path / target, progress=lambda _: pytest.fail("it was begun"))
    assert caught.value.field == "path"
    assert [found.name for found in tmp_path.iterdir()] == ["data"]


async def test_a_link_stays_one(kb: kbchat.KnowledgeBase, space: kbchat.KnowledgeSpace, tmp_path: Path) -> None:
    """The archive goes to where it points; one that points to itself is told of."""
    link, target = tmp_path / "link.kbchat", tmp_path / "target.kbchat"
    link.symlink_to(target)
    for _ in range(2):
        assert await space.export(link) == 20
        assert link.is_symlink()
        assert target.is_file()
    assert (await kb.import_space(link, name="copy")).info.document_count == 20
    target.unlink()
    target.symlink_to(link)
    with pytest.raises(InvalidInputError, match=r"link\.kbchat' cannot be written"):
        await space.export(link)


@pytest.mark.parametrize("path", [None, 5, b"x", ["x"]])
async def test_what_is_no_path_is_refused(kb: kbchat.KnowledgeBase, space: kbchat.KnowledgeSpace, path: Any) -> None:
    """With what it is."""
    for asked in (space.export(path), kb.import_space(path)):
        with pytest.raises(InvalidInputError, match=f"path: must be a path .*, not {type(path).__name__}"):
            await asked


async def test_a_path_that_no_file_can_have(kb: kbchat.KnowledgeBase) -> None:
    """It is said of an import as well."""
    for path in ("a\0b", "x" * 300):
        with pytest.raises(InvalidInputError, match=r"path: .* (cannot be read: File name|null byte)"):
            await kb.import_space(path)


async def test_vectors_of_another_embedder_are_refused(
    kb: kbchat.KnowledgeBase, space: kbchat.KnowledgeSpace, tmp_path: Path
) -> None:
    """They would be nonsense here."""
    await space.export(tmp_path / "space.kbchat")
    parts = parts_of(kb)
    real = await parts.pin()
    parts._pin = real.model_copy(update={"dimension": 3})
    with pytest.raises(EmbedderMismatchError):
        await kb.import_space(tmp_path / "space.kbchat", name="other")


async def test_an_import_that_fails_leaves_nothing(
    kb: kbchat.KnowledgeBase, space: kbchat.KnowledgeSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a space nor a collection."""
    await space.export(tmp_path / "space.kbchat")
    store = parts_of(kb).store(space.vector_type)
    before = await store.list_collections()

    async def fail(*_: object, **__: object) -> None:
        raise OSError("pulled the plug")

    with monkeypatch.context() as patch:
        patch.setattr(parts_of(kb).catalog, "publish", fail)
        with pytest.raises(OSError, match="pulled the plug"):
            await kb.import_space(tmp_path / "space.kbchat", name="other")
    assert [found.name for found in await kb.list_spaces()] == ["handbook"]
    assert await store.list_collections() == before


async def test_a_document_can_be_renamed_and_described(space: kbchat.KnowledgeSpace) -> None:
    """Its text, chunks and id stay; what is found says so."""
    before = await space.get_document("n5")
    after = await space.update_document("n5", name="five", metadata={"team": "ops"})
    assert (after.id, after.name, after.metadata) == (before.id, "five", {"team": "ops"})
    (chunk,) = await space.document_chunks("five")
    assert (chunk.content, chunk.metadata) == (before.text, {"team": "ops"})
    assert "five" in [reference.name for reference in await space.retrieve("Note number 5", top_k=20)]


class Stopping(TantivyIndex):
    """In whose next commit whoever waits for it is stopped."""

    scope: anyio.CancelScope | None = None

    async def commit(self, name: str, *, more: bool = False) -> None:
        if self.scope is not None:
            self.scope.cancel()
            await checkpoint()
        await super().commit(name, more=more)


async def fill(kb: kbchat.KnowledgeBase, space: kbchat.KnowledgeSpace) -> None:
    async with parts_of(kb).writing(space.id):
        await parts_of(kb).words.fill(space.info, "embedded")


WRITES: dict[str, Callable[[kbchat.KnowledgeBase, kbchat.KnowledgeSpace], Awaitable[object]]] = {
    "ingest": lambda kb, space: space.ingest(kbchat.TextDocument(name="new", text="Another note.")),
    "delete": lambda kb, space: space.delete_document("n1"),
    "repair": lambda kb, space: space.check(repair=True),
    "fill": lambda kb, space: fill(kb, space),
}


@pytest.mark.timeout(200)
@pytest.mark.parametrize("what", WRITES)
async def test_whoever_is_stopped_while_writing_words_is_in_nobodys_way(
    kb: kbchat.KnowledgeBase, space: kbchat.KnowledgeSpace, what: str
) -> None:
    """Amid a commit: another process can write at once."""
    parts, name = parts_of(kb), space.info.lexical_name
    lost = [chunk.id for chunk in await space.document_chunks("n4")]
    await parts.lexical.delete(name, lost)
    await parts.lexical.commit(name)
    await parts.lexical.usual.aclose()
    parts.lexical.usual = stopping = Stopping(parts.folder.lexical, threads=parts.threads)
    with anyio.CancelScope() as stopping.scope:
        await WRITES[what](kb, space)
    assert stopping.scope.cancelled_caught
    other = TantivyIndex(parts.folder.lexical, threads=Threads())
    await other.upsert(name, [LexicalEntry(lost[0], analyse("keys"))])
    await other.commit(name)
    assert await other.count(name) == 20
    await other.aclose()
