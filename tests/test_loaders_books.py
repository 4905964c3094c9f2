"""Books give all of their chapters under their titles; feeds and other XML all that they say; files their own title."""

import io
import json
import zipfile

import pytest

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders import epub
from kbchat.loaders.formats import format_of
from kbchat.loaders.markup import whole_content
from kbchat.loaders.text import MarkdownLoader
from kbchat.models import LoadedDocument
from kbchat.text.splitting import split
from made_files import PHRASE

XHTML = '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head>{}</head><body>{}</body></html>'
LONG = "<p>" + "The keys are rotated. " * 100 + "</p>"
OBFUSCATED = (
    '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container" xmlns:e="http://www.w3.org/2001/04/xmlenc#">'
    '<e:EncryptedData><e:CipherData><e:CipherReference URI="OEBPS/{}"/></e:CipherData></e:EncryptedData></encryption>'
)


def book(*chapters: str, nav: str = "", ncx: str = "", encrypted: str = "", kept: str = "OEBPS/text") -> LoadedDocument:
    """A book of files 0.xhtml, 1.xhtml and so on, which it says are in OEBPS/text."""
    items = "".join(f'<item id="c{n}" href="text/{n}.xhtml"/>' for n in range(len(chapters)))
    items += '<item id="nav" href="nav.xhtml" properties="scripted nav"/>' * bool(nav)
    items += '<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/>' * bool(ncx)
    spine = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters)))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in {
            "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>',
            "OEBPS/book.opf": '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">'
            f"<metadata><dc:title>Keys</dc:title></metadata><manifest>{items}</manifest><spine>{spine}</spine></package>",
            "OEBPS/nav.xhtml": nav,
            "OEBPS/toc.ncx": ncx,
            **{f"{kept}/{n}.xhtml": chapter for n, chapter in enumerate(chapters)},
            **({"META-INF/encryption.xml": OBFUSCATED.format(encrypted)} if encrypted else {}),
        }.items():
            archive.writestr(name, content)
    return load(out.getvalue(), "a.epub")


def test_a_file_of_very_many_chapters_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether text stands before a chapter is asked of the first in its file alone."""
    asked: list[str] = []
    monkeypatch.setattr(epub, "whole_content", lambda html: asked.append(html) or whole_content(html))
    chapters = "".join(f"<h2 id='c{n}'>Chapter {n}</h2><p>Text {n}.</p>" for n in range(300))
    links = "".join(f'<li><a href="text/0.xhtml#c{n}">Chapter {n}</a></li>' for n in reversed(range(300)))
    found = book(XHTML.format("", chapters), nav=f"<html><body><nav>{links}</nav></body></html>")
    assert found.text.startswith("## Chapter 0\n\nText 0.")
    assert len(asked) <= 2


def test_links_and_members_may_differ_in_case() -> None:
    """On the systems that such books are made on they are the same."""
    chapters = [XHTML.format("", "<p>One.</p>"), XHTML.format("", "<p>Two.</p>")]
    nav = '<html><body><nav><li><a href="text/1.xhtml">Second</a></li></nav></body></html>'
    assert book(*chapters, nav=nav, kept="OEBPS/Text").text == "One.\n\n# Second\n\nTwo."


def load(data: str | bytes, name: str) -> LoadedDocument:
    raw = data if isinstance(data, bytes) else data.encode()
    return format_of(raw, name=name).load(raw, name=name)


def headings(document: LoadedDocument) -> list[tuple[str, ...]]:
    """Those above each chunk, each once."""
    return list(dict.fromkeys(span.headings for span in split(document)))


@pytest.mark.parametrize("head", ["<title/>", "<title>x</title><script src='a.js'/>", "<style type='text/css'/>"])
def test_an_empty_element_does_not_swallow_its_chapter(head: str) -> None:
    """Chapters are XML, where it may be closed at once."""
    found = book(XHTML.format(head, f"<h1>One</h1><p><a id='x'/>{PHRASE}</p>"), XHTML.format("", "<h1>Two</h1>"))
    assert found.text == f"# One\n\n{PHRASE}\n\n# Two"


def test_books_with_hidden_fonts_are_read() -> None:
    """Only what encrypts a chapter locks a book."""
    assert book(XHTML.format("", PHRASE), encrypted="fonts/a.otf").text == PHRASE
    with pytest.raises(UnreadableDocumentError, match=r"digital rights management: OEBPS/text/0\.xhtml is encrypted"):
        book(XHTML.format("", PHRASE), encrypted="text/0%2Exhtml")


NAV = (
    '<html xmlns:epub="http://www.idpf.org/2007/ops"><body>'
    '<nav epub:type="landmarks"><a href="text/0.xhtml">Cover</a></nav>'
    '<nav epub:type="toc"><h2>Contents</h2><ol><li><a href="text/0.xhtml">One</a></li>'
    '<li><a href="text/1.xhtml#start"><span>Part</span> Two</a></li><li><a href="text/2.xhtml#end">Not this</a></li>'
    "</ol></nav></body></html>"
)
NCX = (
    '<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap><navPoint><navLabel><text>One</text></navLabel>'
    '<content src="text/0.xhtml"/><navPoint><navLabel><text>Part Two</text></navLabel><content src="text/1.xhtml"/>'
    "</navPoint></navPoint></navMap></ncx>"
)


@pytest.mark.parametrize("contents", [{"nav": NAV}, {"ncx": NCX}, {"nav": NAV, "ncx": "broken"}])
def test_a_chapter_without_a_heading_has_its_title_in_the_contents(contents: dict[str, str]) -> None:
    """And not the heading of the chapter before; a file that the contents do not begin at goes on with its own."""
    found = book(
        XHTML.format("", f"<h1>One</h1>{LONG}"),
        XHTML.format("", f"<div id='start'><p>Part Two</p>{LONG}</div>"),
        XHTML.format("", f"{LONG}<p id='end'>The end</p>"),
        **contents,
    )
    assert headings(found) == [("One",), ("Part Two",)]
    assert found.text.count("Part Two") == 1


def test_without_contents_a_chapter_is_what_its_page_is_called() -> None:
    """Unless all pages are called alike, as converters write them."""
    one = XHTML.format("<title>Keys</title>", f"<h1>One</h1>{LONG}")
    assert headings(book(one, XHTML.format("<title>Two</title>", LONG))) == [("One",), ("Two",)]
    assert headings(book(one, XHTML.format("<title>Keys</title>", LONG))) == [("One",)]


def test_a_feed_may_hold_elements() -> None:
    """Atom's entries in XHTML are read as such, whatever prefix they have."""
    content = (
        '<h:div xmlns:h="http://www.w3.org/1999/xhtml"><h:p>One</h:p><h:p>Two <h:b>bold</h:b><h:br/>line</h:p></h:div>'
    )
    feed = (
        '<feed xmlns="http://www.w3.org/2005/Atom"><entry><title>Keys</title>'
        f'<content type="xhtml">{content}</content></entry></feed>'
    )
    assert load(feed, "a.atom").text == "# Keys\n\nOne\n\nTwo bold\nline"


def test_a_feed_may_name_characters_as_html_does() -> None:
    """XML knows five names; what nobody knows stays as it is."""
    feed = "<rss><channel><item><title>Caf&eacute;&nbsp;&amp; &nope;</title></item></channel></rss>"
    assert load(feed, "a.rss").text == "# Café & &nope;"
    own = '<!DOCTYPE p [<!ENTITY co "Acme Ltd"><!ENTITY copy "Copyright Acme">]><p>&co;&nbsp;&copy;</p>'
    assert load(own, "a.xml").text == "p: Acme Ltd Copyright Acme"
    assert load("<p><![CDATA[5 &lt; &nope; &eacute;]]>&eacute;</p>", "a.xml").text == "p: 5 &lt; &nope; &eacute;é"


def test_xml_that_is_none_is_text_or_a_page() -> None:
    """What is outside the document is not read: neither is it replaced by what HTML calls so."""
    outside = '<!DOCTYPE p [<!ENTITY ee SYSTEM "file:///etc/passwd">]><p>&ee;</p>'
    assert load(outside, "a.xml").text == outside
    page = '<?xml version="1.0"?><html><script>if (a < b) run()</script><body><p>The vault.<br></p></body></html>'
    assert load(page, "a.xml").text == "The vault."


@pytest.mark.parametrize(
    ("declared", "written"),
    [
        ("GBK", "gbk"),
        ("gb2312", "gb18030"),
        ("Shift_JIS", "cp932"),
        ("EUC-JP", "euc-jp"),
        ("Big5", "big5"),
        ("UTF-16", "utf-16"),
        ("GBK", "utf-8"),
    ],
)
def test_feeds_are_in_any_encoding(declared: str, written: str) -> None:
    """Also in those of several bytes, which the parser does not know; and where the declared one is wrong."""
    feed = f'<?xml version="1.0" encoding="{declared}"?><rss><channel><title>新聞</title><item><title>一</title>'
    feed += "<description>会議</description></item></channel></rss>"
    document = load(feed.encode(written, "xmlcharrefreplace"), "a.rss")
    assert (document.text, document.metadata) == ("# 一\n\n会議", {"title": "新聞"})


def test_blank_lines_before_xml_are_nothing() -> None:
    """Scripts write them, and every reader of feeds takes them."""
    assert load("\n\n<?xml version='1.0'?><a><b>one</b></a>", "a.xml").text == "b: one"


def test_xml_nested_without_end_is_refused() -> None:
    """With its reason."""
    with pytest.raises(UnreadableDocumentError, match="nested too deeply"):
        load("<a>" * 5000 + "x" + "</a>" * 5000, "a.xml")


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        ('<r><string name="app_title">Keys</string></r>', 'string name="app_title": Keys'),
        ('<servers><server host="a" port="1"/></servers>', 'server host="a" port="1"'),
        ('<opml><body><outline text="News"><outline text="Keys"/></outline></body></opml>', None),
        ('<a xmlns:n="urn:n"><b n:name="x" xml:lang="en">y</b></a>', 'b name="x": y'),
        ('<a xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="t">y</a>', "a: y"),
    ],
)
def test_attributes_of_xml_are_text(xml: str, text: str | None) -> None:
    """But for those about XML itself."""
    assert load(xml, "a.xml").text == (text or 'outline text="News"\noutline text="Keys"')


def test_a_title_is_a_heading() -> None:
    """And no comment in code or in the front matter."""
    cases = {
        "```sh\n# install\n```\n\n# Keys\n": "Keys",
        "---\n# draft\ntitle: x\n---\n\n# Keys\n": "Keys",
        "Keys\n====\n\ntext\n": "Keys",
        "```sh\n# install\n```\n": None,
    }
    for text, title in cases.items():
        assert MarkdownLoader().load(text.encode(), name="a.md").metadata.get("title") == title
    cells = [{"cell_type": "code", "source": "# import\nx = 1"}, {"cell_type": "markdown", "source": "# Keys"}]
    assert load(json.dumps({"cells": cells}), "a.ipynb").metadata == {"title": "Keys"}
    assert load(json.dumps({"cells": cells[:1]}), "a.ipynb").metadata == {}
