"""The routes by which machines see how the server is."""

from aiohttp import web

from kbchat.errors import KbchatError
from kbchat.knowledge import KnowledgeBase
from kbchat_aiohttp.answers import Envelope, json_response, success
from kbchat_aiohttp.auth import Role
from kbchat_aiohttp.errors import NotReadyError, kind_of
from kbchat_aiohttp.routes import Call, Route
from kbchat_aiohttp.schemas import HealthStatus


class Health:
    """Alive (`/healthz`: the process answers) and ready (`/readyz`: so does everything it needs)."""

    def __init__(self, kb: KnowledgeBase) -> None:
        self._kb = kb

    def routes(self) -> list[Route]:
        return [
            Route(
                method="GET",
                path="/healthz",
                handler=self.alive,
                role=None,
                summary="Whether the process answers",
                answer=HealthStatus,
            ),
            Route(
                method="GET",
                path="/readyz",
                handler=self.ready,
                role=None,
                summary="Whether everything it needs answers too",
                answer=HealthStatus,
            ),
            Route(
                method="GET",
                path="/api/v2/serve/knowledge/health",
                handler=self.knowledge,
                role=Role.READER,
                summary="The same for those with a key",
                answer=Envelope[HealthStatus],
            ),
        ]

    async def alive(self, call: Call) -> web.Response:
        return json_response(HealthStatus(status="ok"))

    async def ready(self, call: Call) -> web.Response:
        await self._ping()
        return json_response(HealthStatus(status="ready"))

    async def knowledge(self, call: Call) -> web.Response:
        await self._ping()
        return success(HealthStatus(status="ready"))

    async def _ping(self) -> None:
        """Raises `NotReadyError`. Which part fails is said by its code only: no key is asked for here."""
        try:
            await self._kb.ping()
        except KbchatError as error:
            raise NotReadyError(f"not ready: {kind_of(type(error)).code}") from error
