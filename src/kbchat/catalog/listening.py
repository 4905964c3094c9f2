"""Connections to PostgreSQL that do not wait for ever: a server that was frozen, or whose machine hangs, keeps its
connections and answers nothing, which no limit of the server's own nor of TCP notices."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")


def listening_connection() -> type[psycopg.Connection[Any]]:
    """A class of connections that are closed when a statement's answer has not come, nor a piece of it, for `patience`
    seconds (None: for ever). Raises `ImportError` without the driver."""
    import psycopg
    from psycopg.waiting import Ready

    class ListeningConnection(psycopg.Connection[Any]):
        patience: float | None = None

        def wait(self, gen: Generator[Any, Any, T], *args: Any, **options: Any) -> T:
            """Every wait for the server comes by here."""
            return super().wait(self._listening(gen), *args, **options)

        def _listening(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
            # `wait` sends READY_NONE each time its short interval is over without anything to read.
            heard = time.monotonic()
            ready: Any = None
            while True:
                try:
                    wanted = gen.send(ready)
                except StopIteration as end:
                    answer: T = end.value
                    return answer
                ready = yield wanted
                if ready != Ready.NONE:
                    heard = time.monotonic()
                elif self.patience is not None and time.monotonic() - heard > self.patience:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"the server said nothing for {self.patience:g} seconds")

    return ListeningConnection
