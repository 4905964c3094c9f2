"""Word, PowerPoint, rich text and JSON: what a reader sees is read, wherever the file keeps it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from docx import Document
from docx.enum.style import WD_STYLE_TYPE
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from lxml import etree
from pptx import Presentation

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.data import JsonLinesLoader, JsonLoader
from kbchat.loaders.docx import DocxLoader
from kbchat.loaders.formats import format_of
from kbchat.loaders.pptx import PptxLoader
from kbchat.loaders.rtf import RtfLoader
from made_files import PHRASE, changed, docx, pptx, saved


def of_type(data: bytes, usual: str, kind: str) -> bytes:
    """A document whose main part has another content type."""
    whole = f"application/vnd.openxmlformats-officedocument.{usual}.main+xml".encode()
    return changed(data, lambda name, part: part.replace(whole, f"application/{kind}".encode()))


def strict(data: bytes) -> bytes:
    """A document with the names that Strict Open XML has."""
    names = ((b"schemas.openxmlformats.org/officeDocument/2006", b"purl.oclc.org/ooxml/officeDocument"),)
    names += tuple(
        (f"schemas.openxmlformats.org/{kind}/2006".encode(), f"purl.oclc.org/ooxml/{kind}".encode())
        for kind in ("wordprocessingml", "presentationml", "drawingml")
    )

    def change(name: str, part: bytes) -> bytes:
        for usual, other in names:
            part = part.replace(usual, other)
        return part

    return changed(data, change)


def word(*parts: str, document: Any = None, numbering: str = "") -> str:
    """The text of a Word document with these elements at its end, and these definitions of lists."""
    document = document or Document()
    body = document.element.body
    for element in parse_xml(f"<w:body {nsdecls('w')}>{''.join(parts)}</w:body>"):
        body.insert(len(body) - 1, element)
    if numbering:
        lists = document.part.numbering_part.element
        for place, element in enumerate(parse_xml(f"<w:numbering {nsdecls('w')}>{numbering}</w:numbering>")):
            lists.insert(place, element) if element.tag.endswith("abstractNum") else lists.append(element)
    return DocxLoader().load(saved(document), name="a.docx").text


def paragraph(text: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def cell(text: str, properties: str = "") -> str:
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{paragraph(text)}</w:tc>"


def counted(text: str, numbered: int, level: int = 0) -> str:
    return paragraph(text, f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{numbered}"/></w:numPr>')


@pytest.mark.parametrize("around", ["customXml", "moveTo", "ins"])
def test_what_stands_around_paragraphs_hides_none(around: str) -> None:
    """Marked, moved or inserted ones are shown."""
    assert word(f"<w:{around}>{paragraph('Shown.')}</w:{around}>") == "Shown."


def test_a_text_box_within_another_is_read_once() -> None:
    """However deep it is, and not again in the form that older programs show."""
    text, depth = "", 14
    for level in reversed(range(depth)):
        text = (
            f"<w:p><w:r><w:pict><w:txbxContent>{paragraph(f'Box {level}.')}{text}</w:txbxContent></w:pict></w:r></w:p>"
        )
    alternate = f"<w:r><mc:AlternateContent><mc:Choice>{text}</mc:Choice><mc:Fallback>{text}</mc:Fallback>"
    office = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    shown = word(f"<w:p {office}>{alternate}</mc:AlternateContent></w:r></w:p>")
    assert shown.split("\n\n") == [f"Box {level}." for level in range(depth)]


def test_cells_and_rows_in_content_controls_are_read() -> None:
    """Templates are full of them."""
    rows = (
        f"<w:tr>{cell('Key')}{cell('Owner')}</w:tr>"
        f"<w:tr><w:sdt><w:sdtContent>{cell('blue')}</w:sdtContent></w:sdt>{cell('Ann')}</w:tr>"
        f"<w:sdt><w:sdtContent><w:tr>{cell('red')}{cell('Bo')}</w:tr></w:sdtContent></w:sdt>"
    )
    assert word(f"<w:tbl>{rows}</w:tbl>") == "| Key | Owner |\n| --- | --- |\n| blue | Ann |\n| red | Bo |"


def test_wide_cells_keep_the_others_in_their_columns() -> None:
    """And so do rows that begin later."""
    wide = cell("ab", '<w:gridSpan w:val="2"/>')
    rows = (
        f"<w:tr>{cell('A')}{cell('B')}{cell('C')}</w:tr>"
        f"<w:tr>{wide}{cell('c')}</w:tr>"
        f'<w:tr><w:trPr><w:gridBefore w:val="2"/></w:trPr>{cell("c")}</w:tr>'
    )
    assert word(f"<w:tbl>{rows}</w:tbl>").split("\n")[2:] == ["| ab |  | c |", "|  |  | c |"]


def test_headings_are_what_word_shows_as_such() -> None:
    """By a style that is based upon a heading's, or by an outline level; a style may also say that it is none."""
    document = Document()
    styles = document.styles
    styles.add_style("Firm", WD_STYLE_TYPE.PARAGRAPH).base_style = styles["Heading 2"]
    document.add_paragraph("Based", style="Firm")
    document.add_paragraph("Contents", style="TOC Heading")
    level = '<w:outlineLvl w:val="2"/>'
    assert word(paragraph("Outlined", level), document=document) == "## Based\n\nContents\n\n### Outlined"


LISTS = """
<w:abstractNum w:abstractNumId="90"><w:lvl w:ilvl="0"><w:start w:val="1"/><w:numFmt w:val="decimal"/><w:lvlText
w:val="%1."/></w:lvl><w:lvl w:ilvl="1"><w:start w:val="1"/><w:numFmt w:val="decimal"/><w:lvlText w:val="%1.%2"/></w:lvl>
<w:lvl w:ilvl="2"><w:start w:val="1"/><w:numFmt w:val="lowerRoman"/><w:lvlText w:val="(%3)"/></w:lvl></w:abstractNum>
<w:abstractNum w:abstractNumId="91"><w:lvl w:ilvl="0"><w:start w:val="3"/><w:numFmt w:val="upperLetter"/><w:lvlText
w:val="%1)"/></w:lvl></w:abstractNum>
<w:num w:numId="90"><w:abstractNumId w:val="90"/></w:num>
<w:num w:numId="91"><w:abstractNumId w:val="91"/></w:num>
<w:num w:numId="92"><w:abstractNumId w:val="90"/><w:lvlOverride w:ilvl="0"><w:startOverride w:val="1"/></w:lvlOverride>
</w:num>"""


def test_numbers_that_word_counts_are_read() -> None:
    """A contract is referred to by them; deeper ones begin anew, and so does a list that says so."""
    parts = [counted("Scope", 90), counted("Who", 90, 1), counted("What", 90, 1), counted("So", 90, 2)]
    parts += [counted("Term", 90), counted("When", 90, 1), counted("Third", 91), counted("Anew", 92), counted("On", 92)]
    shown = [
        "1. Scope",
        "  1.1 Who",
        "  1.2 What",
        "    (i) So",
        "2. Term",
        "  2.1 When",
        "C) Third",
        "1. Anew",
        "2. On",
    ]
    assert word(*parts, numbering=LISTS) == "\n".join(shown)


def test_numbers_of_headings_and_of_styles_are_read() -> None:
    """Without a number in the paragraph itself; a paragraph may also have none."""
    document = Document()
    document.add_paragraph("first", style="List Number")
    document.add_paragraph("second", style="List Number")
    document.add_paragraph("point", style="List Bullet")
    heading = '<w:pStyle w:val="Heading1"/><w:numPr><w:numId w:val="90"/></w:numPr>'
    plain = '<w:pStyle w:val="ListNumber"/><w:numPr><w:numId w:val="0"/></w:numPr>'
    parts = [paragraph("Scope", heading), paragraph("Term", heading), paragraph("third", plain)]
    expected = "1. first\n2. second\n- point\n\n# 1. Scope\n\n# 2. Term\n\n- third"
    assert word(*parts, document=document, numbering=LISTS) == expected


def test_a_list_that_is_defined_wrongly_is_a_list_all_the_same() -> None:
    """Its numbers are lost, the document is not."""
    wrong = '<w:num w:numId="x"/><w:num w:numId="90"><w:abstractNumId w:val="y"/></w:num>'
    assert word(counted("one", 90), counted("two", 99), numbering=wrong) == "- one\n- two"


def test_hidden_text_readings_and_powers() -> None:
    """Hidden text and the signs above Chinese characters are left out, 10⁶ is not 106."""
    hidden = "<w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r>"
    shown = '<w:r><w:rPr><w:vanish w:val="0"/></w:rPr><w:t>shown</w:t></w:r>'
    reading, base = (
        f"<w:{tag}><w:r><w:t>{text}</w:t></w:r></w:{tag}>" for tag, text in (("rt", "かん"), ("rubyBase", "漢"))
    )
    ruby = f"<w:r><w:ruby>{reading}{base}</w:ruby></w:r>"
    above = '<w:r><w:rPr><w:vertAlign w:val="superscript"/></w:rPr><w:t>{}</w:t></w:r>'
    assert word(f"<w:p>{hidden}{shown}</w:p>") == "shown"
    assert word(f"<w:p>{ruby}<w:r><w:t>字</w:t></w:r></w:p>") == "漢字"
    assert word(f"<w:p><w:r><w:t>10</w:t></w:r>{above.format('6')}</w:p>") == "10^6"
    assert word(f"<w:p><w:r><w:t>21</w:t></w:r>{above.format('st')}</w:p>") == "21st"


def test_a_shape_with_the_number_of_the_title_is_read() -> None:
    """Programs that copy slides give numbers twice."""
    show = Presentation()
    slide = show.slides.add_slide(show.slide_layouts[5])
    slide.shapes.title.text = "The title"
    box = slide.shapes.add_textbox(0, 0, 99, 99)
    box.text_frame.text = "The box."
    box._element.nvSpPr.cNvPr.set("id", str(slide.shapes.title.shape_id))
    assert PptxLoader().load(saved(show), name="a.pptx").text == "The title\n\nThe box."


def test_shapes_that_newer_programs_show_otherwise_are_read() -> None:
    """A text box with a formula is kept in two forms."""
    show = Presentation()
    box = show.slides.add_slide(show.slide_layouts[6]).shapes.add_textbox(0, 0, 99, 99)
    box.text_frame.text = "The text."
    space = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
    alternatives = etree.SubElement(box._element.getparent(), f"{space}AlternateContent")
    newest = etree.SubElement(alternatives, f"{space}Choice", Requires="a14")
    newest.append(box._element)
    etree.SubElement(alternatives, f"{space}Fallback")
    assert PptxLoader().load(saved(show), name="a.pptx").text == "The text."


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        ("docm", "vnd.ms-word.document.macroEnabled.main+xml"),
        ("dotx", "vnd.openxmlformats-officedocument.wordprocessingml.template.main+xml"),
        ("docx", "vnd.openxmlformats-officedocument.wordprocessingml.template.main+xml"),
        ("dotm", "vnd.ms-word.template.macroEnabledTemplate.main+xml"),
        ("pptm", "vnd.ms-powerpoint.presentation.macroEnabled.main+xml"),
        ("ppsx", "vnd.openxmlformats-officedocument.presentationml.slideshow.main+xml"),
        ("ppsm", "vnd.ms-powerpoint.slideshow.macroEnabled.main+xml"),
        ("potx", "vnd.openxmlformats-officedocument.presentationml.template.main+xml"),
        ("potm", "vnd.ms-powerpoint.template.macroEnabled.main+xml"),
    ],
)
def test_templates_slide_shows_and_files_with_macros_are_read(suffix: str, kind: str) -> None:
    """They are what the others are, but for the content type of their main part."""
    if suffix.startswith("d"):
        data = of_type(docx(), "wordprocessingml.document", kind)
    else:
        data = of_type(pptx(), "presentationml.presentation", kind)
    assert PHRASE in format_of(data, name=f"a.{suffix}").load(data, name=f"a.{suffix}").text


@pytest.mark.parametrize(("suffix", "made"), [("docx", docx), ("pptx", pptx)])
def test_strict_open_xml_is_named_as_such(suffix: str, made: Callable[[], bytes]) -> None:
    """It is whole, and its program saves it in the ordinary form."""
    data = strict(made())
    with pytest.raises(UnreadableDocumentError, match=f"Strict Open XML; save it as an ordinary .{suffix} document"):
        format_of(data, name=f"a.{suffix}").load(data, name=f"a.{suffix}")


@pytest.mark.parametrize(
    ("suffix", "made", "usual"),
    [("docx", docx, "wordprocessingml.document"), ("pptx", pptx, "presentationml.presentation")],
)
def test_a_reason_is_the_same_every_time(suffix: str, made: Callable[[], bytes], usual: str) -> None:
    """It holds no address in memory."""
    data = of_type(made(), usual, "octet-stream")
    with pytest.raises(UnreadableDocumentError, match="damaged: not a whole") as raised:
        format_of(data, name=f"a.{suffix}").load(data, name=f"a.{suffix}")
    assert "0x" not in str(raised.value)
    assert "object" not in str(raised.value)


def test_notes_of_rich_text_stand_at_its_end() -> None:
    """With braces and further groups in them."""
    text = rb"{\rtf1\ansi One{\footnote\pard {\super\chftn} See \{1\}.} two.{\footnote Also.}\par Three.}"
    assert RtfLoader().load(text, name="a.rtf").text == "One two.\nThree.\n See {1}.\nAlso."
    assert RtfLoader().load(rb"{\rtf1 One{\footnote open", name="a.rtf").text == "One"


def test_a_name_that_comes_twice_has_both_values() -> None:
    """The standard allows it, and does not say what it means."""
    assert JsonLoader().load(b'{"a": 1, "b": 2, "a": {"c": 3}}', name="a.json").text == "a:\n  - 1\n  - c: 3\nb: 2"
    assert JsonLinesLoader().load(b'{"a": 1, "a": null}\n', name="a.jsonl").text == "a:\n  - 1\n  - null"
    assert JsonLoader().load(json.dumps({"a": [1]}).encode(), name="a.json").text == "a:\n  - 1"


@pytest.mark.parametrize(
    "number",
    ["1.10", "0.1234567890123456789012", "1e400", "-0", "1E+2", "NaN", pytest.param("9" * 5000, id="long")],
)
def test_numbers_stand_as_they_are_written(number: str) -> None:
    """Prices, versions and ids are not figures to reckon with; also where a value stands as the JSON that it is."""
    assert JsonLoader().load(f'{{"a": {number}}}'.encode(), name="a.json").text == f"a: {number}"
    assert JsonLinesLoader().load(f'1\n{{"a": [{number}]}}\n'.encode(), name="a.jsonl").text == f"1\n\na:\n  - {number}"
    deep = f'{{"é": [{number}, "1", true, {{}}, []], "b": null}}'
    text = JsonLoader().load(("[" * 60 + deep + "]" * 60).encode(), name="a.json").text
    assert text.endswith("[" * 8 + deep + "]" * 8)


def test_a_line_nested_too_deeply_says_so() -> None:
    """It is JSON all the same; a whole file of it is text as it stands."""
    deep = b"[" * 200_000 + b"]" * 200_000
    with pytest.raises(UnreadableDocumentError, match="line 2 is nested too deeply"):
        JsonLinesLoader().load(b"1\n" + deep, name="a.jsonl")
    assert JsonLoader().load(deep, name="a.json").text == deep.decode()
