"""A web page gives all of its main content and nothing of its furniture; what it marks up stays apart."""

import pytest

from kbchat.loaders.formats import format_of
from kbchat.loaders.html import main_content

TEXT = "<p>The keys of the vault are rotated every ninety days, by the owner or by somebody whom the owner names.</p>"
LINKS = "".join(f'<li><a href="/{number}">Section {number}</a></li>' for number in range(6))
BANNER = "<p>We use cookies to improve your experience.</p><button>Accept</button>"


def text_of(body: str, *, attributes: str = "") -> str:
    text, _ = main_content(f"<!doctype html><html><head><title>T</title></head><body {attributes}>{body}</body></html>")
    return text


def in_main(inner: str) -> str:
    return text_of(f"<main><h1>Guide</h1>{TEXT}{inner}</main>")


@pytest.mark.parametrize(
    "inner",
    [
        "<section id='cookie-parameters'><h2>Parameters</h2><p>wanted</p></section>",
        "<h2 id='cookies'>wanted</h2>",
        "<div class='cookie-recipe'><p>wanted</p></div>",
        "<dl><dt id='flask.Flask.session_cookie_name'>wanted</dt></dl>",
        "<aside aria-label='Caution'><p>wanted</p></aside>",
        "<aside class='footnote-list'><aside class='footnote'><p>wanted</p></aside></aside>",
        "<aside class='sidebar'><p>wanted</p></aside>",
        "<div role='tabpanel'>pip</div><div role='tabpanel' hidden>wanted</div>",
        "<div role='region' hidden>wanted</div>",
        "<div hidden='until-found'>wanted</div>",
        "<div class='alert' role='alert'>wanted</div>",
        "<blockquote><p>Quoted.</p><footer>wanted</footer></blockquote>",
        "<ul>" + LINKS + "<li><a href='/'>wanted</a></li></ul>",
        "<h2><a class='header-anchor' href='#a'><span>wanted</span></a></h2>",
    ],
)
def test_what_stands_in_the_main_part_is_content(inner: str) -> None:
    """Whatever it is named, and also if it is a note, a warning or folded away."""
    assert "wanted" in in_main(inner)


@pytest.mark.parametrize(
    "inner",
    [
        f"<nav><ul>{LINKS}</ul></nav>",
        f"<aside><h2>Recent</h2><ul>{LINKS}</ul></aside>",
        f"<div class='sidebar-menu'><ul>{LINKS}</ul></div>",
        f"<div class='toc'>Contents<ul>{LINKS}</ul></div>",
        "<div class='breadcrumbs'><a href='/'>Section</a> / <a href='/a'>Keys</a> / Guide</div>",
        "<p hidden>Section</p>",
        "<div role='dialog'>Section</div>",
        "<footer>Section</footer>",
        "<h2>Keys<a class='headerlink' href='#k'>¶</a></h2><h3>Owner<a class='anchor' href='#o'>Section</a></h3>",
    ],
)
def test_furniture_in_the_main_part_is_left_out(inner: str) -> None:
    """What is marked as navigation, or is named like it and made of links."""
    text = in_main(inner)
    assert "vault" in text
    assert "Section" not in text
    assert "¶" not in text


@pytest.mark.parametrize(
    "body",
    [
        f"<div class='layout-with-sidebar'><main>{TEXT}</main></div>",
        f"<div class='content no-sidebar'><h1>Guide</h1>{TEXT}</div><p>Imprint</p>",
        f"<div class='has-sidebar'><p>Imprint</p>{TEXT}</div>",
        f"<div id='cookie-wall'>{TEXT * 3}<button>More</button></div><p>Imprint</p>",
        f"<form id='aspnetForm'><input type='hidden'><div><h1>Guide</h1>{TEXT}</div><button>Go</button></form>",
        f"<div aria-hidden='true'><main>{TEXT}</main></div><div role='dialog'>{BANNER}</div>",
        f"<div role='dialog'><main>{TEXT}</main></div><p>Imprint</p>",
        f"<div hidden>{TEXT}</div><p>Imprint</p>",
    ],
)
@pytest.mark.parametrize("attributes", ["", "class='page has-sidebar'", "id='cookies'"])
def test_a_wrapper_is_never_furniture(body: str, attributes: str) -> None:
    """What holds much of a page is its content, whatever its name says and whatever hides it."""
    assert "ninety days" in text_of(body, attributes=attributes)


@pytest.mark.parametrize(
    "furniture",
    [
        f"<div class='sidebar'><p>Section of news</p><ul>{LINKS}</ul></div>",
        "<div id='sidebar-left'><p>Section of news: we have moved.</p></div>",
        f"<div id='cookie-banner'>{BANNER}Section</div>",
        f"<section><div class='cookieConsent'>{BANNER}Section</div></section>",
        f"<ul>{LINKS}</ul>",
        "<form><label>Section</label><input name='q'><button>Search</button></form>",
        "<header><a href='/'>Section</a></header>",
        f"<aside><ul>{LINKS}</ul></aside>",
    ],
)
def test_furniture_is_guessed_where_no_part_is_the_main_one(furniture: str) -> None:
    """Menus, sidebars, banners that ask for an answer, and forms with nothing but fields."""
    text = text_of(f"{furniture}<div><h1>Guide</h1>{TEXT * 3}</div>")
    assert text.startswith("# Guide\n\nThe keys")
    assert "Section" not in text
    assert "cookies" not in text


def test_articles_beside_each_other_are_one_part() -> None:
    """Posts of a blog, answers of a forum; not what is a link to another."""
    posts = "".join(f"<div><article><h2>Post {number}</h2>{TEXT}</article></div>" for number in range(3))
    card = "<article><a href='/next'>Another post</a></article>"
    text = text_of(f"<div class='intro'>News</div>{posts}{card}")
    assert [line for line in text.split("\n") if line.startswith("#")] == ["## Post 0", "## Post 1", "## Post 2"]
    assert "Another" not in text


def test_articles_beside_the_content_do_not_replace_it() -> None:
    """Comments and news are articles as well: they are the main part only where they hold most of the page."""
    body = f"<h1>Guide</h1><div>{TEXT * 3}</div>"
    comments = "<article><p>Thank you, that was of much use to me and to all of us here.</p></article>" * 3
    text = text_of(f"{body}<div class='comments'>{comments}</div>")
    assert text.startswith("# Guide\n\nThe keys")
    assert text.count("Thank you") == 3
    aside = f"<aside>{TEXT}<article>{TEXT * 4}</article></aside>"
    assert text_of(f"{body}{aside}").startswith("# Guide\n\nThe keys")
    text = text_of(f"<header>{TEXT}</header><article><h2>Post</h2>{TEXT}</article><aside>Imprint. {TEXT}</aside>")
    assert text.startswith("## Post")
    assert "Imprint" not in text


def test_a_header_with_the_only_title_is_content() -> None:
    """Not so one whose title leads to the site, nor one beside a title."""
    header = "<header><h1>An essay</h1><p>by Ann</p></header>"
    assert text_of(header + TEXT).startswith("# An essay\n\nby Ann\n\nThe keys")
    assert text_of(f"{header}<h1>Guide</h1>{TEXT}").startswith("# Guide")
    assert text_of(f"<header><h1><a href='/'>My site</a></h1></header>{TEXT}").startswith("The keys")


def test_an_index_is_content_although_it_is_links() -> None:
    """The main part need not hold more than links, as long as the page does not."""
    footer = "<div>All rights reserved, and a line more that says so.</div>"
    text = text_of(f"<main><h1>Index</h1><ul>{LINKS}</ul></main>{footer}")
    assert text.startswith("# Index\n\n- Section 0\n- Section 1")
    assert "rights" not in text


def test_a_short_part_that_calls_itself_the_main_one_is_not_believed() -> None:
    """A page may mark the wrong one."""
    assert "vault" in text_of(f"<main>Loading</main><div>{TEXT}</div>")


def test_lines_of_code_stay_lines() -> None:
    """Whether breaks end them or elements do."""
    broken = "<pre class='language-py'><code><span>import os<br></span><span>print(os.name)<br></span></code></pre>"
    blocks = "<pre><code><div>import os</div><div>  print(os.name)</div></code></pre>"
    assert "```py\nimport os\nprint(os.name)\n```" in in_main(broken)
    assert "```\nimport os\n  print(os.name)\n```" in in_main(blocks)


def test_words_of_cells_and_headings_stay_apart() -> None:
    """A blank stands where a block, an item or a line ends."""
    table = (
        "<table><tr><th>Name</th><th>Steps</th></tr>"
        "<tr><td><div>Ada</div><div>Lovelace</div></td><td><ol><li>open</li><li>close<br>it</li></ol></td></tr></table>"
    )
    assert "| Ada Lovelace | open close it |" in in_main(table)
    assert "## Part One" in in_main("<h2><div>Part</div><div>One</div></h2>")


def test_spanned_cells_stand_under_each_header() -> None:
    """What is the only cell of its row is written once."""
    table = (
        "<table><tr><th>Key</th><th colspan=2>Owner</th></tr><tr><td colspan=3>Vault</td></tr>"
        "<tr><td rowspan=2>blue</td><td>Ann</td><td rowspan=9>2024</td></tr><tr><td>Bo</td></tr></table>"
    )
    rows = ["| Key | Owner | Owner |", "| --- | --- | --- |", "| Vault |  |  |"]
    assert "\n".join([*rows, "| blue | Ann | 2024 |", "| blue | Bo | 2024 |"]) in in_main(table)


def test_spans_do_not_explode() -> None:
    """A megabyte that claims to be a thousand times as large is not written out."""
    cell = f"<td rowspan=10000 colspan=1000>{'word ' * 2000}</td>"
    assert len(in_main(f"<table><tr>{cell}{cell}</tr>{'<tr><td>x</td></tr>' * 1000}</table>")) < 3_000_000


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("10<sup>6</sup> items", "10^6 items"),
        ("e<sup>-x</sup> and x<sup>n+1</sup>", "e^-x and x^n+1"),
        ("the 1<sup>st</sup>, Vault<sup>TM</sup>", "the 1st, VaultTM"),
        ("noted in 1984<sup><a href='#n'>2</a></sup>", "noted in 1984[2]"),
        ("noted<a href='#n'><sup>[2]</sup></a>", "noted[2]"),
        ("<sup>1</sup> A note", "1 A note"),
        ("<ruby>漢<rp>(</rp><rt>かん</rt><rp>)</rp>字<rt>じ</rt></ruby>", "漢字"),
    ],
)
def test_signs_above_the_line(html: str, text: str) -> None:
    """Powers and notes do not run into what they follow; how characters are read aloud is left out."""
    assert in_main(f"<p>{html}</p>").endswith(text)
    table = f"<table><tr><th>a</th><th>b</th></tr><tr><td>c</td><td>{html}</td></tr></table>"
    assert in_main(table).endswith(f"| c | {text} |")


def test_lists_keep_their_numbers() -> None:
    """As they begin, and as an item says."""
    assert in_main("<ol start=5><li>five<li>six<li value=9>nine<li>ten</ol>").endswith(
        "5. five\n6. six\n9. nine\n10. ten"
    )
    assert in_main("<ol start=x><li>one</ol>").endswith("1. one")


@pytest.mark.parametrize("name", ["a.xhtml", "a.html", "a.xml"])
def test_elements_of_xhtml_may_be_closed_where_they_open(name: str) -> None:
    """An empty title or script does not swallow the page; what HTML leaves open is left."""
    page = (
        "<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'><head><title/><script src='a.js' /></head>"
        "<body><h1><a id='x'/>Guide</h1><p>One<br/>two<span class=\"a>b\"/></p><iframe src='v'/><p>Three</p></body>"
        "</html>"
    )
    data = page.encode()
    assert format_of(data, name=name).load(data, name=name).text == "# Guide\n\nOne\ntwo\n\nThree"


def test_elements_nested_deeply_are_text() -> None:
    """Whatever they are."""
    for tag in ("sup", "ruby", "li", "td", "code"):
        assert in_main(f"<table><tr><th>a<td>{f'<{tag}>' * 1000}deep").count("deep") == 1


def test_a_slash_in_html_is_no_end() -> None:
    """There it belongs to an address without quotes."""
    assert text_of("<p><a href=http://example.org/>Guide</a> to keys</p>") == "Guide to keys"
