"""The styles of a Word document, and the numbers that Word counts: a paragraph's own text does not hold them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_LEVEL = re.compile(r"heading (\d)", re.IGNORECASE)
_BODY = 9
"""The outline level of what is no heading."""
_MOST_STYLES = 20
"""Styles that one may be based upon another: more are a circle."""
_SIGNS = ("m", "cm", "d", "cd", "c", "xc", "l", "xl", "x", "ix", "v", "iv", "i")
_ROMAN = dict(zip((1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1), _SIGNS, strict=True))


def number(element: Any, path: str, default: int | None = None) -> int | None:
    """The number that is the value of a property, by its path of tags. What is none counts as not said."""
    found = element.find("/".join(f"{_W}{tag}" for tag in path.split("/")))
    return _whole(found, "val", default) if found is not None else default


def _whole(element: Any, attribute: str, default: int | None = None) -> int | None:
    value = element.get(f"{_W}{attribute}") or ""
    return int(value) if re.fullmatch(r"-?\d{1,9}", value) else default


class Styles:
    """What paragraphs are by their styles, and by the styles that those are based upon."""

    def __init__(self, styles: Any) -> None:
        self._styles = {style.get(f"{_W}styleId"): style for style in styles.iterchildren(f"{_W}style")}

    def name(self, paragraph: Any) -> str:
        """The name of a paragraph's style, in lower case."""
        return next((_name(style) for style in self._chain(paragraph)), "")

    def level(self, paragraph: Any) -> int:
        """The level of a heading, from 1 to 6; 0 for what is none."""
        level = number(paragraph, "pPr/outlineLvl")
        for style in self._chain(paragraph):
            if level is not None:
                break
            if found := _LEVEL.match(_name(style)):
                level = int(found[1]) - 1
            else:
                level = 0 if _name(style) == "title" else number(style, "pPr/outlineLvl")
        return 0 if level is None or level >= _BODY else min(level + 1, 6)

    def counted(self, paragraph: Any) -> tuple[int, int | None, str]:
        """The list that counts a paragraph (0: none), and its level there, or else the style that the level names."""
        numbered, level = number(paragraph, "pPr/numPr/numId"), number(paragraph, "pPr/numPr/ilvl")
        for style in self._chain(paragraph):
            if numbered is None and number(style, "pPr/numPr/numId") is not None:
                numbered, given = number(style, "pPr/numPr/numId"), number(style, "pPr/numPr/ilvl")
                return numbered or 0, given if level is None else level, style.get(f"{_W}styleId") or ""
        return numbered or 0, level, ""

    def _chain(self, paragraph: Any) -> Iterator[Any]:
        named = paragraph.find(f"{_W}pPr/{_W}pStyle")
        for _ in range(_MOST_STYLES):
            style = self._styles.get(named.get(f"{_W}val")) if named is not None else None
            if style is None:
                return
            yield style
            named = style.find(f"{_W}basedOn")


@dataclass(slots=True)
class _Level:
    """How one level of a list counts."""

    start: int
    kind: str
    shown: str
    style: str


class Numbers:
    """Counts the paragraphs of a document's lists, in the order in which it is asked."""

    def __init__(self, numbering: Any) -> None:
        self._levels: dict[int | None, dict[int, _Level]] = {}
        self._lists: dict[int | None, tuple[int | None, dict[int, int]]] = {}
        self._counts: dict[int | None, dict[int, int]] = {}
        if numbering is None:
            return
        for kind in numbering.iterchildren(f"{_W}abstractNum"):
            levels = {_whole(level, "ilvl", 0) or 0: _level(level) for level in kind.iterchildren(f"{_W}lvl")}
            self._levels[_whole(kind, "abstractNumId")] = levels
        for one in numbering.iterchildren(f"{_W}num"):
            starts = {
                _whole(change, "ilvl", 0) or 0: start
                for change in one.iterchildren(f"{_W}lvlOverride")
                if (start := number(change, "startOverride")) is not None
            }
            self._lists[_whole(one, "numId")] = number(one, "abstractNumId"), starts

    def next(self, numbered: int, level: int | None, style: str) -> tuple[int, str]:
        """The level of the next paragraph of a list, and what stands before its text: `-` for a bullet."""
        kind, starts = self._lists.get(numbered, (None, {}))
        levels = self._levels.get(kind, {})
        if level is None:
            level = next((at for at, known in levels.items() if style and known.style == style), 0)
        if level not in levels or levels[level].kind == "bullet":
            return level, "-"
        counts = self._counts.setdefault(kind, {})
        # A list that says where it starts does so once; others of its kind go on counting.
        if (start := starts.pop(level, None)) is not None:
            counts[level] = start - 1
        counts[level] = counts.get(level, levels[level].start - 1) + 1
        for deeper in [at for at in counts if at > level]:
            del counts[deeper]

        def shown(place: re.Match[str]) -> str:
            at = int(place[1]) - 1
            return _written(counts.get(at, levels[at].start), levels[at].kind) if at in levels else ""

        return level, re.sub(r"%([1-9])", shown, levels[level].shown).strip()


def _name(style: Any) -> str:
    name = style.find(f"{_W}name")
    return str(name.get(f"{_W}val") or "").lower() if name is not None else ""


def _level(level: Any) -> _Level:
    def said(tag: str) -> str:
        found = level.find(f"{_W}{tag}")
        return str(found.get(f"{_W}val") or "") if found is not None else ""

    return _Level(number(level, "start", 0) or 0, said("numFmt"), said("lvlText"), said("pStyle"))


def _written(count: int, kind: str) -> str:
    match kind:
        case "lowerLetter" | "upperLetter" if 1 <= count <= 26 * 9:
            letters = chr(ord("a") + (count - 1) % 26) * ((count - 1) // 26 + 1)
            return letters if kind == "lowerLetter" else letters.upper()
        case "lowerRoman" | "upperRoman" if 1 <= count < 4000:
            roman = ""
            for value, sign in _ROMAN.items():
                roman += sign * (count // value)
                count %= value
            return roman if kind == "lowerRoman" else roman.upper()
        case "decimalZero":
            return f"{count:02}"
        case "none":
            return ""
    return str(count)
