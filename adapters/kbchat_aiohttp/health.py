"""The routes by which machines see how the server is."""

from aiohttp import web

from kbchat.errors import KbchatError
from kbchat.knowledge import KnowledgeBase
from kbchat_aiohttp.answers import json_response, success
from kbchat_aiohttp.auth import Principal, Role
from kbchat_aiohttp.errors import NotReadyError, kind_of
from kbchat_aiohttp.routes import Route


class Health:
    """Alive (`/healthz`: the process answers) and ready (`/readyz`: so does everything it needs)."""

    def __init__(self, kb: KnowledgeBase) -> None:
        self._kb = kb

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/healthz", self.alive, role=None),
            Route("GET", "/readyz", self.ready, role=None),
            Route("GET", "/api/v2/serve/knowledge/health", self.knowledge, role=Role.READER),
        ]

    async def alive(self, request: web.Request, principal: Principal) -> web.Response:
        return json_response({"status": "ok"})

    async def ready(self, request: web.Request, principal: Principal) -> web.Response:
        await self._ping()
        return json_response({"status": "ready"})

    async def knowledge(self, request: web.Request, principal: Principal) -> web.Response:
        await self._ping()
        return success({"status": "ok"})

    async def _ping(self) -> None:
        """Raises `NotReadyError`. Which part fails is said by its code only: no key is asked for here."""
        try:
            await self._kb.ping()
        except KbchatError as error:
            raise NotReadyError(f"not ready: {kind_of(type(error)).code}") from error
