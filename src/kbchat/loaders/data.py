"""JSON, JSON lines and notebooks, as text that people would read."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from pydantic import JsonValue

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.encodings import decode
from kbchat.loaders.parts import facts, joined
from kbchat.loaders.text import markdown_title, require_text
from kbchat.models import LoadedDocument

MAX_DEPTH = 50
"""Nested deeper than this, a value stands as the JSON it is."""
_LEVELS = ("1", "2", "3", "4", "5", "6")


class _Number(str):
    """A number as it is written: 1.10 is a version or a price, and no other has all the digits of a long one."""


class JsonLoader:
    """A JSON value: names and values a line each, indented; a name that comes twice has all its values. What does not
    parse is text as it stands."""

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """Raises `UnreadableDocumentError` for binary data and for a value without text."""
        text, guessed = decode(data, name=name)
        try:
            value = _parsed(text)
            # Between the items of a list a cut does least harm.
            parts = [_outlined(item) for item in value] if isinstance(value, list) else [_outlined(value)]
        except (ValueError, RecursionError):
            return LoadedDocument(text, metadata=facts(encoding=guessed))
        return _document(parts, name=name, encoding=guessed)


class JsonLinesLoader:
    """A JSON value a line."""

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """Raises `UnreadableDocumentError`, naming the line that does not parse."""
        text, guessed = decode(data, name=name)
        parts = []
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            try:
                parts.append(_outlined(_parsed(line)))
            except ValueError:
                raise UnreadableDocumentError(name, f"line {number} is no JSON; mend or remove it") from None
            except RecursionError:
                raise UnreadableDocumentError(name, f"line {number} is nested too deeply") from None
        return _document(parts, name=name, encoding=guessed)


class NotebookLoader:
    """A Jupyter notebook: its text cells as Markdown, its code cells as code. Outputs are left out."""

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """Raises `UnreadableDocumentError` for what is no notebook or has no cell with text."""
        text, _ = decode(data, name=name)
        try:
            book = json.loads(text, parse_int=_Number)
            language = book.get("metadata", {}).get("language_info", {}).get("name", "python")
            if "cells" in book:
                cells = book["cells"]
            else:  # Until version 4 they were on sheets, of which there was one.
                cells = [_renewed(cell) for sheet in book["worksheets"] for cell in sheet["cells"]]
            parts = [_cell(cell, str(language)) for cell in cells]
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
            raise UnreadableDocumentError(name, "not a Jupyter notebook, or cut short") from None
        content, _ = joined((part, {}) for part in parts)
        require_text(content, name=name, reason="no cell holds text")
        return LoadedDocument(content, metadata=facts(title=markdown_title(content)), markup="markdown")


def _parsed(text: str) -> JsonValue:
    value: JsonValue = json.loads(
        text, object_pairs_hook=_whole, parse_int=_Number, parse_float=_Number, parse_constant=_Number
    )
    return value


def _whole(pairs: Sequence[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    """An object; a name that comes again has a list of its values."""
    whole = dict(pairs)
    if len(whole) == len(pairs):
        return whole
    counts = Counter(key for key, _ in pairs)
    several: dict[str, list[JsonValue]] = {key: [] for key, count in counts.items() if count > 1}
    for key, value in pairs:
        if key in several:
            several[key].append(value)
    return {**whole, **several}


def _document(parts: Iterable[str], *, name: str, encoding: str | None) -> LoadedDocument:
    text, _ = joined((part, {}) for part in parts)
    require_text(text, name=name, reason="the file holds no value")
    return LoadedDocument(text, metadata=facts(encoding=encoding))


def _renewed(cell: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """A cell of an old notebook as it is written since version 4. The lines of the oldest ones have no ends."""
    source = cell.get("source", cell.get("input", ""))
    if isinstance(source, list):
        lines = list(map(str, source))
        source = ("" if any(line.endswith("\n") for line in lines) else "\n").join(lines)
    if cell.get("cell_type") != "heading":
        return {**cell, "source": source}
    level, title = str(cell.get("level", 1)), " ".join(str(source).split())
    depth = int(level) if level in _LEVELS else 1
    return {"cell_type": "markdown", "source": f"{'#' * depth} {title}" if title else ""}


def _cell(cell: dict[str, JsonValue], language: str) -> str:
    source = cell.get("source", "")
    text = "".join(map(str, source)) if isinstance(source, list) else str(source)
    if cell.get("cell_type") != "code" or not text.strip():
        return text
    fence = "````" if "```" in text else "```"
    return f"{fence}{language}\n{text}\n{fence}"


def _outlined(value: JsonValue) -> str:
    return "\n".join(_lines(value, 0))


def _lines(value: JsonValue, depth: int) -> Iterator[str]:
    indent = "  " * depth
    if depth > MAX_DEPTH:
        pieces: list[str] = []
        _write(value, pieces)
        yield indent + "".join(pieces)
    elif isinstance(value, dict):
        for key, item in value.items():
            if _is_plain(item):
                yield f"{indent}{key}: {_shown(item)}"
            else:
                yield f"{indent}{key}:"
                yield from _lines(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            lines = list(_lines(item, depth + 1))
            if lines:
                yield f"{indent}- {lines[0].strip()}"
                yield from lines[1:]
    else:
        yield indent + _shown(value)


def _write(value: JsonValue, pieces: list[str]) -> None:
    """A value as JSON. The standard library would write its numbers as strings."""
    if isinstance(value, dict):
        for number, (key, item) in enumerate(value.items()):
            pieces.append(f"{', ' if number else '{'}{json.dumps(key, ensure_ascii=False)}: ")
            _write(item, pieces)
        pieces.append("}" if value else "{}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            pieces.append(", " if number else "[")
            _write(item, pieces)
        pieces.append("]" if value else "[]")
    else:
        pieces.append(value if isinstance(value, _Number) else json.dumps(value, ensure_ascii=False))


def _is_plain(value: JsonValue) -> bool:
    return not isinstance(value, dict | list) or not value


def _shown(value: JsonValue) -> str:
    if isinstance(value, str):
        return value
    return "" if value in ({}, []) else json.dumps(value)
