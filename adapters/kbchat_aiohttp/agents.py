"""The Model Context Protocol at `/mcp`: the library speaks ASGI, so each request is handed over as that."""

import json
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
from kbchat_aiohttp.bodies import read_body, require_content_type
from kbchat_aiohttp.errors import BodyTooLargeError, ContentTypeError, InvalidRequestError, NotAcceptableError
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
        fails=(400, 406, 415),
        streams=True,
    )
    async def answer(self, call: Call) -> web.StreamResponse:
        """Only what the key may: a reader's sees its owner's spaces and changes nothing."""
        require_content_type(call.request, "application/json")
        principal = call.principal
        writable = self._kb.settings.mcp_write and principal.role >= Role.WRITER
        body = await read_body(call.request, limit=self._kb.settings.max_body_bytes)
        exchange = _Exchange(call.request, body)
        await answer_http(
            Toolbox(self._kb, owner=principal.scope, writable=writable),
            exchange.scope(),
            exchange.receive,
            exchange.send,
        )
        return await exchange.finished()


class _Exchange:
    """One request and its answer, as ASGI sees them."""

    def __init__(self, request: web.Request, body: bytes) -> None:
        self._request = request
        self._body = body
        self._response = web.StreamResponse()
        self._read = False
        self._refusal = b""
        """The body of an answer that refuses."""

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
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._response.set_status(message["status"])
            for name, value in message.get("headers", ()):
                self._response.headers.add(name.decode("latin-1"), value.decode("latin-1"))
            if message["status"] < 400:
                await self._response.prepare(self._request)
        elif body := message.get("body"):
            if self._response.prepared:
                await self._response.write(body)
            else:
                self._refusal += body

    async def finished(self) -> web.StreamResponse:
        """The answer, which is over. What the library refused is raised, to be told as every other failure is, but for
        what it says as the answer to a call: that is the protocol's."""
        if self._response.prepared:
            await self._response.write_eof()
            return self._response
        status, refusal = self._response.status, _words(self._refusal)
        if status >= 500 or refusal is None:
            raise RuntimeError(f"the protocol's library answered {status}")
        if refusal.get("id") is not None or refusal["error"].get("data") is not None:
            return web.Response(status=status, body=self._refusal, content_type="application/json")
        raise REFUSALS.get(status, InvalidRequestError)(str(refusal["error"].get("message", "")))


REFUSALS = {406: NotAcceptableError, 413: BodyTooLargeError, 415: ContentTypeError}


def _words(body: bytes) -> dict[str, Any] | None:
    """What a refusal says, if that is an error of JSON-RPC."""
    try:
        said = json.loads(body)
    except ValueError:
        return None
    return said if isinstance(said, dict) and isinstance(said.get("error"), dict) else None
