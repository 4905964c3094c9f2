"""The application: every route, and what holds for all of them."""

from collections.abc import Collection

from aiohttp import web

from kbchat.knowledge import KnowledgeBase
from kbchat_aiohttp.agents import Agents
from kbchat_aiohttp.auth import ApiKeys, Authenticate
from kbchat_aiohttp.chat import Chat
from kbchat_aiohttp.conversations import ConversationRoutes
from kbchat_aiohttp.describing import Description
from kbchat_aiohttp.documents import Documents
from kbchat_aiohttp.guard import Guard
from kbchat_aiohttp.health import Health
from kbchat_aiohttp.indexer import Indexer
from kbchat_aiohttp.metrics import Metrics
from kbchat_aiohttp.origins import OriginRules
from kbchat_aiohttp.page import add_page
from kbchat_aiohttp.routes import routes_of
from kbchat_aiohttp.spaces import Spaces
from kbchat_aiohttp.streams import Readers


def create_app(
    kb: KnowledgeBase, *, authenticate: Authenticate | None = None, hosts: Collection[str] = ()
) -> web.Application:
    """The routes of the documentation over `kb`, to be served as they are or mounted under any prefix.

    The application does not own `kb`: whoever opened it closes it, after the application is cleaned up.

    `authenticate` replaces API keys by another way of telling who asks. `hosts` are names served
    without keys, beside loopback and those of the settings.
    """
    settings = kb.settings
    keys = ApiKeys(kb)
    readers = Readers(settings)
    metrics = Metrics(readers)
    guard = Guard(
        settings,
        authenticate=authenticate or keys,
        key_needed=_always if authenticate else keys.needed,
        rules=OriginRules.of(hosts=(*settings.allowed_hosts, *hosts), origins=settings.allowed_origins),
        metrics=metrics,
    )
    app = web.Application(middlewares=[guard.middleware])
    indexer = Indexer(kb)
    rooms: list[object] = [
        Chat(kb, readers),
        Spaces(kb),
        Documents(kb, indexer),
        ConversationRoutes(kb),
        Health(kb),
        metrics,
    ]
    if settings.mcp and Agents.installed():
        rooms.append(Agents(kb))
    routes = [route for room in rooms for route in routes_of(room)]
    for route in (*routes, *routes_of(Description(routes))):
        guard.add(app, route)
    if settings.page:
        add_page(app)

    async def close(app: web.Application) -> None:
        guard.closing = True
        await readers.close(settings.shutdown_timeout)
        await indexer.close()

    app.on_shutdown.append(close)
    app.on_response_prepare.append(guard.sign)
    return app


async def _always() -> bool:
    return True
