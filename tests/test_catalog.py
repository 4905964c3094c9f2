"""The catalog on SQLite against its conformance suite."""

from collections.abc import Callable
from pathlib import Path

import pytest

for part in ("catalog_suite", "catalog_documents", "catalog_generations"):
    pytest.register_assert_rewrite(f"kbchat.testing.{part}")

from kbchat.catalog import Catalog  # noqa: E402
from kbchat.testing.catalog_suite import CatalogSuite  # noqa: E402
from kbchat.threads import Threads  # noqa: E402


class TestOnSqlite(CatalogSuite):
    @pytest.fixture
    def open_catalog(self, tmp_path: Path) -> Callable[[], Catalog]:
        return lambda: Catalog(tmp_path / "catalog.sqlite", threads=Threads())
