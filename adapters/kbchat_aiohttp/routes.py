"""A route, in the one table that the application, its description and the tests are made from; and a call of it."""

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel

from kbchat.events import Deltas, Done, EngineEvent
from kbchat.models import Usage
from kbchat_aiohttp.auth import Principal, Role

PATTERN = re.compile(r"\{(\w+):[^{}]*\}")
UNKNOWN = "unknown"
"""The route of a request that no route takes, where requests are logged and counted."""


@dataclass(slots=True)
class Call:
    """A request on its way through its route: who asks, and what is to be told of it afterwards."""

    request: web.Request
    principal: Principal
    first_token: float | None = None
    """`time.perf_counter()` when the first text went out, or was there to go out."""
    deltas: int = 0
    usage: Usage = field(default_factory=Usage)
    model: str = ""

    def note(self, event: EngineEvent) -> None:
        """Keep what is to be told of an answer's event."""
        match event:
            case Deltas():
                self.deltas += len(event.texts)
                if self.first_token is None:
                    self.first_token = time.perf_counter()
            case Done():
                self.usage, self.model = event.usage, event.model


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A method and path, who may call it (`role` None: everybody, without a key), what answers, and what is to be said
    of it: the models of its body, its query and its answer, and the statuses of its own failures.

    An answer that `streams` is given its own end when its time is over; any other is cut off by the application.
    """

    method: str
    path: str
    role: Role | None
    summary: str
    handler: Handler
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    media_type: str | None = None
    """Of an answer that is no model."""
    has_file: bool = False
    """Whether it also reads its body as multipart/form-data, with a file in `doc_file`, or does without one."""
    fails: tuple[int, ...] = ()
    streams: bool = False

    @property
    def shown(self) -> str:
        """The path without the patterns of its parameters."""
        return PATTERN.sub(r"{\1}", self.path)


Method = TypeVar("Method", bound=Callable[[Any, Call], Awaitable[web.StreamResponse]])


def route(method: str, path: str, role: Role | None, summary: str, **more: Any) -> Callable[[Method], Method]:
    """Mark a method as what answers a route. `more` are fields of `Route`."""

    def mark(handler: Method) -> Method:
        marks: list[dict[str, Any]] = handler.__dict__.setdefault(MARKS, [])
        marks.append({"method": method, "path": path, "role": role, "summary": summary, **more})
        return handler

    return mark


MARKS = "routes"


def routes_of(room: object) -> list[Route]:
    """The routes that the methods of an object answer, in the order they are written."""
    return [
        Route(**mark, handler=getattr(room, name))
        for name, method in vars(type(room)).items()
        for mark in getattr(method, MARKS, ())
    ]
