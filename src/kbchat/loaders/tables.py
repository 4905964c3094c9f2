"""Tables: CSV and spreadsheets. Each row is a line that says its columns' names, so that it can be found by itself."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.encodings import decode
from kbchat.loaders.parts import facts, joined, needing, unzipped
from kbchat.loaders.text import require_text
from kbchat.models import LoadedDocument

MAX_NAMED = 256
"""Columns up to which each row repeats their names. In a wider table they would be most of the text."""
SAMPLE_CHARS = 8192
"""What the separator is judged by: the standard library's time for it grows with the square of that."""
_DELIMITERS = ",;\t|"


class CsvLoader:
    """Comma-, semicolon- or tab-separated values."""

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """Raises `UnreadableDocumentError` for binary data and for a file without a value."""
        text, guessed = decode(data, name=name)
        csv.field_size_limit(max(len(text), 1))  # Rows are bounded by the file, which is bounded by the ingest.
        try:
            rows = list(csv.reader(io.StringIO(text, newline=""), _dialect(text)))
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
            from python_calamine import CalamineError, CalamineWorkbook, PasswordError
        if data.startswith(b"PK"):
            with unzipped(data, name=name, what="spreadsheet"):
                pass  # Bombs are refused before anything is unpacked.
        try:
            book = CalamineWorkbook.from_filelike(io.BytesIO(data))
            parts = []
            for sheet_name in book.sheet_names:
                rows = book.get_sheet_by_name(sheet_name).to_python(skip_empty_area=True)
                lines = _lines([[_shown(value) for value in row] for row in rows])
                parts.append(("\n".join(lines), {"sheet": sheet_name}))
        except PasswordError:
            raise UnreadableDocumentError(name, "encrypted with a password; save it without one") from None
        except (CalamineError, OSError) as error:
            raise UnreadableDocumentError(name, f"damaged: not a whole spreadsheet ({error})") from None
        text, blocks = joined(parts)
        require_text(text, name=name, reason="no sheet holds a value")
        return LoadedDocument(text, metadata={}, blocks=blocks)


def _dialect(text: str) -> type[csv.Dialect] | csv.Dialect:
    """How the values are separated, judged by the first lines."""
    sample = "\n".join(line[:4096] for line in text[:65536].splitlines()[:20])[:SAMPLE_CHARS]
    try:
        return csv.Sniffer().sniff(sample, _DELIMITERS)
    except csv.Error:
        return csv.excel


def _lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A line for each row that holds a value."""
    table = [[" ".join(value.split()) for value in row] for row in rows if any(value.strip() for value in row)]
    header = _header(table)
    if header is None:
        yield from (_plain(row) for row in table)
        return
    if len(header) > MAX_NAMED:
        yield from (_plain(row) for row in [header, *table[1:]])
        return
    if len(table) == 1:
        yield _plain(header)
    for row in table[1:]:
        named = [f"{key}: {value}" if key else value for key, value in zip(header, row, strict=False) if value]
        yield "; ".join(named + [value for value in row[len(header) :] if value])


def _header(table: Sequence[Sequence[str]]) -> Sequence[str] | None:
    """The first row, where it can be one of names: words, each but once, none of them a number."""
    if not table:
        return None
    names = [value for value in table[0] if value]
    if len(names) != len(set(names)) or any(_is_number(value) for value in names):
        return None
    return table[0] if len(names) > 1 or len(table[0]) == 1 else None


def _is_number(value: str) -> bool:
    try:
        float(value.replace(",", "."))
    except ValueError:
        return False
    return True


def _plain(row: Iterable[str]) -> str:
    return "; ".join(value for value in row if value)


def _shown(value: str | float | bool | time | date | datetime | timedelta) -> str:
    """A cell's value as a person would write it."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    return str(value)
