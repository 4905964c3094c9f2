"""HTML to Markdown, for web pages, books and mails: headings, lists, tables and code are kept, decoration is not."""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from kbchat.loaders.parts import needing
from kbchat.loaders.text import tidy

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

MAX_DEPTH = 200
"""Nested deeper than this, elements count as text."""

_SPACES = re.compile(r"[ \t\r\n\x0c\u200b]+")
_LANGUAGE = re.compile(r"(?:language|lang|highlight|brush:)[-_ ]?([\w+#]+)")


class Markdown:
    """Writes nodes as Markdown. One object writes one text."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._open: list[str] = []

    def text(self) -> str:
        """What was written, tidied."""
        self._break()
        return tidy("\n".join(self._lines))

    def write(self, node: "LexborNode", *, depth: int = 0, indent: str = "") -> None:
        """Write what is in a node."""
        for child in _children(node):
            self._node(child, depth + 1, indent)

    def _node(self, node: "LexborNode", depth: int, indent: str) -> None:
        tag = node.tag or ""
        if tag.startswith("-"):
            if tag == "-text":
                self._open.append(_SPACES.sub(" ", node.text_content or ""))
            return
        if depth > MAX_DEPTH:
            self._open.append(_SPACES.sub(" ", node.text(separator=" ")))
            return
        write = _WRITERS.get(tag, Markdown._inline)
        write(self, node, tag, depth, indent)

    def _inline(self, node: "LexborNode", tag: str, depth: int, indent: str) -> None:
        if tag in ("code", "kbd", "samp") and (text := _flat(node)):
            self._open.append(f"`{text}`" if "`" not in text else text)
        elif tag == "img":
            self._open.append(f" {_SPACES.sub(' ', node.attrs.get('alt') or '')} ")
        elif tag == "math" and (formula := node.css_first("annotation")) is not None:
            self._open.append(_flat(formula))
        else:
            self.write(node, depth=depth, indent=indent)

    def _silent(self, node: "LexborNode", tag: str, depth: int, indent: str) -> None:
        pass

    def _line_end(self, node: "LexborNode", tag: str, depth: int, indent: str) -> None:
        self._break(indent, blank=tag == "hr")

    def _cell(self, node: "LexborNode", tag: str, depth: int, indent: str) -> None:
        self.write(node, depth=depth, indent=indent)
        self._open.append(" ")

    def _block(self, node: "LexborNode", tag: str, depth: int, indent: str) -> None:
        blank = tag not in ("dt", "li", "dd", "tr")
        self._break(indent, blank=blank)
        self.write(node, depth=depth, indent=indent)
        self._break(indent, blank=blank)

    def _heading(self, node: "LexborNode", tag: str, depth: int, indent: str) -> None:
        self._break(blank=True)
        if title := _flat(
            node, without="[class*=headerlink], [class*=anchor], [class*=hash-link], [class*=editsection]"
        ):
            self._lines.append(f"{'#' * int(tag[1])} {title}")
        self._break(blank=True)

    def _code(self, node: "LexborNode", tag: str, depth: int, indent: str) -> None:
        self._break(blank=True)
        text = node.text().strip("\n")
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
        number = 0
        for item in _children(node):
            if item.tag != "li":
                self._node(item, depth + 1, indent)
                continue
            number += 1
            mark = f"{number}. " if node.tag == "ol" else "- "
            self._break(indent)
            first = len(self._lines)
            self.write(item, depth=depth + 1, indent=indent + " " * len(mark))
            self._break(indent + " " * len(mark))
            while first < len(self._lines) and not self._lines[first].strip():
                del self._lines[first]
            if first < len(self._lines):
                self._lines[first] = f"{indent}{mark}{self._lines[first].strip()}"
        self._break(indent, blank=not indent)

    def _table(self, node: "LexborNode", tag: str, depth: int, indent: str) -> None:
        rows = [cells for row in node.css("tr") if (cells := [_flat(cell) for cell in row.css("td, th")])]
        # A table that lays out a page, or holds one cell, is no table.
        if node.css_first("table table, h1, h2, h3, pre, ul, p p") or max(map(len, rows), default=0) < 2:
            self._block(node, tag, depth, indent)
            return
        self._break(blank=True)
        if caption := node.css_first("caption"):
            self._lines += [_flat(caption), ""]
        width = max(map(len, rows))
        for number, cells in enumerate(rows):
            cells = [cell.replace("|", "\\|") for cell in cells] + [""] * (width - len(cells))
            self._lines.append(f"| {' | '.join(cells)} |")
            if number == 0:
                self._lines.append("|" + " --- |" * width)
        self._break(blank=True)

    def _break(self, indent: str = "", *, blank: bool = False) -> None:
        """End the line that is being written."""
        line = _SPACES.sub(" ", "".join(self._open)).strip()
        self._open.clear()
        if line:
            self._lines.append(indent + line)
        if blank and self._lines and self._lines[-1]:
            self._lines.append("")


_Writer = Callable[[Markdown, "LexborNode", str, int, str], None]
_TAGS: tuple[tuple[str, _Writer], ...] = (
    ("script style noscript template head iframe object embed svg canvas audio video map button", Markdown._silent),
    ("input select option textarea datalist dialog", Markdown._silent),
    ("h1 h2 h3 h4 h5 h6", Markdown._heading),
    ("pre", Markdown._code),
    ("table", Markdown._table),
    ("ul ol menu", Markdown._list),
    ("br hr", Markdown._line_end),
    ("td th", Markdown._cell),
    ("dt li dd tr p div section article main header footer aside nav address figure figcaption", Markdown._block),
    ("form fieldset dl details summary center body html hgroup search blockquote", Markdown._block),
)
_WRITERS = {tag: writer for tags, writer in _TAGS for tag in tags.split()}


def parsed(html: str) -> "LexborHTMLParser":
    """A page's tree. Raises `MissingExtraError`."""
    with needing("HTML"):
        from selectolax.lexbor import LexborHTMLParser
    return LexborHTMLParser(html)


def whole_content(html: str) -> str:
    """The Markdown of all that a page shows: for books and mails, which have no furniture."""
    body = parsed(html).body
    writer = Markdown()
    if body is not None:
        writer.write(body)
    return writer.text()


def _children(node: "LexborNode") -> Iterator["LexborNode"]:
    child = node.first_child
    while child is not None:
        yield child
        child = child.next


def _flat(node: "LexborNode", *, without: str = "") -> str:
    """A node's text on one line."""
    if without:
        for unwanted in node.css(without):
            if unwanted.mem_id != node.mem_id:
                unwanted.decompose()
    for unwanted in node.css("script, style, template"):
        unwanted.decompose()
    for line_end in node.css("br"):
        line_end.replace_with(" ")
    return _SPACES.sub(" ", node.text()).strip()
