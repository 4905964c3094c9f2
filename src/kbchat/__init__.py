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

from kbchat.answers import AnswerStream
from kbchat.errors import KbchatError
from kbchat.knowledge import KnowledgeBase
from kbchat.models import (
    Answer,
    Delta,
    Document,
    DocumentFailure,
    DocumentStatus,
    Done,
    IngestProgress,
    IngestReport,
    Message,
    Reference,
    References,
    Retrieved,
    Sampling,
    SpaceInfo,
    TextDocument,
    Usage,
    VectorType,
)
from kbchat.space import KnowledgeSpace

if TYPE_CHECKING:
    from kbchat import errors, references
    from kbchat.settings import ModelSettings, Settings

__all__ = [
    "Answer",
    "AnswerStream",
    "Delta",
    "Document",
    "DocumentFailure",
    "DocumentStatus",
    "Done",
    "IngestProgress",
    "IngestReport",
    "KbchatError",
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
    "references",
]

__version__ = "0.1.0"

# Reading settings costs three times the rest: those who only pass a folder load them with the first knowledge base.
_LATER = {"ModelSettings": "kbchat.settings", "Settings": "kbchat.settings"}


def __getattr__(name: str) -> object:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    if name in __all__:
        return import_module(f"kbchat.{name}")
    raise AttributeError(f"module 'kbchat' has no attribute {name!r}")
