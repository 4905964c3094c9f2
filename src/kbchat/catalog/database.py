"""One database, SQLite or PostgreSQL: connecting, transactions and the tables' revision."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event

from kbchat.catalog import schema
from kbchat.catalog.failures import catalog_errors
from kbchat.catalog.versions import HEAD, VERSION_TABLE
from kbchat.errors import BusyError, CatalogCorruptError, CatalogUnavailableError, MissingExtraError, SettingsError

T = TypeVar("T")

_WRITES = "kbchat_writes"
_WAL_LIMIT = 64 * 1024 * 1024
_MIGRATION_LOCK = 0x6B62_6361  # "kbca": which of PostgreSQL's advisory locks is the migrations'


def database_url(url: str | Path) -> sa.URL:
    """The URL with its driver. A path is a SQLite file, whatever characters are in it."""
    if isinstance(url, Path):
        return sa.URL.create("sqlite+pysqlite", database=str(url))
    try:
        given = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # The latter for a port that is no number.
        given = sa.URL.create("unknown")
    match given.drivername:
        case "sqlite" | "sqlite+pysqlite" if given.database and given.database != ":memory:":
            return sa.URL.create("sqlite+pysqlite", database=given.database)
        case "postgresql" | "postgres" | "postgresql+psycopg":
            return given.set(drivername="postgresql+psycopg")
        case _:
            raise SettingsError(
                "catalog_url must be sqlite:///PATH (a file, not memory) or postgresql://USER:PASSWORD@HOST/DATABASE"
            )


class Database:
    """A pool of connections. All methods block; each may be called from any thread.

    Every failure of the database library is raised as one of `kbchat.errors`.
    """

    def __init__(self, url: sa.URL, *, timeout: float) -> None:
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._url = url
        self._where = repr(url.database) if self.is_sqlite else url.render_as_string(hide_password=True)
        self._timeout = timeout
        self._engine: Engine | None = None
        self._calls = 0
        self._idle = threading.Condition()

    def _create_engine(self) -> Engine:
        # As many connections as threads ask for; the last used first, because its cache is warm.
        options: dict[str, Any] = {"pool_size": 8, "max_overflow": -1, "pool_use_lifo": True}
        # Parameters are people's documents, and an error's text may end in a log.
        options["hide_parameters"] = True
        if self.is_sqlite:
            engine = sa.create_engine(self._url, connect_args={"timeout": self._timeout}, **options)
            event.listen(engine, "connect", _configure_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        connect = {"connect_timeout": max(2, round(self._timeout)), "tcp_user_timeout": round(self._timeout * 1000)}
        connect |= {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 4}
        try:
            from kbchat.catalog.listening import listening_connection

            kind = listening_connection()

            # A connection that the server closed meanwhile is replaced before it is used.
            engine = sa.create_engine(self._url, connect_args=connect, pool_pre_ping=True, **options)
        except ImportError:
            raise MissingExtraError("A catalog in PostgreSQL", "postgres") from None
        event.listen(engine, "do_connect", lambda dialect, record, given, named: kind.connect(**named))
        event.listen(engine, "connect", self._configure_postgresql)
        return engine

    def _configure_postgresql(self, connection: Any, record: object) -> None:
        # Longer than its own limit, so that who is heard from is believed.
        connection.patience = 2 * self._timeout + 1
        milliseconds = max(1, round(self._timeout * 1000))
        connection.execute(f"SET lock_timeout = {milliseconds}")
        # Longer, so that who waited for a lock hears of the lock.
        connection.execute(f"SET statement_timeout = {2 * milliseconds}")
        connection.commit()

    def open(self) -> None:
        """Connect, and make or bring up to date the tables. Another process may do the same at the same time."""
        with catalog_errors(self._where):
            engine = self._create_engine()
            try:
                with engine.connect() as connection:
                    is_current = self._is_current(connection)
                if self.is_sqlite:
                    self._use_wal(engine)
                if not is_current:
                    self._migrate(engine)
            except BaseException:
                engine.dispose()
                raise
            self._engine = engine

    def _use_wal(self, engine: Engine) -> None:
        # SQLite gives up at once, without waiting, where two processes change a new file's mode together.
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                with catalog_errors(self._where), _raw(engine) as connection:
                    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                break
            except BusyError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.01)
        if mode != "wal":
            raise CatalogUnavailableError(
                f"catalog {self._where} is where SQLite has no write-ahead log; put it on a local disk"
            )

    def _is_current(self, connection: Connection) -> bool:
        """Whether the tables are those of this version. Raises for another program's, before they are touched."""
        revision = _revision(connection)
        if revision is None:
            there = set(sa.inspect(connection).get_table_names())
            if there if self.is_sqlite else there & set(schema.metadata.tables):
                raise CatalogCorruptError(
                    f"{self._where} holds tables of another program, not a catalog; give kbchat one of its own"
                )
        return revision == HEAD

    def _migrate(self, engine: Engine) -> None:
        from kbchat.catalog import migrations

        with ExitStack() as ended, _writer(engine).begin() as connection:
            if not self.is_sqlite:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
                connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
                # Of the whole connection: whoever gets it next must not wait for ever.
                driver: Any = connection.connection.driver_connection
                ended.callback(setattr, driver, "patience", driver.patience)
                driver.patience = None
            # Asked again: another process may have been quicker.
            if self._is_current(connection):
                return
            revision = _revision(connection)
            if revision is not None and not migrations.is_known(revision):
                raise CatalogUnavailableError(
                    f"catalog {self._where} was written by a newer kbchat (its revision is {revision}, this one's "
                    f"is {HEAD}); upgrade kbchat"
                )
            migrations.upgrade(connection)

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction that sees one state of the catalog and changes nothing."""
        with self._use() as engine, catalog_errors(self._where), engine.connect() as connection:
            if not self.is_sqlite:
                # One state for all statements of a read, as SQLite gives it by itself.
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            return work(connection)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction: all of it is lasting when this returns, nothing when it raises."""
        with self._use() as engine, catalog_errors(self._where), _writer(engine).begin() as connection:
            return work(connection)

    def connect_alone(self) -> Connection:
        """A connection of its own, beside the pool's, on which each statement is a transaction. Close it."""
        with self._use() as engine, self.errors():
            connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()
            return connection

    def errors(self) -> AbstractContextManager[None]:
        """Raise the database library's errors as ours."""
        return catalog_errors(self._where)

    @contextmanager
    def _use(self) -> Iterator[Engine]:
        with self._idle:
            if self._engine is None:
                raise CatalogUnavailableError(f"catalog {self._where} is not open")
            engine = self._engine
            self._calls += 1
        try:
            yield engine
        finally:
            with self._idle:
                self._calls -= 1
                self._idle.notify_all()

    def close(self) -> None:
        """Let go of all connections once no call is running, or none of them ends within the time-out."""
        with self._idle:
            engine, self._engine = self._engine, None
            self._idle.wait_for(lambda: self._calls == 0, self._timeout)
        if engine is not None:
            engine.dispose()


def _writer(engine: Engine) -> Engine:
    return engine.execution_options(**{_WRITES: True})


@contextmanager
def _raw(engine: Engine) -> Iterator[Any]:
    connection = engine.raw_connection()
    try:
        yield connection.driver_connection
    finally:
        connection.close()


def _revision(connection: Connection) -> str | None:
    """The revision of the tables; None where there are none of ours."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    versions = sa.table(VERSION_TABLE, sa.column("version_num", sa.Text))
    revision: str | None = connection.execute(sa.select(versions.c.version_num)).scalar_one_or_none()
    return revision


def _configure_sqlite(connection: Any, record: object) -> None:
    # Transactions are begun by `_begin_sqlite`, not by the driver's guess.
    connection.isolation_level = None
    # FULL: what was published survives a power cut, not only a crash.
    for pragma in ("foreign_keys = ON", "synchronous = FULL", f"journal_size_limit = {_WAL_LIMIT}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the lock at once: one that began as a reader could not wait for it later.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
