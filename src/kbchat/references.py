"""The references tag: the passages that the model was given, written into the answer and read back.

    <references title="References" references="[{&quot;name&quot;: …, &quot;chunks&quot;: [{…}]}]" />

The attribute is JSON, escaped as XML does. XML cannot hold every character and parsers change some, so those are
written as JSON escapes: what an XML parser gives back is the same JSON, whatever a document holds.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec
from pydantic import JsonValue

from kbchat.errors import ReferencesError
from kbchat.models import Metadata, Reference

TAG_OPENING = '<references title="References" references="'
_TAG_CLOSING = '" />'
_FORGED = "<references"
_HARMLESS = "&lt;references"

# What an XML parser would end the attribute at, change or refuse (U+FFFE, U+FFFF), and what readers of lines break at.
# The second kind stands only inside JSON strings, so its JSON escape means the same.
_ESCAPES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"))
_RAW = re.compile("[\x7f-\x9f\u2028\u2029\ufffe\uffff]")
_ENTITY = re.compile(r"&(?:#x([0-9a-fA-F]{1,6});|#([0-9]{1,7});|(amp|lt|gt|quot|apos);)?")
_NAMED = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_TAG = re.compile(r'(?:\n\n)?<references\s+title="References"\s+references="([^"<>]*)"\s*/>\s*\Z')


class Citable(Protocol):
    """What the tag says of a chunk: a `Reference`, or a `ParsedReference` read from another tag."""

    @property
    def name(self) -> str: ...
    @property
    def chunk_id(self) -> int: ...
    @property
    def content(self) -> str: ...
    @property
    def metadata(self) -> Metadata: ...
    @property
    def recall_score(self) -> float: ...


class ParsedReference(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk as a tag tells of it. Where it stands in its document is not in a tag."""

    name: str
    chunk_id: int
    content: str
    meta_info: str
    """The metadata as the tag has it: the text of a Python dict."""
    recall_score: float
    group: int
    """The place of its document in the tag, from 0: documents of different spaces may share a name."""

    @property
    def metadata(self) -> Metadata:
        """`meta_info` read back; empty when it is no dict of plain values."""
        return _read_dict(self.meta_info)


def render(references: Sequence[Citable]) -> str:
    """The documented tag, one entry a document, best first; "" when there are no references.

    Raises `ReferencesError` for a text with a lone surrogate, which no encoding can carry.
    """
    if not references:
        return ""
    listed = [{"name": name, "chunks": [_chunk(chunk) for chunk in chunks]} for name, chunks in by_document(references)]
    text = json.dumps(listed, ensure_ascii=False)
    for character, escaped in _ESCAPES:
        text = text.replace(character, escaped)
    if not text.isascii() or "\x7f" in text:
        text = _RAW.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ReferencesError(
            "a reference holds half of a surrogate pair, which is no character; remove it from the document"
        ) from error
    return f"{TAG_OPENING}{text}{_TAG_CLOSING}"


def parse(text: str) -> tuple[str, tuple[ParsedReference, ...]]:
    """Take an answer apart that ends with a tag: the text before it (and its blank line), and what the tag lists.

    A text without a tag is an answer without references. Raises `ReferencesError` for a tag that cannot be read or
    that the text does not end with.
    """
    start = text.rfind(TAG_OPENING)
    match = _TAG.search(text, max(0, start - 2)) if start >= 0 else _TAG.search(text)
    if match is None:
        if start >= 0:
            raise ReferencesError("the text holds a references tag that does not end it; was it cut?")
        return text, ()
    return text[: match.start()], _read_list(_unescape(match[1]))


def by_document(references: Iterable[Citable]) -> list[tuple[str, list[Citable]]]:
    """References grouped by document: the documents by their best chunk, the chunks of each by score."""
    groups: dict[tuple[str, int], tuple[str, list[Citable]]] = {}
    for reference in sorted(references, key=lambda reference: -reference.recall_score):
        groups.setdefault(_document(reference), (reference.name, []))[1].append(reference)
    return list(groups.values())


def detailed(references: Iterable[Citable], numbers: Mapping[int, int]) -> list[JsonValue]:
    """What the tag lists, with each chunk's place and the parts of its score beside it where they are known, and in
    `number` what the answer cites it by. `numbers` are those by chunk id."""
    return [
        {"name": name, "chunks": [_chunk(chunk) | _details(chunk, numbers) for chunk in chunks]}
        for name, chunks in by_document(references)
    ]


def meta_info(reference: Citable) -> str:
    """A chunk's metadata as the wire has it: the text of a Python dict."""
    return reference.meta_info if isinstance(reference, ParsedReference) else str(reference.metadata)


class Neutraliser:
    """Makes of a text, as it comes in pieces, one in which nothing can be taken for the tag.

    It keeps back only what may yet become `<references`.
    """

    def __init__(self) -> None:
        self._held = ""
        self._length = 0
        self._grown: list[int] = []

    def feed(self, text: str) -> str:
        """What can be sent of the text so far, which may be nothing."""
        text = self._held + text
        if _FORGED in text:
            self._grown += [self._length + match.start() for match in re.finditer(_FORGED, text)]
        start = text.rfind("<", -len(_FORGED) + 1)
        if start < 0 or not _FORGED.startswith(text[start:]):
            start = len(text)
        self._held = text[start:]
        self._length += start
        return text[:start].replace(_FORGED, _HARMLESS)

    def shift(self, offset: int) -> int:
        """Where in the text as sent an offset of the text as given is."""
        return offset + (len(_HARMLESS) - len(_FORGED)) * sum(at < offset for at in self._grown)

    def feed_all(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        """The pieces as they can be sent, without empty ones."""
        # Most of what models say holds no "<": one look at all of it is cheaper than one at each piece.
        if not self._held and "<" not in (joined := "".join(texts)):
            self._length += len(joined)
            return texts
        return tuple(fed for fed in map(self.feed, texts) if fed)

    def flush(self) -> str:
        """What was kept back when the text is over."""
        held, self._held = self._held, ""
        return held


def _chunk(reference: Citable) -> dict[str, JsonValue]:
    return {
        "id": reference.chunk_id,
        "content": reference.content,
        "meta_info": meta_info(reference),
        "recall_score": reference.recall_score,
    }


def _document(reference: Citable) -> tuple[str, int]:
    match reference:
        case Reference():
            return "", reference.document_id
        case ParsedReference():
            return reference.name, reference.group
        case _:
            return reference.name, 0


class _Chunk(msgspec.Struct):
    id: int
    content: str
    meta_info: str
    recall_score: float


class _Document(msgspec.Struct):
    name: str
    chunks: list[_Chunk]


_DOCUMENTS = msgspec.json.Decoder(list[_Document])


def _read_list(attribute: str) -> tuple[ParsedReference, ...]:
    try:
        documents = _DOCUMENTS.decode(attribute)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ReferencesError(f"the references tag holds no list of references: {error}") from error
    return tuple(
        ParsedReference(
            name=document.name,
            chunk_id=chunk.id,
            content=chunk.content,
            meta_info=chunk.meta_info,
            recall_score=chunk.recall_score,
            group=group,
        )
        for group, document in enumerate(documents)
        for chunk in document.chunks
    )


def _unescape(attribute: str) -> str:
    def character(match: re.Match[str]) -> str:
        hexadecimal, decimal, name = match.groups()
        if name:
            return _NAMED[name]
        try:
            return chr(int(hexadecimal, 16) if hexadecimal else int(decimal))
        except (TypeError, ValueError, OverflowError):
            raise ReferencesError(f"the references tag holds {match[0]!r}, which XML does not know") from None

    return _ENTITY.sub(character, attribute)


# One that is never closed is taken whole, lest each quotation mark in it is tried as well: it is no JSON in any case.
_LITERAL = re.compile(r"""'((?:[^'\\]|\\.)*)(?:'|\\?\Z)|"((?:[^"\\]|\\.)*)(?:"|\\?\Z)|([A-Za-z]+)""", re.DOTALL)
_WORDS = {"None": "null", "True": "true", "False": "false", "nan": "NaN", "inf": "Infinity"}
_BACKSLASH = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))", re.DOTALL)
_LETTERS = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'", '"': '"'}


def _read_dict(text: str) -> Metadata:
    # Rewritten as JSON and read as such: nothing of a foreign text is ever evaluated, however deep or long it is.
    try:
        value: JsonValue = json.loads(_LITERAL.sub(_json_literal, text))
    except (ValueError, KeyError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _json_literal(match: re.Match[str]) -> str:
    single, double, word = match.groups()
    if word:
        # The e of 1e-05 stands within a number.
        return "e" if word == "e" else _WORDS[word]
    return json.dumps(_BACKSLASH.sub(_plain, single if single is not None else double))


def _plain(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    return chr(int(code, 16)) if code else _LETTERS[match[4]]


def _details(reference: Citable, numbers: Mapping[int, int]) -> dict[str, JsonValue]:
    if not isinstance(reference, Reference):
        return {}
    return {
        "number": numbers.get(reference.chunk_id),
        "document_id": reference.document_id,
        "start": reference.start,
        "end": reference.end,
        "dense": reference.dense,
        "lexical": reference.lexical,
        "sentence": reference.sentence,
        "rerank": reference.rerank,
    }
