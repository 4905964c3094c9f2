"""The catalog on SQLite against its conformance suite."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kbchat.catalog import Catalog
from kbchat.testing.catalog_suite import CatalogSuite
from kbchat.threads import Threads


class TestOnSqlite(CatalogSuite):
    @pytest.fixture
    def open_catalog(self, tmp_path: Path) -> Callable[[], Catalog]:
        return lambda: Catalog(tmp_path / "catalog.sqlite", threads=Threads())
