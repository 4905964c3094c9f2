"""What Office documents draw of data: charts, and diagrams (SmartArt)."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from operator import itemgetter
from typing import Any

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_C = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_D = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"

DEEPEST = 20
"""Levels up to which a diagram's texts are indented further: they would be longer than what they say."""


def drawn(reference: Any, relations: Mapping[str, Any]) -> Iterator[str]:
    """The text of what an element of `DRAWN` refers to by its part's relations.

    One that is missing or damaged says nothing: it costs itself, not its document.
    """
    from lxml.etree import XMLParser, XMLSyntaxError, fromstring

    attribute, read = _READ[reference.tag]
    try:
        part = relations[reference.get(attribute)].target_part
        yield from list(read(fromstring(part.blob, XMLParser(resolve_entities=False))))
    except (KeyError, ValueError, XMLSyntaxError):
        return


def _diagrammed(model: Any) -> Iterator[str]:
    """The texts of a diagram, each below the one that it belongs to, in their order."""
    points = {point.get("modelId"): point for point in model.iter(f"{_D}pt")}
    below: dict[str | None, list[tuple[int, str]]] = defaultdict(list)
    for link in model.iter(f"{_D}cxn"):
        if link.get("type", "parOf") == "parOf":
            below[link.get("srcId")].append((int(link.get("srcOrd", 0)), link.get("destId")))
    open_points = [(name, -1) for name, point in points.items() if point.get("type") == "doc"]
    while open_points:
        name, depth = open_points.pop()
        point = points.pop(name, None)  # What comes twice, so that it would never end, is read once.
        if point is None:
            continue
        text = " ".join(_pieces(point))
        if text:
            yield f"{'  ' * min(depth, DEEPEST)}- {text}"
        open_points += [
            (inner, depth + bool(text or depth < 0))
            for _, inner in sorted(below[name], key=itemgetter(0), reverse=True)
        ]


def _charted(space: Any) -> Iterator[str]:
    title = space.find(f"{_C}chart/{_C}title")
    if title is not None and (text := " ".join(_pieces(title))):
        yield text
    for plot in space.iterfind(f"{_C}chart/{_C}plotArea/*"):
        names: dict[int, str] = {}
        for series in plot.iterfind(f"{_C}ser"):
            # The points of a chart without categories are named by where they stand; only a first series may have any.
            names = _points(series, "cat") or names
            at = names or _points(series, "xVal")
            values = _points(series, "val") or _points(series, "yVal")
            shown = [_shown(at.get(place), value) for place, value in sorted(values.items())]
            name = " ".join(text for tx in series.iterfind(f"{_C}tx") for text in _pieces(tx))
            if line := ": ".join(part for part in (name, "; ".join(filter(None, shown))) if part):
                yield line


def _pieces(element: Any) -> Iterator[str]:
    """The paragraphs of a title or name, or the values of the cells that it stands in."""
    for piece in element.iter(f"{_A}p", f"{_C}v"):
        if text := " ".join("".join(run.text or "" for run in piece.iter(f"{_A}t", f"{_C}v")).split()):
            yield text


def _points(series: Any, kind: str) -> dict[int, str]:
    """The values that a chart keeps of a series' cells by their places; of names on several levels the nearest ones."""
    found = series.find(f"{_C}{kind}")
    if found is None:
        return {}
    nearest = found.find(f".//{_C}lvl")
    points = (found if nearest is None else nearest).iter(f"{_C}pt")
    return {int(point.get("idx", 0)): (point.findtext(f"{_C}v") or "").strip() for point in points}


def _shown(name: str | None, value: str) -> str:
    """A point; nothing of one whose cell is empty or an error."""
    try:
        number = float(value)
    except ValueError:
        return ""
    if not isfinite(number):
        return ""
    return f"{name}: {number:.15g}" if name else f"{number:.15g}"


_READ: dict[str, tuple[str, Callable[[Any], Iterator[str]]]] = {
    f"{_C}chart": (f"{_R}id", _charted),
    f"{_D}relIds": (f"{_R}dm", _diagrammed),
}
DRAWN = tuple(_READ)
"""The elements that stand for drawings."""
