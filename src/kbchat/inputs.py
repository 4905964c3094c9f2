"""What people hand in, checked: names, texts, questions and numbers. Every error names the field and the remedy."""

import unicodedata
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, TypeVar

from pydantic import JsonValue

from kbchat.errors import InvalidInputError
from kbchat.filters import Filter, parse
from kbchat.models import Message, VectorType
from kbchat.settings import Settings
from kbchat.strategies import Expand, Stages, Strategy

MAX_NAME = 255
"""Characters. Long enough for a path inside a folder, short enough for a list."""
MAX_PROSE = 10_000
"""Characters of a space's description or context."""
MAX_TOP_K = 1000
MAX_EXPAND_TOKENS = 100_000
MAX_WEIGHT = 10.0

Word = TypeVar("Word", bound=StrEnum)
Messages = str | Sequence[Message]
"""A question, or the turns of a conversation that ends with one."""
Where = Filter | Mapping[str, JsonValue]
"""A filter on documents' metadata, or its JSON form."""


def checked_name(name: str, *, field: str) -> str:
    """The name in Unicode's composed form (NFC), so that what looks the same is the same.

    Raises `InvalidInputError` for one that is empty, too long, has white space around it, or holds control characters
    or lone surrogates.
    """
    if not name or name.isspace():
        raise InvalidInputError(field, "must not be empty")
    if len(name) > MAX_NAME:
        raise InvalidInputError(field, f"has {len(name):,} characters; at most {MAX_NAME} are allowed")
    if name != name.strip():
        raise InvalidInputError(field, "has white space at its beginning or end; remove it")
    for position, character in enumerate(name):
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
            raise InvalidInputError(
                field, f"holds the character U+{ord(character):04X} at position {position}, which no name may hold"
            )
    return unicodedata.normalize("NFC", name)


def checked_owner(owner: str) -> str:
    """An owner's name; the empty one means nobody in particular."""
    return checked_name(owner, field="owner") if owner else ""


def checked_text(text: str, *, field: str) -> str:
    """The text as it is. Raises `InvalidInputError` for lone surrogates and NUL, which no database can keep."""
    if "\x00" in text:
        raise InvalidInputError(field, f"holds a NUL character at position {text.index(chr(0))}; remove it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        message = f"holds a lone surrogate at position {error.start}; decode the text again"
        raise InvalidInputError(field, message) from None
    return text


def checked_prose(text: str, *, field: str) -> str:
    """A short text about something."""
    if len(text) > MAX_PROSE:
        raise InvalidInputError(field, f"has {len(text):,} characters; at most {MAX_PROSE:,} are allowed")
    return checked_text(text, field=field)


def checked_vector_type(value: VectorType | str) -> VectorType:
    """A vector store's name in any letter case."""
    for kind in VectorType:
        if kind.lower() == value.lower():
            return kind
    raise InvalidInputError("vector_type", f"{value!r} is unknown; use 'Chroma' or 'Milvus'")


def checked_question(question: str, *, field: str, limit: int) -> str:
    """A question of at most `limit` characters that is not blank."""
    if not question or question.isspace():
        raise InvalidInputError(field, "the question is empty; ask something")
    if len(question) > limit:
        raise InvalidInputError(field, f"the question has {len(question):,} characters; at most {limit:,} are allowed")
    return checked_text(question, field=field)


def checked_messages(messages: Messages, *, limit: int) -> tuple[Message, ...]:
    """The turns of a conversation, which end with a question of the user's."""
    if isinstance(messages, str):
        messages = [Message(role="user", content=messages)]
    turns = tuple(messages)
    if not turns or turns[-1].role != "user":
        raise InvalidInputError("messages", "must end with a message of the role 'user': the question")
    checked_question(turns[-1].content, field="messages", limit=limit)
    for turn in turns[:-1]:
        checked_text(turn.content, field="messages")
    return turns


def checked_top_k(top_k: int) -> int:
    """How many hits, from 1 to 1000."""
    if not 1 <= top_k <= MAX_TOP_K:
        raise InvalidInputError("top_k", f"must be between 1 and {MAX_TOP_K}, not {top_k}")
    return top_k


def checked_threshold(score_threshold: float | None) -> float | None:
    """A score below which hits are dropped, from 0 to 1; None drops none."""
    if score_threshold is not None and not 0.0 <= score_threshold <= 1.0:
        raise InvalidInputError("score_threshold", f"must be between 0 and 1, not {score_threshold}")
    return score_threshold


class Bounds(NamedTuple):
    """What of a space is to be found at most."""

    top_k: int
    score_threshold: float | None = None
    where: Filter | None = None
    strategy: Strategy = Strategy.HYBRID
    rerank: bool = False
    diversity: float = 0.0
    expand: Expand = Expand.NONE
    expand_tokens: int = 512
    dense_weight: float | None = None
    sentence_weight: float | None = None


def checked_bounds(
    top_k: int | None,
    score_threshold: float | None,
    where: Where | None,
    stages: Stages,
    *,
    settings: Settings,
    reranks: bool,
) -> Bounds:
    """The bounds, as the settings say where nothing was said. `reranks` is whether there is a reranker. Raises
    `InvalidInputError` naming the argument."""
    given = {name: value for name, value in stages.items() if value is not None}
    if unknown := given.keys() - Stages.__annotations__.keys():
        raise TypeError(f"there is no argument {min(unknown)!r}")
    return Bounds(
        checked_top_k(settings.top_k if top_k is None else top_k),
        checked_threshold(settings.score_threshold if score_threshold is None else score_threshold),
        None if where is None else parse(where, field="where"),
        _word(Strategy, given.get("strategy", settings.strategy), field="strategy"),
        _checked_rerank(given.get("rerank"), settings, there_is_one=reranks),
        _between(given.get("diversity", settings.diversity), 0.0, 1.0, field="diversity"),
        _word(Expand, given.get("expand", settings.expand), field="expand"),
        int(_between(given.get("expand_tokens", settings.expand_tokens), 1, MAX_EXPAND_TOKENS, field="expand_tokens")),
        _weight(given.get("dense_weight", settings.dense_weight), field="dense_weight"),
        _weight(given.get("sentence_weight", settings.sentence_weight), field="sentence_weight"),
    )


def _word(words: type[Word], value: object, *, field: str) -> Word:
    try:
        return words(str(value))
    except ValueError:
        raise InvalidInputError(field, f"{value!r} is unknown; use one of: {', '.join(words)}") from None


def _between(value: object, least: float, most: float, *, field: str) -> float:
    if not isinstance(value, int | float) or not least <= value <= most:
        raise InvalidInputError(field, f"must be between {least:g} and {most:g}, not {value!r}")
    return value


def _weight(value: object, *, field: str) -> float | None:
    return None if value is None else _between(value, 0.0, MAX_WEIGHT, field=field)


def _checked_rerank(wanted: object, settings: Settings, *, there_is_one: bool) -> bool:
    """By default wherever there is a reranker, unless the settings say no."""
    if wanted and not there_is_one:
        raise InvalidInputError("rerank", "no reranker is configured; set rerank_model (KBCHAT_RERANK_MODEL)")
    return there_is_one and settings.rerank if wanted is None else bool(wanted)
