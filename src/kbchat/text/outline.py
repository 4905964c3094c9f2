"""A text's outline: which headings, or definitions, stand above each of its characters."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kbchat.models import Markup


class Heading(NamedTuple):
    """A heading's place, its level (smaller is further out) and its title; an empty title ends what is as deep."""

    start: int
    end: int
    level: int
    title: str


class Outline(NamedTuple):
    """Where each heading begins and ends, and the path down to it."""

    starts: Sequence[int]
    ends: Sequence[int]
    paths: Sequence[tuple[str, ...]]

    @classmethod
    def of(cls, text: str, markup: Markup) -> "Outline":
        """The outline that the markup gives a text; an empty one for plain text."""
        starts, ends, paths = [], [], []
        open_: list[tuple[int, str]] = []
        for start, end, level, title in headings(text, markup):
            while open_ and open_[-1][0] >= level:
                open_.pop()
            open_.append((level, title))
            starts.append(start)
            ends.append(end)
            paths.append(tuple(name for _, name in open_ if name))
        return cls(starts, ends, paths)

    def last_start(self, earliest: int, latest: int) -> int | None:
        """Where the last heading in a stretch begins."""
        at = bisect_right(self.starts, latest) - 1
        return self.starts[at] if at >= 0 and self.starts[at] > earliest else None

    def begins(self, position: int) -> bool:
        """Whether a heading begins here."""
        at = bisect_right(self.starts, position) - 1
        return at >= 0 and self.starts[at] == position

    def path(self, text: str, start: int, end: int) -> tuple[str, ...]:
        """The headings above the first line of a chunk that is not itself a heading."""
        at, _ = self._leading(text, start, end)
        return self.paths[at] if at >= 0 else ()

    def is_bare(self, text: str, start: int, end: int) -> bool:
        """Whether a chunk is nothing but headings."""
        _, position = self._leading(text, start, end)
        return position > start and not text[position:end].strip()

    def _leading(self, text: str, start: int, end: int) -> tuple[int, int]:
        """The number of the heading that holds after a chunk's leading headings (-1: none), and where they end."""
        at = bisect_right(self.starts, start) - 1
        position = max(start, min(self.ends[at], end)) if at >= 0 else start
        while at + 1 < len(self.starts) and self.starts[at + 1] < end:
            if text[position : self.starts[at + 1]].strip():
                break
            at += 1
            position = self.ends[at]
        return at, position


def headings(text: str, markup: Markup) -> Iterator[Heading]:
    """The headings of a text in order; none of plain text."""
    return _FINDERS[markup](text)


def _markdown(text: str) -> Iterator[Heading]:
    """Each heading that is not inside a code fence or the front matter."""
    front = _FRONT_MATTER.match(text)
    position = front.end() if front else 0
    fence = ""
    for match in _MARKS.finditer(text, position):
        if match["fence"]:
            if not fence:
                fence = match["fence"]
            elif match["fence"].startswith(fence) and not match["info"].strip():
                fence = ""
        elif fence:
            continue
        elif match["level"]:
            yield Heading(match.start(), match.end(), len(match["level"]), _title(match["atx"] or ""))
        else:
            yield Heading(match.start(), match.end(), 1 if match["line"][0] == "=" else 2, _title(match["over"]))


_FRONT_MATTER = re.compile(r"---[ \t]*\n(?:.*\n)*?---[ \t]*(?:\n|\Z)")
_MARKS = re.compile(
    r"^(?:[ \t>]*(?P<fence>`{3,}|~{3,})(?P<info>[^\n`]*)$"
    r"| {0,3}(?P<level>\#{1,6})(?:[ \t]+(?P<atx>[^\n]*))?$"
    r"| {0,3}(?P<over>[^\s#>|*+-][^\n]*)\n {0,3}(?P<line>=+|-{2,})[ \t]*$)",
    re.MULTILINE,
)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|\[[^\]]*(?:\](?!\()|\]\([^)]*\Z|\Z)")
"""A link, or else a bracket that opens none: no other that opens in it is one, so that each character is read once."""


def _title(raw: str) -> str:
    """A heading as people read it: without anchors, closing signs, link targets and emphasis."""
    title = raw.rstrip(" \t").rstrip("#").rstrip(" \t")
    if title.endswith("}") and (anchor := title.rfind("{")) > title.rfind("}", 0, -1):
        title = title[:anchor]
    shown = _LINK.sub(lambda found: found[0] if found[1] is None else found[1], title)
    return shown.replace("`", "").replace("**", "").strip()


def _rst(text: str) -> Iterator[Heading]:
    """Each title with its lines; levels in the order in which the adornments first occur, as docutils counts them."""
    levels: dict[str, int] = {}
    for match in _ADORNED.finditer(text):
        over, title, under = match["over"], match["title"].strip(), match["under"]
        # A shorter underline is a transition or a table's border.
        if len(under) < len(title) or (over and over[0] != under[0]):
            continue
        style = (over or "")[:1] + under[0]
        yield Heading(match.start(), match.end(), levels.setdefault(style, len(levels) + 1), title.replace("``", ""))


_ADORNED = re.compile(
    r"^(?:(?P<over>([^\w\s])\2{2,})[ \t]*\n)?[ ]?(?P<title>[^\s.][^\n]*)\n(?P<under>([^\w\s])\5{2,})[ \t]*$",
    re.MULTILINE,
)


def _code(text: str) -> Iterator[Heading]:
    """Each definition by its indentation, and where it ends: at the next line that is no deeper."""
    open_: list[int] = []
    position = 0
    for line in text.splitlines(keepends=True):
        start, position = position, position + len(line)
        bare = line.strip()
        if not bare or bare[0] in "})]#" or bare.startswith(("//", "end", "/*", "*", "@")):
            continue
        indent = len(line) - len(line.lstrip())
        closed = [level for level in open_ if level >= indent]
        del open_[len(open_) - len(closed) :]
        if found := _DEFINITION.match(line):
            open_.append(indent)
            yield Heading(start, start + len(line.rstrip("\n")), indent, found["name"].rstrip(":.,"))
        elif closed:
            yield Heading(start, start, closed[0], "")


_DEFINITION = re.compile(
    r"\s*(?:(?:export|default|public|private|protected|internal|static|final|abstract|async|pub(?:\([^)]*\))?|unsafe"
    r"|const|override|open|sealed|data|partial|virtual|inline)\s+)*"
    r"(?:class|def|func|fun|function\*?|fn|interface|struct|enum|trait|impl(?:<[^>]*>)?|module|namespace|protocol"
    r"|extension|object|record|message|service|sub)\s+(?:\([^)]*\)\s*)?(?P<name>[A-Za-z_$][\w.$:]*)"
)


def _plain(text: str) -> Iterator[Heading]:
    return iter(())


_FINDERS = {"plain": _plain, "markdown": _markdown, "rst": _rst, "code": _code}
