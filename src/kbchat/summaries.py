"""Words for what is told of things as a whole: what is in a space, that there is a conversation."""

from datetime import datetime
from typing import Literal

from kbchat.models import DocumentStatus, Value


class SpaceStats(Value):
    """What is in a space. `tokens` is an estimate; `statuses` counts documents by their status."""

    documents: int
    chunks: int
    tokens: int
    statuses: dict[DocumentStatus, int]
    state: Literal["empty", "indexing", "ready"]
    embedder: str | None


class ConversationInfo(Value):
    """A conversation as the catalog holds it. `uid` is its name, given by whoever talks; it is unique to its owner."""

    id: int
    uid: str
    owner: str = ""
    turn_count: int = 0
    created_at: datetime
    updated_at: datetime
