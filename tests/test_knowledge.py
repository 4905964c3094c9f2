"""The face: spaces are made, found, changed and removed; questions are answered with references."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import kbchat
from kbchat.embedders.static import StaticEmbedder
from kbchat.errors import (
    AmbiguousSpaceError,
    DocumentNotFoundError,
    InvalidInputError,
    KeyNotFoundError,
    ModelNotFoundError,
    SettingsError,
    SpaceExistsError,
    SpaceInUseError,
    SpaceNotFoundError,
)
from kbchat.generators import Generated
from kbchat.inputs import Messages
from kbchat.models import Prompt, Sampling
from kbchat.stores.memory import MemoryStore
from kbchat.threads import Threads
from kbchat.wiring import make_generators

KEYS = "# Keys\n\nKeys are rotated every ninety days by the vault. Nobody rotates them by hand.\n"


@pytest.mark.parametrize("number", [-1, 2**63, 10**30])
async def test_an_id_that_nothing_can_have(tmp_path: Path, number: int) -> None:
    """Is not found, as every other one that nothing has."""
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        space = await kb.create_space("handbook")
        with pytest.raises(SpaceNotFoundError):
            await kb.get_space(number)
        with pytest.raises(DocumentNotFoundError):
            await space.get_document(number)


async def test_a_space_is_found_by_name_and_by_id(kb: kbchat.KnowledgeBase) -> None:
    """Names may be of any script; a text is a name and a number an id, whatever the text looks like."""
    space = await kb.create_space("手册", desc="说明")
    for handle in ("手册", space.id):
        assert (await kb.get_space(handle)).id == space.id
    for lookup in (kb.get_space, kb.delete_space):
        with pytest.raises(SpaceNotFoundError):
            await lookup(str(space.id))
    tricky = await kb.create_space(str(space.id))
    assert (await kb.get_space(str(space.id))).id == tricky.id
    assert [s.name for s in await kb.list_spaces()] == ["手册", str(space.id)]
    assert await kb.count_spaces(name="手册") == 1


@pytest.mark.parametrize("handle", ["nope", "99", 99, "9" * 30, "４９", "-1", "", 0, -1, 2**63, 2**70])
async def test_an_unknown_space_is_named(kb: kbchat.KnowledgeBase, handle: str | int) -> None:
    """The error carries what was asked for."""
    with pytest.raises(SpaceNotFoundError, match="there is no space") as caught:
        await kb.get_space(handle)
    assert caught.value.space == handle


async def test_what_is_neither_name_nor_id_is_refused(kb: kbchat.KnowledgeBase) -> None:
    """Such as a number that counts nothing, or a thing of another kind."""
    space = await kb.create_space("a")
    await space.ingest(kbchat.TextDocument(name="keys", text="Keys are rotated."))
    (document,) = await space.documents()
    for handle in (document, True, 1.5, None):
        with pytest.raises(InvalidInputError, match=r"name_or_id: must be a name \(a text\) or an id \(a number\)"):
            await kb.get_space(handle)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="id_or_name: must be a name"):
        await space.delete_document(space)  # type: ignore[arg-type]


async def test_the_things_themselves_are_taken(kb: kbchat.KnowledgeBase) -> None:
    """A space or a document, wherever its name or id is; also its record, and the space of the other face."""
    space, other = await kb.create_space("a"), await kb.create_space("b")
    await space.ingest([kbchat.TextDocument(name=name, text=f"{name} are rotated.") for name in ("Keys", "Locks")])
    keys, locks = await space.documents()
    for handle in (space, space.info):
        assert (await kb.get_space(handle)).id == space.id
        assert [it.name for it in await kb.retrieve("Which locks?", spaces=[handle, other], top_k=1)] == ["Locks"]
    assert (await kb.chat("Which locks?", spaces=[space])).found
    assert (await kb.update_space(space, desc="d")).desc == "d"
    assert (await space.get_document(keys)).text == "Keys are rotated."
    assert (await kb.get_document(keys)).id == keys.id
    assert [it.id for it in await kb.get_documents([locks, keys.id])] == [locks.id, keys.id]
    assert len(await space.document_chunks(keys)) == 1
    assert (await space.update_document(keys, name="key")).name == "key"
    assert (await space.delete_document(keys)).id == keys.id
    with pytest.raises(DocumentNotFoundError) as lost:
        await space.delete_document(keys)
    assert lost.value.document == keys.id
    with pytest.raises(DocumentNotFoundError):
        await other.delete_document(locks)
    added = await space.add_document("doors", text="Doors are painted.")
    await space.index_documents([added])
    assert (await space.get_document(added)).status == "FINISHED"
    assert (await kb.delete_space(space)).id == space.id
    with pytest.raises(SpaceNotFoundError) as gone:
        await kb.delete_space(space)
    assert gone.value.space == space.id


async def test_another_catalogs_space_is_not_taken_for_one_of_the_same_id(
    kb: kbchat.KnowledgeBase, tmp_path: Path
) -> None:
    """Least of all where it would be deleted."""
    here = await kb.create_space("a")
    async with kbchat.KnowledgeBase(tmp_path / "elsewhere") as other:
        there = await other.create_space("a")
    assert here.id == there.id
    with pytest.raises(SpaceNotFoundError):
        await kb.delete_space(there)
    assert await kb.count_spaces() == 1


async def test_an_answer_says_whether_the_space_holds_one(kb: kbchat.KnowledgeBase) -> None:
    """As its best hit does; where no space is asked, none does."""
    space = await kb.create_space("a")
    await space.ingest(kbchat.TextDocument(name="keys", text=KEYS))
    for question, found in (("How often are keys rotated?", True), ("Who won the cup in 1954?", False)):
        assert (await space.chat(question)).found is found
        hits = await space.retrieve(question)
        assert any(hit.recall_score >= kbchat.FOUND for hit in hits) is found
    assert not (await kb.chat("How often are keys rotated?", spaces=None)).found


async def test_one_space_is_no_list(kb: kbchat.KnowledgeBase) -> None:
    """The error shows the list to write."""
    space = await kb.create_space("a")
    for spaces, told in ((space, r"write spaces=\[…\]"), (space.info, r"write spaces=\[…\]"), ("a", r"one is \['a'\]")):
        with pytest.raises(InvalidInputError, match=f"spaces: must be a list of spaces, names or ids.*{told}"):
            await kb.retrieve("q", spaces=spaces)  # type: ignore[arg-type]


async def test_a_space_knows_what_was_done_through_it(kb: kbchat.KnowledgeBase, tmp_path: Path) -> None:
    """Its `info` counts what went in and out, without being refreshed."""
    space = await kb.create_space("a")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "b.txt").write_text("Locks are oiled.")

    async def seen() -> tuple[int, int, int]:
        known = space.info
        assert known == await space.refresh()
        return known.document_count, known.chunk_count, known.revision

    revisions = [0]
    changes: list[tuple[Callable[[], Awaitable[object]], int, int]] = [
        (lambda: space.ingest(kbchat.TextDocument(name="keys", text="Keys are rotated.")), 1, 1),
        (lambda: space.sync(tmp_path / "docs"), 2, 2),
        (lambda: space.update_document("keys", name="key"), 2, 2),
        (lambda: space.delete_document("key"), 1, 1),
        (lambda: space.add_document("doors", text="Doors are painted."), 2, 1),
        (lambda: space.index_documents([3]), 2, 2),
    ]
    for change, documents, chunks in changes:
        await change()
        *counts, revision = await seen()
        assert counts == [documents, chunks]
        revisions.append(revision)
    assert revisions == sorted(revisions)


@pytest.mark.parametrize(
    ("ids", "said"), [([True], "not True"), ([1.0], "a whole number"), ("12", "a list"), (1, "a list")]
)
async def test_ids_are_whole_numbers(kb: kbchat.KnowledgeBase, ids: Any, said: str) -> None:
    """Nothing that merely equals one is taken for it."""
    space = await kb.create_space("a")
    await space.ingest(kbchat.TextDocument(name="keys", text="Keys are rotated."))
    for lookup in (kb.get_documents, space.index_documents):
        with pytest.raises(InvalidInputError, match=f"ids: must be {said}|ids: must be ids .*{said}"):
            await lookup(ids)


async def test_numbers_beyond_every_catalog_find_nothing(kb: kbchat.KnowledgeBase) -> None:
    """An id that cannot be is not there; a page may be as long as one likes, and begins no earlier than the list."""
    space = await kb.create_space("a")
    for lookup in (kb.get_document, space.get_document, space.delete_document, space.document_chunks):
        with pytest.raises(DocumentNotFoundError):
            await lookup(2**70)
    with pytest.raises(KeyNotFoundError):
        await kb.keys.revoke(2**70)
    with pytest.raises(DocumentNotFoundError):
        await kb.get_documents([2**70])
    await space.index_documents([2**70])
    for documents in (kb.list_documents, space.documents, kb.list_spaces, kb.conversations.list):
        assert len(await documents(limit=2**70)) == (1 if documents == kb.list_spaces else 0)
        assert await documents(offset=2**70) == []
        for name in ("limit", "offset"):
            with pytest.raises(InvalidInputError, match=f"{name}: must not be negative"):
                await documents(**{name: -1})


async def test_a_knowledge_base_is_entered_once(tmp_path: Path) -> None:
    """A second time would lose what the first one opened; once it is closed it may be opened again."""
    base = kbchat.KnowledgeBase(tmp_path / "once")
    for _ in range(2):
        async with base:
            with pytest.raises(RuntimeError, match="is open already"):
                await base.__aenter__()
            assert await base.list_spaces() == []


async def test_a_space_splits_by_its_own_rule_until_that_is_taken_away(kb: kbchat.KnowledgeBase) -> None:
    """It is given when the space is made or later; `"default"` is as the settings say."""
    splitting = kbchat.Splitting(strategy="document")
    space = await kb.create_space("a", splitting=splitting)
    assert space.info.splitting == splitting
    assert (await kb.update_space("a", desc="x")).info.splitting == splitting
    assert (await kb.update_space("a", splitting="default")).info.splitting is None
    with pytest.raises(InvalidInputError, match=r"splitting: must be a kbchat\.Splitting"):
        await kb.update_space("a", splitting={"strategy": "page"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "messages",
    [
        "How often are keys rotated?",
        ["How often are keys rotated?"],
        [{"role": "user", "content": "How often are keys rotated?"}],
        ["Hello.", {"role": "assistant", "content": "Hi.", "name": "x"}, "How often are keys rotated?"],
        kbchat.Message(role="user", content="How often are keys rotated?"),
    ],
)
async def test_messages_as_others_write_them(kb: kbchat.KnowledgeBase, messages: Messages) -> None:
    """A mapping is a message, and a bare text the user's."""
    space = await kb.create_space("handbook")
    await space.ingest(kbchat.TextDocument(name="keys", text=KEYS))
    assert "ninety days" in (await space.chat(messages)).text


async def test_what_is_no_message_is_refused(kb: kbchat.KnowledgeBase) -> None:
    """With the argument, and what is wrong with it."""
    space = await kb.create_space("a")
    for bad in ([7], [{"role": "tool", "content": "x"}], [{"role": "user", "content": 7}], [{}]):
        with pytest.raises(InvalidInputError, match="messages: "):
            space.stream(bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"sampling: must be a kbchat\.Sampling"):
        space.stream("q", sampling={"temperature": 0})  # type: ignore[arg-type]


async def test_a_misspelt_option_is_told_with_its_method(kb: kbchat.KnowledgeBase) -> None:
    """And what the method takes."""
    space = await kb.create_space("a")
    with pytest.raises(TypeError, match=r"retrieve\(\) has no argument 'filter'; .* where, "):
        await space.retrieve("q", filter={})  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"stream\(\) has no argument 'topk'; what is retrieved is said by top_k, "):
        space.stream("q", topk=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^chat\(\) has no argument 'topk'"):
        await space.chat("q", topk=1)  # type: ignore[call-arg]
    for chat in (space.chat, partial(kb.chat, spaces=[space])):
        with pytest.raises(TypeError, match=r"^chat\(\) .* pass sampling=kbchat\.Sampling\(temperature=…\)$"):
            await chat("q", temperature=0)  # type: ignore[operator]
    with pytest.raises(InvalidInputError, match="sources: there is no file"):
        await space.ingest("nope")
    with pytest.raises(InvalidInputError, match="paths: there is no file"):
        await space.sync("nope")
    with pytest.raises(InvalidInputError, match="uid: "):
        await kb.conversations.get(" x")
    with pytest.raises(InvalidInputError, match="where: holds a lone surrogate"):
        await space.retrieve("q", where={"field": "lang", "eq": "\ud800"})


async def test_names_are_composed_from_the_moment_they_enter(kb: kbchat.KnowledgeBase, tmp_path: Path) -> None:
    """However a name is typed or a disk writes it, it is one name, and found by either writing."""
    composed, typed = "caf\u00e9", "cafe\u0301"
    space = await kb.create_space(typed)
    assert [it.name for it in await kb.list_spaces(name=typed)] == [composed]
    assert await kb.count_spaces(name=typed) == 1
    folder = tmp_path / typed
    folder.mkdir()
    (folder / f"{typed}.md").write_text("one")
    await space.ingest([folder, kbchat.TextDocument(name=typed, text="two")])
    await space.add_document(f"{typed}.txt", text="three")
    names = {it.name for it in await space.documents()}
    assert names == {composed, f"{composed}/{composed}.md", f"{composed}.txt"}
    document = await space.get_document(f"{typed}/{typed}.md")
    assert document.source == str(folder / f"{typed}.md")
    assert (await space.sync(folder)).unchanged == 1


async def test_metadata_that_json_cannot_hold_is_refused(kb: kbchat.KnowledgeBase) -> None:
    """An ingest goes on with the other documents; a document of its own is refused."""
    space = await kb.create_space("a")
    bad = [{"\ud800": 1}, {"x": float("nan")}, {"x": float("inf")}]
    texts = [kbchat.TextDocument(name=f"bad {number}", text="x", metadata=it) for number, it in enumerate(bad)]
    report = await space.ingest([*texts, kbchat.TextDocument(name="good", text="x", metadata={"x": 1.5})])
    assert [it.name for it in report.failed] == ["bad 0", "bad 1", "bad 2"]
    assert report.added == 1
    for metadata in bad:
        with pytest.raises(InvalidInputError, match="metadata: holds"):
            await space.add_document("b", text="x", metadata=metadata)
        with pytest.raises(InvalidInputError, match="metadata: holds"):
            await space.update_document("good", metadata=metadata)
    with pytest.raises(InvalidInputError, match="data: must be bytes"):
        await space.add_document("b", data="text")  # type: ignore[arg-type]


async def test_names_are_unique_to_an_owner(kb: kbchat.KnowledgeBase) -> None:
    """Two owners may use one name; who sees both is asked for the id."""
    await kb.create_space("notes", owner="alice")
    bobs = await kb.create_space("notes", owner="bob")
    with pytest.raises(SpaceExistsError, match="'notes' of owner 'alice'"):
        await kb.create_space("notes", owner="alice")
    with pytest.raises(AmbiguousSpaceError, match="use one of the ids"):
        await kb.get_space("notes")
    assert (await kb.get_space("notes", owner="bob")).id == bobs.id
    with pytest.raises(SpaceNotFoundError):
        await kb.get_space(bobs.id, owner="alice")


async def test_names_that_look_the_same_are_the_same(kb: kbchat.KnowledgeBase) -> None:
    """An accent may be typed in two ways."""
    await kb.create_space("caf\u00e9")
    assert (await kb.get_space("cafe\u0301")).name == "caf\u00e9"


async def test_owners_that_look_the_same_are_the_same(kb: kbchat.KnowledgeBase) -> None:
    """Wherever one is said, as where a space is made."""
    composed, typed = "Zo\u00eb", "Zoe\u0308"
    space = await kb.create_space("o", owner=typed)
    document = await space.add_document("d", text="Keys are rotated every ninety days.")
    await space.index_documents([document.id])
    assert (await kb.create_space("o", owner=typed, exist_ok=True)).id == space.id
    for owner in (composed, typed):
        assert (await kb.get_space("o", owner=owner)).owner == composed
        assert (await kb.get_space(space.id, owner=owner)).id == space.id
        assert [it.id for it in await kb.list_spaces(owner=owner)] == [space.id]
        assert await kb.count_spaces(owner=owner) == 1
        assert [it.id for it in await kb.list_documents(owner=owner)] == [document.id]
        assert await kb.count_documents(owner=owner) == 1
        assert (await kb.get_document(document.id, owner=owner)).id == document.id
        assert [it.id for it in await kb.get_documents([document.id], owner=owner)] == [document.id]
        assert (await kb.retrieve("keys", spaces=["o"], owner=owner))[0].space == "o"
        assert (await kb.chat("keys", spaces=["o"], owner=owner)).references


@pytest.mark.parametrize("owner", [["a"], 5, b"a", "a\x00", "\ud800"])
async def test_what_is_no_owner_is_refused(kb: kbchat.KnowledgeBase, owner: Any) -> None:
    """With the argument at fault, whatever is asked for."""
    await kb.create_space("o")
    for asked in (
        kb.get_space("o", owner=owner),
        kb.list_spaces(owner=owner),
        kb.count_spaces(owner=owner),
        kb.get_document(1, owner=owner),
        kb.get_documents([1], owner=owner),
        kb.list_documents(owner=owner),
        kb.count_documents(owner=owner),
        kb.retrieve("keys", spaces=["o"], owner=owner),
        kb.chat("keys", spaces=["o"], owner=owner),
    ):
        with pytest.raises(InvalidInputError) as caught:
            await asked  # type: ignore[misc]
        assert caught.value.field == "owner"
    with pytest.raises(InvalidInputError, match="owner: "):
        kb.stream("keys", spaces=["o"], owner=owner)


async def test_a_space_is_changed_in_what_is_given(kb: kbchat.KnowledgeBase) -> None:
    """The rest stays; the store can change only while the space is empty."""
    space = await kb.create_space("a", desc="old")
    changed = await kb.update_space("a", name="b")
    assert (changed.id, changed.name, changed.desc) == (space.id, "b", "old")
    await space.ingest(kbchat.TextDocument(name="t", text="text"))
    with pytest.raises(SpaceInUseError, match=f"`kbchat migrate {space.id} --to Milvus`"):
        await kb.update_space("b", vector_type="Milvus")


async def test_a_space_of_a_closed_knowledge_base_says_so(tmp_path: Path) -> None:
    """Whatever is asked of it, not in the words of the part that notices first."""
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        space = await kb.create_space("a")
        await space.ingest(kbchat.TextDocument(name="t", text="text"))
    for ask in (
        lambda: space.retrieve("text"),
        lambda: space.chat("text"),
        lambda: space.ingest(kbchat.TextDocument(name="u", text="text")),
        space.documents,
        space.check,
    ):
        with pytest.raises(RuntimeError, match="was closed; open it again"):
            await ask()


async def test_a_deleted_space_leaves_no_trace(kb: kbchat.KnowledgeBase) -> None:
    """A new space of the name starts empty, under a new id; the data folder holds nothing of the old one."""
    space = await kb.create_space("a")
    await space.ingest(kbchat.TextDocument(name="t", text="unforgettable"))
    collection = space.info.collection
    gone = await kb.delete_space("a")
    assert gone.document_count == 1
    with pytest.raises(SpaceNotFoundError):
        await space.retrieve("unforgettable")
    again = await kb.create_space("a")
    assert again.id != space.id
    assert await again.retrieve("unforgettable") == []
    assert collection not in await kb._open.store(space.vector_type).list_collections()


async def test_an_answer_cites_what_it_was_drawn_from(kb: kbchat.KnowledgeBase) -> None:
    """Without any model the passages' own sentences answer, marked with their reference's number."""
    space = await kb.create_space("handbook")
    await space.ingest(kbchat.TextDocument(name="keys", text=KEYS))
    answer = await space.chat("How often are keys rotated?")
    assert "every ninety days" in answer.text
    assert "[1]" in answer.text
    assert [r.name for r in answer.references] == ["keys"]
    assert answer.usage.total_tokens > 0
    assert answer.finish_reason == "stop"


async def test_events_come_in_order(kb: kbchat.KnowledgeBase) -> None:
    """Retrieved, deltas, references, done; their texts make the answer."""
    space = await kb.create_space("handbook")
    await space.ingest(kbchat.TextDocument(name="keys", text=KEYS))
    events = [event async for event in space.stream("How often are keys rotated?")]
    assert isinstance(events[0], kbchat.Retrieved)
    assert isinstance(events[-1], kbchat.Done)
    assert isinstance(events[-2], kbchat.References)
    assert all(isinstance(event, kbchat.Delta | kbchat.Citation) for event in events[1:-2])
    assert all(event.text for event in events if isinstance(event, kbchat.Delta))
    text = "".join(event.text for event in events if isinstance(event, kbchat.Delta))
    assert text == (await space.chat("How often are keys rotated?")).text


async def test_an_empty_space_finds_nothing_and_says_so(kb: kbchat.KnowledgeBase) -> None:
    """No reference is invented."""
    space = await kb.create_space("empty")
    assert await space.retrieve("anything") == []
    answer = await space.chat("anything")
    assert answer.references == ()
    assert answer.text


async def test_an_unknown_model_names_the_known(kb: kbchat.KnowledgeBase) -> None:
    """The error for a model that is not configured says which are."""
    space = await kb.create_space("a")
    with pytest.raises(ModelNotFoundError, match="configured are: extractive"):
        space.stream("q", model="gpt-17")


async def test_questions_are_checked(kb: kbchat.KnowledgeBase) -> None:
    """Each refusal names its field."""
    space = await kb.create_space("a")
    with pytest.raises(InvalidInputError, match="query"):
        await space.retrieve(" ")
    with pytest.raises(InvalidInputError, match="top_k"):
        await space.retrieve("q", top_k=0)
    with pytest.raises(InvalidInputError, match="messages"):
        await space.chat([])


async def test_what_one_process_wrote_the_other_finds(tmp_path: Path) -> None:
    """Two knowledge bases on one folder see each other's documents."""
    async with kbchat.KnowledgeBase(tmp_path) as one, kbchat.KnowledgeBase(tmp_path) as two:
        space = await one.create_space("a")
        for n in range(3):
            await space.ingest([kbchat.TextDocument(name=f"{n}-{i}", text=f"walrus {n} {i}") for i in range(5)])
            found = await (await two.get_space("a")).retrieve("walrus", top_k=50)
            assert len(found) == 5 * (n + 1)
            assert all(reference.dense is not None for reference in found)


async def test_answers_survive_reopening(tmp_path: Path) -> None:
    """Everything is on disk."""
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        space = await kb.create_space("handbook")
        await space.ingest(kbchat.TextDocument(name="keys", text=KEYS))
        before = await space.retrieve("How often are keys rotated?")
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        assert await (await kb.get_space("handbook")).retrieve("How often are keys rotated?") == before


async def test_a_closed_base_says_how_to_open_it(tmp_path: Path) -> None:
    """Using it outside of its block is a programming error with a remedy."""
    kb = kbchat.KnowledgeBase(tmp_path)
    with pytest.raises(RuntimeError, match="async with"):
        await kb.list_spaces()


def test_settings_that_cannot_be_used_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The variable is named, its value is not shown."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KBCHAT_TOP_K", "many-secrets")
    with pytest.raises(SettingsError, match="top_k") as caught:
        kbchat.KnowledgeBase()
    assert "many-secrets" not in str(caught.value)


def test_no_key_is_shown_by_settings_that_cannot_be_used() -> None:
    """The constructor raises kbchat's own error, which names the field and holds no value."""
    for wrong in ({"top_k": 0}, {"models": {"m": {"base_url": "x", "api_key": "sk-hidden"}}}, {"llm_base_url": "x"}):
        with pytest.raises(SettingsError, match="settings that cannot be used") as caught:
            kbchat.Settings(llm_api_key="sk-hidden", api_keys="sk-hidden", **wrong)  # type: ignore[arg-type]
        assert "sk-hidden" not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value}"
    with pytest.raises(ValidationError) as raw:
        kbchat.ModelSettings.model_validate({"base_url": "x", "api_key": "sk-hidden"})
    assert "sk-hidden" not in str(raw.value)


def test_a_prompt_that_no_model_can_hold_is_refused() -> None:
    """A quarter of the context is for the answer; a budget that nobody asked for is cut to what fits."""
    server = {"llm_base_url": "http://127.0.0.1:9/v1", "llm_model": "m"}
    with pytest.raises(SettingsError, match=r"prompt_tokens may be 6144 at most.*llm_context_tokens"):
        kbchat.Settings(prompt_tokens=32_000, **server)
    assert kbchat.Settings(prompt_tokens=32_000, llm_context_tokens=64_000, **server).prompt_tokens == 32_000
    assert kbchat.Settings(llm_context_tokens=4096, **server).prompt_tokens == 4096
    assert make_generators(kbchat.Settings(llm_context_tokens=64_000, **server))["m"].context_tokens == 64_000


@pytest.mark.parametrize(
    ("text", "question", "foreign"),
    [
        (
            "员工入职满一年后，每年享有十天带薪年假。满五年后增加到十五天。",
            "入职五年的员工年假是多少天？",
            "公司在哪里上市？",
        ),
        (KEYS, "Who rotates the keys?", "Where is the company listed?"),
    ],
)
async def test_one_document_is_enough(kb: kbchat.KnowledgeBase, text: str, question: str, foreign: str) -> None:
    """Though nothing tells yet which words are rare, the one document is known to answer, or not to."""
    space = await kb.create_space("first")
    await space.ingest(kbchat.TextDocument(name="first.md", text=text))
    assert (await space.retrieve(question))[0].recall_score >= 0.5
    found = await space.retrieve(foreign)
    assert not found or found[0].recall_score < 0.5


# -- parts of one's own -----------------------------------------------------------------------------------------------


class OwnGenerator:
    """Says the numbers of its passages."""

    name = "own"
    context_tokens = 4096

    def __init__(self) -> None:
        self.closed = 0

    @asynccontextmanager
    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[AsyncIterator[Generated]]:
        async def pieces() -> AsyncIterator[Generated]:
            yield Generated(tuple(f"[{passage.number}]" for passage in prompt.passages), "stop")

        yield pieces()

    async def aclose(self) -> None:
        self.closed += 1


class OwnEmbedder(StaticEmbedder):
    """The static one under another name."""

    @property
    def name(self) -> str:
        return "own"


async def test_own_parts_take_the_place_of_those_that_settings_name(tmp_path: Path) -> None:
    """An embedder, a generator and a store of one's own are used, the generator by its name too, and closed."""
    generator, store = OwnGenerator(), MemoryStore()
    embedder = OwnEmbedder(threads=Threads())
    base = kbchat.KnowledgeBase(tmp_path, embedder=embedder, generator=generator, stores={"milvus": store})
    async with base as kb:
        space = await kb.create_space("handbook", vector_type="Milvus")
        await space.ingest(kbchat.TextDocument(name="keys.md", text=KEYS))
        await space.refresh()
        assert space.info.embedder is not None
        assert space.info.embedder.name == "own"
        assert await store.count(space.info.collection) == 1
        assert kb.models() == ["own", "extractive"]
        assert (await space.chat("Who rotates keys?")).text == "[1]"
        assert (await space.chat("Who rotates keys?", model="own")).text == "[1]"
        assert "vault" in (await space.chat("Who rotates keys?", model="extractive")).text
    assert generator.closed == 1
    assert not (tmp_path / "milvus.db").exists()


def test_a_store_behind_an_unknown_word_is_refused(tmp_path: Path) -> None:
    """The error names both vector types."""
    with pytest.raises(InvalidInputError, match=r"Chroma.*Milvus"):
        kbchat.KnowledgeBase(tmp_path, stores={"Faiss": MemoryStore()})
