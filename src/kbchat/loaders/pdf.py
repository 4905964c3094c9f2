"""PDF, page by page."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pydantic import JsonValue

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.parts import facts, joined, needing
from kbchat.loaders.text import require_text, tidy
from kbchat.models import LoadedDocument

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

_HYPHEN = re.compile("[\x02\ufffe]\\s*\n?")
"""Where PDFium says that a word was divided at the end of a line."""
_UNSAID = ("untitled", "(anonymous)", "(unspecified)")
REPEATED = 4
"""Pages from which on a first or last line that nearly all have is taken for a running header or footer."""


class _Mark(NamedTuple):
    """A bookmark: on which page, how deep, and what it is called."""

    page: int
    level: int
    title: str


class PdfLoader:
    """A PDF's text. Each page is a block, and each part of it that a bookmark names; bookmarks are the headings."""

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """Raises `UnreadableDocumentError` for one that is encrypted, damaged, or holds pictures of text only."""
        with needing("PDF"):
            from pypdfium2 import PdfDocument, PdfiumError
        try:
            document = PdfDocument(data)
        except PdfiumError as error:
            raise UnreadableDocumentError(name, _reason(str(error))) from None
        try:
            pages = [_page(document, number) for number in range(len(document))]
            marks = _bookmarks(document)
            about = document.get_metadata_dict()
        finally:
            document.close()
        text, blocks = joined(_sections(_without_running_lines(pages), marks))
        require_text(text, name=name, reason="no text on any page: a scan; make its text readable (OCR) first")
        metadata = facts(title=_said(about.get("Title", "")), author=_said(about.get("Author", "")))
        return LoadedDocument(text, metadata=metadata, blocks=blocks)


def _reason(message: str) -> str:
    if "assword" in message:
        return "encrypted with a password; save it without one"
    return "damaged or cut short: not a whole PDF file"


def _said(value: str) -> str:
    return "" if value.lower() in _UNSAID else value


def _page(document: "PdfDocument", number: int) -> str:
    from pypdfium2 import PdfiumError

    try:
        page = document[number]
        try:
            text = page.get_textpage().get_text_bounded()
        finally:
            page.close()
    except PdfiumError:
        return ""  # A damaged page; the others can be read.
    return tidy(_HYPHEN.sub("", text.replace("\r\n", "\n")))


def _bookmarks(document: "PdfDocument") -> list[_Mark]:
    marks = []
    for bookmark in document.get_toc(max_depth=8):
        target = bookmark.get_dest()
        page = target.get_index() if target else None
        if page is not None and (title := " ".join(bookmark.get_title().split())):
            marks.append(_Mark(page, bookmark.level, title))
    return marks


def _without_running_lines(pages: Sequence[str]) -> list[str]:
    """The pages without the header and the footer that nearly all of them have, numbers not counted."""
    split = [page.split("\n") for page in pages]
    written = [lines for lines in split if any(lines)]
    if len(written) < REPEATED:
        return list(pages)
    for at in (0, -1):
        shapes = Counter(_shape(lines[at]) for lines in written)
        shape, number = shapes.most_common(1)[0]
        if number >= 0.7 * len(written):
            for lines in written:
                if len(lines) > 1 and _shape(lines[at]) == shape:
                    del lines[at]
    return ["\n".join(lines).strip("\n") for lines in split]


def _shape(line: str) -> str:
    return re.sub(r"\d+", "0", line.strip())


def _sections(pages: Sequence[str], marks: Sequence[_Mark]) -> Iterator[tuple[str, Mapping[str, JsonValue]]]:
    """The pages, cut where a bookmark's title begins a line, with the titles above as headings."""
    path: list[_Mark] = []
    for number, text in enumerate(pages):
        position = 0
        for mark in (mark for mark in marks if mark.page == number):
            found = re.compile(rf"^[\d.]*[ ]?{_loose(mark.title)}", re.MULTILINE).search(text, position)
            start = found.start() if found else position
            if start > position:
                yield text[position:start], _place(number, path)
                position = start
            path = [*(above for above in path if above.level < mark.level), mark]
        yield text[position:], _place(number, path)


def _loose(title: str) -> str:
    return r"\s+".join(map(re.escape, title.split()))


def _place(number: int, path: Sequence[_Mark]) -> dict[str, JsonValue]:
    place: dict[str, JsonValue] = {"page": number + 1}
    if path:
        place["headings"] = [mark.title for mark in path]
    return place
