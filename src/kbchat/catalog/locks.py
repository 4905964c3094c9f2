"""The writer's lock of a space among all servers of one PostgreSQL: an advisory lock on a connection of its own.

Whoever dies or loses that connection loses the lock at once, and may not know: so each who takes it raises the space's
`turn`, by which the others' writes are refused. PgBouncer must hand out sessions, not transactions.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import sqlalchemy as sa
from sqlalchemy import Connection

from kbchat.catalog import spaces
from kbchat.catalog.database import Database
from kbchat.errors import BusyError, CatalogUnavailableError
from kbchat.threads import Threads

_PAUSES = (0.01, 0.02, 0.05, 0.1)
"""Seconds between attempts to take the lock; the last one repeats."""
# By schema, because a database may hold several catalogs. An id beyond 31 bits shares its lock: that only costs time.
_KEY = "hashtext('kbchat.writer.' || current_schema()), (:space_id & 2147483647)::int"
_TAKE = sa.text(f"SELECT pg_try_advisory_lock({_KEY})")
_PROBE = sa.text("SELECT 1")
# When a server's machine goes without a word, its connection is given up after half a minute, not after two hours.
_KEEPALIVE = (
    "SET tcp_keepalives_idle = 10",
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 4",
)


@asynccontextmanager
async def writing(database: Database, threads: Threads, space_id: int, timeout: float) -> AsyncIterator[int | None]:
    """Hold the lock of a space, and know its turn; None for a space that is not there. See `Catalog.writing`."""
    opened: list[Connection] = []
    try:
        # Kept in the thread: cancelled while it is opened, it is closed all the same.
        await threads.write(lambda: opened.append(_connect(database)))
        connection = opened[0]
        await _take(database, threads, connection, space_id, timeout)
        yield await threads.write(_take_turn, database, connection, space_id)
        await threads.write(_still_there, database, connection)
    finally:
        with anyio.CancelScope(shield=True):
            for each in opened:
                await threads.write(_close, each)


def _connect(database: Database) -> Connection:
    connection = database.connect_alone()
    try:
        with database.errors():
            for statement in _KEEPALIVE:
                connection.exec_driver_sql(statement)
    except BaseException:
        _close(connection)
        raise
    return connection


async def _take(database: Database, threads: Threads, connection: Connection, space_id: int, timeout: float) -> None:
    deadline = anyio.current_time() + timeout
    attempt = 0
    while not await threads.write(_try, database, connection, space_id):
        left = deadline - anyio.current_time()
        if left <= 0:
            message = f"another server is writing to space {space_id}; wait until it has finished"
            raise BusyError(message, place=str(space_id))
        await anyio.sleep(min(left, _PAUSES[min(attempt, len(_PAUSES) - 1)]))
        attempt += 1


def _try(database: Database, connection: Connection, space_id: int) -> bool:
    with database.errors():
        return bool(connection.execute(_TAKE, {"space_id": space_id}).scalar_one())


def _take_turn(database: Database, connection: Connection, space_id: int) -> int | None:
    # On the lock's own connection: where that is lost already, nobody's turn is ended by it.
    with database.errors():
        return spaces.take_turn(connection, space_id)


def _still_there(database: Database, connection: Connection) -> None:
    try:
        with database.errors():
            connection.execute(_PROBE)
    except CatalogUnavailableError as error:
        raise CatalogUnavailableError(
            f"the connection that held the writer's lock was lost, so others may have written meanwhile; what was "
            f"published stays, repeat the rest ({error.message})"
        ) from error


def _close(connection: Connection) -> None:
    # The server lets go of the lock with the connection, which may be gone already.
    try:
        connection.close()
    except sa.exc.SQLAlchemyError:
        connection.invalidate()
