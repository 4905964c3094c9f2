"""What the parts of the catalog's conformance suite share: fixtures, and documents in few words."""

from collections.abc import AsyncIterator, Callable
from hashlib import sha256

import pytest

from kbchat.catalog import Catalog, NewChunk, NewGeneration, PendingGeneration
from kbchat.models import EmbedderPin, Metadata, SpaceInfo, VectorType

NOWHERE = 2**63 - 1
"""An id that nothing has."""
PIN = EmbedderPin(name="static", dimension=256, fingerprint="f")
MANY = 40_000
"""More values than a statement of SQLite or PostgreSQL takes one by one."""


def text_of(*parts: str) -> str:
    return "\n\n".join(parts)


def generation(name: str, *parts: str, metadata: Metadata | None = None, **own: str | int) -> NewGeneration:
    """A document whose text is the parts, each of them a chunk with its number as metadata."""
    chunks, start = [], 0
    for number, part in enumerate(parts):
        end = start + len(part)
        key = sha256(part.encode("utf-8", "replace")).hexdigest()
        chunks.append(NewChunk(start=start, end=end, content=part, metadata={"part": number}, key=key))
        start = end + 2
    text = text_of(*parts)
    digest = sha256(text.encode("utf-8", "replace")).hexdigest()
    return NewGeneration(
        name=name,
        text=text,
        content_hash=digest,
        metadata={} if metadata is None else metadata,
        chunks=chunks,
        **own,  # type: ignore[arg-type]
    )


async def a_space(catalog: Catalog, name: str = "handbook", owner: str = "") -> SpaceInfo:
    return await catalog.create_space(name=name, owner=owner, vector_type=VectorType.CHROMA, desc="", context=None)


async def put(
    catalog: Catalog, space: SpaceInfo, *generations: NewGeneration, writer: str = "w"
) -> list[PendingGeneration]:
    """Write the documents and publish them."""
    pending = await catalog.begin_generations(space.id, generations)
    await catalog.publish(space.id, [begun.id for begun in pending], writer=writer)
    return pending


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
