"""Several spaces asked at once."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import kbchat
import kbchat.sync
from kbchat.errors import AmbiguousSpaceError, InvalidInputError, SpaceNotFoundError

QUESTION = "How often are signing keys rotated?"
SPACES = {
    "handbook": {"keys": "Signing keys are rotated every ninety days.", "lunch": "Lunch is at noon."},
    "rules": {"annex": "Keys of the server are rotated by operations, not by guests.", "dogs": "No dogs are allowed."},
    "others": {"song": "The bells are ringing at dawn."},
}


@pytest.fixture
async def kb(tmp_path: Path) -> AsyncIterator[kbchat.KnowledgeBase]:
    async with kbchat.KnowledgeBase(tmp_path) as opened:
        for name, texts in SPACES.items():
            space = await opened.create_space(name, owner="alice")
            await space.ingest([kbchat.TextDocument(name=each, text=text) for each, text in texts.items()])
        yield opened


async def test_hits_are_merged_by_score(kb: kbchat.KnowledgeBase) -> None:
    """The best of all, each with its space and the score it has there; spaces may be named by id, or twice."""
    rules = await kb.get_space("rules")
    found = await kb.retrieve(QUESTION, spaces=["handbook", rules.id, "rules", "others"], top_k=3)
    assert [(it.space, it.name) for it in found][:2] == [("handbook", "keys"), ("rules", "annex")]
    assert [it.recall_score for it in found] == sorted((it.recall_score for it in found), reverse=True)
    alone = {it.chunk_id: it for name in SPACES for it in await (await kb.get_space(name)).retrieve(QUESTION)}
    for it in found:
        assert it == alone[it.chunk_id].model_copy(update={"space": it.space})
    assert len(found) == 3
    assert await kb.retrieve(QUESTION, spaces=["others", "rules", "handbook"], top_k=3) == found
    assert all(it.space is None for it in alone.values())


async def test_bounds_and_stages_hold_for_all(kb: kbchat.KnowledgeBase) -> None:
    """As they do for one."""
    found = await kb.retrieve(QUESTION, spaces=SPACES, score_threshold=0.5, strategy="lexical")
    assert found
    assert all(it.recall_score >= 0.5 and it.dense is None for it in found)


async def test_an_answer_rests_on_several_spaces(kb: kbchat.KnowledgeBase) -> None:
    """References say where they are from; with no space named a model answers alone."""
    answer = await kb.chat(QUESTION, spaces=["handbook", "rules"])
    assert answer.references[0].space == "handbook"
    assert "ninety days" in answer.text
    [retrieved, *_] = [event async for event in kb.stream(QUESTION, spaces=["others", "rules"])]
    assert isinstance(retrieved, kbchat.Retrieved)
    assert {it.space for it in retrieved.references} == {"others", "rules"}


async def test_owners_are_respected(kb: kbchat.KnowledgeBase) -> None:
    """Another's space is not there; a name that several have must be an id."""
    await kb.create_space("handbook", owner="bob")
    with pytest.raises(AmbiguousSpaceError):
        await kb.retrieve(QUESTION, spaces=["handbook"])
    assert await kb.retrieve(QUESTION, spaces=["handbook"], owner="bob") == []
    assert await kb.retrieve(QUESTION, spaces=["handbook"], owner="alice")
    with pytest.raises(SpaceNotFoundError):
        await kb.retrieve(QUESTION, spaces=["handbook", "rules"], owner="bob")
    with pytest.raises(SpaceNotFoundError):
        await kb.chat(QUESTION, spaces=["rules"], owner="bob")


async def test_what_names_no_spaces(kb: kbchat.KnowledgeBase) -> None:
    """None, too many, and a string, whose letters are none."""
    for bad in ([], [str(n) for n in range(101)], "handbook"):
        with pytest.raises(InvalidInputError, match="spaces: must"):
            await kb.retrieve(QUESTION, spaces=bad)
        with pytest.raises(InvalidInputError, match="spaces: must"):
            kb.stream(QUESTION, spaces=bad)
    with pytest.raises(InvalidInputError, match="query"):
        await kb.retrieve(" ", spaces=["handbook"])


def test_without_await(tmp_path: Path) -> None:
    """The face without `await` asks several spaces too."""
    with kbchat.sync.KnowledgeBase(tmp_path) as kb:
        kb.create_space("one").ingest(kbchat.TextDocument(name="keys", text="Keys are rotated every ninety days."))
        kb.create_space("two")
        assert [it.space for it in kb.retrieve(QUESTION, spaces=["one", "two"])] == ["one"]
        assert kb.chat(QUESTION, spaces=["one", "two"]).references[0].space == "one"
