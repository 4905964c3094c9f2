"""Where the sentences of a text are, English or Chinese, prose or Markdown. Pure, no I/O.

A sentence never crosses a blank line, and a heading, a list item, a table row and a stretch of code stand by
themselves: their ends are ends although no full stop says so.
"""

import re
from collections.abc import Iterator

MAX_SENTENCE_CHARS = 600
"""Longer ones are cut, at a comma or white space where there is one: what has no full stops is no sentence."""

FENCE = r"(?P<mark>`{3,}(?![^\n]*`)|~{3,})(?P<info>[^\n]*)"
"""A line that opens or closes code, from its first mark on; ```` ```code``` ```` in one line is code, and no fence."""

Offsets = tuple[int, int]


def split(text: str) -> list[Offsets]:
    """Start and end of each sentence, in order, without the white space and the Markdown marks around it.

    What holds no letter and no digit (rules, fences, empty table cells) is no sentence.
    """
    return [
        _trimmed(text, *sentence)
        for start, end in _blocks(text)
        for piece in _pieces(text, start, end)
        for sentence in (_cut(text, *piece) if piece[1] - piece[0] > MAX_SENTENCE_CHARS else (piece,))
        if _WORD.search(text, *sentence)
    ]


def is_heading(text: str, start: int) -> bool:
    """Whether the sentence that starts there is a Markdown heading."""
    return _HEADING.fullmatch(text, text.rfind("\n", 0, start) + 1, start) is not None


_WORD = re.compile(r"\w")
_HEADING = re.compile(r"[ \t]*#{1,6}[ \t]+")
_MARK = re.compile(
    rf"""[ \t]*(?:
    (?P<fence>{FENCE})
    # A heading or a table row: the next line is another block.
    |(?P<alone>\#{{1,6}}[ \t]+|(?=\|))
    # A list item or a quotation: this line begins a block.
    |(?P<item>[-*+•][ \t]+|\d{{1,3}}[.)][ \t]+|>[ \t]?)
    )""",
    re.VERBOSE,
)
"""What a line begins with that says what it is."""


def _blocks(text: str) -> Iterator[Offsets]:
    """Stretches that no sentence crosses."""
    start: int | None = None
    end = 0
    in_code = False
    for line in _LINE.finditer(text):
        first, last = line.span()
        mark = _MARK.match(text, first, last)
        kind = mark.lastgroup if mark else None
        if in_code and kind != "fence":
            mark = kind = None
        blank = first == last or line[0].isspace()
        if start is not None and (mark or blank):
            yield start, end
            start = None
        if kind == "fence":
            in_code = not in_code
            continue
        if blank:
            continue
        if start is None:
            start = mark.end() if mark else first
        end = last
        if kind == "alone":
            yield start, end
            start = None
    if start is not None:
        yield start, end


_LINE = re.compile(r"[^\n]+|(?<=\n)(?=\n)")
_CLOSING = "\"'”’」』）)\\]》】*_"
# Each way begins with a character of its own, so that what can begin none is skipped at once.
_STOP = re.compile(rf"[。！？!?…]+[{_CLOSING}]*|\.(?<!\.\.)\.*[{_CLOSING}]*(?=\s)")
_NEXT = re.compile(r"(\s*)(\S?)")
_LAST_WORD = re.compile(r"[\w.]+\Z")
_ABBREVIATIONS = frozenset(
    """
    al approx apr aug ca cf ch co corp dec dept dr e.g ed eds eg eq eqs est etc feb fig figs gen gov i.e ie inc jan jr
    jul jun lt ltd mar messrs mr mrs ms no nos nov oct op p.m a.m pp prof ref refs rep resp rev sec sen sep sept sr st
    tab vol vs
    """.split()  # noqa: SIM905
)


def _pieces(text: str, start: int, end: int) -> Iterator[Offsets]:
    for stop in _STOP.finditer(text, start, end):
        if _ends(text, start, end, stop):
            yield start, stop.end()
            start = stop.end()
    yield start, end


def _ends(text: str, start: int, end: int, stop: re.Match[str]) -> bool:
    """Whether a sentence ends here, where a stop stands."""
    if stop[0][0] in "。！？…":
        return True
    gap = _NEXT.match(text, stop.end(), end)
    space, following = gap.groups() if gap else ("", "")
    if not space:
        # "Really?对" ends; "page?id=1" does not.
        return stop[0][0] != "." and following > "\u2e7f"
    if stop.start() > start and text[stop.start() - 1].isspace():
        return True  # old texts set their stops apart , like this .
    if following.islower():
        return False
    if not stop[0].endswith("."):
        return True
    word = _LAST_WORD.search(text, max(start, stop.start() - 24), stop.start())
    last = word[0] if word else ""
    initial = len(last) == 1 and last.isupper()
    return not initial and last.lower() not in _ABBREVIATIONS


_HALF = MAX_SENTENCE_CHARS // 2
_SOFT_END = re.compile(r"[，、；,;]|\s")


def _cut(text: str, start: int, end: int) -> Iterator[Offsets]:
    """A sentence, in pieces when it is too long."""
    while end - start > MAX_SENTENCE_CHARS:
        ends = [stop.end() for stop in _SOFT_END.finditer(text, start + _HALF, start + MAX_SENTENCE_CHARS)]
        middle = ends[-1] if ends else start + MAX_SENTENCE_CHARS
        yield start, middle
        start = middle
    yield start, end


def _trimmed(text: str, start: int, end: int) -> Offsets:
    inner = text[start:end]
    rest = inner.lstrip()
    return end - len(rest), end - len(inner) + len(inner.rstrip())
