"""The fixtures that the parts of the catalog's conformance suite share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import pytest

from kbchat.models import SpaceInfo
from kbchat.testing.catalog_samples import a_space

if TYPE_CHECKING:
    from kbchat.catalog import Catalog


class CatalogFixtures:
    """A subclass gives `open_catalog`."""

    @pytest.fixture
    def open_catalog(self) -> Callable[[], Catalog]:
        raise NotImplementedError(
            "give a fixture `open_catalog`: a function that makes a catalog on the test's own database, not yet open"
        )

    @pytest.fixture
    async def catalog(self, open_catalog: Callable[[], Catalog]) -> AsyncIterator[Catalog]:
        catalog = open_catalog()
        await catalog.open()
        yield catalog
        await catalog.aclose()

    @pytest.fixture
    async def other(self, catalog: Catalog, open_catalog: Callable[[], Catalog]) -> AsyncIterator[Catalog]:
        """Another process's view of the same database."""
        other = open_catalog()
        await other.open()
        yield other
        await other.aclose()

    @pytest.fixture
    async def space(self, catalog: Catalog) -> SpaceInfo:
        return await a_space(catalog)
