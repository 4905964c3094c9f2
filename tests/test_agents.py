"""Agents: the tools, and the protocol over both of its transports, as the official client speaks it."""

import json
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from aiohttp import web
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

import kbchat
from kbchat.agents.grep import Pattern, matcher
from kbchat.agents.tools import READ_CHARS, Toolbox
from kbchat.errors import InvalidInputError, NotFoundError
from kbchat.models import KeyRole
from kbchat_aiohttp import create_app

KEYS = "# Keys\n\nKeys are rotated every 90 days.\nAsk Alice.\n"


@pytest.fixture
async def kb(tmp_path: Path) -> AsyncIterator[kbchat.KnowledgeBase]:
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        space = await kb.create_space("handbook", owner="alice")
        await space.ingest(
            [
                kbchat.TextDocument(name="keys.md", text=KEYS),
                kbchat.TextDocument(name="guide/backups.md", text="Backups are kept for a year."),
            ]
        )
        yield kb


@pytest.fixture
def toolbox(kb: kbchat.KnowledgeBase) -> Toolbox:
    return Toolbox(kb)


async def call(toolbox: Toolbox, name: str, /, **arguments: Any) -> Any:
    return (await toolbox.call(name, arguments)).model_dump()


class TestTools:
    async def test_list_spaces(self, toolbox: Toolbox) -> None:
        """Every space with its counts."""
        (space,) = (await call(toolbox, "list_spaces"))["spaces"]
        assert (space["name"], space["documents"]) == ("handbook", 2)

    async def test_list_documents(self, toolbox: Toolbox) -> None:
        """A glob chooses by name, and a page says where the next begins."""
        listed = await call(toolbox, "list_documents", space="handbook", glob="guide/*")
        assert [it["name"] for it in listed["documents"]] == ["guide/backups.md"]
        first = await call(toolbox, "list_documents", space="handbook", limit=1)
        assert first["next_offset"] == 1
        second = await call(toolbox, "list_documents", space="handbook", offset=1)
        assert second["next_offset"] is None
        assert len(first["documents"] + second["documents"]) == 2

    async def test_globs_may_be_decomposed(self, kb: kbchat.KnowledgeBase, toolbox: Toolbox) -> None:
        """They choose the names that look the same, which are kept composed."""
        await (await kb.get_space("handbook")).ingest(kbchat.TextDocument(name="Mu\u0308ller.md", text="Lamps."))
        for glob in ("Mu\u0308ll*", "M\u00fcll*", "M[u\u0308]ller.md"):
            listed = await call(toolbox, "list_documents", space="handbook", glob=glob)
            assert [it["name"] for it in listed["documents"]] == ["M\u00fcller.md"]
            assert (await call(toolbox, "grep", space="handbook", pattern="Lamps", glob=glob))["searched"] == 1

    async def test_many_documents(self, kb: kbchat.KnowledgeBase, toolbox: Toolbox) -> None:
        """A large space is listed page by page, and a glob finds what is far behind."""
        space = await kb.create_space("large")
        await space.ingest(
            [kbchat.TextDocument(name=f"{number:04}.md", text=f"Text {number}.") for number in range(620)]
        )
        listed = await call(toolbox, "list_documents", space="large", limit=200, offset=400)
        assert (len(listed["documents"]), listed["next_offset"]) == (200, 600)
        last = await call(toolbox, "list_documents", space="large", glob="*0619*")
        assert [it["name"] for it in last["documents"]] == ["0619.md"]
        found = await call(toolbox, "grep", space="large", pattern=r"Text 61\d")
        assert len(found["matches"]) == 10

    async def test_search(self, toolbox: Toolbox) -> None:
        """Hits have the offsets of their document's text."""
        hit = (await call(toolbox, "search", space="handbook", query="How often are keys rotated?"))["hits"][0]
        assert hit["document"] == "keys.md"
        assert KEYS[hit["start"] : hit["end"]] == hit["text"]

    async def test_filters(self, kb: kbchat.KnowledgeBase, toolbox: Toolbox) -> None:
        """A filter on the metadata leaves other documents out."""
        space = await kb.get_space("handbook")
        await space.ingest(kbchat.TextDocument(name="alt.md", text=KEYS, metadata={"lang": "de"}))
        only = {"field": "lang", "eq": "de"}
        found = await call(toolbox, "search", space="handbook", query="How often are keys rotated?", filter=only)
        assert {hit["document"] for hit in found["hits"]} == {"alt.md"}

    async def test_read(self, kb: kbchat.KnowledgeBase, toolbox: Toolbox) -> None:
        """A range, by name or id; what is long comes in parts; what begins behind the end is empty."""
        part = await call(toolbox, "read", space="handbook", document="keys.md", start=8, end=12)
        assert (part["text"], part["next_start"], part["length"]) == ("Keys", None, len(KEYS))
        document = await (await kb.get_space("handbook")).get_document("keys.md")
        assert (await call(toolbox, "read", space="handbook", document=document.id))["text"] == KEYS
        assert (await call(toolbox, "read", space="handbook", document=str(document.id)))["text"] == KEYS
        assert (await call(toolbox, "read", space="handbook", document="keys.md", start=999))["text"] == ""
        await (await kb.get_space("handbook")).ingest(kbchat.TextDocument(name="long", text="word " * 10_000))
        long = await call(toolbox, "read", space="handbook", document="long", start=30_000)
        assert (long["end"], long["next_start"]) == (50_000, None)
        assert (await call(toolbox, "read", space="handbook", document="long"))["next_start"] == READ_CHARS

    async def test_grep(self, toolbox: Toolbox) -> None:
        """Lines with their numbers and offsets, once each."""
        (match,) = (await call(toolbox, "grep", space="handbook", pattern=r"ev\w+y \d+|days"))["matches"]
        assert (match["document"], match["line"], match["text"]) == ("keys.md", 3, "Keys are rotated every 90 days.")
        assert KEYS[match["start"] : match["end"]] == "every 90"
        assert (await call(toolbox, "grep", space="handbook", pattern="(", literal=True))["matches"] == []
        cut = await call(toolbox, "grep", space="handbook", pattern="a", limit=1)
        assert len(cut["matches"]) == 1
        assert cut["note"]

    async def test_ask(self, toolbox: Toolbox) -> None:
        """An answer with what it rests on."""
        answer = await call(toolbox, "ask", space="handbook", question="How often are keys rotated?")
        assert "90 days" in answer["answer"]
        assert answer["references"][0]["document"] == "keys.md"
        assert answer["doubts"] == []

    async def test_reading_only_unless_told(self, kb: kbchat.KnowledgeBase, toolbox: Toolbox) -> None:
        """Without the right there is no tool that writes; with it documents come and go."""
        assert not any(tool.writes for tool in toolbox.tools.values())
        with pytest.raises(NotFoundError, match="add_document is not allowed here"):
            await toolbox.call("add_document", {"space": "handbook", "name": "a", "text": "b"})
        writer = Toolbox(kb, writable=True)
        added = await call(writer, "add_document", space="handbook", name="a", text="Cats purr.")
        assert added["done"] == "added"
        assert (await call(writer, "delete_document", space="handbook", document="a"))["done"] == "deleted"

    async def test_others_spaces_are_not_there(self, kb: kbchat.KnowledgeBase) -> None:
        """What belongs to another owner cannot be seen, by name or by id."""
        bob = Toolbox(kb, owner="bob")
        assert (await call(bob, "list_spaces"))["spaces"] == []
        space = await kb.get_space("handbook")
        for name in ("handbook", space.id, str(space.id)):
            with pytest.raises(NotFoundError, match="no space"):
                await call(bob, "search", space=name, query="keys")

    @pytest.mark.parametrize(
        ("name", "arguments", "words"),
        [
            ("search", {"space": "handbook"}, "`query` is needed (its arguments are: space, query, top_k, filter)"),
            ("search", {"space": "handbook", "query": "a", "top_k": 0}, "top_k"),
            ("search", {"space": "handbook", "query": " "}, "query"),
            (
                "search",
                {"space": "handbook", "question": "a"},
                "`query` is needed; `question` is no argument of this tool",
            ),
            ("list_documents", {"space": "handbook", "glob": "*" * 250}, None),
            ("list_documents", {"space": "handbook", "glob": "a" * 300}, "at most 256"),
            ("grep", {"space": "handbook", "pattern": "("}, "literal"),
            ("grep", {"space": "handbook", "pattern": ""}, "empty"),
            ("grep", {"space": "handbook", "pattern": "a" * 2000}, "at most"),
            ("read", {"space": "handbook", "document": "/etc/passwd"}, "files of this machine cannot be read"),
            ("read", {"space": "../handbook", "document": "a"}, "list_spaces"),
            ("read", {"space": "handbook", "document": "nothing"}, "list_documents"),
            ("search", {"space": "handbook", "query": "a", "filter": {"field": "x"}}, "filter: must hold exactly one"),
            ("search", {"space": "handbook", "query": "a", "filter": {"lang": "de"}}, '"field": "lang", "eq": "de"'),
            ("search", {"space": None, "query": "a"}, "`space` must be a name or an id"),
            ("search", {"space": True, "query": "a"}, "`space` must be a name or an id"),
            ("search", {"space": 10**30, "query": "a"}, "`space` must be a name or an id"),
            ("search", {"space": "HANDBOOK", "query": "a"}, "did you mean 'handbook'"),
            ("search", {"space": "x" * 5000, "query": "a"}, "xxx…'; list_spaces"),
            ("ask", {"space": "handbook", "question": " "}, "question: the question is empty"),
            ("list_documents", {"space": "handbook", "offset": 10**20}, "`offset`"),
            ("read", {"space": "handbook", "document": "backups"}, "did you mean 'guide/backups.md'"),
            ("read", {"space": "handbook", "document": "file:///etc/passwd"}, "cannot be read"),
            ("read", {"space": "handbook", "document": "keys.md", "start": 5, "end": 2}, "end: must not lie before"),
            ("add_document", {}, "add_document is not allowed here: this server only reads"),
            ("fly", {}, "there is no tool 'fly'"),
        ],
    )
    async def test_what_is_wrong_is_said(
        self, toolbox: Toolbox, name: str, arguments: dict[str, Any], words: str | None
    ) -> None:
        """A wrong call is answered with what to do instead."""
        if words is None:
            await toolbox.call(name, arguments)
            return
        with pytest.raises((NotFoundError, InvalidInputError), match=re.escape(words)):
            await toolbox.call(name, arguments)

    async def test_an_evil_pattern_is_stopped(
        self, kb: kbchat.KnowledgeBase, toolbox: Toolbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A pattern that would match for ever is given up in time, and the agent is told."""
        monkeypatch.setattr("kbchat.agents.tools.GREP_SECONDS", 0.3)
        await (await kb.get_space("handbook")).ingest(kbchat.TextDocument(name="evil", text="a" * 5000 + "b"))
        began = time.monotonic()
        result = await call(toolbox, "grep", space="handbook", pattern=r"^(a|aa)+$", glob="evil")
        assert time.monotonic() - began < 3
        assert "takes too long" in result["note"]

    def test_evil_globs_are_fast(self) -> None:
        """No glob takes long, however many stars it has."""
        began = time.monotonic()
        assert not matcher("*a" * 100)("a" * 99 + "b" * 200)
        assert matcher("**/*.md")("guide/backups.md")
        assert time.monotonic() - began < 1

    def test_long_lines_are_cut(self) -> None:
        """What is shown of a line is short, and has the match in it."""
        (found,) = Pattern("needle", ignore_case=True, literal=False).search(
            "x" * 1000 + "NEEDLE" + "y" * 1000, limit=5, seconds=1
        )
        assert "NEEDLE" in found.text
        assert len(found.text) <= 300


@asynccontextmanager
async def serving(kb: kbchat.KnowledgeBase) -> AsyncIterator[str]:
    runner = web.AppRunner(create_app(kb), handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def over_http(url: str, key: str = "") -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=10) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http)) as client,
    ):
        yield client


def structured(result: Any) -> Any:
    assert not result.is_error, result.content
    assert json.loads(result.content[0].text) == result.structured_content
    return result.structured_content


READING = ["ask", "grep", "list_documents", "list_spaces", "read", "search"]


class TestHttp:
    async def test_the_official_client(self, kb: kbchat.KnowledgeBase) -> None:
        """The client lists the tools, which only read, and calls each."""
        async with serving(kb) as url, over_http(url) as client:
            tools = (await client.list_tools()).tools
            assert sorted(tool.name for tool in tools) == READING
            assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools)
            found = structured(await client.call_tool("search", {"space": "handbook", "query": "rotated keys"}))
            assert found["hits"][0]["document"] == "keys.md"
            wrong = await client.call_tool("search", {"space": "nothing", "query": "keys"})
            assert wrong.is_error
            assert "list_spaces" in wrong.content[0].text

    async def test_the_older_handshake(self, kb: kbchat.KnowledgeBase) -> None:
        """A client of the protocol's earlier versions is served too."""
        async with serving(kb) as url, httpx2.AsyncClient(timeout=10) as http:
            transport = streamable_http_client(f"{url}/mcp", http_client=http)
            async with Client(transport, mode="legacy") as client:
                assert structured(await client.call_tool("list_spaces", {}))["spaces"][0]["name"] == "handbook"

    async def test_keys_owners_and_roles(self, tmp_path: Path) -> None:
        """No key, no tools; a reader sees its owner's spaces; a writer writes where the settings let it."""
        settings = kbchat.Settings(data_dir=tmp_path, mcp_write=True)
        async with kbchat.KnowledgeBase(settings=settings) as kb:
            await kb.create_space("handbook", owner="alice")
            await kb.create_space("secrets", owner="bob")
            _, reader = await kb.keys.create("reader", owner="alice", role=KeyRole.READER)
            _, writer = await kb.keys.create("writer", owner="alice", role=KeyRole.WRITER)
            async with serving(kb) as url:
                async with httpx2.AsyncClient() as http:
                    assert (await http.post(f"{url}/mcp", json={})).status_code == 401
                async with over_http(url, reader) as client:
                    spaces = structured(await client.call_tool("list_spaces", {}))["spaces"]
                    assert [space["name"] for space in spaces] == ["handbook"]
                    assert sorted(tool.name for tool in (await client.list_tools()).tools) == READING
                async with over_http(url, writer) as client:
                    arguments = {"space": "handbook", "name": "a", "text": "Cats purr."}
                    assert structured(await client.call_tool("add_document", arguments))["done"] == "added"
                    wrong = await client.call_tool("add_document", arguments | {"space": "secrets"})
                    assert wrong.is_error

    @pytest.mark.parametrize(
        ("body", "headers", "status", "code"),
        [
            (b"{", {}, 400, "invalid_request"),
            (b"[1]", {}, 400, "invalid_request"),
            (b"{}", {"Accept": "text/html"}, 406, "not_acceptable"),
            (b"{}", {"Content-Type": "text/plain"}, 415, "unsupported_content_type"),
            (b" " * 2_000_000, {}, 413, "body_too_large"),
        ],
    )
    async def test_refusals(self, tmp_path: Path, body: bytes, headers: dict[str, str], status: int, code: str) -> None:
        """What the protocol's library refuses has the one body of every failure; the limit is the settings'."""
        settings = kbchat.Settings(data_dir=tmp_path, max_body_bytes=1_500_000)
        accept = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        async with kbchat.KnowledgeBase(settings=settings) as kb, serving(kb) as url, httpx2.AsyncClient() as http:
            answer = await http.post(f"{url}/mcp", content=body, headers=accept | headers)
            assert answer.status_code == status
            assert answer.json()["success"] is False
            assert answer.json()["error"]["code"] == code

    async def test_a_large_call(self, kb: kbchat.KnowledgeBase) -> None:
        """A body may be as large as the settings allow, whatever the HTTP library's own limit."""
        async with serving(kb) as url, over_http(url) as client:
            wrong = await client.call_tool("search", {"space": "handbook", "query": "keys " * 300_000})
            assert wrong.is_error
            assert "characters" in wrong.content[0].text

    async def test_off(self, tmp_path: Path) -> None:
        """One setting takes the route away."""
        settings = kbchat.Settings(data_dir=tmp_path, mcp=False)
        async with kbchat.KnowledgeBase(settings=settings) as kb, serving(kb) as url, httpx2.AsyncClient() as http:
            assert (await http.post(f"{url}/mcp", json={})).status_code == 404


class TestStdio:
    @pytest.mark.timeout(200)  # it starts two programs
    async def test_the_official_client(self, tmp_path: Path) -> None:
        """`kbchat mcp` speaks to the client that started it, and ends with it."""
        async with kbchat.KnowledgeBase(tmp_path) as kb:
            space = await kb.create_space("handbook")
            await space.ingest(kbchat.TextDocument(name="keys.md", text=KEYS))
        command = ["-m", "kbchat", "mcp", "--data-dir", str(tmp_path)]
        async with Client(StdioServerParameters(command=sys.executable, args=command)) as client:
            assert sorted(tool.name for tool in (await client.list_tools()).tools) == READING
            answer = structured(
                await client.call_tool("ask", {"space": "handbook", "question": "How often are keys rotated?"})
            )
            assert "90 days" in answer["answer"]
            assert (await client.call_tool("read", {"space": "handbook", "document": "no"})).is_error
        async with Client(StdioServerParameters(command=sys.executable, args=[*command, "--write"])) as client:
            assert len((await client.list_tools()).tools) == len(READING) + 2
