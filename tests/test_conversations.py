"""Conversations that kbchat remembers."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

import kbchat
from kbchat.conversations import Conversations
from kbchat.errors import ConversationNotFoundError, InvalidInputError

KEYS = "# Keys\n\nAPI keys are rotated every ninety days. The old key stays valid for a week.\n"


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def kept(tmp_path: Path, clock: Clock) -> AsyncIterator[Conversations]:
    """Conversations of four turns and ten days, on a clock of our own."""
    settings = kbchat.Settings(data_dir=tmp_path, conversation_turns=4, conversation_days=10)
    async with kbchat.KnowledgeBase(settings=settings) as kb:
        kb._open.catalog._clock = clock
        yield Conversations(kb._open.catalog, settings, clock=clock)


async def said(kept: Conversations, uid: str, *, owner: str = "") -> list[str]:
    return [turn.content for turn in await kept.turns(uid, owner=owner)]


async def test_what_was_said_is_known(kept: Conversations) -> None:
    """In order, with who said it; a new conversation is empty."""
    assert await kept.turns("a") == []
    await kept.remember("a", "q1", "a1")
    await kept.remember("a", "q2", "a2")
    turns = await kept.turns("a")
    assert [(turn.role, turn.content) for turn in turns] == [
        ("user", "q1"),
        ("assistant", "a1"),
        ("user", "q2"),
        ("assistant", "a2"),
    ]
    assert (await kept.get("a")).turn_count == 4


async def test_only_the_last_turns_are_kept(kept: Conversations) -> None:
    """However long it goes on."""
    for number in range(10):
        await kept.remember("a", f"q{number}", f"a{number}")
    assert await said(kept, "a") == ["q8", "a8", "q9", "a9"]
    assert (await kept.get("a")).turn_count == 4


async def test_a_conversation_belongs_to_its_owner(kept: Conversations) -> None:
    """The same name with another owner is another conversation."""
    await kept.remember("a", "q", "alice", owner="alice")
    await kept.remember("a", "q", "bob", owner="bob")
    assert await said(kept, "a", owner="alice") == ["q", "alice"]
    assert await said(kept, "a", owner="bob") == ["q", "bob"]
    assert await said(kept, "a") == []
    assert [info.owner for info in await kept.list(owner="alice")] == ["alice"]
    with pytest.raises(ConversationNotFoundError):
        await kept.delete("a", owner="carol")


async def test_conversations_are_listed_newest_first(kept: Conversations, clock: Clock) -> None:
    """In pages, with how many there are."""
    for number in range(5):
        clock.now += timedelta(minutes=1)
        await kept.remember(f"c{number}", "q", "a")
    clock.now += timedelta(minutes=1)
    await kept.remember("c1", "q", "a")
    infos, total = await kept.list(limit=3), await kept.count()
    assert ([info.uid for info in infos], total) == (["c1", "c4", "c3"], 5)
    assert [info.uid for info in await kept.list(offset=3, limit=3)] == ["c2", "c0"]


async def test_a_deleted_conversation_is_forgotten(kept: Conversations) -> None:
    """And its name may be used for a new one."""
    await kept.remember("a", "q", "old")
    assert (await kept.delete("a")).turn_count == 2
    assert await kept.turns("a") == []
    with pytest.raises(ConversationNotFoundError):
        await kept.delete("a")
    await kept.remember("a", "q", "new")
    assert await said(kept, "a") == ["q", "new"]


async def test_an_old_conversation_is_forgotten_by_itself(kept: Conversations, clock: Clock) -> None:
    """At once for who asks, and from the catalog when somebody else goes on talking."""
    await kept.remember("old", "q", "a")
    clock.now += timedelta(days=10, seconds=1)
    assert await kept.turns("old") == []
    assert (await kept.list(), await kept.count()) == ([], 0)
    with pytest.raises(ConversationNotFoundError):
        await kept.get("old")
    await kept.remember("new", "q", "a")
    catalog = kept._catalog
    ancient = datetime.min.replace(tzinfo=UTC)
    infos, _ = await catalog.list_conversations("", since=ancient)
    assert [info.uid for info in infos] == ["new"]


async def test_an_expired_conversation_does_not_come_back(kept: Conversations, clock: Clock) -> None:
    """Not with a new turn either, though it is not removed yet: that is done now and then."""
    await kept.remember("a", "My secret is 42.", "Noted.")
    clock.now += timedelta(days=10, seconds=-1)
    await kept.remember("b", "q", "a")  # removes what is expired by now
    clock.now += timedelta(seconds=2)
    await kept.remember("a", "Second question", "answer")
    assert [turn.content for turn in await kept.turns("a")] == ["Second question", "answer"]
    assert (await kept.get("a")).title == "Second question"


async def test_an_expired_conversation_begins_anew(kept: Conversations, clock: Clock) -> None:
    """What was said in it does not come back."""
    await kept.remember("a", "q", "old")
    clock.now += timedelta(days=11)
    await kept.remember("a", "q", "new")
    assert await said(kept, "a") == ["q", "new"]


async def test_many_talk_at_once(kept: Conversations) -> None:
    """A question and its answer stay together."""
    async with anyio.create_task_group() as tasks:
        for number in range(10):
            tasks.start_soon(kept.remember, "a", f"q{number}", f"a{number}")
    turns = await said(kept, "a")
    assert [turn[1:] for turn in turns[::2]] == [turn[1:] for turn in turns[1::2]]
    assert [turn[0] for turn in turns] == ["q", "a"] * 2


async def test_a_conversation_is_called_by_its_first_question(kept: Conversations) -> None:
    """Also when that is forgotten; long ones are cut. It is listed with the space that was asked last."""
    await kept.remember("a", "How are\n keys  rotated? " + "x" * 200, "a")
    for number in range(4):
        await kept.remember("a", f"q{number}", "a", space_id=number)
    await kept.remember("b", "q", "a", space_id=2)
    info = await kept.get("a")
    assert info.title.startswith("How are keys rotated? xxx")
    assert (len(info.title), info.space_id) == (120, 3)
    assert [it.uid for it in await kept.list(space_id=3)] == ["a"]
    assert [it.uid for it in await kept.list(space_id=2)] == ["b"]


async def test_an_answer_keeps_what_it_rests_on(tmp_path: Path) -> None:
    """With the passage's words while the document has them; without, once it has others, is gone, or its space is."""
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        space = await kb.create_space("handbook")
        await space.ingest(
            [kbchat.TextDocument(name="keys", text=KEYS), kbchat.TextDocument(name="doors", text="Doors are blue.")]
        )
        answer = await space.chat("How often are keys rotated?")
        assert answer.citations
        kept = kb.conversations
        found = {"references": answer.references, "citations": answer.citations}
        await kept.remember("a", "q", answer.text, space_id=space.id, **found)
        asked, said = await kept.show("a")
        assert asked.sources is None
        assert said.sources is not None
        assert (said.sources.references, said.sources.citations) == (answer.references, answer.citations)
        [row] = await kb._open.catalog.conversation_turns("", "a", most=1, since=datetime.min.replace(tzinfo=UTC))
        assert row.sources is not None
        assert "ninety" not in row.sources.model_dump_json()
        for change in (
            space.ingest(kbchat.TextDocument(name="keys", text="Nothing.")),
            space.delete_document("keys"),
            kb.delete_space(space.id),
        ):
            await change
            [_, said] = await kept.show("a")
            assert said.sources is not None
            changed = [it for it in said.sources.references if it.name == "keys"]
            assert [(it.content, it.metadata) for it in changed] == [("", {})] * len(changed)
            assert changed


@pytest.mark.parametrize("uid", ["", " ", "a\x00", "x" * 300, "a\nb"])
async def test_a_name_that_cannot_be_kept_is_refused(kept: Conversations, uid: str) -> None:
    """With the field that it comes in."""
    with pytest.raises(InvalidInputError, match="uid: "):
        await kept.remember(uid, "q", "a")


async def test_an_owner_is_one_however_it_is_typed(kept: Conversations) -> None:
    """An accent may be typed in two ways, and white space sets one owner apart from another."""
    composed, typed = "Zo\u00eb", "Zoe\u0308"
    await kept.remember("a", "q", "a", owner=typed)
    assert await said(kept, "a", owner=composed) == await said(kept, "a", owner=typed) == ["q", "a"]
    assert (await kept.get("a", owner=typed)).owner == composed
    assert [len(await kept.show("a", owner=it)) for it in (composed, typed)] == [2, 2]
    assert [it.uid for it in await kept.list(owner=typed)] == ["a"]
    assert await kept.count(owner=typed) == 1
    await kept.remember("a", "of another", "a", owner=f" {typed}")
    await kept.delete("a", owner=typed)
    assert await said(kept, "a", owner=composed) == []
    assert await said(kept, "a", owner=f" {composed}") == ["of another", "a"]


@pytest.mark.parametrize("owner", [["a"], 5, None, "a\x00", "\ud800"])
async def test_what_is_no_owner_is_refused(kept: Conversations, owner: Any) -> None:
    """Wherever one is said."""
    for asked in (
        kept.remember("a", "q", "a", owner=owner),
        kept.turns("a", owner=owner),
        kept.show("a", owner=owner),
        kept.get("a", owner=owner),
        kept.list(owner=owner),
        kept.count(owner=owner),
        kept.delete("a", owner=owner),
    ):
        with pytest.raises(InvalidInputError) as caught:
            await asked
        assert caught.value.field == "owner"
