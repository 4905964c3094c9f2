"""The routes by which machines see how the server is."""

from aiohttp import web

from kbchat.errors import KbchatError
from kbchat.knowledge import KnowledgeBase
from kbchat_aiohttp.answers import Envelope, json_response, success
from kbchat_aiohttp.auth import Role
from kbchat_aiohttp.errors import NotReadyError, kind_of
from kbchat_aiohttp.routes import Call, route
from kbchat_aiohttp.schemas.base import HealthStatus, KeyHealth


class Health:
    """Alive (`/healthz`: the process answers) and ready (`/readyz`: so does everything it needs)."""

    def __init__(self, kb: KnowledgeBase) -> None:
        self._kb = kb

    @route("GET", "/healthz", None, "Whether the process answers", answer=HealthStatus)
    async def alive(self, call: Call) -> web.Response:
        return json_response(HealthStatus(status="ok"))

    @route("GET", "/readyz", None, "Whether everything it needs answers too", answer=HealthStatus)
    async def ready(self, call: Call) -> web.Response:
        await self._ping()
        return json_response(HealthStatus(status="ready"))

    @route(
        "GET",
        "/api/v2/serve/knowledge/health",
        Role.READER,
        "The same for those with a key, and what the key may do",
        answer=Envelope[KeyHealth],
    )
    async def knowledge(self, call: Call) -> web.Response:
        await self._ping()
        return success(KeyHealth(status="ready", role=call.principal.role.name.lower()))

    async def _ping(self) -> None:
        """Raises `NotReadyError`. Which part fails is said by its code only: no key is asked for here."""
        try:
            await self._kb.ping()
        except KbchatError as error:
            raise NotReadyError(f"not ready: {kind_of(type(error)).code}") from error
