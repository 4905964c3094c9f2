"""What is told of the work while it goes on: spans to OpenTelemetry, stages to who measures them.

Nothing of it holds a text, a question, a name of an owner, space or document, or a key.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from opentelemetry.trace.span import Span as Recorded

Listener = Callable[[str, float], None]
"""Told of a stage of retrieval and the seconds that it took."""

_listener: ContextVar[Listener | None] = ContextVar("kbchat.telemetry.listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have `listener` told of the stages that this task and those it starts go through."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell_stage(stage: str, seconds: float) -> None:
    """Tell who listens, if anybody does."""
    if (listener := _listener.get()) is not None:
        listener(stage, seconds)


def _api() -> ModuleType | None:
    """OpenTelemetry's API where the application has loaded it, or a library has: it is never imported for this, because
    nobody would see the spans. None also while another thread is still importing it."""
    api = sys.modules.get("opentelemetry.trace")
    return None if api is None or getattr(api.__spec__, "_initializing", False) else api


class Span:
    """A span of OpenTelemetry's API, where the application has loaded that, and else nothing.

    It is begun and ended by `with`, as the child of `parent`, or of what the caller's own code has current; where that
    is not recorded, neither is this. It is not made the current one, because an answer may be read in another context
    than it was begun in. An error is told by its class alone: its message may hold names.
    """

    def __init__(self, name: str, parent: Span | None = None) -> None:
        self._name = name
        self._parent = parent
        self._recorded: Recorded | None = None

    def __enter__(self) -> Self:
        above = None if self._parent is None else self._parent._recorded
        if self._parent is not None and above is None:
            return self
        if (api := _api()) is not None:
            context = None if above is None else api.set_span_in_context(above)
            begun = api.get_tracer("kbchat").start_span(self._name, context, record_exception=False)
            self._recorded = begun if begun.is_recording() else None
        return self

    def tell(self, attributes: Mapping[str, str | int | float]) -> None:
        if self._recorded is not None:
            for name, value in attributes.items():
                self._recorded.set_attribute(name, value)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._recorded is None:
            return
        if isinstance(error, Exception):
            api = sys.modules["opentelemetry.trace"]
            self._recorded.set_attribute("error.type", type(error).__name__)
            self._recorded.set_status(api.StatusCode.ERROR)
        self._recorded.end()
