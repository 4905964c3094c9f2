"""A large document goes in a part at a time: as any other to those who read, and never in half."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import kbchat
from kbchat.errors import StoreUnavailableError
from kbchat.ingestion import preparing
from kbchat.stores.memory import MemoryStore

LARGE = 4_000
PARAGRAPHS = [f"## Shelf {it}\n\nBox {it} is kept in room {it % 7}, 第{it}号。\n\n" for it in range(800)]


def document(*, changed: int | None = None) -> kbchat.TextDocument:
    text = "".join("## Shelf\n\nNothing is left here.\n\n" if it == changed else PARAGRAPHS[it] for it in range(800))
    return kbchat.TextDocument(name="boxes", text=text)


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Documents are large early."""
    monkeypatch.setattr(preparing, "LARGE_CHARS", LARGE)
    monkeypatch.setattr(preparing, "GROUP_WEIGHT", LARGE)
    yield


async def chunks_of(space: kbchat.KnowledgeSpace) -> list[tuple[object, ...]]:
    chunks = await space.document_chunks("boxes")
    return [(it.position, it.start, it.end, it.content, it.metadata) for it in chunks]


async def test_parts_make_what_the_whole_makes(kb: kbchat.KnowledgeBase, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same chunks in the same places, found by the same question with the same scores."""
    whole, parts = await kb.create_space("whole"), await kb.create_space("parts")
    await whole.ingest(document())
    monkeypatch.setattr(preparing, "LARGE_CHARS", LARGE)
    monkeypatch.setattr(preparing, "GROUP_WEIGHT", LARGE)
    seen: list[kbchat.IngestProgress] = []
    report = await parts.ingest([kbchat.TextDocument(name="a", text="A"), document()], progress=seen.append)
    assert (report.added, report.failed) == (2, ())
    shares = [it.share for it in seen if it.name == "boxes"]
    assert shares == sorted(shares)
    assert len(set(shares)) > 5
    await parts.delete_document((await parts.documents())[0].id)
    assert await chunks_of(parts) == await chunks_of(whole)
    question = "Where is box 313 kept?"
    assert [(it.content, it.start, it.recall_score) for it in await parts.retrieve(question)] == [
        (it.content, it.start, it.recall_score) for it in await whole.retrieve(question)
    ]


@pytest.mark.usefixtures("in_parts")
async def test_what_changed_in_one_part_replaces_all(space: kbchat.KnowledgeSpace) -> None:
    """Nothing of the old text is left, and nothing is there twice."""
    await space.ingest(document())
    report = await space.ingest(document(changed=400))
    assert report.updated == 1
    [only] = await space.documents()
    assert only.chunk_count == len(await chunks_of(space)) == (await space.refresh()).chunk_count
    assert "Nothing is left here" in (await space.retrieve("Is nothing left here?"))[0].content
    assert not [it for it in await chunks_of(space) if "Box 400 " in str(it[3])]


async def test_one_without_a_chunk_is_in_all_the_same(
    kb: kbchat.KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a small one is: what is between its separators is nothing, and it is unchanged the next time."""
    splitting = kbchat.Splitting(strategy=kbchat.ChunkStrategy.SEPARATOR, separator="--", merge=False)
    space = await kb.create_space("s", splitting=splitting)
    nothing = kbchat.TextDocument(name="lines", text="--" * LARGE)
    for large in (10 * LARGE, LARGE):
        monkeypatch.setattr(preparing, "LARGE_CHARS", large)
        report = await space.ingest(nothing.model_copy(update={"name": f"lines {large}"}))
        assert (report.added, report.failed, report.chunks) == (1, (), 0)
    assert (await space.ingest(nothing.model_copy(update={"name": f"lines {LARGE}"}))).unchanged == 1


class Failing(MemoryStore):
    """Fails when so many vectors are there."""

    left = 10_000

    async def upsert(self, collection: str, ids: object, vectors: object) -> None:
        self.left -= len(ids)  # type: ignore[arg-type]
        if self.left < 0:
            raise StoreUnavailableError("away")
        await super().upsert(collection, ids, vectors)  # type: ignore[arg-type]


@pytest.mark.usefixtures("in_parts")
async def test_one_that_is_cut_short_is_not_seen(tmp_path: Path) -> None:
    """What was there stays; the next ingest takes away what was begun, and begins anew."""
    store = Failing()
    stores = {kbchat.VectorType.CHROMA: store}
    async with kbchat.KnowledgeBase(tmp_path, stores=stores) as kb:
        space = await kb.create_space("s")
        store.left = 10_000
        await space.ingest(document())
        before = await chunks_of(space)
        store.left = 15
        with pytest.raises(StoreUnavailableError, match="away"):
            await space.ingest(document(changed=1))
        assert await chunks_of(space) == before
        store.left = 10_000
        assert (await space.ingest(document(changed=1))).updated == 1
        assert await chunks_of(space) != before
        [collection] = await store.list_collections()
        assert await store.count(collection) == len(await chunks_of(space))
