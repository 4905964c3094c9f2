"""Presentations, slide by slide."""

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import JsonValue

from kbchat.loaders.drawings import DRAWN, drawn
from kbchat.loaders.parts import about, joined, needing, office, parsing
from kbchat.loaders.text import require_text, tidy
from kbchat.models import LoadedDocument

_ALTERNATIVES = "{http://schemas.openxmlformats.org/markup-compatibility/2006}AlternateContent"
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
            from pptx import Presentation
            from pptx.exc import PythonPptxError
        source = office(data, name=name, what="PowerPoint", suffix=".pptx", types=_TYPES)
        with parsing(name, "PowerPoint", PythonPptxError):
            presentation = Presentation(source)
            slides = [_slide(slide, number) for number, slide in enumerate(presentation.slides, 1)]
        text, blocks = joined(slides)
        require_text(text, name=name, reason="no slide holds text")
        return LoadedDocument(text, metadata=about(presentation), blocks=blocks)


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
        elif shape.has_text_frame:
            yield from ("", shape.text_frame.text) if shape.text_frame.text.strip() else ()
        else:
            for drawing in shape._element.iter(*DRAWN):
                yield from drawn(drawing, shape.part.rels)
