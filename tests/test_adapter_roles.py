"""Who may do what: every route, with every role, against what is its own and what is foreign."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from kbchat.models import KeyRole
from serving import CHAT, OPENAI, SPACES, Served, serving

Headers = dict[str, str]


@dataclass(frozen=True, slots=True)
class Things:
    """What one owner has. Names are the same for every owner."""

    space_id: int
    document_id: int
    conv_uid: str


Ask = Callable[[Served, Things, Headers], Awaitable[int]]


def asks(method: str, path: str, body: Callable[[Things], object] | None = None) -> Ask:
    """A request on an owner's things; gives the status."""

    async def ask(served: Served, things: Things, headers: Headers) -> int:
        url = path.format(space_id=things.space_id, document_id=things.document_id, conv_uid=things.conv_uid)
        status, _ = await served.send(method, url, json=body(things) if body else None, headers=headers)
        return status

    return ask


@dataclass(frozen=True, slots=True)
class Rule:
    """What a route needs. `foreign` is what it answers when the things asked for are another owner's, `admin` what it
    answers to an admin then."""

    role: KeyRole | None
    ask: Ask
    foreign: int = 404
    own: int = 200
    admin: int = 200


async def call_tool(served: Served, things: Things, headers: Headers) -> int:
    """An agent's call, whose own answer says what it may not see: its status is that of the protocol."""
    call = {"name": "list_documents", "arguments": {"space": things.space_id}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    accepting = {"Accept": "application/json, text/event-stream", **headers}
    status, _ = await served.send("POST", "/mcp", json=body, headers=accepting)
    return status


KNOWLEDGE = "/api/v2/serve/knowledge"
DOCUMENTS = KNOWLEDGE + "/documents"
TALK = "/api/v2/conversations/{conv_uid}"
REPLACE = {"replace": True}
READER, WRITER = KeyRole.READER, KeyRole.WRITER
OPEN = Rule(None, asks("GET", "/healthz"))

RULES: dict[tuple[str, str], Rule] = {
    ("POST", SPACES): Rule(WRITER, asks("POST", SPACES, lambda _: {"name": "new"}), foreign=200),
    ("PUT", SPACES): Rule(WRITER, asks("PUT", SPACES, lambda things: {"id": things.space_id, "desc": "x"})),
    ("GET", SPACES): Rule(READER, asks("GET", SPACES), foreign=200),
    ("GET", SPACES + "/{space_id}"): Rule(READER, asks("GET", SPACES + "/{space_id}")),
    ("POST", CHAT): Rule(
        READER,
        asks("POST", CHAT, lambda it: {"messages": "Hi", "chat_mode": "chat_knowledge", "chat_param": it.space_id}),
    ),
    ("POST", OPENAI): Rule(
        READER, asks("POST", OPENAI, lambda things: {"messages": "Hi", "model": f"kb/{things.space_id}"})
    ),
    ("GET", "/v1/models"): Rule(READER, asks("GET", "/v1/models"), foreign=200),
    ("GET", "/api/v2/serve/knowledge/health"): Rule(READER, asks("GET", "/api/v2/serve/knowledge/health"), foreign=200),
    ("POST", SPACES + "/{space_id}/retrieve"): Rule(
        READER, asks("POST", SPACES + "/{space_id}/retrieve", lambda _: {"query": "Keys"})
    ),
    ("GET", KNOWLEDGE + "/{space_id}/stats"): Rule(READER, asks("GET", KNOWLEDGE + "/{space_id}/stats")),
    ("POST", DOCUMENTS): Rule(
        WRITER,
        asks("POST", DOCUMENTS, lambda it: {"doc_name": "b.md", "content": "x", "space_id": it.space_id, **REPLACE}),
    ),
    ("GET", DOCUMENTS): Rule(READER, asks("GET", DOCUMENTS + "?space_id={space_id}")),
    ("POST", DOCUMENTS + "/sync"): Rule(
        WRITER, asks("POST", DOCUMENTS + "/sync", lambda things: [{"doc_id": things.document_id}])
    ),
    ("POST", DOCUMENTS + "/batch_sync"): Rule(
        WRITER, asks("POST", DOCUMENTS + "/batch_sync", lambda things: [{"doc_id": things.document_id}])
    ),
    ("POST", DOCUMENTS + "/{document_id}/sync"): Rule(WRITER, asks("POST", DOCUMENTS + "/{document_id}/sync")),
    ("GET", DOCUMENTS + "/{document_id}"): Rule(READER, asks("GET", DOCUMENTS + "/{document_id}")),
    ("GET", DOCUMENTS + "/{document_id}/content"): Rule(READER, asks("GET", DOCUMENTS + "/{document_id}/content")),
    ("DELETE", DOCUMENTS + "/{document_id}"): Rule(WRITER, asks("DELETE", DOCUMENTS + "/{document_id}")),
    ("GET", "/api/v2/conversations"): Rule(READER, asks("GET", "/api/v2/conversations"), foreign=200),
    ("GET", TALK): Rule(READER, asks("GET", TALK), admin=404),
    ("DELETE", TALK): Rule(READER, asks("DELETE", TALK), admin=404),
    ("POST", "/mcp"): Rule(READER, call_tool, foreign=200),
    # Last, because nothing is left of it then.
    ("DELETE", SPACES + "/{space_id}"): Rule(WRITER, asks("DELETE", SPACES + "/{space_id}")),
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/metrics"): OPEN,
    ("GET", "/openapi.json"): OPEN,
    ("GET", "/docs"): OPEN,
    ("GET", "/docs/style.css"): OPEN,
}
"""Every route there is. A new one must be given its rule here."""

KEYED = {route: rule for route, rule in RULES.items() if rule.role is not None}
ORDER = list(KeyRole)


@asynccontextmanager
async def two_owners(tmp_path: Path) -> AsyncIterator[tuple[Served, dict[str, Things]]]:
    """A server on which alice and bob have the same things."""
    async with serving(tmp_path) as served:
        things = {}
        for owner in ("alice", "bob"):
            space = await served.kb.create_space("handbook", owner=owner)
            document = await space.add_document("a.md", text="Keys are rotated by the vault.")
            await space.index_documents([document.id])
            await served.kb.conversations.remember(f"talk of {owner}", "Hi", "Hello", owner=owner)
            things[owner] = Things(space.id, document.id, f"talk of {owner}")
        yield served, things


async def key(served: Served, owner: str, role: KeyRole) -> Headers:
    _, secret = await served.kb.keys.create(f"{owner} {role}", owner=owner, role=role)
    return {"Authorization": f"Bearer {secret}"}


async def test_every_route_has_its_rule(tmp_path: Path) -> None:
    """And every rule its route; the page, which shows nothing of anybody's, is open to all."""
    async with serving(tmp_path, page=False) as served:
        assert isinstance(served.runner.app, web.Application)
        routes = {
            (route.method, route.resource.canonical)
            for route in served.runner.app.router.routes()
            if route.method != "HEAD" and route.resource is not None
        }
        assert routes == set(RULES)


@pytest.mark.parametrize("role", ORDER)
async def test_ones_own_is_reached_as_far_as_the_role_goes(tmp_path: Path, role: KeyRole) -> None:
    """Beyond that it is 403, for whatever asks."""
    async with two_owners(tmp_path) as (served, things):
        headers = await key(served, "alice", role)
        for route, rule in KEYED.items():
            assert rule.role is not None
            reaches = ORDER.index(role) >= ORDER.index(rule.role)
            assert await rule.ask(served, things["alice"], headers) == (rule.own if reaches else 403), route


@pytest.mark.parametrize("role", [READER, WRITER])
async def test_what_is_anothers_is_not_there(tmp_path: Path, role: KeyRole) -> None:
    """Not forbidden, not there; and nothing of it changes."""
    async with two_owners(tmp_path) as (served, things):
        headers = await key(served, "alice", role)
        before = (await served.kb.get_space(things["bob"].space_id)).info
        for route, rule in KEYED.items():
            assert rule.role is not None
            reaches = ORDER.index(role) >= ORDER.index(rule.role)
            assert await rule.ask(served, things["bob"], headers) == (rule.foreign if reaches else 403), route
        assert (await served.kb.get_space(things["bob"].space_id)).info == before


async def test_what_is_anothers_is_in_no_list(tmp_path: Path) -> None:
    """Neither among spaces nor among documents nor among models."""
    async with two_owners(tmp_path) as (served, things):
        headers = await key(served, "alice", READER)
        _, spaces = await served.get(SPACES, headers=headers)
        assert [space["id"] for space in spaces["data"]["items"]] == [things["alice"].space_id]
        _, documents = await served.get(DOCUMENTS, headers=headers)
        assert [document["id"] for document in documents["data"]["items"]] == [things["alice"].document_id]
        assert documents["data"]["total_count"] == 1
        _, models = await served.get("/v1/models", headers=headers)
        assert [model["id"] for model in models["data"]] == ["kb/handbook", "extractive"]


async def test_an_admin_reaches_everything(tmp_path: Path) -> None:
    """Of every owner, but what was said between another one and the model."""
    async with two_owners(tmp_path) as (served, things):
        headers = await key(served, "carol", KeyRole.ADMIN)
        for owner in things:
            for route, rule in KEYED.items():
                if route[:2] == ("POST", SPACES) and owner == "bob":
                    continue  # it made its own the first time
                assert await rule.ask(served, things[owner], headers) == rule.admin, route


async def test_without_a_key_only_open_routes_answer(tmp_path: Path) -> None:
    """Every other is 401, before it is looked at what was asked."""
    async with two_owners(tmp_path) as (served, things):
        await key(served, "alice", READER)
        for route, rule in RULES.items():
            expected = 200 if rule.role is None else 401
            assert await rule.ask(served, things["alice"], {}) == expected, route
