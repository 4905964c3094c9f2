"""Word documents, as Markdown."""

import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.parts import facts, joined, needing, unzipped
from kbchat.loaders.text import require_text
from kbchat.models import LoadedDocument

if TYPE_CHECKING:
    from docx.document import Document

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_LEVEL = re.compile(r"heading (\d)", re.IGNORECASE)


class DocxLoader:
    """A Word document: headings, paragraphs, lists, tables, the text of formulas, and footnotes at the end."""

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """Raises `UnreadableDocumentError` for one that is damaged, a zip bomb or without text."""
        with needing("Word documents"):
            from docx import Document
            from lxml.etree import XMLSyntaxError
        with unzipped(data, name=name, what="Word"):
            pass  # Bombs and damage are refused before anything is unpacked.
        try:
            document = Document(io.BytesIO(data))
            lines = list(_Body(document).lines())
        except (KeyError, ValueError, XMLSyntaxError, AttributeError) as error:
            raise UnreadableDocumentError(name, f"damaged: not a whole Word file ({error})") from None
        text, _ = joined([("\n".join(lines), {})])
        require_text(text, name=name, reason="the document holds no text")
        about = document.core_properties
        return LoadedDocument(text, metadata=facts(title=about.title, author=about.author), markup="markdown")


class _Body:
    """Reads the elements themselves: python-docx's own views leave out content controls, formulas and changes."""

    def __init__(self, document: "Document") -> None:
        self._document = document
        self._names = {style.style_id: (style.name or "") for style in document.styles}

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
        for child in element.iterchildren():
            if child.tag == f"{_W}p":
                yield from self._paragraph(child)
            elif child.tag == f"{_W}tbl":
                yield from self._table(child)
            elif child.tag in (f"{_W}sdt", f"{_W}sdtContent", f"{_W}ins", f"{_W}smartTag"):
                yield from self._blocks(child)

    def _paragraph(self, paragraph: Any) -> Iterator[str]:
        for box in paragraph.iter(f"{_W}txbxContent"):
            if not any(above.tag == _FALLBACK for above in box.iterancestors()):
                yield from self._blocks(box)
        text = " ".join(_text(paragraph).split(" ")).strip()
        if not text:
            return
        style = self._style(paragraph)
        level = 1 if style.lower() == "title" else int(found[1]) if (found := _LEVEL.match(style)) else 0
        if level:
            yield from ("", f"{'#' * min(level, 6)} {' '.join(text.split())}", "")
        elif (numbering := paragraph.find(f"{_W}pPr/{_W}numPr")) is not None:
            depth = numbering.find(f"{_W}ilvl")
            yield f"{'  ' * int(depth.get(f'{_W}val', 0) if depth is not None else 0)}- {text}"
        elif style.lower().startswith("list"):
            yield f"- {text}"
        else:
            yield from ("", text, "")

    def _style(self, paragraph: Any) -> str:
        style = paragraph.find(f"{_W}pPr/{_W}pStyle")
        return self._names.get(style.get(f"{_W}val"), "") if style is not None else ""

    def _table(self, table: Any) -> Iterator[str]:
        rows = [
            [" ".join(" ".join(self._blocks(cell)).split()).replace("|", "\\|") for cell in row.iterchildren(f"{_W}tc")]
            for row in table.iterchildren(f"{_W}tr")
        ]
        width = max(map(len, rows), default=0)
        yield ""
        for number, cells in enumerate(rows):
            yield f"| {' | '.join(cells + [''] * (width - len(cells)))} |"
            if number == 0:
                yield "|" + " --- |" * width
        yield ""


def _parsed(xml: bytes) -> Any:
    from docx.oxml import parse_xml

    return parse_xml(xml)


def _text(paragraph: Any) -> str:
    """The text of a paragraph as it shows: with formulas, without what was deleted."""
    pieces: list[str] = []
    skipped = {f"{_W}del", f"{_W}moveFrom", f"{_W}instrText", f"{_W}txbxContent", _FALLBACK}

    def walk(element: Any) -> None:
        for child in element.iterchildren(tag="*"):
            if child.tag in skipped:
                continue
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
