"""What a move or a new embedding leaves when it is cut short is filled further, or cleared away by who comes next."""

import shutil
import zlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

import kbchat
from kbchat.errors import EmbedderError, EmbedderMismatchError, StoreError, StoreUnavailableError
from kbchat.stores import Vector, Vectors
from kbchat.stores.memory import MemoryStore
from postgresql import needs_postgresql
from test_moving import QUESTION, Breaking, found

NOTES = [kbchat.TextDocument(name=f"n{n}", text=f"Lighthouse {n} shines.") for n in range(20)]

Action = Callable[[kbchat.KnowledgeBase, kbchat.KnowledgeSpace], Awaitable[object]]
NEXT: dict[str, Action] = {
    "ingest": lambda kb, space: space.ingest(kbchat.TextDocument(name="new", text="Lighthouse seven is new.")),
    "delete_document": lambda kb, space: space.delete_document("n3"),
    "reembed": lambda kb, space: space.reembed(),
    "check": lambda kb, space: space.check(repair=True),
    "delete_space": lambda kb, space: kb.delete_space(space.id),
}
"""What may come next."""


async def is_sound(kb: kbchat.KnowledgeBase, space: kbchat.KnowledgeSpace, store: MemoryStore) -> None:
    """The space has one collection, and answers; a space that was deleted has none."""
    if not await kb.list_spaces():
        assert await store.list_collections() == []
        return
    info = await space.refresh()
    assert await store.list_collections() == [info.collection]
    assert (await space.check()).findings == ()
    assert len(await found(space)) == min(info.chunk_count, 20)


class Shared(MemoryStore):
    """The same store for another knowledge base, which does not close it."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__()
        self._collections = store._collections

    async def aclose(self) -> None: ...


class Counting:
    """Another model than the one in use, which counts what it embeds, and breaks off after so many texts."""

    name = "counting"
    batch_size = 4

    def __init__(self, most: int = 10**6) -> None:
        self.most = most
        self.embedded = 0

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        if self.embedded + len(texts) > self.most:
            raise EmbedderError("out of credit")
        self.embedded += len(texts)
        return np.stack([await self.embed_query(text) for text in texts])

    async def embed_query(self, text: str) -> Vector:
        vector = np.zeros(64, dtype=np.float32)
        for word in text.lower().split():
            vector[zlib.crc32(word.encode()) % 64] += 1
        return vector / max(float(np.linalg.norm(vector)), 1e-9)

    async def aclose(self) -> None: ...


@pytest.mark.parametrize("action", NEXT)
async def test_half_a_copy_is_cleared_away(tmp_path: Path, action: str) -> None:
    """By whatever writes to the space next; a check alone tells of it and leaves it."""
    source, target = MemoryStore(), Breaking("flush", 0)
    async with kbchat.KnowledgeBase(tmp_path, stores={"Chroma": source, "Milvus": target}) as kb:
        space = await kb.create_space("handbook")
        await space.ingest(NOTES)
        with pytest.raises(StoreError, match="plug"):
            await space.migrate("Milvus")
        assert await target.list_collections() == [space.info.collection]
        report = await space.check()
        assert [(it.kind, it.count, it.mended) for it in report.findings] == [("leftovers", 1, False)]
        assert not report.sound
        await NEXT[action](kb, space)
        assert await target.list_collections() == []
        await is_sound(kb, space, source)


async def test_a_store_that_is_away_stops_nobody(tmp_path: Path) -> None:
    """What is left over on it stays until it is back; only the deletion of the space is not begun before."""
    source, target = MemoryStore(), Breaking("flush", 0)
    async with kbchat.KnowledgeBase(tmp_path, stores={"Chroma": source, "Milvus": target}) as kb:
        space = await kb.create_space("handbook")
        await space.ingest(NOTES)
        with pytest.raises(StoreError, match="plug"):
            await space.migrate("Milvus")
        target.away = True
        await space.ingest(kbchat.TextDocument(name="new", text="A second note on lighthouse seven."))
        report = await space.check(repair=True)
        assert [(it.kind, it.mended) for it in report.findings] == [("leftovers", False)]
        with pytest.raises(StoreUnavailableError):
            await kb.delete_space(space.id)
        assert "new" in dict(await found(space))
        target.away = False
        await space.delete_document("new")
        assert await target.list_collections() == []
        await is_sound(kb, space, source)


async def test_a_new_embedding_that_is_cut_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was embedded is not embedded again. Until it is done the old embedder answers, from then on the new one."""
    monkeypatch.setattr("kbchat.maintenance.reembed.BATCH_CHUNKS", 8)
    store = MemoryStore()
    async with kbchat.KnowledgeBase(tmp_path, stores={"Chroma": store}) as kb:
        space = await kb.create_space("handbook")
        await space.ingest(NOTES)
        before = await found(space)
        canaries, broke, going = 4, Counting(4 + 17), Counting()
        async with kbchat.KnowledgeBase(tmp_path, embedder=broke, stores={"Chroma": Shared(store)}) as other:
            with pytest.raises(EmbedderError, match="credit"):
                await (await other.get_space("handbook")).reembed()
        assert await found(space) == before
        async with kbchat.KnowledgeBase(tmp_path, embedder=going, stores={"Chroma": Shared(store)}) as other:
            there = await other.get_space("handbook")
            with pytest.raises(EmbedderMismatchError, match=r"KBCHAT_EMBEDDER.*kbchat reembed handbook"):
                await there.retrieve(QUESTION)
            info = await there.reembed()
            assert going.embedded == canaries + 4
            assert info.embedder is not None
            assert info.embedder.name == "counting"
            await is_sound(other, there, store)
        with pytest.raises(EmbedderMismatchError, match="embedded by 'counting'"):
            await space.retrieve(QUESTION)


@pytest.mark.parametrize("action", NEXT)
async def test_half_a_new_embedding_is_cleared_away(tmp_path: Path, action: str) -> None:
    """By whatever writes to the space next."""
    store = MemoryStore()
    async with kbchat.KnowledgeBase(tmp_path, stores={"Chroma": store}) as kb:
        space = await kb.create_space("handbook")
        await space.ingest(NOTES)
        async with kbchat.KnowledgeBase(tmp_path, embedder=Counting(9), stores={"Chroma": Shared(store)}) as other:
            with pytest.raises(EmbedderError, match="credit"):
                await (await other.get_space("handbook")).reembed()
        assert len(await store.list_collections()) == 2
        await NEXT[action](kb, space)
        await is_sound(kb, space, store)


async def test_a_deletion_waits_for_its_store(tmp_path: Path) -> None:
    """Begun, and cut short by a store that went away, it keeps nobody from the data, and is finished once that is
    back."""
    store = Breaking("drop", 0)
    async with kbchat.KnowledgeBase(tmp_path, stores={"Chroma": store}) as kb:
        space = await kb.create_space("handbook")
        await space.ingest(NOTES)
        with pytest.raises(StoreError, match="plug"):
            await kb.delete_space("handbook")
        assert await kb.list_spaces() == []
        away, back = Breaking("drop", 0), Shared(store)
        async with kbchat.KnowledgeBase(tmp_path, stores={"Chroma": away}) as other:
            assert await other.list_spaces() == []
            assert len(await other._open.catalog.deleted_spaces()) == 1
        async with kbchat.KnowledgeBase(tmp_path, stores={"Chroma": back}) as other:
            assert await other._open.catalog.deleted_spaces() == []
        assert await store.list_collections() == []


async def test_a_deletion_that_cannot_be_finished_keeps_nobody_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The data opens, the deletions that come after it are finished, and so is this one once nothing is in its way."""
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        for name in ("stuck", "after"):
            space = await kb.create_space(name)
            await space.ingest(kbchat.TextDocument(name="n", text="Lighthouse."))
            await kb._open.catalog.begin_space_deletion(space.id)
    words = tmp_path / "lexical" / "space-1"
    shutil.rmtree(words)
    words.write_text("a file where the index's folder was")
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        assert [left.name for left in await kb._open.catalog.deleted_spaces()] == ["stuck"]
        assert await kb.list_spaces() == []
    assert "the deletion of space 1 waits for the next opening: the lexical index in" in caplog.text
    words.unlink()
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        assert await kb._open.catalog.deleted_spaces() == []


@pytest.mark.server
@needs_postgresql
async def test_a_space_that_another_server_writes_to_keeps_no_other_deletion_waiting(
    postgresql_url: str, tmp_path: Path
) -> None:
    """On PostgreSQL each space has a lock of its own, so the next one is gone on with."""
    one, other = (kbchat.Settings(data_dir=tmp_path / name, catalog_url=postgresql_url) for name in ("one", "other"))
    async with kbchat.KnowledgeBase(settings=one, stores={"Chroma": MemoryStore()}) as kb:
        catalog = kb._open.catalog
        held, free = [(await kb.create_space(name)).id for name in ("held", "free")]
        for space_id in (held, free):
            await catalog.begin_space_deletion(space_id)
        opening = kbchat.KnowledgeBase(settings=other, stores={"Chroma": MemoryStore()})
        async with catalog.writing(held, timeout=0), opening:
            assert [left.id for left in await catalog.deleted_spaces()] == [held]
