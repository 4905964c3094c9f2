"""What every request passes: where it comes from, who sends it, how much it may ask, and how its failures are told."""

import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import anyio
from aiohttp import web
from aiohttp.typedefs import Handler

from kbchat.errors import DeadlineError
from kbchat.settings import Settings
from kbchat.telemetry import listening
from kbchat_aiohttp.auth import Authenticate, Principal
from kbchat_aiohttp.bodies import postpone_invitation
from kbchat_aiohttp.errors import InvalidRequestError, MethodNotAllowedError, RouteNotFoundError, error_response
from kbchat_aiohttp.limits import RateLimit
from kbchat_aiohttp.metrics import Metrics
from kbchat_aiohttp.origins import OriginRules
from kbchat_aiohttp.routes import UNKNOWN, Call, Route
from kbchat_aiohttp.streams import gone

T = TypeVar("T")

access = logging.getLogger("kbchat.access")

NOBODY = Principal("nobody")
"""Who asks where no key is asked for."""
REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
"""Ids of requests that are taken over from clients; others are replaced."""
PROBE = "/healthz"


class Guard:
    """Stands before every route of one application."""

    def __init__(
        self,
        settings: Settings,
        *,
        authenticate: Authenticate,
        key_needed: Callable[[], Awaitable[bool]],
        rules: OriginRules,
        metrics: Metrics,
    ) -> None:
        self._authenticate = authenticate
        self._key_needed = key_needed
        self._rules = rules
        self._metrics = metrics
        self._rate = RateLimit(settings.requests_per_minute)
        self._deadline = settings.request_timeout
        self._probe: web.AbstractResource | None = None
        self.closing = False
        """Whether the server is being stopped: then connections close with their answers."""

    def add(self, app: web.Application, route: Route) -> None:
        handler = partial(self._call, route)
        resource = app.router.add_resource(route.path)
        methods = ("GET", "HEAD") if route.method == "GET" else (route.method,)
        for method in methods:
            resource.add_route(method, handler, expect_handler=postpone_invitation)
        if route.path == PROBE:
            self._probe = resource

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The outermost: no failure passes it, and each request is counted and logged once."""
        note = _Note(request)
        request[NOTE] = note
        status = 499  # the client left before there was an answer
        try:
            with listening(self._metrics.note_stage):
                response = await self._answer(request, handler)
            status = response.status
            return response
        finally:
            self._metrics.count(note.call, note.route, status, started=note.started)
            note.log(status)

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if preflight := self._rules.preflight(request):
                return preflight
            keyless = not await self._in_time(request[NOTE], self._key_needed())
            self._rules.check(request, keyless=keyless)
            if request.match_info.http_exception is not None:
                await self._lost(request, request.match_info.http_exception)
            return await handler(request)
        except Exception as error:
            if gone(request):
                raise  # nobody is there to be told
            return error_response(error)

    async def _call(self, route: Route, request: web.Request) -> web.StreamResponse:
        note = request[NOTE]
        note.route = route.shown
        if route.role is not None:
            principal = note.call.principal = await self._in_time(note, self._authenticate(request))
            principal.require(route.role)
            self._rate.take(principal.name)
        if route.streams:
            return await route.handler(note.call)
        return await self._in_time(note, route.handler(note.call))

    async def _in_time(self, note: "_Note", part: Awaitable[T]) -> T:
        """A part of what a request waits for. Raises `DeadlineError` when that is too long in all."""
        with anyio.move_on_after(note.started + self._deadline - time.perf_counter()):
            return await part
        raise DeadlineError(f"this took longer than {self._deadline:g} seconds, which is as long as it may")

    async def _lost(self, request: web.Request, error: web.HTTPException) -> None:
        """A request that no route takes. Below the API only those with a key are told so."""
        path = request.path.removeprefix(self._prefix)
        if path.startswith(("/api/", "/v1/")) or path in ("/api", "/v1"):
            await self._authenticate(request)
        if isinstance(error, web.HTTPMethodNotAllowed):
            allowed = ", ".join(sorted(error.allowed_methods))
            raise MethodNotAllowedError(f"this route takes {allowed}", headers={"Allow": allowed})
        raise RouteNotFoundError("there is no such route; /openapi.json lists those there are")

    @property
    def _prefix(self) -> str:
        """Where this application is mounted."""
        assert self._probe is not None
        return self._probe.canonical.removesuffix(PROBE)

    async def sign(self, request: web.Request, response: web.StreamResponse) -> None:
        """Headers of every answer."""
        response.headers["Server"] = "kbchat"
        response.headers["X-Content-Type-Options"] = "nosniff"
        note = request.get(NOTE)
        if note is None and isinstance(response, web.Response):
            # aiohttp refuses an `Expect` that it does not know with 417 before anybody is asked, and in its own words.
            told = error_response(InvalidRequestError("Expect: only `100-continue` is known here; leave it out"))
            response.body = told.body
            response.headers.update(told.headers)
            response.headers["Content-Length"] = str(response.content_length)
        response.headers["X-Request-ID"] = (note or _Note(request)).request_id
        response.headers.extend(self._rules.headers(request))
        if self.closing:
            response.headers["Connection"] = "close"
            response.force_close()


class _Note:
    """What is known of a request, for the log and the figures."""

    def __init__(self, request: web.Request) -> None:
        self.started = time.perf_counter()
        sent = request.headers.get("X-Request-ID", "")
        self.request_id = sent if REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
        self.route = UNKNOWN
        self.call = Call(request, NOBODY)

    def log(self, status: int) -> None:
        """One line: neither a key nor what was asked or answered."""
        if not access.isEnabledFor(logging.INFO):
            return
        call = self.call
        facts: dict[str, object] = {
            "id": self.request_id,
            "method": call.request.method,
            "route": self.route,
            "status": status,
            "ms": round((time.perf_counter() - self.started) * 1000, 1),
            "key": call.principal.name,
        }
        if call.first_token is not None:
            facts["first_token_ms"] = round((call.first_token - self.started) * 1000, 1)
            facts["model"] = call.model
            facts["tokens"] = call.usage.total_tokens
        access.info(" ".join(f"{name}={value}" for name, value in facts.items()), extra={"facts": facts})


NOTE = web.RequestKey("kbchat.note", _Note)
