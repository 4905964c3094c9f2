"""Presentations, slide by slide."""

from collections.abc import Iterable, Iterator
from math import isfinite
from typing import Any

from pydantic import JsonValue

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.parts import facts, joined, needing, office, said
from kbchat.loaders.text import require_text, tidy
from kbchat.models import LoadedDocument

_ALTERNATIVES = "{http://schemas.openxmlformats.org/markup-compatibility/2006}AlternateContent"
_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_C = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_PRESENTATION = "application/vnd.openxmlformats-officedocument.presentationml.presentation.main+xml"
_TYPES = {
    "application/vnd.openxmlformats-officedocument.presentationml.slideshow.main+xml": _PRESENTATION,
    "application/vnd.openxmlformats-officedocument.presentationml.template.main+xml": _PRESENTATION,
    "application/vnd.ms-powerpoint.slideshow.macroEnabled.main+xml": _PRESENTATION,
    "application/vnd.ms-powerpoint.template.macroEnabled.main+xml": _PRESENTATION,
    "application/vnd.openxmlformats-officedocument.drawingml.chart+xml": "application/octet-stream",
}
"""Slide shows and templates, which python-pptx refuses, are the same as presentations but for that.

Charts it would parse as it opens the file, and then refuse the whole for one that is damaged.
"""


class PptxLoader:
    """A presentation. Each slide is a block, its title the heading; the speaker's notes are at its end."""

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """Raises `UnreadableDocumentError` for one that is damaged, a zip bomb or without text."""
        with needing("presentations"):
            from lxml.etree import XMLSyntaxError
            from pptx import Presentation
            from pptx.exc import PackageNotFoundError
        source = office(data, name=name, what="PowerPoint", suffix=".pptx", types=_TYPES)
        try:
            presentation = Presentation(source)
            slides = [_slide(slide, number) for number, slide in enumerate(presentation.slides, 1)]
            about = presentation.core_properties
        except (KeyError, ValueError, AttributeError, XMLSyntaxError, PackageNotFoundError) as error:
            raise UnreadableDocumentError(name, f"damaged: not a whole PowerPoint file ({said(error)})") from None
        text, blocks = joined(slides)
        require_text(text, name=name, reason="no slide holds text")
        return LoadedDocument(text, metadata=facts(title=about.title, author=about.author), blocks=blocks)


def _slide(slide: Any, number: int) -> tuple[str, dict[str, JsonValue]]:
    _choose(slide.shapes.element)
    title = slide.shapes.title
    heading = " ".join(title.text_frame.text.split()) if title is not None else ""
    lines = [heading] if heading else []
    others = [shape for shape in slide.shapes if title is None or shape._element is not title._element]
    lines += _shapes(others)
    if slide.has_notes_slide and (frame := slide.notes_slide.notes_text_frame) is not None and frame.text.strip():
        lines += ["", f"Notes: {frame.text}"]
    place: dict[str, JsonValue] = {"slide": number}
    if heading:
        place["headings"] = [tidy(heading)]
    return "\n".join(lines), place


def _choose(tree: Any) -> None:
    """Put the first of several forms of a shape in their place: the newest one, which has its text."""
    for alternatives in list(tree.iter(_ALTERNATIVES)):
        for shape in list(alternatives[0]) if len(alternatives) else ():
            alternatives.addprevious(shape)
        alternatives.getparent().remove(alternatives)


def _shapes(shapes: Iterable[Any]) -> Iterator[str]:
    """The text of shapes from top to bottom."""
    for shape in sorted(shapes, key=lambda shape: (shape.top or 0, shape.left or 0)):
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes)
        elif getattr(shape, "has_table", False) and shape.has_table:
            yield ""
            for row in shape.table.rows:
                yield "; ".join(cell for cell in (" ".join(cell.text.split()) for cell in row.cells) if cell)
        elif getattr(shape, "has_chart", False) and shape.has_chart:
            yield from _chart(shape)
        elif shape.has_text_frame and shape.text_frame.text.strip():
            yield from ("", shape.text_frame.text)


def _chart(frame: Any) -> Iterator[str]:
    """A chart's title and the values of its series, whatever its kind. One that is missing or damaged says nothing."""
    from lxml.etree import XMLSyntaxError
    from pptx.oxml import parse_xml

    try:
        yield from list(_charted(parse_xml(frame.part.related_part(frame._element.chart_rId).blob)))
    except (KeyError, ValueError, XMLSyntaxError):
        return


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
