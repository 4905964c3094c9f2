"""Words for what is told of things as a whole: what is in a space, what a conversation is."""

from datetime import datetime
from typing import Literal

from kbchat.models import Citation, DocumentStatus, Message, Reference, Value


class SpaceStats(Value):
    """What is in a space. `tokens` is an estimate; `statuses` counts documents by their status."""

    documents: int
    chunks: int
    tokens: int
    statuses: dict[DocumentStatus, int]
    state: Literal["empty", "indexing", "ready"]
    embedder: str | None


class ConversationInfo(Value):
    """A conversation as the catalog holds it. `uid` is its name, given by whoever talks; it is unique to its owner.

    `title` is how its first question begins, `space_id` the space that was asked last; None where that was the
    model alone.
    """

    id: int
    uid: str
    owner: str = ""
    title: str = ""
    space_id: int | None = None
    turn_count: int = 0
    created_at: datetime
    updated_at: datetime


class Sources(Value):
    """What stands behind a remembered answer: the passages that the model was given, and its checked citations."""

    space_id: int
    references: tuple[Reference, ...] = ()
    citations: tuple[Citation, ...] = ()


class Turn(Message):
    """One turn of a remembered conversation; an answer from a space has its sources."""

    sources: Sources | None = None
