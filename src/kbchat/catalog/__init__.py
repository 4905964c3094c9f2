"""The catalog: the SQL database that is the truth about spaces, documents, their text and their chunks."""

from typing import TYPE_CHECKING

from kbchat.catalog.records import (
    DocumentEdit,
    FailedSource,
    Leftover,
    NewChunk,
    NewGeneration,
    PendingGeneration,
    SourceState,
    Surroundings,
    Upload,
)

if TYPE_CHECKING:
    from kbchat.catalog.catalog import Catalog

__all__ = [
    "Catalog",
    "DocumentEdit",
    "FailedSource",
    "Leftover",
    "NewChunk",
    "NewGeneration",
    "PendingGeneration",
    "SourceState",
    "Surroundings",
    "Upload",
]


def __getattr__(name: str) -> object:
    # The records are for everybody; SQLAlchemy, which the catalog itself loads, takes a while.
    if name == "Catalog":
        from kbchat.catalog.catalog import Catalog

        return Catalog
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
