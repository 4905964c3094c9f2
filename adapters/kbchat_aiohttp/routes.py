"""What a route is: the one table that the application, its description and the tests are made from."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from kbchat_aiohttp.auth import Principal, Role

Handler = Callable[[web.Request, Principal], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """A method and path, who may call it (`role` None: everybody, without a key) and what answers."""

    method: str
    path: str
    handler: Handler
    role: Role | None
