"""The Model Context Protocol at `/mcp`: the library speaks ASGI, so each request is handed over as that."""

import logging
from collections.abc import MutableMapping
from importlib.util import find_spec
from typing import Any

import anyio
from aiohttp import web

from kbchat.agents.mcp import answer_http
from kbchat.agents.tools import Toolbox
from kbchat.knowledge import KnowledgeBase
from kbchat_aiohttp.auth import Role
from kbchat_aiohttp.bodies import require_content_type
from kbchat_aiohttp.routes import Call, route

PATH = "/mcp"


class Agents:
    """What agents call, where the library is installed and the settings do not say otherwise."""

    def __init__(self, kb: KnowledgeBase) -> None:
        self._kb = kb
        # A line for each request tells nobody anything: they are logged as every other one is.
        logging.getLogger("mcp.server.streamable_http_manager").setLevel(logging.WARNING)

    @staticmethod
    def installed() -> bool:
        """Whether the protocol's library is."""
        return find_spec("mcp") is not None

    @route(
        "POST",
        PATH,
        Role.READER,
        "The tools for agents, by the Model Context Protocol (streamable HTTP)",
        media_type="application/json",
        fails=(400, 415),
        streams=True,
    )
    async def answer(self, call: Call) -> web.StreamResponse:
        """Only what the key may: a reader's sees its owner's spaces and changes nothing."""
        require_content_type(call.request, "application/json")
        principal = call.principal
        writable = self._kb.settings.mcp_write and principal.role >= Role.WRITER
        exchange = _Exchange(call.request)
        await answer_http(
            Toolbox(self._kb, owner=principal.scope, writable=writable),
            exchange.scope(),
            exchange.receive,
            exchange.send,
        )
        return await exchange.finished()


class _Exchange:
    """One request and its answer, as ASGI sees them."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._response = web.StreamResponse()
        self._read = False

    def scope(self) -> MutableMapping[str, Any]:
        request = self._request
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": f"{request.version.major}.{request.version.minor}",
            "method": request.method,
            "scheme": request.scheme,
            "path": request.path,
            "raw_path": request.raw_path.partition("?")[0].encode(),
            "query_string": request.query_string.encode(),
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.raw_headers],
            "client": None,
            "server": None,
            "state": {},
        }

    async def receive(self) -> MutableMapping[str, Any]:
        if self._read:
            await anyio.sleep_forever()  # A client that leaves cancels all of this.
        self._read = True
        return {"type": "http.request", "body": await self._request.read(), "more_body": False}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._response.set_status(message["status"])
            for name, value in message.get("headers", ()):
                self._response.headers.add(name.decode("latin-1"), value.decode("latin-1"))
            await self._response.prepare(self._request)
        elif body := message.get("body"):
            await self._response.write(body)

    async def finished(self) -> web.StreamResponse:
        if not self._response.prepared:
            self._response.set_status(500)
            await self._response.prepare(self._request)
        await self._response.write_eof()
        return self._response
