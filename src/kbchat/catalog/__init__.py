"""The catalog: the SQL database that is the truth about spaces, documents, their text and their chunks."""

from kbchat.catalog.catalog import Catalog, NewChunk, NewGeneration, PendingGeneration, SourceState

__all__ = ["Catalog", "NewChunk", "NewGeneration", "PendingGeneration", "SourceState"]
