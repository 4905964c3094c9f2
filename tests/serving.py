"""The adapter on a real socket, for tests."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

import kbchat
from kbchat.settings import Settings
from kbchat_aiohttp import Authenticate, Principal, Role, create_app
from upstream import Upstream

CHAT = "/api/v2/chat/completions"
OPENAI = "/v1/chat/completions"
SPACES = "/api/v2/serve/knowledge/spaces"
DOCUMENTS = "/api/v2/serve/knowledge/documents"


@dataclass(frozen=True, slots=True)
class Served:
    """A served knowledge base, and a client of it."""

    kb: kbchat.KnowledgeBase
    client: aiohttp.ClientSession
    host: str
    port: int
    runner: web.AppRunner

    async def get(self, path: str, **more: Any) -> tuple[int, Any]:
        return await self.send("GET", path, **more)

    async def post(self, path: str, body: object, **more: Any) -> tuple[int, Any]:
        return await self.send("POST", path, json=body, **more)

    async def send(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        async with self.client.request(method, path, **more) as response:
            assert response.content_type == "application/json", await response.text()
            return response.status, await response.json()

    async def ask(self, question: object = "Hello", path: str = CHAT, **more: object) -> tuple[int, Any]:
        return await self.post(path, {"messages": question, **more})

    async def stream(self, question: object = "Hello", path: str = CHAT, **more: object) -> list[Any]:
        """The frames of a streamed answer; the last is "[DONE]" when it was whole."""
        body = {"messages": question, "stream": True, **more}
        async with self.client.post(path, json=body) as response:
            assert response.status == 200, await response.text()
            assert response.headers["Content-Type"] == "text/event-stream"
            return frames(await response.text())


def frames(text: str) -> list[Any]:
    """What each frame of a stream holds."""
    assert text.endswith("\n\n")
    found: list[Any] = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        if block.startswith(":"):
            continue
        assert len(block.splitlines()) == 1
        assert block.startswith("data: ")
        data = block.removeprefix("data: ")
        found.append(data if data == "[DONE]" else json.loads(data))
    return found


def said(found: list[Any]) -> str:
    """The text that the frames of a whole answer add up to."""
    *deltas, done = found
    assert done == "[DONE]"
    return "".join(delta["choices"][0]["delta"]["content"] for delta in deltas)


def check_failure(body: dict[str, object], code: str) -> None:
    """The body that both families of client understand."""
    assert set(body) == {"success", "err_code", "err_msg", "data", "error"}
    assert body["success"] is False
    assert body["data"] is None
    error = body["error"]
    assert isinstance(error, dict)
    assert set(error) == {"message", "type", "code", "param"}
    assert error["code"] == code
    assert error["message"] == body["err_msg"]
    assert "Traceback" not in str(body)


async def as_user(request: web.Request) -> Principal:
    """Who asks is what a header says: `alice:writer`."""
    owner, _, role = request.headers["X-User"].partition(":")
    return Principal(owner, Role[role.upper()], owner)


@asynccontextmanager
async def serving(
    folder: Path,
    *,
    model: Upstream | None = None,
    prefix: str = "",
    host_cancels: bool = True,
    keep_alive: bool = True,
    authenticate: Authenticate | None = None,
    **settings: Any,
) -> AsyncIterator[Served]:
    """Serve a knowledge base in `folder` on a free port, mounted under `prefix`, with `model` as its default model."""
    if model is not None:
        settings = {"llm_base_url": model.base_url, "llm_model": "m", **settings}
    async with kbchat.KnowledgeBase(settings=Settings(data_dir=folder, **settings)) as kb:
        app = create_app(kb, authenticate=authenticate)
        if prefix:
            outer = web.Application()
            outer.add_subapp(prefix, app)
            app = outer
        runner = web.AppRunner(app, handler_cancellation=host_cancels, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0]
            connector = aiohttp.TCPConnector(force_close=not keep_alive)
            async with aiohttp.ClientSession(f"http://{host}:{port}", connector=connector) as client:
                yield Served(kb, client, host, port, runner)
        finally:
            await runner.cleanup()


async def make_space(served: Served, name: str = "handbook") -> int:
    _, body = await served.post(SPACES, {"name": name})
    space_id: int = body["data"]["id"]
    return space_id


async def settled(served: Served, document_id: int) -> dict[str, Any]:
    """The document once it is neither waiting nor under way."""
    while True:
        _, body = await served.get(f"{DOCUMENTS}/{document_id}")
        data: dict[str, Any] = body["data"]
        if data["status"] not in ("TODO", "RUNNING"):
            return data
        await asyncio.sleep(0.01)
