"""Answers from a space, with the references they rest on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import kbchat
from kbchat import references
from serving import CHAT, OPENAI, Served, as_user, said, serving
from upstream import Upstream, model, says

__all__ = ["model"]

ROUTES = pytest.mark.parametrize("path", [CHAT, OPENAI])


HANDBOOK = kbchat.TextDocument(
    name="keys.md",
    text="# Keys\n\nKeys are rotated every ninety days by the vault. Nobody rotates them by hand.\n",
    metadata={"source": "https://example.org/keys?a=1&b=<2>", "title": 'The "keys"'},
)
QUESTION = "How often are keys rotated?"


@asynccontextmanager
async def handbook(tmp_path: Path, **settings: Any) -> AsyncIterator[Served]:
    """A served space with one document, which the embedded model answers from."""
    async with serving(tmp_path, **settings) as served:
        space = await served.kb.create_space("handbook")
        await space.ingest(HANDBOOK)
        yield served


def check_references(tag: str) -> None:
    """The tag names the document and quotes it word for word."""
    (found,) = references.parse(tag)[1]
    assert found.name == "keys.md"
    assert found.content in HANDBOOK.text
    assert found.metadata["source"] == HANDBOOK.metadata["source"]
    assert 0.5 <= found.recall_score <= 1.0


@pytest.mark.parametrize("by_id", [False, True])
async def test_an_answer_from_a_space_ends_with_its_references(tmp_path: Path, by_id: bool) -> None:
    """The tag is the last delta of the text, and stands at the end of an answer that is not streamed."""
    async with handbook(tmp_path) as served:
        space = await served.kb.get_space("handbook")
        where = {"chat_mode": "chat_knowledge", "chat_param": space.id if by_id else "handbook"}
        status, body = await served.ask(QUESTION, model="chatgpt_proxyllm", **where)
        assert status == 200, body
        content = body["choices"][0]["message"]["content"]
        assert "ninety days" in content
        found = await served.stream(QUESTION, model="chatgpt_proxyllm", **where)
        assert said(found) == content
        tag = found[-3]["choices"][0]["delta"]["content"]
        assert content.endswith(tag)
        check_references(tag)


async def test_openais_clients_get_the_references_beside_the_text(tmp_path: Path) -> None:
    """Chat front ends show text as it is, so there is no tag in it."""
    async with handbook(tmp_path) as served:
        status, body = await served.ask(QUESTION, OPENAI, model="kb/handbook")
        assert status == 200, body
        found = await served.stream(QUESTION, OPENAI, model="kb/handbook")
        assert said(found) == body["choices"][0]["message"]["content"]
        assert "<references" not in said(found)
        assert found[-2]["references"] == body["references"]
        (document,) = body["references"]
        (chunk,) = document["chunks"]
        assert document["name"] == "keys.md"
        assert HANDBOOK.text[chunk["start"] : chunk["end"]] == chunk["content"]


@pytest.mark.parametrize("stream", [False, True])
async def test_where_nothing_is_found_nothing_is_cited(tmp_path: Path, stream: bool) -> None:
    """An empty space answers that it found nothing, without a tag."""
    async with serving(tmp_path) as served:
        await served.kb.create_space("empty")
        where = {"chat_mode": "chat_knowledge", "chat_param": "empty"}
        if stream:
            text = said(await served.stream(QUESTION, **where))
        else:
            text = (await served.ask(QUESTION, **where))[1]["choices"][0]["message"]["content"]
        assert text
        assert "<references" not in text


async def test_a_model_cannot_forge_references(tmp_path: Path, model: Upstream) -> None:
    """Whatever it says, the tag stands once, at the end, and is ours."""
    model.behave = says("<refer", 'ences title="References" references="[]" />', "<", "b>")
    async with handbook(tmp_path, model=model) as served:
        text = said(await served.stream(QUESTION, chat_mode="chat_knowledge", chat_param="handbook"))
        assert text.startswith('&lt;references title="References" references="[]" /><b>')
        assert text.count("<references") == 1
        check_references(text)


async def test_a_foreign_space_is_no_model(tmp_path: Path) -> None:
    """Neither listed nor answered from, on either route; the admin sees it."""
    async with handbook(tmp_path, authenticate=as_user) as served:
        await served.kb.update_space("handbook", owner="alice")
        where = {"chat_mode": "chat_knowledge", "chat_param": "handbook"}
        for user, listed, expected in (("bob:reader", False, 404), ("alice:reader", True, 200), (":admin", True, 200)):
            headers = {"X-User": user}
            _, body = await served.get("/v1/models", headers=headers)
            assert ("kb/handbook" in [entry["id"] for entry in body["data"]]) is listed
            status, _ = await served.post(CHAT, {"messages": QUESTION, **where}, headers=headers)
            assert status == expected
            status, _ = await served.post(OPENAI, {"messages": QUESTION, "model": "kb/handbook"}, headers=headers)
            assert status == expected
