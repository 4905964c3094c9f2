"""Charts and diagrams in presentations and Word documents: their words and numbers are read, each in its place."""

from collections.abc import Callable
from typing import Any

import pytest
from docx import Document
from docx.opc.packuri import PackURI
from docx.opc.part import Part as WordPart
from docx.oxml import parse_xml
from pptx import Presentation
from pptx.chart.data import CategoryChartData, XyChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.opc.package import Part as SlidePart
from pptx.opc.packuri import PackURI as SlideURI

from kbchat.loaders.docx import DocxLoader
from kbchat.loaders.pptx import PptxLoader
from made_files import changed, saved

SPACES = (
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
    'xmlns:dgm="http://schemas.openxmlformats.org/drawingml/2006/diagram" '
    'xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships" '
    'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" '
    'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
    'xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing" '
)
GRAPHIC = '<a:graphic><a:graphicData uri="u">{}</a:graphicData></a:graphic>'
DIAGRAM, CHART = GRAPHIC.format('<dgm:relIds r:dm="{}"/>'), GRAPHIC.format('<c:chart r:id="{}"/>')


def slide(chart: Any, kind: Any) -> str:
    """The text of a presentation with a chart."""
    show = Presentation()
    show.slides.add_slide(show.slide_layouts[6]).shapes.add_chart(kind, 0, 0, 99, 99, chart)
    return PptxLoader().load(saved(show), name="a.pptx").text


def test_charts_say_their_numbers_whole() -> None:
    """Not to six digits; points without categories are named by where they stand."""
    chart = CategoryChartData()
    chart.categories = ["2023", "2024"]
    chart.add_series("Revenue", (1234567.0, 0.1234567))
    assert slide(chart, XL_CHART_TYPE.COLUMN_CLUSTERED) == "Revenue: 2023: 1234567; 2024: 0.1234567"
    points = XyChartData()
    series = points.add_series("Heat")
    series.add_data_point(1, 2)
    series.add_data_point(3, 4.5)
    points.add_series("Cold").add_data_point(5, 6)
    assert slide(points, XL_CHART_TYPE.XY_SCATTER) == "Heat: 1: 2; 3: 4.5\nCold: 5: 6"


def with_chart(change: Callable[[bytes], bytes | None]) -> str:
    """The text of a presentation whose chart, of two series, was changed."""
    show = Presentation()
    slide = show.slides.add_slide(show.slide_layouts[5])
    slide.shapes.title.text = "Regions"
    data = CategoryChartData()
    data.categories = ["East", "West"]
    data.add_series("Q1", (1.5, 2))
    data.add_series("Q2", (3, None))
    chart = slide.shapes.add_chart(XL_CHART_TYPE.LINE, 0, 0, 99, 99, data).chart
    chart.chart_title.text_frame.text = "Sales"
    whole = changed(saved(show), lambda name, part: change(part) if name.startswith("ppt/charts/chart") else part)
    return PptxLoader().load(whole, name="a.pptx").text


@pytest.mark.parametrize("kind", ["lineChart", "pie3DChart", "bar3DChart", "line3DChart", "stockChart", "ofPieChart"])
def test_charts_of_every_kind_are_read(kind: str) -> None:
    """Also of those that python-pptx does not know."""
    text = with_chart(lambda part: part.replace(b"c:lineChart", f"c:{kind}".encode()))
    assert text == "Regions\nSales\nQ1: East: 1.5; West: 2\nQ2: East: 3"


def test_an_error_in_a_charts_cell_costs_that_value() -> None:
    """A spreadsheet writes #N/A where it has none."""
    text = with_chart(lambda part: part.replace(b"<c:v>1.5</c:v>", b"<c:v>#N/A</c:v>"))
    assert text == "Regions\nSales\nQ1: West: 2\nQ2: East: 3"


@pytest.mark.parametrize("change", [lambda part: None, lambda part: part[: len(part) // 2], lambda part: b""])
def test_a_chart_that_cannot_be_read_costs_itself_alone(change: Callable[[bytes], bytes | None]) -> None:
    """Whether it is missing or damaged."""
    assert with_chart(change) == "Regions"


def diagram(*links: tuple[str, str, int], doc: str = "doc") -> bytes:
    """A diagram's data: points are called as what they say, links are from the one above to the one below."""
    names = sorted({name for link in links for name in link[:2]} - {doc})
    points = f'<dgm:pt modelId="{doc}" type="doc"/>'
    points += "".join(
        f'<dgm:pt modelId="{name}"><dgm:t><a:p><a:r><a:t>{name}</a:t></a:r></a:p></dgm:t></dgm:pt>' for name in names
    )
    drawn = "".join(f'<dgm:cxn srcId="{above}" destId="{below}" srcOrd="{at}"/>' for above, below, at in links)
    drawn += '<dgm:cxn type="presOf" srcId="doc" destId="A task" srcOrd="0"/>'
    return (
        f"<dgm:dataModel {SPACES}><dgm:ptLst>{points}</dgm:ptLst><dgm:cxnLst>{drawn}</dgm:cxnLst></dgm:dataModel>"
    ).encode()


def in_slide(data: bytes) -> str:
    """The text of a presentation with a diagram of that data."""
    show = Presentation()
    made = show.slides.add_slide(show.slide_layouts[5])
    made.shapes.title.text = "Plan"
    part = SlidePart(SlideURI("/ppt/diagrams/data1.xml"), "application/xml", show.part.package, data)
    frame = DIAGRAM.format(made.part.relate_to(part, "diagramData"))
    place = (
        '<p:nvGraphicFramePr><p:cNvPr id="9" name="d"/><p:cNvGraphicFramePr/><p:nvPr/></p:nvGraphicFramePr><p:xfrm/>'
    )
    made.shapes._spTree.append(parse_xml(f"<p:graphicFrame {SPACES}>{place}{frame}</p:graphicFrame>"))
    return PptxLoader().load(saved(show), name="a.pptx").text


def in_word(data: bytes, graphic: str = DIAGRAM, *, around: str = "<w:ins>{}</w:ins>") -> str:
    """The text of a Word document with a drawing of that data between two paragraphs."""
    document = Document()
    document.add_paragraph("Before.")
    held = document.add_paragraph("Plan")
    document.add_paragraph("After.")
    part = WordPart(PackURI("/word/drawn1.xml"), "application/xml", data, document.part.package)
    drawing = graphic.format(document.part.relate_to(part, "drawn"))
    run = around.format(f"<w:r><w:drawing><wp:inline>{drawing}</wp:inline></w:drawing></w:r>")
    held._p.append(parse_xml(f"<w:p {SPACES}>{run}</w:p>")[0])
    return DocxLoader().load(saved(document), name="a.docx").text


TREE = (("doc", "Second", 1), ("doc", "First", 0), ("First", "B task", 1), ("First", "A task", 0))
SHOWN = "- First\n  - A task\n  - B task\n- Second"


def test_a_diagrams_texts_are_below_what_they_belong_to() -> None:
    """In the order that it shows, not in the one that they were made in."""
    assert in_slide(diagram(*TREE)) == f"Plan\n{SHOWN}"
    assert in_word(diagram(*TREE)) == f"Before.\n\n{SHOWN}\n\nPlan\n\nAfter."


@pytest.mark.parametrize(
    "data", [b"", diagram(*TREE)[:-9], diagram(*TREE).replace(b'srcOrd="1"', b'srcOrd="x"')], ids=("none", "cut", "odd")
)
def test_a_damaged_diagram_costs_itself_alone(data: bytes) -> None:
    assert in_slide(data) == "Plan"
    assert in_word(data) == "Before.\n\nPlan\n\nAfter."


def test_a_diagram_that_holds_itself_is_read_once() -> None:
    assert in_slide(diagram(*TREE, ("B task", "First", 0), ("Second", "doc", 0))) == f"Plan\n{SHOWN}"


@pytest.mark.parametrize(
    "gone", ["<w:del>{}</w:del>", "<w:moveFrom>{}</w:moveFrom>", "<w:r><w:rPr><w:vanish/></w:rPr>{}</w:r>"]
)
def test_a_diagram_that_is_not_shown_is_not_read(gone: str) -> None:
    """Deleted, moved away or hidden."""
    assert in_word(diagram(*TREE), around=gone) == "Before.\n\nPlan\n\nAfter."


def test_a_deep_diagram_is_about_as_long_as_its_texts() -> None:
    chain = [(f"p{n}" if n else "doc", f"p{n + 1}", 0) for n in range(200)]
    assert len(in_slide(diagram(*chain))) < 200 * 60


def test_charts_in_word_are_read() -> None:
    """As those in presentations."""
    data = CategoryChartData()
    data.categories = ["East", "West"]
    data.add_series("Sales", (1.5, 2))
    show = Presentation()
    chart = show.slides.add_slide(show.slide_layouts[6]).shapes.add_chart(XL_CHART_TYPE.LINE, 0, 0, 99, 99, data).chart
    chart_in_word = in_word(chart.part.blob, CHART)
    assert chart_in_word == "Before.\n\nSales: East: 1.5; West: 2\n\nPlan\n\nAfter."
