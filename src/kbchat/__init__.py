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
    from kbchat import errors, filters, references
    from kbchat.answers import AnswerStream
    from kbchat.errors import KbchatError
    from kbchat.events import Delta, Done, References, Retrieved
    from kbchat.knowledge import KnowledgeBase
    from kbchat.models import (
        Answer,
        Citation,
        Document,
        DocumentFailure,
        DocumentStatus,
        IngestProgress,
        IngestReport,
        IngestStage,
        Message,
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

__all__ = [
    "Answer",
    "AnswerStream",
    "Citation",
    "Delta",
    "Document",
    "DocumentFailure",
    "DocumentStatus",
    "Done",
    "Explanation",
    "IngestProgress",
    "IngestReport",
    "IngestStage",
    "KbchatError",
    "KeyInfo",
    "KeyRole",
    "KnowledgeBase",
    "KnowledgeSpace",
    "Message",
    "ModelSettings",
    "Reference",
    "References",
    "Retrieved",
    "Sampling",
    "Settings",
    "SpaceInfo",
    "TextDocument",
    "Usage",
    "VectorType",
    "errors",
    "filters",
    "references",
]

__version__ = "0.1.0"

# Every name is loaded when it is first used: building the models alone takes longer than importing pydantic does.
_HOMES = {
    "AnswerStream": "answers",
    "Delta": "events",
    "Done": "events",
    "Explanation": "retrieval.explaining",
    "KbchatError": "errors",
    "KnowledgeBase": "knowledge",
    "KnowledgeSpace": "space",
    "ModelSettings": "settings",
    "References": "events",
    "Retrieved": "events",
    "Settings": "settings",
    "errors": "",
    "filters": "",
    "references": "",
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
