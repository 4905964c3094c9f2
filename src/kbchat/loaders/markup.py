"""HTML to Markdown, for web pages, books and mails: headings, lists, tables and code are kept, decoration is not."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from kbchat.loaders.grids import grid, whole_number
from kbchat.loaders.nodes import BLOCKS, MAX_DEPTH, UNREAD, children, flat, raised, spaced, verbatim
from kbchat.loaders.parts import needing
from kbchat.loaders.text import tidy

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

_LANGUAGE = re.compile(r"(?:language|lang|highlight|brush:)[-_ ]?([\w+#]+)")
_ANCHORS = "[class*=headerlink], [class*=anchor], [class*=hash-link], [class*=editsection]"
_DECLARED = re.compile(rb"""(?:<meta[^>]{0,200}?charset|<\?xml[^>]{0,100}?encoding)\s*=\s*["']?\s*([\w-]+)""", re.I)
_XHTML = re.compile(r"\A\s*<\?xml\s|<html\s[^>]*?\bxmlns\s*=", re.I)
_CLOSED = re.compile(r"""<([A-Za-z][\w:.-]*+)((?:\s+[\w:.-]+\s*=\s*(?:"[^"<]*+"|'[^'<]*+'))*+)\s*/>""")
_VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())  # noqa: SIM905


class Markdown:
    """Writes nodes as Markdown. One object writes one text."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._open: list[str] = []

    def text(self) -> str:
        """What was written, tidied."""
        self._break()
        return tidy("\n".join(self._lines))

    def write(self, node: "LexborNode") -> None:
        """Write what is in a node, apart from what was written before."""
        self._break(blank=True)
        self._inside(node, 0, "")

    def _inside(self, node: "LexborNode", depth: int, indent: str) -> None:
        for child in children(node):
            self._node(child, depth + 1, indent)

    def _node(self, node: "LexborNode", depth: int, indent: str) -> None:
        tag = node.tag or ""
        if tag.startswith("-"):
            if tag == "-text":
                self._open.append(spaced(node.text_content or ""))
            return
        if depth > MAX_DEPTH:
            self._open.append(spaced(node.text(separator=" ")))
            return
        write = _WRITERS.get(tag, Markdown._inline)
        write(self, node, tag, depth, indent)

    def _inline(self, node: "LexborNode", tag: str, depth: int, indent: str) -> None:
        if tag in ("code", "kbd", "samp") and (text := flat(node)):
            self._open.append(f"`{text}`" if "`" not in text else text)
        elif tag == "img":
            self._open.append(f" {spaced(node.attrs.get('alt') or '')} ")
        elif tag == "math" and (formula := node.css_first("annotation")) is not None:
            self._open.append(flat(formula))
        elif tag == "sup":
            before = next((piece for piece in reversed(self._open) if piece), "")
            self._open.append(raised(node, flat(node), before=before))
        else:
            self._inside(node, depth, indent)

    def _silent(self, node: "LexborNode", tag: str, depth: int, indent: str) -> None:
        pass

    def _line_end(self, node: "LexborNode", tag: str, depth: int, indent: str) -> None:
        self._break(indent, blank=tag == "hr")

    def _cell(self, node: "LexborNode", tag: str, depth: int, indent: str) -> None:
        self._inside(node, depth, indent)
        self._open.append(" ")

    def _block(self, node: "LexborNode", tag: str, depth: int, indent: str) -> None:
        blank = tag not in ("dt", "li", "dd", "tr")
        self._break(indent, blank=blank)
        self._inside(node, depth, indent)
        self._break(indent, blank=blank)

    def _heading(self, node: "LexborNode", tag: str, depth: int, indent: str) -> None:
        self._break(blank=True)
        # A link beside the title is decoration; one around the title is not.
        anchors = {anchor.mem_id for anchor in node.css(_ANCHORS)} if node.css_first("*") else frozenset()
        if title := flat(node, without=anchors) or flat(node):
            self._lines.append(f"{'#' * int(tag[1])} {title}")
        self._break(blank=True)

    def _code(self, node: "LexborNode", tag: str, depth: int, indent: str) -> None:
        self._break(blank=True)
        text = verbatim(node).strip("\n")
        inner = node.css_first("code")
        classes = " ".join(filter(None, (node.attrs.get("class"), inner.attrs.get("class") if inner else "")))
        language = _LANGUAGE.search(classes)
        fence = "`" * max(3, max(map(len, re.findall("`+", text)), default=0) + 1)
        if text.strip():
            self._lines += [f"{indent}{fence}{language[1] if language else ''}"]
            self._lines += [f"{indent}{line}" for line in text.splitlines()]
            self._lines += [f"{indent}{fence}"]
        self._break(blank=True)

    def _list(self, node: "LexborNode", tag: str, depth: int, indent: str) -> None:
        self._break(indent, blank=not indent)
        number = whole_number(node, "start", 1)
        for item in children(node):
            if item.tag != "li":
                self._node(item, depth + 1, indent)
                continue
            number = whole_number(item, "value", number)
            mark = f"{number}. " if node.tag == "ol" else "- "
            number += 1
            self._break(indent)
            first = len(self._lines)
            self._inside(item, depth + 1, indent + " " * len(mark))
            self._break(indent + " " * len(mark))
            while first < len(self._lines) and not self._lines[first].strip():
                del self._lines[first]
            if first < len(self._lines):
                self._lines[first] = f"{indent}{mark}{self._lines[first].strip()}"
        self._break(indent, blank=not indent)

    def _table(self, node: "LexborNode", tag: str, depth: int, indent: str) -> None:
        # A table that lays out a page, or holds one cell, is no table.
        is_layout = node.css_first("table table, h1, h2, h3, pre, ul") is not None
        rows = [] if is_layout else grid(node)
        width = max(map(len, rows), default=0)
        if width < 2:
            self._block(node, tag, depth, indent)
            return
        self._break(blank=True)
        if caption := node.css_first("caption"):
            self._lines += [flat(caption), ""]
        for number, cells in enumerate(rows):
            cells = [cell.replace("|", "\\|") for cell in cells] + [""] * (width - len(cells))
            self._lines.append(f"| {' | '.join(cells)} |")
            if number == 0:
                self._lines.append("|" + " --- |" * width)
        self._break(blank=True)

    def _break(self, indent: str = "", *, blank: bool = False) -> None:
        """End the line that is being written."""
        line = spaced("".join(self._open)).strip()
        self._open.clear()
        if line:
            self._lines.append(indent + line)
        if blank and self._lines and self._lines[-1]:
            self._lines.append("")


_Writer = Callable[[Markdown, "LexborNode", str, int, str], None]
_TAGS: tuple[tuple[str, _Writer], ...] = (
    (" ".join(BLOCKS), Markdown._block),
    (" ".join(UNREAD), Markdown._silent),
    ("button input select option textarea datalist dialog", Markdown._silent),
    ("h1 h2 h3 h4 h5 h6", Markdown._heading),
    ("pre", Markdown._code),
    ("table", Markdown._table),
    ("ul ol menu", Markdown._list),
    ("br hr", Markdown._line_end),
    ("td th", Markdown._cell),
)
# What stands further down goes before what stands above.
_WRITERS = {tag: writer for tags, writer in _TAGS for tag in tags.split()}


def parsed(html: str) -> "LexborHTMLParser":
    """A page's tree. Raises `MissingExtraError`."""
    with needing("HTML"):
        from selectolax.lexbor import LexborHTMLParser
    if _XHTML.search(html[:2000]):
        # In XML, an element may be closed where it opens; HTML would take all that follows for its content.
        html = _CLOSED.sub(lambda tag: tag[0] if tag[1].lower() in _VOID else f"<{tag[1]}{tag[2]}></{tag[1]}>", html)
    return LexborHTMLParser(html)


def declared_encoding(data: bytes) -> str | None:
    """The encoding that a page says it is in."""
    declared = _DECLARED.search(data[:4096])
    return declared[1].decode() if declared else None


def whole_content(html: str) -> str:
    """The Markdown of all that a page shows: for books and mails, which have no furniture."""
    body = parsed(html).body
    writer = Markdown()
    if body is not None:
        writer.write(body)
    return writer.text()
