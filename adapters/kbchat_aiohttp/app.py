"""The application: every route, and what holds for all of them."""

from collections.abc import Collection
from functools import partial

from aiohttp import web
from aiohttp.typedefs import Handler

from kbchat.knowledge import KnowledgeBase
from kbchat_aiohttp.auth import ApiKeys, Authenticate, Principal
from kbchat_aiohttp.bodies import postpone_invitation
from kbchat_aiohttp.chat import Chat
from kbchat_aiohttp.errors import MethodNotAllowedError, RouteNotFoundError, error_response
from kbchat_aiohttp.health import Health
from kbchat_aiohttp.origins import OriginRules
from kbchat_aiohttp.routes import Route
from kbchat_aiohttp.spaces import Spaces
from kbchat_aiohttp.streams import Readers, gone

NOBODY = Principal("nobody")
"""Who asks where no key is asked for."""


def create_app(
    kb: KnowledgeBase, *, authenticate: Authenticate | None = None, hosts: Collection[str] = ()
) -> web.Application:
    """The routes of the documentation over `kb`, to be served as they are or mounted under any prefix.

    The application does not own `kb`: whoever opened it closes it, after the application is cleaned up.

    `authenticate` replaces the keys of the settings by another way of telling who asks. `hosts` are names served
    without keys, beside loopback and those of the settings.
    """
    settings = kb.settings
    keys = ApiKeys(key.get_secret_value() for key in settings.api_keys)
    keyless = authenticate is None and not keys
    readers = Readers(limit=settings.max_streams)
    guard = Guard(
        authenticate or keys,
        OriginRules.of(
            hosts=(*settings.allowed_hosts, *hosts) if keyless else None,
            origins=settings.allowed_origins,
        ),
    )
    app = web.Application(middlewares=[guard.middleware])
    for route in (*Spaces(kb).routes(), *Chat(kb, readers).routes(), *Health(kb).routes()):
        guard.add(app, route)

    async def close(app: web.Application) -> None:
        guard.closing = True
        await readers.close(settings.shutdown_seconds)

    app.on_shutdown.append(close)
    app.on_response_prepare.append(guard.sign)
    return app


class Guard:
    """What every request passes: where it comes from, who sends it, and how its failures are answered."""

    def __init__(self, authenticate: Authenticate, rules: OriginRules) -> None:
        self._authenticate = authenticate
        self._rules = rules
        self._probe: web.AbstractResource | None = None
        self.closing = False
        """Whether the server is being stopped: then connections close with their answers."""

    def add(self, app: web.Application, route: Route) -> None:
        handler = partial(self._call, route)
        added = app.router.add_route(route.method, route.path, handler, expect_handler=postpone_invitation)
        if route.method == "GET":
            app.router.add_route("HEAD", route.path, handler, expect_handler=postpone_invitation)
        if route.path == "/healthz":
            self._probe = added.resource

    async def _call(self, route: Route, request: web.Request) -> web.StreamResponse:
        if route.role is None:
            return await route.handler(request, NOBODY)
        principal = await self._authenticate(request)
        principal.require(route.role)
        return await route.handler(request, principal)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if preflight := self._rules.preflight(request):
                return preflight
            self._rules.check(request)
            if request.match_info.http_exception is not None:
                await self._lost(request, request.match_info.http_exception)
            return await handler(request)
        except Exception as error:
            if gone(request):
                raise  # nobody is there to be told
            return error_response(error)

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
        return self._probe.canonical.removesuffix("/healthz")

    async def sign(self, request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = "kbchat"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers.extend(self._rules.headers(request))
        if self.closing:
            response.headers["Connection"] = "close"
            response.force_close()
