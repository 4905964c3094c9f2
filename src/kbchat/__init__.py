"""kbchat lets any Python program chat with its own documents.

import kbchat

async with kbchat.KnowledgeBase("./kb-data") as kb:
    space = await kb.create_space("handbook")
    await space.ingest("docs/")
    answer = await space.chat("How are keys rotated?")
    print(answer.text, answer.references)
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kbchat import errors, filters, references, sync
    from kbchat.answers import AnswerStream
    from kbchat.chunking import ChunkStrategy, Splitting
    from kbchat.conversations import Conversations
    from kbchat.errors import KbchatError
    from kbchat.events import Delta, Deltas, Done, References, Retrieved
    from kbchat.keys import Keys
    from kbchat.knowledge import KnowledgeBase
    from kbchat.maintenance.checking import CheckReport
    from kbchat.maintenance.moving import Agreement
    from kbchat.models import (
        FOUND,
        Answer,
        Chunk,
        Citation,
        Document,
        DocumentFailure,
        DocumentStatus,
        EmbedderPin,
        IngestProgress,
        IngestReport,
        IngestStage,
        KeyInfo,
        KeyRole,
        Message,
        Passage,
        Reference,
        Sampling,
        SpaceInfo,
        TextDocument,
        Usage,
        VectorType,
    )
    from kbchat.retrieval.explaining import Explanation
    from kbchat.settings import ModelSettings, Settings
    from kbchat.space import KnowledgeSpace
    from kbchat.strategies import Expand, Stages, Strategy
    from kbchat.summaries import ConversationInfo, Sources, SpaceStats, Turn

__all__ = [
    "FOUND",
    "Agreement",
    "Answer",
    "AnswerStream",
    "CheckReport",
    "Chunk",
    "ChunkStrategy",
    "Citation",
    "ConversationInfo",
    "Conversations",
    "Delta",
    "Deltas",
    "Document",
    "DocumentFailure",
    "DocumentStatus",
    "Done",
    "EmbedderPin",
    "Expand",
    "Explanation",
    "IngestProgress",
    "IngestReport",
    "IngestStage",
    "KbchatError",
    "KeyInfo",
    "KeyRole",
    "Keys",
    "KnowledgeBase",
    "KnowledgeSpace",
    "Message",
    "ModelSettings",
    "Passage",
    "Reference",
    "References",
    "Retrieved",
    "Sampling",
    "Settings",
    "Sources",
    "SpaceInfo",
    "SpaceStats",
    "Splitting",
    "Stages",
    "Strategy",
    "TextDocument",
    "Turn",
    "Usage",
    "VectorType",
    "errors",
    "filters",
    "references",
    "sync",
]

__version__ = "0.1.0"

# Every name is loaded when it is first used: building the models alone takes longer than importing pydantic does.
_HOMES = {
    "Agreement": "maintenance.moving",
    "AnswerStream": "answers",
    "CheckReport": "maintenance.checking",
    "ChunkStrategy": "chunking",
    "ConversationInfo": "summaries",
    "Conversations": "conversations",
    "Delta": "events",
    "Deltas": "events",
    "Done": "events",
    "Expand": "strategies",
    "Explanation": "retrieval.explaining",
    "KbchatError": "errors",
    "Keys": "keys",
    "KnowledgeBase": "knowledge",
    "KnowledgeSpace": "space",
    "ModelSettings": "settings",
    "References": "events",
    "Retrieved": "events",
    "Settings": "settings",
    "Sources": "summaries",
    "SpaceStats": "summaries",
    "Splitting": "chunking",
    "Stages": "strategies",
    "Strategy": "strategies",
    "Turn": "summaries",
    "errors": "",
    "filters": "",
    "references": "",
    "sync": "",
}
"""Which module a name lives in; those not listed are models, those with an empty one are modules themselves."""


if not TYPE_CHECKING:  # Else type checkers would find any name at all.

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'kbchat' has no attribute {name!r}")
        home = _HOMES.get(name, "models")
        value: object = getattr(import_module(f"kbchat.{home}"), name) if home else import_module(f"kbchat.{name}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
