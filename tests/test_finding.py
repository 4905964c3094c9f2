"""A space that was asked before is asked at once, and what changed since is seen all the same."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio
import pytest

import kbchat
from kbchat.embedders import Vector
from kbchat.errors import CollectionNotFoundError, SpaceNotFoundError
from kbchat.stores import VectorHit
from kbchat.stores.memory import MemoryStore

QUESTION = "How often are the keys rotated?"
KEYS = kbchat.TextDocument(name="keys", text="The keys are rotated every ninety days.")
LATER = kbchat.TextDocument(name="later", text="How often the keys are rotated: every ten days, the keys are rotated.")


class Searched(MemoryStore):
    """A store that counts how often it is searched, and is not closed."""

    searches = 0

    async def aclose(self) -> None: ...

    async def query(
        self, name: str, vector: Vector, *, limit: int, among: Sequence[int] | None = None
    ) -> list[VectorHit]:
        self.searches += 1
        return await super().query(name, vector, limit=limit, among=among)


@pytest.fixture
async def kb(tmp_path: Path) -> AsyncIterator[kbchat.KnowledgeBase]:
    async with kbchat.KnowledgeBase(tmp_path) as opened:
        yield opened


@pytest.fixture
async def asked(kb: kbchat.KnowledgeBase) -> kbchat.KnowledgeSpace:
    space = await kb.create_space("handbook")
    await space.ingest(KEYS)
    for _ in range(2):
        assert [it.name for it in await space.retrieve(QUESTION)] == ["keys"]
    assert kb._open.freshness.is_in_step(space.info)
    return space


async def test_what_others_of_this_process_wrote(kb: kbchat.KnowledgeBase, asked: kbchat.KnowledgeSpace) -> None:
    """A document that is in is found with the next question, and one that was removed is not."""
    other = await kb.get_space("handbook")
    await other.ingest(LATER)
    assert {it.name for it in await asked.retrieve(QUESTION)} == {"keys", "later"}
    assert asked.info.document_count == 2
    await other.delete_document("keys")
    assert [it.name for it in await asked.retrieve(QUESTION)] == ["later"]


async def test_what_another_knowledge_base_wrote(asked: kbchat.KnowledgeSpace, tmp_path: Path) -> None:
    """As by another process over the same folder."""
    async with kbchat.KnowledgeBase(tmp_path) as beside:
        await (await beside.get_space("handbook")).ingest(LATER)
    assert {it.name for it in await asked.retrieve(QUESTION)} == {"keys", "later"}


async def test_vectors_that_were_replaced(kb: kbchat.KnowledgeBase, asked: kbchat.KnowledgeSpace) -> None:
    """The collection that was asked is gone: its follower is."""
    before = asked.info.collection
    await (await kb.get_space("handbook")).reembed()
    assert [it.name for it in await asked.retrieve(QUESTION)] == ["keys"]
    assert asked.info.collection != before


async def test_a_space_that_was_deleted(kb: kbchat.KnowledgeBase, asked: kbchat.KnowledgeSpace) -> None:
    """It is not there, whatever its indexes still held."""
    await kb.delete_space("handbook")
    with pytest.raises(SpaceNotFoundError):
        await asked.retrieve(QUESTION)


async def test_questions_while_documents_come(kb: kbchat.KnowledgeBase, asked: kbchat.KnowledgeSpace) -> None:
    """Many at once through one object, while another one writes: each finds what was there from the start."""
    other = await kb.get_space("handbook")
    async with anyio.create_task_group() as group:

        async def ask() -> None:
            for _ in range(5):
                assert "keys" in {it.name for it in await asked.retrieve(QUESTION)}

        for _ in range(8):
            group.start_soon(ask)
        for number in range(4):
            await other.ingest(kbchat.TextDocument(name=f"n{number}", text=f"Lunch number {number} is at noon."))
    assert asked.info.document_count >= 1
    assert {it.name for it in await asked.retrieve("Lunch number 3")} >= {"n3"}


async def test_what_the_first_question_waits_for_is_open_when_it_was_warmed(tmp_path: Path) -> None:
    """The store of each kind is searched once, in one space, but not a Milvus Lite, which others could not use then."""
    stores = {"Chroma": Searched(), "Milvus": Searched()}
    async with kbchat.KnowledgeBase(tmp_path, stores=stores) as kb:
        await kb.warm()
        for kind in stores:
            for number in range(2):
                space = await kb.create_space(f"{kind} {number}", vector_type=kind)
                await space.ingest(KEYS)
                await kb.create_space(f"{kind} {number}, empty", vector_type=kind)
        assert [store.searches for store in stores.values()] == [0, 0]
        await kb.warm()
        assert [store.searches for store in stores.values()] == [1, 0]
    with pytest.raises(RuntimeError, match="not open"):
        await kb.warm()


async def test_a_knowledge_base_that_cannot_be_warmed_says_why(tmp_path: Path) -> None:
    """With the error that the first question would have; other kinds of stores are warmed all the same."""
    server = {"milvus_uri": "http://127.0.0.1:9", "store_timeout": 0.1}
    settings = kbchat.Settings.model_validate({"data_dir": tmp_path, **server})
    store = Searched()
    async with kbchat.KnowledgeBase(settings=settings, stores={"Milvus": store}) as kb:
        for kind in ("Chroma", "Milvus"):
            await (await kb.create_space(kind, vector_type=kind)).ingest(KEYS)
    (tmp_path / "chroma").rename(tmp_path / "away")
    async with kbchat.KnowledgeBase(settings=settings, stores={"Milvus": store}) as kb:
        with pytest.raises(CollectionNotFoundError, match="fsck --repair"):
            await kb.warm()
    assert store.searches == 1
