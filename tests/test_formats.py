"""Every kind of file gives its text, its structure and its place; a bad one gives a reason."""

import bz2
import json

import pytest

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.formats import BUILT_IN, by_suffix, format_of, hinted
from kbchat.models import LoadedDocument
from made_files import CODE, EML, HTML, PHRASE, RSS, docx, epub, good, pdf, pptx, xlsx, zipped


def load(data: bytes | str, name: str) -> LoadedDocument:
    raw = data.encode() if isinstance(data, str) else data
    return format_of(raw, name=name).load(raw, name=name)


def places(document: LoadedDocument, phrase: str) -> list[object]:
    """The metadata of the blocks that hold a phrase."""
    at = document.text.index(phrase)
    return [dict(block.metadata) for block in document.blocks if block.start <= at < block.end]


@pytest.mark.parametrize("name", good())
def test_every_kind_gives_its_text(name: str) -> None:
    """The phrase is in it, whole; blocks are in order and lie within the text."""
    document = load(good()[name], name)
    assert PHRASE in document.text.replace("\n", " ")
    position = 0
    for block in document.blocks:
        assert position <= block.start < block.end <= len(document.text)
        position = block.end


def test_every_format_is_one_of_the_made_files() -> None:
    """No kind goes untested."""
    made = {format_of(data, name=name).name for name, data in {**good(), "a.xlsx": xlsx()}.items()}
    assert {known.name for known in BUILT_IN} - made == {"xls", "ods", "msg"}
    assert len(by_suffix()) > 70


def test_what_a_name_tells_of_the_length_of_its_text() -> None:
    """Code, tables and data are as long as their files, and so is what no name is known of."""
    assert [hinted(f"a.{suffix}").is_text for suffix in ("MD", "log", "py", "csv", "json", "unknown")] == [True] * 6
    assert [hinted(f"a.{suffix}").is_text for suffix in ("pdf", "docx", "html", "ipynb", "eml")] == [False] * 5


@pytest.mark.parametrize(
    "text",
    [
        "A PDF begins with %PDF-1.4, as its readers know.",
        "ID3 tags are what players show.",
        "GIF89a is a kind of image.",
        "BZh9 begins an archive.",
        "OggS begins each page of a stream.",
        "%!PS-Adobe-3.0 is the first line of PostScript.",
        "The ftypisom brand is that of a film.",
        "{\\rtf is how rich text begins.",
    ],
)
@pytest.mark.parametrize("suffix", ["txt", "md", "py"])
def test_a_text_may_say_how_other_files_begin(text: str, suffix: str) -> None:
    """It is one all the same."""
    assert load(text, f"a.{suffix}").text == text


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"ID3\x04\x00\x00\x00\x00\x0f\x76TIT2", "a sound file"),
        (b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff", "a GIF image"),
        (bz2.compress(b"Text."), "a bzip2 archive"),
        (b"OggS\x00\x02\x00\x00", "a sound file"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        (b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00", "a film, sound or picture"),
    ],
)
def test_files_without_text_are_named(data: bytes, what: str) -> None:
    """Whatever they are called."""
    for name in ("a.txt", "a.md", "a"):
        with pytest.raises(UnreadableDocumentError, match=f"{what}; it holds no text"):
            load(data, name)


def test_a_pdf_may_begin_a_little_later() -> None:
    """After a mark or blanks under any name, after anything under its own, or where it is no text."""
    data = pdf(PHRASE)
    for before, name in ((b"\xef\xbb\xbf", "a.txt"), (b"\r\n ", "a"), (b"HTTP/1.1 200 OK\r\n\r\n", "a.pdf")):
        assert load(before + data, name).text == PHRASE
    assert load(b"HTTP/1.1 200 OK\r\n\r\n" + data + b"%\x00\x01", "a.txt").text == PHRASE


def test_a_pdf_knows_its_pages_and_bookmarks() -> None:
    """Pages count from 1; bookmarks are the headings from where their title stands."""
    document = load(
        pdf("Start\nhere", f"tail\nKeys\n{PHRASE}", title="T", outline=(("Start", 0), ("Keys", 1))), "a.pdf"
    )
    assert document.metadata == {"title": "T"}
    assert places(document, "here") == [{"page": 1, "headings": ["Start"]}]
    assert places(document, "tail") == [{"page": 2, "headings": ["Start"]}]
    assert places(document, PHRASE) == [{"page": 2, "headings": ["Keys"]}]


def test_running_headers_are_kept_once_and_page_numbers_left_out() -> None:
    """What stands first or last on nearly every page is the document's text where it comes first."""
    document = load(pdf(*(f"Handbook 2025\ntext {number * 'x'}\nPage {number}" for number in range(1, 7))), "a.pdf")
    assert document.text.startswith("Handbook 2025\ntext x\n\ntext xx\n")
    assert document.text.count("Handbook") == 1
    assert "Page" not in document.text
    assert "text xxxxxx" in document.text


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pdf("", ""), "no text on any page: a scan"),
        (pdf("x")[:60], "damaged or cut short: not a whole PDF"),
        (docx()[:1000], "damaged or cut short: not a whole Word"),
        (zipped({"word/document.xml": "<w:document>"}), "damaged: not a whole Word file"),
        (pptx()[:2000], "damaged or cut short: not a whole PowerPoint"),
        (xlsx()[:500], "damaged or cut short: not a whole spreadsheet"),
        (epub()[:300], "damaged or cut short: not a whole EPUB"),
        (zipped({"META-INF/container.xml": "<container/>"}), "damaged: not a whole EPUB"),
    ],
)
def test_damaged_files_say_so(data: bytes, reason: str) -> None:
    """By what they should be."""
    suffix = next(
        (
            kind
            for word, kind in (("Word", "docx"), ("Power", "pptx"), ("spread", "xlsx"), ("EPUB", "epub"))
            if word in reason
        ),
        "pdf",
    )
    with pytest.raises(UnreadableDocumentError, match=reason):
        load(data, f"a.{suffix}")


def test_word_keeps_its_structure() -> None:
    """Headings, lists and tables become Markdown; deleted text is left out."""
    document = load(docx(), "a.docx")
    assert document.metadata == {"title": "Keys", "author": "python-docx"}
    assert f"# Security\n\nAn introduction.\n\n## Rotation\n\n{PHRASE}" in document.text
    assert "- first point" in document.text
    assert "| Key | Owner |\n| --- | --- |\n| blue | Ann |" in document.text


def test_slides_have_numbers_titles_and_notes() -> None:
    """From 1; the title is the heading."""
    document = load(pptx(), "a.pptx")
    assert places(document, PHRASE) == [{"slide": 2, "headings": ["Rotation"]}]
    assert places(document, "Notes: Ask the vault's owner.") == [{"slide": 2, "headings": ["Rotation"]}]


def test_each_row_of_a_sheet_says_its_columns() -> None:
    """Numbers as people write them; empty sheets are left out."""
    document = load(xlsx(), "a.xlsx")
    assert document.text == "Name: Ann; Age: 30\nName: Bo; Age: 4.5\n\nx"
    assert [dict(block.metadata) for block in document.blocks] == [{"sheet": "People"}, {"sheet": "Keys"}]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("Name,Age\nAnn,30\nBo,\n", "Name: Ann; Age: 30\nName: Bo"),
        ("Name;Text\nAnn;a, b\n", "Name: Ann; Text: a, b"),
        ('Name,Text\nAnn,"two\nlines"\n', "Name: Ann; Text: two lines"),
        ("1,2\n3,4\n", "1; 2\n3; 4"),
        ("a,a\nb,c\n", "a; a\nb; c"),
        ("Name\nAnn\n", "Name\nAnn"),
        ("Name,Age\n", "Name; Age"),
        ("A,B\n1,2,3\n", "A: 1; B: 2; 3"),
    ],
)
def test_csv_is_read_as_it_is_written(data: str, text: str) -> None:
    """Whatever separates its values, with or without a line of names."""
    assert load(data, "a.csv").text == text


def test_a_very_wide_table_does_not_repeat_its_names() -> None:
    """Ten thousand columns would make each row a book."""
    header = ",".join(f"column {number}" for number in range(10_000))
    row = ",".join(str(number) for number in range(10_000))
    document = load("\n".join([header, row, row]), "wide.csv")
    assert len(document.text) < 2.5 * len(header + row)
    assert document.text.count("column 9999") == 1


def test_a_web_page_is_its_main_part() -> None:
    """Menus, banners and scripts are gone; headings, lists, code and tables are Markdown."""
    document = load(HTML, "a.html")
    assert document.metadata == {"title": "Keys | Handbook", "language": "en"}
    expected = f"""# Security

## Rotation

{PHRASE}

- one
- two
  - inner

```py
def rotate():
    pass
```

| Key | Owner |
| --- | --- |
| blue | Ann |"""
    assert document.text == expected


def test_a_page_without_a_main_part_loses_its_menus() -> None:
    """Lists that are little but links, banners and forms."""
    links = "".join(f'<li><a href="/{n}">Section {n}</a></li>' for n in range(6))
    document = load(f"<html><body><header>Banner</header><ul>{links}</ul><p>{PHRASE}</p></body></html>", "a.html")
    assert document.text == PHRASE


def test_a_page_in_another_encoding() -> None:
    """What it declares is believed."""
    page = '<html><head><meta charset="gb2312"></head><body><p>知识库</p></body></html>'
    assert load(page.encode("gb2312"), "a.html").text == "知识库"


@pytest.mark.parametrize(
    "page",
    [
        "<html>" + "<div>" * 5000 + "deep" + "</div>" * 5000,
        f"<html><body><p>{'word ' * 200_000}</p></body></html>",
        "<html><body><table>" + "<tr><td>deep" * 300,
        "<html><body><p>deep<b><i><p></b></html><li>",
    ],
)
def test_strange_pages_are_read(page: str) -> None:
    """Nested deeply, a megabyte on one line, never closed."""
    assert "deep" in (text := load(page, "a.html").text) or text.startswith("word word")


def test_a_page_without_text_says_so() -> None:
    """An application that draws itself by script, for example."""
    with pytest.raises(UnreadableDocumentError, match="the page holds no text"):
        load("<html><body><script>run()</script></body></html>", "a.html")


def test_a_feed_is_its_entries() -> None:
    """Each under its title; other XML is the text of its elements."""
    assert load(RSS, "a.xml").text == f"# Rotation\n\n{PHRASE}"
    assert load("<a><b>one</b> two</a>", "a.xml").text == "b: one\ntwo"
    assert load("<a><b></a>", "a.xml").text == "<a><b></a>"


def test_entities_do_not_explode() -> None:
    """The parser refuses the billion laughs: what stands there is all that is read."""
    lol = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "lol">{lol}]><x>&l9;</x>'
    assert load(bomb, "a.xml").text == bomb


def test_json_is_names_and_values() -> None:
    """A line each; what does not parse is text as it stands; lines of JSON name the bad one."""
    value = {"name": "Ann", "tags": ["a", {"b": None}], "empty": {}, "deep": {"er": True}}
    assert load(json.dumps(value), "a.json").text == "name: Ann\ntags:\n  - a\n  - b: null\nempty:\ndeep:\n  er: true"
    assert load('[{"a": 1}, {"a": 2}]', "a.json").text == "a: 1\n\na: 2"
    assert load("{broken", "a.json").text == "{broken"
    assert "[[[" in load("[" * 100 + "1" + "]" * 100, "a.json").text
    with pytest.raises(UnreadableDocumentError, match="line 2 is no JSON"):
        load('{"a": 1}\nno\n', "a.jsonl")


def test_a_notebook_is_text_and_code() -> None:
    """Without what it printed; in its old form as well."""
    document = load(good()["book.ipynb"], "a.ipynb")
    assert document.text == f"# Keys\n{PHRASE}\n\n```python\nrotate()\n```"
    assert document.metadata == {"title": "Keys"}
    cells = [
        {"cell_type": "heading", "level": 2, "source": ["Keys"]},
        {"cell_type": "code", "input": ["rotate()", "done()"]},
    ]
    old = load(json.dumps({"worksheets": [{"cells": cells}]}), "a.ipynb")
    assert old.text == "## Keys\n\n```python\nrotate()\ndone()\n```"


def test_a_mail_says_who_wrote_what() -> None:
    """The plain text goes before the HTML; attachments are named."""
    document = load(EML, "a.eml")
    assert document.text == (
        "# Schlüssel\n\nFrom: Ann <ann@example.com>\nTo: bo@example.com\nDate: Mon, 06 Jan 2025 10:00:00 +0000\n\n"
        f"{PHRASE}\n\nAttachments: plan.pdf"
    )
    assert document.metadata["title"] == "Schlüssel"
    with pytest.raises(UnreadableDocumentError, match="the mail holds no text"):
        load("From: a@b.c\n\n", "a.eml")


def test_a_book_is_its_chapters_in_order() -> None:
    """As its spine says, without the table of contents."""
    document = load(epub(), "a.epub")
    assert document.text == f"# Start\n\nIt begins.\n\n# Rotation\n\n{PHRASE}"
    assert document.metadata == {"title": "The Handbook"}


def test_code_is_kept_as_it_is() -> None:
    """Every character, so that it can be found and shown in its place."""
    assert load(CODE, "vault.py").text == CODE
