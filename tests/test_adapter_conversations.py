"""Conversations over HTTP: who sends only the newest question is answered in context."""

from pathlib import Path

import pytest

import kbchat
from kbchat.models import KeyRole
from serving import CHAT, OPENAI, as_user, said, serving
from upstream import Exchange, Upstream, model, says, sends

__all__ = ["model"]

CONVERSATIONS = "/api/v2/conversations"


def turns(exchange: Exchange) -> list[str]:
    """What the model was told was said, without what the system says."""
    return [it["content"] for it in exchange.request["messages"] if it["role"] != "system"]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_model_knows_what_was_said(tmp_path: Path, model: Upstream, stream: bool) -> None:
    """Of the conversation that is named, and of no other."""
    async with serving(tmp_path, model=model) as served:

        async def ask(question: str, uid: str | None) -> None:
            if stream:
                await served.stream(question, conv_uid=uid)
            else:
                await served.ask(question, conv_uid=uid)

        model.behave = says("first ", "answer")
        await ask("first question", "c1")
        model.behave = says("other answer")
        await ask("other question", "c2")
        model.behave = says("second answer")
        await ask("second question", "c1")
        assert turns(model.last) == ["first question", "first answer", "second question"]
        await ask("alone", None)
        assert turns(model.last) == ["alone"]
        await ask("alone", "")
        assert turns(model.last) == ["alone"]
        _, body = await served.get(f"{CONVERSATIONS}/c1")
        assert [(it["role"], it["content"]) for it in body["data"]["messages"]] == [
            ("user", "first question"),
            ("assistant", "first answer"),
            ("user", "second question"),
            ("assistant", "second answer"),
        ]


async def test_who_sends_the_turns_along_is_believed(tmp_path: Path, model: Upstream) -> None:
    """Nothing is said twice; the newest question is remembered all the same."""
    async with serving(tmp_path, model=model) as served:
        model.behave = says("one")
        await served.ask("q1", conv_uid="c")
        messages = [
            {"role": "user", "content": "mine"},
            {"role": "assistant", "content": "yours"},
            {"role": "user", "content": "q2"},
        ]
        await served.ask(messages, conv_uid="c")
        assert turns(model.last) == ["mine", "yours", "q2"]
        await served.ask([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "q3"}], conv_uid="c")
        assert turns(model.last) == ["q1", "one", "q2", "one", "q3"]
        assert model.last.request["messages"][0]["role"] == "system"


@pytest.mark.parametrize("stream", [False, True])
async def test_what_an_answer_rests_on_is_kept(tmp_path: Path, stream: bool) -> None:
    """On both routes: references as on OpenAI's, checked citations, the title and the space; and it can be filtered."""
    async with serving(tmp_path) as served:
        space = await served.kb.create_space("handbook")
        await space.ingest(kbchat.TextDocument(name="keys.md", text="API keys are rotated every ninety days."))
        question = "How often are API keys rotated?"
        ask = served.stream if stream else served.ask
        await ask(question, OPENAI, model="kb/handbook", conv_uid="c")
        await ask(question, CHAT, chat_mode="chat_knowledge", chat_param=space.id, conv_uid="d")
        for uid in ("c", "d"):
            _, body = await served.get(f"{CONVERSATIONS}/{uid}")
            asked, said = body["data"]["messages"]
            assert (body["data"]["title"], body["data"]["space_id"]) == (question, space.id)
            assert (asked["references"], asked["citations"]) == ([], [])
            [document] = said["references"]
            [chunk] = document["chunks"]
            assert (document["name"], chunk["content"]) == ("keys.md", "API keys are rotated every ninety days.")
            [citation] = said["citations"]
            assert (citation["number"], citation["chunk_id"], citation["document_id"]) == (
                1,
                chunk["id"],
                chunk["document_id"],
            )
            assert said["content"][citation["answer_start"] : citation["answer_end"]]
        assert (await served.get(f"{CONVERSATIONS}?space_id={space.id}"))[1]["data"]["total_count"] == 2
        assert (await served.get(f"{CONVERSATIONS}?space_id=99"))[1]["data"]["total_count"] == 0


async def test_an_answer_that_failed_is_not_remembered(tmp_path: Path, model: Upstream) -> None:
    """Nor its question."""
    async with serving(tmp_path, model=model) as served:
        model.behave = sends([b"data: {]\n\n"])
        status, _ = await served.ask("q", conv_uid="c")
        assert status == 502
        assert (await served.get(f"{CONVERSATIONS}/c"))[0] == 404


async def test_conversations_are_listed_and_forgotten(tmp_path: Path, model: Upstream) -> None:
    """The newest first, in pages."""
    async with serving(tmp_path, model=model) as served:
        for uid in ("a", "会话 ☕/1", "c"):
            assert said(await served.stream("q", conv_uid=uid))
        _, body = await served.get(f"{CONVERSATIONS}?page_size=2")
        assert [item["conv_uid"] for item in body["data"]["items"]] == ["c", "会话 ☕/1"]
        assert (body["data"]["total_count"], body["data"]["items"][0]["turns"]) == (3, 2)
        status, body = await served.send("DELETE", f"{CONVERSATIONS}/%E4%BC%9A%E8%AF%9D%20%E2%98%95%2F1")
        assert (status, body["data"]["conv_uid"]) == (200, "会话 ☕/1")
        assert (await served.get(CONVERSATIONS))[1]["data"]["total_count"] == 2
        status, body = await served.send("DELETE", f"{CONVERSATIONS}/nope")
        assert (status, body["error"]["code"]) == (404, "conversation_not_found")


async def test_conversations_are_ones_own(tmp_path: Path, model: Upstream) -> None:
    """Another's of the same name is another one, for an admin too."""
    async with serving(tmp_path, model=model, authenticate=as_user) as served:
        for user in ("alice:reader", "bob:reader", "root:admin"):
            model.behave = says(user)
            await served.post(CHAT, {"messages": "q", "conv_uid": "c"}, headers={"X-User": user})
            assert turns(model.last) == ["q"]
        for user in ("alice:reader", "bob:reader", "root:admin"):
            _, body = await served.get(f"{CONVERSATIONS}/c", headers={"X-User": user})
            assert body["data"]["messages"][1]["content"] == user
            _, body = await served.get(CONVERSATIONS, headers={"X-User": user})
            assert body["data"]["total_count"] == 1


@pytest.mark.parametrize("uid", ["a\nb", "x" * 300, " a", 1.5, True, {}])
async def test_a_name_that_cannot_be_is_refused(tmp_path: Path, model: Upstream, uid: object) -> None:
    """Before the model is asked."""
    async with serving(tmp_path, model=model) as served:
        status, body = await served.ask("q", conv_uid=uid)
        assert (status, body["error"]["param"]) == (400, "conv_uid")
        assert model.exchanges == []


async def test_a_number_is_a_name(tmp_path: Path, model: Upstream) -> None:
    """As with other names on the wire."""
    async with serving(tmp_path, model=model) as served:
        assert (await served.ask("q", conv_uid=7))[0] == 200
        assert (await served.get(f"{CONVERSATIONS}/7"))[0] == 200


async def test_an_admins_conversations_are_its_own(tmp_path: Path, model: Upstream) -> None:
    """They may hold what is anybody's: neither a key without an owner nor another admin's sees one, or goes on with
    it."""
    async with serving(tmp_path, model=model, api_keys="first,second") as served:
        _, key = await served.kb.keys.create("nobody's", role=KeyRole.READER)
        first, second, reader = ({"Authorization": f"Bearer {it}"} for it in ("first", "second", key))
        model.behave = says("Noted.")
        asked = {"messages": "The vault opens at noon.", "conv_uid": "c"}
        assert (await served.send("POST", CHAT, json=asked, headers=first))[0] == 200
        assert (await served.get(f"{CONVERSATIONS}/c", headers=first))[0] == 200
        for other in (second, reader):
            assert (await served.get(CONVERSATIONS, headers=other))[1]["data"]["items"] == []
            assert (await served.get(f"{CONVERSATIONS}/c", headers=other))[0] == 404
            await served.send("POST", CHAT, json={"messages": "When?", "conv_uid": "c"}, headers=other)
            assert turns(model.last) == ["When?"]


async def test_a_space_that_went_to_another_shows_nothing(tmp_path: Path) -> None:
    """Neither in what was said about it, nor as what conversations are asked for by."""
    async with serving(tmp_path, authenticate=as_user) as served:
        alice = {"X-User": "alice:writer"}
        space = await served.kb.create_space("handbook", owner="alice")
        await space.ingest(kbchat.TextDocument(name="keys.md", text="API keys are rotated every ninety days."))
        asked = {"messages": "How often are API keys rotated?", "model": "kb/handbook", "conv_uid": "c"}
        assert (await served.send("POST", OPENAI, json=asked, headers=alice))[0] == 200
        seen = []
        for owner in ("alice", "bob"):
            await served.kb.update_space(space.id, owner=owner)
            _, body = await served.get(f"{CONVERSATIONS}/c", headers=alice)
            (reference,) = body["data"]["messages"][1]["references"]
            _, listed = await served.get(CONVERSATIONS, params={"space_id": str(space.id)}, headers=alice)
            seen.append((reference["chunks"][0]["content"], listed["data"]["total_count"]))
        assert seen == [("API keys are rotated every ninety days.", 1), ("", 0)]


async def test_what_no_database_keeps_is_not_the_askers_fault(tmp_path: Path, model: Upstream) -> None:
    """A NUL in a model's answer stands as U+FFFD in its conversation, which goes on."""
    async with serving(tmp_path, model=model) as served:
        model.behave = says("lo \0 nul")
        assert (await served.ask("q1", conv_uid="c"))[0] == 200
        assert (await served.ask("q2", conv_uid="c"))[0] == 200
        assert turns(model.last) == ["q1", "lo \ufffd nul", "q2"]
