"""PDF, page by page."""

import ctypes
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from pydantic import JsonValue

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.parts import facts, joined, needing
from kbchat.loaders.text import require_text, tidy
from kbchat.models import LoadedDocument

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfPage

_HYPHEN = re.compile("[\x02\ufffe]\\s*\n?")
"""Where PDFium says that a word was divided at the end of a line."""
_NUMBER = re.compile(r"\d{1,9}")
_WORD = re.compile(r"[^\W\d_]+")
_PAGE = re.compile(r"(?:\b(?:page|pg|p|seite|s|página|pagina|pág|sida|strona|стр|страница)|第)\W*$", re.IGNORECASE)
"""What says that a page's number follows."""
_PASSWORD = 1 << 13
"""The flag of a text field whose value is not shown."""
_UNSAID = ("untitled", "(anonymous)", "(unspecified)")
REPEATED = 4
"""Pages from which on a first or last line that nearly all have is taken for a running header or footer."""
MOST_WORDS = 8
"""Words that a line with a page's number may have besides."""


class _Page(NamedTuple):
    """What is written on a page, and what is filled in into its form."""

    text: str
    fields: str


class _Mark(NamedTuple):
    """A bookmark: on which page, how deep, and what it is called."""

    page: int
    level: int
    title: str


class PdfLoader:
    """A PDF's text. Each page is a block, and each part of it that a bookmark names; bookmarks are the headings.

    What is filled in into a form stands at the end of its page. Pages that are damaged are in the metadata by their
    numbers, as `unread_pages`; the others are read.
    """

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """Raises `UnreadableDocumentError` for one that is encrypted, damaged, or holds pictures of text only."""
        with needing("PDF"):
            from pypdfium2 import PdfDocument, PdfiumError
        try:
            document = PdfDocument(data)
        except PdfiumError as error:
            raise UnreadableDocumentError(name, _reason(str(error), data)) from None
        try:
            with suppress(PdfiumError):  # A form that cannot be read; the text can.
                document.init_forms()
            pages = [_page(document, number) for number in range(len(document))]
            marks = _bookmarks(document)
            about = document.get_metadata_dict()
        finally:
            document.close()
        texts = _without_running_lines([page.text if page else "" for page in pages])
        whole = [f"{text}\n{page.fields if page else ''}".strip("\n") for text, page in zip(texts, pages, strict=True)]
        text, blocks = joined(_sections(whole, marks))
        unread: list[JsonValue] = [number for number, page in enumerate(pages, 1) if page is None]
        if unread and len(unread) == len(pages):
            raise UnreadableDocumentError(name, "damaged: none of its pages can be read")
        require_text(text, name=name, reason="no text on any page: a scan; make its text readable (OCR) first")
        metadata = facts(title=_said(about.get("Title", "")), author=_said(about.get("Author", "")))
        if unread:
            metadata["unread_pages"] = unread
        return LoadedDocument(text, metadata=metadata, blocks=blocks)


def _reason(message: str, data: bytes) -> str:
    # PDFium may say what was wrong with the document before this one.
    if "assword" in message and b"/Encrypt" in data:
        return "encrypted with a password; save it without one"
    return "damaged or cut short: not a whole PDF file"


def _said(value: str) -> str:
    return "" if value.lower() in _UNSAID else value


def _page(document: "PdfDocument", number: int) -> _Page | None:
    """A page's text; None for one that is damaged."""
    from pypdfium2 import PdfiumError

    try:
        page = document[number]
        try:
            content = page.get_textpage()
            # By place, PDFium loses the line ends of text that is written sideways; but only so has it every character.
            text = content.get_text_range() if page.get_rotation() else content.get_text_bounded()
            fields = "\n".join(_filled(document, page))
        finally:
            page.close()
    except PdfiumError:
        return None
    return _Page(tidy(_HYPHEN.sub("", text.replace("\r\n", "\n"))), tidy(fields))


def _filled(document: "PdfDocument", page: "PdfPage") -> Iterator[str]:
    """A line for each field that has a value: its name and that. The document's forms are to be initialised."""
    from pypdfium2 import raw

    if document.formenv is None:
        return
    for number in range(raw.FPDFPage_GetAnnotCount(page)):
        annotation = raw.FPDFPage_GetAnnot(page, number)
        try:
            value = _value(document, annotation)
            if value.strip():
                yield f"{_name(document, annotation)}: {value}"
        finally:
            raw.FPDFPage_CloseAnnot(annotation)


def _value(document: "PdfDocument", annotation: object) -> str:
    from pypdfium2 import raw

    form = document.formenv
    match raw.FPDFAnnot_GetFormFieldType(form, annotation):
        case raw.FPDF_FORMFIELD_TEXTFIELD | raw.FPDF_FORMFIELD_COMBOBOX | raw.FPDF_FORMFIELD_LISTBOX:
            hidden = raw.FPDFAnnot_GetFormFieldFlags(form, annotation) & _PASSWORD
            return "" if hidden else _text(raw.FPDFAnnot_GetFormFieldValue, form, annotation)
        case raw.FPDF_FORMFIELD_CHECKBOX | raw.FPDF_FORMFIELD_RADIOBUTTON if raw.FPDFAnnot_IsChecked(form, annotation):
            return _text(raw.FPDFAnnot_GetFormFieldExportValue, form, annotation) or "yes"
    return ""


def _name(document: "PdfDocument", annotation: object) -> str:
    """What a reader is told of a field, else the last part of its name."""
    from pypdfium2 import raw

    told = _text(raw.FPDFAnnot_GetFormFieldAlternateName, document.formenv, annotation)
    whole = _text(raw.FPDFAnnot_GetFormFieldName, document.formenv, annotation)
    return " ".join(told.split()) or re.sub(r"\[\d+\]$", "", whole.rpartition(".")[2])


def _text(function: Callable[..., int], *about: object) -> str:
    """What one of PDFium's functions writes, which tells its length in bytes of UTF-16 first."""
    length = function(*about, None, 0)
    if length <= 2:
        return ""
    buffer = (ctypes.c_ushort * (length // 2))()
    function(*about, buffer, length)
    return bytes(buffer).decode("utf-16-le", "replace").rstrip("\0")


def _bookmarks(document: "PdfDocument") -> list[_Mark]:
    marks = []
    for bookmark in document.get_toc(max_depth=8):
        target = bookmark.get_dest()
        page = target.get_index() if target else None
        if page is not None and (title := " ".join(bookmark.get_title().split())):
            marks.append(_Mark(page, bookmark.level, title))
    return marks


def _without_running_lines(pages: Sequence[str]) -> list[str]:
    """The pages without their numbers, and with a header or footer that nearly all of them have on the first of those.

    It may be the names of a table's columns, or whom to pay: what only looks as if it were said too often.
    """
    split = [page.split("\n") for page in pages]
    written = [number for number, lines in enumerate(split) if any(lines)]
    if len(written) < REPEATED:
        return list(pages)
    for at in (0, -1):
        lines = {number: split[number][at] for number in written}
        running, is_number = _running(lines, total=len(pages), is_foot=at == -1)
        if len(running) >= 0.7 * len(written):
            for number in running if is_number else running[1:]:
                if len(split[number]) > 1:
                    del split[number][at]
    return ["\n".join(lines).strip("\n") for lines in split]


def _running(lines: Mapping[int, str], *, total: int, is_foot: bool) -> tuple[list[int], bool]:
    """The pages, in order, whose line is one and the same but for the page's own number; and whether it has that.

    Other numbers that differ are the document's: an invoice's, a sum. So is the number after a word at the head of a
    page, which may be an article's, unless the line says how many pages there are as well.
    """
    shapes = {page: _NUMBER.sub("0", line.strip()) for page, line in lines.items()}
    shape = Counter(shapes.values()).most_common(1)[0][0]
    numbers = {page: [int(found) for found in _NUMBER.findall(lines[page])] for page in lines if shapes[page] == shape}
    own, fixed = set(), set()
    for place in range(min(map(len, numbers.values()))):
        same = Counter(values[place] for values in numbers.values()).most_common(1)[0]
        counted = Counter(values[place] - page for page, values in numbers.items()).most_common(1)[0]
        if counted[1] > same[1]:
            own.add((place, counted[0]))
        else:
            fixed.add((place, same[0]))
    is_told = total in {number for _, number in fixed}
    if own and not is_foot and any(map(str.isalpha, shape)) and not is_told:
        return [], False
    # A row of a table may count as well, and often does so twice.
    if own and (len(own) > 1 or not _is_page_number(shape, min(own)[0], is_told=is_told)):
        return [], False
    running = [
        page
        for page, values in numbers.items()
        if all(values[place] == number for place, number in fixed)
        and all(values[place] - page == number for place, number in own)
    ]
    return running, bool(own)


def _is_page_number(shape: str, place: int, *, is_told: bool) -> bool:
    """Whether a line is little else than the number at that place, which counts with the pages.

    It has few words, and is no sentence. The number stands by itself: at the line's start or end, or where the line
    says of what it is the number, as it does where it tells how many pages there are.
    """
    words = _WORD.findall(shape)
    if len(words) > MOST_WORDS or (len(words) > 1 and shape.endswith((".", "!", "?"))):
        return False
    found = list(_NUMBER.finditer(shape))[place]
    before, after = shape[: found.start()], shape[found.end() :]
    if is_told or _PAGE.search(before):
        return True
    if before[-1:].isalpha() or after[:1].isalpha() or re.search(r"\d[.,]$", before) or re.match(r"[.,]\d|%", after):
        return False
    return not _WORD.search(before) or not _WORD.search(after)


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
