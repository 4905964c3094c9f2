"""What people hand in, checked: names, texts, questions and numbers. Every error names the field and the remedy."""

import json
import operator
import os
import re
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from numbers import Integral
from pathlib import Path
from typing import Protocol, TypeVar, cast

from pydantic import ConfigDict, JsonValue, ValidationError, field_validator

from kbchat.chunking import Splitting
from kbchat.errors import InvalidInputError, NotFoundError
from kbchat.filters import Filter, parse
from kbchat.models import MAX_ID, Document, Message, Sampling, SpaceInfo, VectorType
from kbchat.settings import RetrievalSettings, Settings
from kbchat.strategies import Stages

MAX_NAME = 255
"""Characters. Long enough for a path inside a folder, short enough for a list."""
MAX_PROSE = 10_000
"""Characters of a space's description or context."""
MAX_METADATA_DEPTH = 64
"""Lists and mappings of metadata within each other, the outermost one counted. Far below what any reader of JSON takes:
pydantic's, which reads what is kept and sent, takes 200, of which an answer around the metadata needs a few."""

_UNKEEPABLE = re.compile("[\x00\ud800-\udfff]")
"""What no database can keep, so that nothing has it in its name."""

Word = TypeVar("Word", bound=StrEnum)
T = TypeVar("T")
Messages = str | Sequence[Message | Mapping[str, str] | str]
"""A question, or the turns of a conversation that ends with one. A turn may be a mapping with `role` and `content`; a
bare text is the user's."""
Where = Filter | Mapping[str, JsonValue]
"""A filter on documents' metadata, or its JSON form."""


class HoldsSpace(Protocol):
    """A `KnowledgeSpace`, of either face."""

    @property
    def info(self) -> SpaceInfo: ...


SpaceHandle = str | int | SpaceInfo | HoldsSpace
"""A space: its name (a text), its id (a number), or itself."""
DocumentHandle = int | str | Document
"""A document: its id (a number), its name (a text), or itself."""


def checked_name(name: str, *, field: str) -> str:
    """The name in Unicode's composed form (NFC), so that what looks the same is the same.

    Raises `InvalidInputError` for one that is empty, too long, has white space around it, or holds control characters
    or lone surrogates.
    """
    if not must_be_text(name, field=field).strip():
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


def composed(name: str, *, field: str = "name") -> str:
    """A name as it is kept: what looks the same is the same."""
    return unicodedata.normalize("NFC", must_be_text(name, field=field))


def must_be_text(value: str, *, field: str) -> str:
    """The value, which a program may have got wrong. Raises `InvalidInputError` for anything but a text."""
    if not isinstance(value, str):
        raise InvalidInputError(field, f"must be a text, not {type(value).__name__}")
    return value


def keepable(text: str) -> str:
    """A text that others made, such as a model, with U+FFFD in the place of what no database can keep."""
    return _UNKEEPABLE.sub("\ufffd", text)


def checked_path(path: object, *, field: str) -> Path:
    """Raises `InvalidInputError` for what is no path."""
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise InvalidInputError(field, f"must be a path (a text or a Path), not {type(path).__name__}")
    return Path(path)


def checked_handle(handle: object, *, field: str, of: type[SpaceInfo] | type[Document] | None = None) -> str | int:
    """What names a thing: a text is a name, in composed form, a number an id, and a thing of the kind `of` has one.

    One that no id can be becomes 0, which is nobody's. Raises `InvalidInputError` for anything else.
    """
    if isinstance(handle, str):
        return 0 if _UNKEEPABLE.search(handle) else composed(handle)
    if of is not None and isinstance(thing := getattr(handle, "info", handle), of):
        return thing.id
    if isinstance(handle, bool) or not isinstance(handle, int):
        raise InvalidInputError(field, f"must be a name (a text) or an id (a number), not {type(handle).__name__}")
    return handle if 0 < handle <= MAX_ID else 0


def checked_ids(ids: Sequence[int | Document], *, field: str) -> list[int]:
    """The ids of documents. Raises `InvalidInputError` for what is neither a whole number nor a document."""
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise InvalidInputError(field, f"must be a list of ids, not {type(ids).__name__}")
    given = [it.id if isinstance(it, Document) else it for it in ids]
    if any(isinstance(it, bool) for it in given):
        raise InvalidInputError(field, "must be ids (numbers), not True or False")
    return [_whole(it, field=field) for it in given]


def checked_patterns(patterns: Iterable[str], *, field: str) -> tuple[str, ...]:
    """Raises `InvalidInputError` for a text alone, of which each letter would be a pattern, and for what is no text."""
    if isinstance(patterns, str):
        remedy = json.dumps([patterns], ensure_ascii=False)
        raise InvalidInputError(field, f"must be a list of patterns, not one text; write {remedy}")
    if isinstance(patterns, bytes) or not isinstance(patterns, Iterable):
        raise InvalidInputError(field, f"must be a list of patterns, not {type(patterns).__name__}")
    return tuple(must_be_text(pattern, field=field) for pattern in patterns)


async def named_or_numbered(find: Callable[[str | int], Awaitable[T]], handle: str | int) -> T:
    """What a person or a client means by a word, who may write an id as well as a name: the name wins, then the id."""
    try:
        return await find(handle)
    except NotFoundError:
        if not isinstance(handle, str) or not (handle.isascii() and handle.isdigit()):
            raise
        try:
            return await find(int(handle[:20]))  # What is longer is no id: ids are 64-bit numbers.
        except NotFoundError:
            pass
        raise


def checked_page(offset: int, limit: int | None) -> tuple[int, int | None]:
    """Where a page of a list begins and how long it is at most; None: as long as there is more."""
    first, most = _whole(offset, field="offset"), None if limit is None else _whole(limit, field="limit")
    for field, value in (("offset", first), ("limit", most)):
        if value is not None and value < 0:
            raise InvalidInputError(field, f"must not be negative, not {value}")
    return min(first, MAX_ID), None if most is None else min(most, MAX_ID)


def _whole(value: int, *, field: str) -> int:
    """Raises `InvalidInputError` for what is no whole number."""
    try:
        return operator.index(value)  # Not `isinstance`: numpy has whole numbers of its own.
    except TypeError:
        raise InvalidInputError(field, f"must be a whole number, not {value!r}") from None


def checked_metadata(metadata: Mapping[str, JsonValue], *, field: str) -> dict[str, JsonValue]:
    """Metadata that can be kept as JSON. Raises `InvalidInputError` for what is no mapping with texts as keys, NaN and
    infinity, lone surrogates, more than 64 levels, and what JSON has no word for."""
    if not isinstance(metadata, Mapping):
        raise InvalidInputError(field, f"must be a mapping of texts to values, not {type(metadata).__name__}")
    kept = dict(metadata)
    _check_levels(kept, 1, field=field)
    try:
        json.dumps(kept, allow_nan=False, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidInputError(field, "holds a lone surrogate; decode the text again") from None
    except ValueError:
        raise InvalidInputError(field, "holds NaN, infinity or an endless number; use finite numbers") from None
    except TypeError as error:
        raise InvalidInputError(field, f"cannot be written as JSON: {error}") from None
    return kept


def _check_levels(value: object, level: int, *, field: str) -> None:
    """Raise `InvalidInputError` for keys that are no texts, and for levels that never end or are too many."""
    if not isinstance(value, dict | list | tuple):
        return
    if level > MAX_METADATA_DEPTH:
        raise InvalidInputError(field, f"holds itself, or more than {MAX_METADATA_DEPTH} levels; make it flatter")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise InvalidInputError(field, f"has the key {key!r}; keys must be texts, not {type(key).__name__}")
    for inner in value.values() if isinstance(value, dict) else value:
        _check_levels(inner, level + 1, field=field)


def checked_splitting(splitting: Splitting | None) -> Splitting | None:
    """Raises `InvalidInputError` for anything else, such as a mapping."""
    if splitting is not None and not isinstance(splitting, Splitting):
        raise InvalidInputError("splitting", f"must be a kbchat.Splitting, not {type(splitting).__name__}")
    return splitting


def checked_owner(owner: str) -> str:
    """An owner's name; the empty one means nobody in particular."""
    return checked_name(owner, field="owner") if owner else ""


def asked_owner(owner: str | None) -> str | None:
    """Whose things are asked for, as it is kept; None: everybody's."""
    return None if owner is None else composed_owner(owner)


def asked_name(name: str | None) -> str | None:
    """Which name is asked for, as it is kept; None: any. One that nothing has is no mistake."""
    return None if name is None else checked_text(composed(name), field="name")


def composed_owner(owner: str) -> str:
    """An owner that is asked for, as owners are kept. More is allowed than of an owner that is made: to ask for a name
    that nobody has is no mistake, and one that begins with a blank is how the HTTP interface keeps an admin's
    conversations apart."""
    return checked_text(composed(owner, field="owner"), field="owner")


def checked_text(text: str, *, field: str) -> str:
    """The text as it is. Raises `InvalidInputError` for lone surrogates and NUL, which no database can keep."""
    if "\x00" in must_be_text(text, field=field):
        raise InvalidInputError(field, f"holds a NUL character at position {text.index(chr(0))}; remove it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        message = f"holds a lone surrogate at position {error.start}; decode the text again"
        raise InvalidInputError(field, message) from None
    return text


def checked_prose(text: str, *, field: str) -> str:
    """A short text about something."""
    if len(must_be_text(text, field=field)) > MAX_PROSE:
        raise InvalidInputError(field, f"has {len(text):,} characters; at most {MAX_PROSE:,} are allowed")
    return checked_text(text, field=field)


def checked_vector_type(value: VectorType | str) -> VectorType:
    """A vector store's name in any letter case."""
    for kind in VectorType:
        if kind.lower() == str(value).lower():
            return kind
    raise InvalidInputError("vector_type", f"{value!r} is unknown; use 'Chroma' or 'Milvus'")


def checked_question(question: str, *, field: str, limit: int) -> str:
    """A question of at most `limit` characters that is not blank."""
    if not must_be_text(question, field=field).strip():
        raise InvalidInputError(field, "the question is empty; ask something")
    if len(question) > limit:
        raise InvalidInputError(field, f"the question has {len(question):,} characters; at most {limit:,} are allowed")
    return checked_text(question, field=field)


def checked_messages(messages: Messages, *, limit: int) -> tuple[Message, ...]:
    """The turns of a conversation, which end with a question of the user's."""
    if not isinstance(messages, Iterable):
        raise InvalidInputError("messages", f"must be a text or a list of messages, not {type(messages).__name__}")
    turns = tuple(map(_turn, [messages] if isinstance(messages, str | Mapping | Message) else messages))
    if not turns or turns[-1].role != "user":
        raise InvalidInputError("messages", "must end with a message of the role 'user': the question")
    checked_question(turns[-1].content, field="messages", limit=limit)
    for turn in turns[:-1]:
        checked_text(turn.content, field="messages")
    return turns


def _turn(given: object) -> Message:
    match given:
        case Message():
            return given
        case str():
            return Message(role="user", content=given)
        case Mapping():
            try:
                return Message.model_validate({key: given[key] for key in ("role", "content") if key in given})
            except ValidationError as error:
                problem = error.errors(include_url=False, include_input=False)[0]
                where = ".".join(map(str, problem["loc"]))
                raise InvalidInputError("messages", f"{where} of a message: {problem['msg']}") from None
        case _:
            what = f"a kbchat.Message, a mapping with role and content, or a text, not {type(given).__name__}"
            raise InvalidInputError("messages", f"each must be {what}")


class RetrievalOptions(RetrievalSettings):
    """What one question is searched for with: all that was chosen, with nothing left to the settings."""

    model_config = ConfigDict(strict=True)

    rerank: bool = False
    """Only ever True where there is a reranker."""
    where: Filter | None = None

    @field_validator("top_k", "expand_tokens", mode="before")
    @classmethod
    def _plain(cls, value: object) -> object:
        """numpy has whole numbers of its own."""
        return operator.index(value) if isinstance(value, Integral) and not isinstance(value, bool) else value


def checked_options(given: Mapping[str, object], *, settings: Settings, reranks: bool, caller: str) -> RetrievalOptions:
    """The options as given, by name, and as the settings say where nothing was or None. `reranks` is whether there is a
    reranker. Raises `InvalidInputError` naming the argument, and `TypeError` naming the method for one that it has
    not."""
    if unknown := given.keys() - RetrievalOptions.model_fields.keys():
        raise TypeError(f"{caller} has no argument {min(unknown)!r}; {_said_by(min(unknown), caller)}")
    chosen = {name: getattr(settings, name) for name in RetrievalSettings.model_fields}
    chosen |= {name: value for name, value in given.items() if value is not None}
    chosen["rerank"] = _checked_rerank(given.get("rerank"), settings, there_is_one=reranks)
    if (where := given.get("where")) is not None:
        chosen["where"] = parse(where, field="where")
    try:
        return RetrievalOptions.model_validate(chosen)
    except ValidationError as error:
        raise _refused(error) from None


def _refused(error: ValidationError) -> InvalidInputError:
    """What is wrong with the first option that is, and what it may be."""
    problem = error.errors(include_url=False)[0]
    field, value = str(problem["loc"][0]), problem["input"]
    match problem["type"]:
        case "enum":
            words = cast("type[StrEnum]", RetrievalOptions.model_fields[field].annotation)
            return InvalidInputError(field, f"{value!r} is unknown; use one of: {', '.join(words)}")
        case "int_type":
            return InvalidInputError(field, f"must be a whole number, not {value!r}")
        case _:
            least, most = RetrievalOptions.model_fields[field].metadata
            return InvalidInputError(field, f"must be between {least.ge:g} and {most.le:g}, not {value!r}")


def _said_by(name: str, caller: str) -> str:
    """How to say what somebody may have meant by an argument that there is not."""
    if name in Sampling.model_fields and caller in ("chat()", "stream()"):
        return f"pass sampling=kbchat.Sampling({name}=…)"
    return f"what is retrieved is said by {', '.join(['top_k', 'score_threshold', 'where', *Stages.__annotations__])}"


def checked_word(words: type[Word], value: object, *, field: str) -> Word:
    """One of the words that there are for something."""
    try:
        return words(str(value))
    except ValueError:
        raise InvalidInputError(field, f"{value!r} is unknown; use one of: {', '.join(words)}") from None


def _checked_rerank(wanted: object, settings: Settings, *, there_is_one: bool) -> bool:
    """By default wherever there is a reranker, unless the settings say no."""
    if wanted and not there_is_one:
        raise InvalidInputError("rerank", "no reranker is configured; set rerank_model (KBCHAT_RERANK_MODEL)")
    return there_is_one and settings.rerank if wanted is None else bool(wanted)
