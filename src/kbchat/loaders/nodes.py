"""The text of a page's elements: on one line, as in a cell or heading, or line by line, as in code."""

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

MAX_DEPTH = 200
"""Nested deeper than this, elements count as text."""
BLOCKS = frozenset(
    """address article aside blockquote body caption center dd details div dl dt fieldset figcaption figure footer
    form h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu nav ol p pre search section summary table
    tr ul""".split()  # noqa: SIM905
)
UNREAD = frozenset(
    "script style noscript template head iframe object embed svg canvas audio video map rp rt rtc".split()  # noqa: SIM905
)
"""What shows no text, or shows beside each character how it is read aloud."""

_SPACES = re.compile(r"[ \t\r\n\x0c\u200b]+")
_POWER = re.compile(r"(?=.*[-\d+\u2212\u00b1])[-\w+\u2212\u00b1.,]+")
"""Numbers, and letters with signs; not `st` nor `TM`."""
_NOTHING: frozenset[int] = frozenset()


def children(node: "LexborNode") -> Iterator["LexborNode"]:
    """The nodes in an element, in order."""
    child = node.first_child
    while child is not None:
        yield child
        child = child.next


def spaced(text: str) -> str:
    """A text whose white space is as a page shows it."""
    return _SPACES.sub(" ", text)


def flat(node: "LexborNode", *, without: AbstractSet[int] = _NOTHING) -> str:
    """An element's text on one line, without the elements of those ids; a blank stands where a line or block ends."""
    return spaced("".join(_pieces(node, without))).strip()


def verbatim(node: "LexborNode") -> str:
    """An element's text with its own white space and line ends."""
    return "".join(_pieces(node))


def raised(node: "LexborNode", text: str, *, before: str) -> str:
    """A superscript's text after what stands before it: `10^6`, and not 106; a note's mark is in brackets."""
    if not text or not before or before[-1].isspace():
        return text
    if node.css_first("a") is not None or (node.parent is not None and node.parent.tag == "a"):
        return text if text[0] in "[(" else f"[{text}]"
    return f"^{text}" if _POWER.fullmatch(text) else text


def _pieces(node: "LexborNode", without: AbstractSet[int] = _NOTHING) -> list[str]:
    found: list[str] = []
    _gather(node, found, without, 0)
    return found


def _gather(node: "LexborNode", found: list[str], without: AbstractSet[int], depth: int) -> None:
    for child in children(node):
        tag = child.tag or ""
        if tag == "-text":
            if text := child.text_content:
                found.append(text)
        elif tag in UNREAD or tag.startswith(("-", "!")) or child.mem_id in without:
            continue
        elif depth > MAX_DEPTH:
            found.append(child.text(separator=" "))
        elif tag == "br":
            found.append("\n")
        elif tag == "sup":
            inner: list[str] = []
            _gather(child, inner, without, depth + 1)
            found.append(raised(child, spaced("".join(inner)).strip(), before=found[-1] if found else ""))
        else:
            _end_line(found, tag)
            _gather(child, found, without, depth + 1)
            _end_line(found, tag)


def _end_line(found: list[str], tag: str) -> None:
    """What stands at the border of an element of that name."""
    if tag in BLOCKS and found and not found[-1].endswith("\n"):
        found.append("\n")
    elif tag in ("td", "th"):
        found.append(" ")
