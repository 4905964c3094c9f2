"""Word documents, as Markdown."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kbchat.loaders.docx_numbers import Numbers, Styles, number
from kbchat.loaders.drawings import DRAWN, drawn
from kbchat.loaders.parts import about, joined, needing, office, parsing
from kbchat.loaders.text import require_text
from kbchat.models import LoadedDocument

if TYPE_CHECKING:
    from docx.document import Document

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_FALLBACK = f"{_MC}Fallback"
_UNSHOWN = {f"{_W}del", f"{_W}moveFrom", _FALLBACK}
"""What was deleted or moved away, and what only older programs show."""
_AROUND = {f"{_W}{tag}" for tag in ("sdt", "sdtContent", "customXml", "ins", "moveTo", "smartTag")}
_AROUND |= {f"{_MC}AlternateContent", f"{_MC}Choice"}
"""What may stand around paragraphs, tables, their rows and their cells."""
_DOCUMENT = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
_TYPES = {
    "application/vnd.ms-word.document.macroEnabled.main+xml": _DOCUMENT,
    "application/vnd.openxmlformats-officedocument.wordprocessingml.template.main+xml": _DOCUMENT,
    "application/vnd.ms-word.template.macroEnabledTemplate.main+xml": _DOCUMENT,
}
"""Documents with macros and templates, which python-docx refuses; they are the same but for that."""
MAX_SPAN = 63
"""Columns that a table may have in Word."""


class DocxLoader:
    """A Word document: headings, paragraphs, lists, tables, the text of formulas and drawings, and footnotes at the
    end."""

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """Raises `UnreadableDocumentError` for one that is damaged, a zip bomb or without text."""
        with needing("Word documents"):
            from docx import Document
            from docx.exceptions import PythonDocxError
            from docx.opc.exceptions import OpcError
        source = office(data, name=name, what="Word", suffix=".docx", types=_TYPES)
        with parsing(name, "Word", PythonDocxError, OpcError):
            document = Document(source)
            lines = list(_Body(document).lines())
        text, _ = joined([("\n".join(lines), {})])
        require_text(text, name=name, reason="the document holds no text")
        return LoadedDocument(text, metadata=about(document), markup="markdown")


class _Body:
    """Reads the elements themselves: python-docx's own views leave out content controls, formulas and changes."""

    def __init__(self, document: "Document") -> None:
        self._document = document
        self._relations = document.part.rels
        self._styles = Styles(document.styles.element)
        numbering = next(
            (part for part in document.part.package.iter_parts() if str(part.partname) == "/word/numbering.xml"), None
        )
        self._numbers = Numbers(_parsed(numbering.blob) if numbering is not None else None)

    def lines(self) -> Iterator[str]:
        yield from self._blocks(self._document.element.body)
        notes = [
            _text(note)
            for part in self._document.part.package.iter_parts()
            if str(part.partname).endswith(("/footnotes.xml", "/endnotes.xml"))
            for note in _parsed(part.blob).iterchildren(f"{_W}footnote", f"{_W}endnote")
        ]
        yield from (note for note in notes if note.strip())

    def _blocks(self, element: Any) -> Iterator[str]:
        for child in _inner(element, "p", "tbl"):
            yield from self._paragraph(child) if child.tag == f"{_W}p" else self._table(child)

    def _paragraph(self, paragraph: Any) -> Iterator[str]:
        for found in _beside(paragraph):
            yield from ("", *drawn(found, self._relations), "") if found.tag in DRAWN else self._blocks(found)
        text = _text(paragraph).strip()
        if not text:
            return
        counted, at, style = self._styles.counted(paragraph)
        in_list = self._styles.name(paragraph).startswith("list")
        depth, mark = self._numbers.next(counted, at, style) if counted else (0, "-" if in_list else "")
        if level := self._styles.level(paragraph):
            title = " ".join(f"{mark if mark != '-' else ''} {text}".split())
            yield from ("", f"{'#' * level} {title}", "")
        elif mark:
            yield f"{'  ' * depth}{mark} {text}"
        else:
            yield from ("", text, "")

    def _table(self, table: Any) -> Iterator[str]:
        rows = [self._row(row) for row in _inner(table, "tr")]
        width = max(map(len, rows), default=0)
        yield ""
        for place, cells in enumerate(rows):
            yield f"| {' | '.join(cells + [''] * (width - len(cells)))} |"
            if place == 0:
                yield "|" + " --- |" * width
        yield ""

    def _row(self, row: Any) -> list[str]:
        """A row's cells, each in its column: a wide one has empty ones after it."""
        cells = [""] * min(number(row, "trPr/gridBefore", 0) or 0, MAX_SPAN)
        for cell in _inner(row, "tc"):
            cells.append(" ".join(" ".join(self._blocks(cell)).split()).replace("|", "\\|"))
            cells += [""] * (min(number(cell, "tcPr/gridSpan", 1) or 1, MAX_SPAN) - 1)
        return cells


def _inner(element: Any, *tags: str) -> Iterator[Any]:
    """The elements of those kinds in another, also where something stands around them."""
    wanted = {f"{_W}{tag}" for tag in tags}
    for child in element.iterchildren(tag="*"):
        if child.tag in wanted:
            yield child
        elif child.tag in _AROUND:
            yield from _inner(child, *tags)


def _beside(element: Any) -> Iterator[Any]:
    """The text boxes and drawings that a paragraph shows; those within a box are its own paragraphs'."""
    for child in element.iterchildren(tag="*"):
        if child.tag == f"{_W}txbxContent" or child.tag in DRAWN:
            yield child
        elif child.tag not in _UNSHOWN and not _is_hidden(child):
            yield from _beside(child)


def _parsed(xml: bytes) -> Any:
    from docx.oxml import parse_xml

    return parse_xml(xml)


def _text(paragraph: Any) -> str:
    """The text of a paragraph as it shows: with formulas, without what was deleted, hidden, or tells how to read it."""
    pieces: list[str] = []
    skipped = {*_UNSHOWN, f"{_W}instrText", f"{_W}txbxContent", f"{_W}rt"}

    def walk(element: Any) -> None:
        for child in element.iterchildren(tag="*"):
            if child.tag in skipped or _is_hidden(child):
                continue
            if child.tag == f"{_W}r" and pieces and pieces[-1][-1:].isdigit() and _is_raised(child):
                pieces.append("^")
            if child.tag in (f"{_W}t", f"{_M}t"):
                pieces.append(child.text or "")
            elif child.tag == f"{_W}tab":
                pieces.append("\t")
            elif child.tag in (f"{_W}br", f"{_W}cr"):
                pieces.append("\n")
            elif child.tag == f"{_W}noBreakHyphen":
                pieces.append("-")
            else:
                walk(child)

    walk(paragraph)
    return "".join(pieces)


def _is_hidden(element: Any) -> bool:
    """Whether an element is a run that is not shown."""
    hidden = element.find(f"{_W}rPr/{_W}vanish") if element.tag == f"{_W}r" else None
    return hidden is not None and hidden.get(f"{_W}val") not in ("0", "false", "off")


def _is_raised(run: Any) -> bool:
    """Whether a run is a number above the line: 10⁶ is not 106."""
    place = run.find(f"{_W}rPr/{_W}vertAlign")
    if place is None or place.get(f"{_W}val") != "superscript":
        return False
    return "".join(text.text or "" for text in run.iterchildren(f"{_W}t")).strip("+-−").isdigit()
