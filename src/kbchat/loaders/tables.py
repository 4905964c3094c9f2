"""Tables: CSV and spreadsheets. Each row is a line that says its columns' names, so that it can be found by itself."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from itertools import islice

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.encodings import decode
from kbchat.loaders.parts import facts, joined, needing, unzipped
from kbchat.loaders.text import require_text
from kbchat.models import LoadedDocument

MAX_NAMED = 256
"""Columns up to which each row repeats their names. In a wider table they would be most of the text."""
JUDGED_CHARS = 65_536
"""What the separator is judged by."""
JUDGED_ROWS = 100
"""The rows by which the first one is judged to be their columns' names, or not."""

Value = str | float | bool | time | date | datetime | timedelta

# Of those that separate the values equally well, the first: a comma may be a decimal one.
_SEPARATORS = "\t;|,"
_MANIFEST, _LOCKED = "META-INF/manifest.xml", b":encryption-data"
"""Where an OpenDocument file says of its parts that they are encrypted."""
_SAID = re.compile(r'sep=([^"\n ])\n', re.IGNORECASE)
"""The first line by which a file tells Excel its separator."""

_DATE = re.compile(r"\d{1,4}([-./])\d{1,2}\1\d{1,4}(?: .*)?")
_YEAR = re.compile(r"(?:19|20)\d\d")
_SENTENCE = 40
"""Characters from which on a text is more than a name."""
_NAMES = frozenset({"Word", "word"})


class CsvLoader:
    """Comma-, semicolon- or tab-separated values."""

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """Raises `UnreadableDocumentError` for binary data and for a file without a value."""
        text, guessed = decode(data, name=name)
        # The whole process's, so it is raised alone. Rows are bounded by the file, which is bounded by the ingest.
        if len(text) > csv.field_size_limit():
            csv.field_size_limit(len(text))
        try:
            rows = list(_separated(text))
        except csv.Error as error:
            raise UnreadableDocumentError(name, f"not a table of separated values: {error}") from None
        content, blocks = joined([("\n".join(_lines(rows)), {})])
        require_text(content, name=name, reason="the table is empty")
        return LoadedDocument(content, metadata=facts(encoding=guessed), blocks=blocks)


class SheetLoader:
    """Excel and OpenDocument workbooks. Each sheet that holds something is a block."""

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """Raises `UnreadableDocumentError` for a workbook that is locked, damaged or empty."""
        with needing("spreadsheets"):
            from python_calamine import CalamineError, CalamineWorkbook, PasswordError, SheetTypeEnum
        if data.startswith(b"PK"):
            # Bombs are refused before anything is unpacked.
            with unzipped(data, name=name, what="spreadsheet") as archive:
                if _MANIFEST in archive.NameToInfo and _LOCKED in archive.read(_MANIFEST):
                    raise UnreadableDocumentError(name, "encrypted with a password; save it without one")
        try:
            book = CalamineWorkbook.from_filelike(io.BytesIO(data))
            parts = []
            for sheet in book.sheets_metadata:
                if sheet.typ != SheetTypeEnum.WorkSheet:
                    continue  # A chart, whose values are on another, or a program.
                # A stray value in the last row makes a million rows: those without a value are not looked at.
                rows = (row for row in book.get_sheet_by_name(sheet.name).iter_rows() if row.count("") < len(row))
                lines = _lines([[_shown(value) for value in row] for row in rows])
                parts.append(("\n".join(lines), {"sheet": sheet.name}))
        except PasswordError:
            raise UnreadableDocumentError(name, "encrypted with a password; save it without one") from None
        except (CalamineError, OSError) as error:
            raise UnreadableDocumentError(name, f"damaged: not a whole spreadsheet ({error})") from None
        text, blocks = joined(parts)
        require_text(text, name=name, reason="no sheet holds a value")
        return LoadedDocument(text, metadata={}, blocks=blocks)


def _separated(text: str) -> Iterator[list[str]]:
    """The rows of a table. Quotes are double ones, and doubled within themselves, as RFC 4180 has it."""
    said = _SAID.match(text)
    separator = said[1] if said else _separator(text)
    body = io.StringIO(text[said.end() :] if said else text, newline="")
    yield from csv.reader(body, delimiter=separator, skipinitialspace=True)


def _separator(text: str) -> str:
    """The separator by which most of the first rows have one and the same number of values, more than one."""
    found, most = ",", 0.0
    for separator in _SEPARATORS:
        reader = csv.reader(io.StringIO(text[:JUDGED_CHARS], newline=""), delimiter=separator, skipinitialspace=True)
        widths = [len(row) for row in islice(reader, JUDGED_ROWS) if row]
        alike = max((count for width, count in Counter(widths).items() if width > 1), default=0)
        if alike > most * len(widths):
            found, most = separator, alike / len(widths)
    return found


def _lines(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A line for each row that holds a value; columns without one are left out."""
    table = [[" ".join(value.split()) for value in row] for row in rows]
    used = sorted({column for row in table for column, value in enumerate(row) if value})
    table = [[row[column] if column < len(row) else "" for column in used] for row in table if any(row)]
    titles = 0
    while len(used) > 1 and titles < len(table) and sum(map(bool, table[titles])) == 1:
        titles += 1
    yield from map(_plain, table[:titles])
    if titles == len(table):
        return
    header, below = table[titles], [row for row in table[titles + 1 :] if row != table[titles]]
    is_header = _is_header(header, below[:JUDGED_ROWS]) if below else False
    if is_header is None and len(used) == 2:
        yield from (_named(*row) for row in table[titles:])
    elif is_header is False or (is_header is None and len(used) == 1) or len(used) > MAX_NAMED:
        yield from map(_plain, table[titles:])
    else:
        for row in below:
            yield "; ".join(_named(key, value) for key, value in zip(header, row, strict=True) if value)


def _is_header(first: Sequence[str], below: Sequence[Sequence[str]]) -> bool | None:
    """Whether the first row names the columns; None if nothing says so and nothing speaks against it.

    It does where a column is all of one kind and its first value of another: a word above figures, dates, codes or
    sentences, a year above figures, `name` above `Ann`. It does not where it holds a figure, or a date above dates;
    and, unless a column says so, where it holds a value twice, or one that its column has again, or where some of it
    begins with a capital and some not, just as the rows below do.
    """
    heads = [_kind(value) for value in first]
    columns = [[row[column] for row in below if row[column]] for column in range(len(first))]
    kinds = [_common({_kind(value) for value in column} - {""}) for column in columns]
    pairs = [(head, kind) for head, kind in zip(heads, kinds, strict=True) if head]
    if any(head == "figure" or (head in ("year", "date") and head == kind) for head, kind in pairs):
        return False
    ways = _NAMES.intersection(heads)
    for head, kind in pairs:
        if head in _NAMES and kind in _NAMES:
            if head != kind and len(ways) == 1:
                return True
        elif kind and head != kind and (head in _NAMES or kind == "figure"):
            return True
    names = [value for value in first if value]
    again = any(value in column for value, column in zip(first, columns, strict=True) if value)
    alike = [head for head, kind in pairs if kind and head == kind]
    is_alike = len(_NAMES.intersection(alike)) > 1 and len(alike) == sum(bool(kind) for _, kind in pairs)
    if again or is_alike or len(names) != len(set(names)):
        return False
    return None


def _kind(value: str) -> str:
    """What a value looks like: a year, date, figure, sentence, code, or a word by its first letter; else nothing."""
    if not any(map(str.isalpha, value)):
        if not any(map(str.isdigit, value)):
            return ""
        return "year" if _YEAR.fullmatch(value) else "date" if _DATE.fullmatch(value) else "figure"
    if len(value) > _SENTENCE:
        return "sentence"
    if "@" in value or any(map(str.isdigit, value)):
        return "code"
    return "word" if value[0].islower() else "Word"


def _common(kinds: set[str]) -> str:
    """The kind of a column: the only one that its values have, or none. What may be a year may be a figure."""
    if kinds == {"year", "figure"}:
        return "figure"
    return kinds.pop() if len(kinds) == 1 else ""


def _named(key: str, value: str) -> str:
    return f"{key.rstrip(':： ')}: {value}" if key and value else key or value


def _plain(row: Iterable[str]) -> str:
    return "; ".join(value for value in row if value)


def _shown(value: Value) -> str:
    """A cell's value as a person would write it, numbers to the 15 digits that spreadsheets show."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.15g}"
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    return str(value)
