"""Web pages: their main content as Markdown, without menus, banners and footers.

Where a page says which part is its main one, all of that part is content but for what is marked as navigation, or is
both named like furniture and made of links. Where it does not, furniture is guessed as well. A name alone takes nothing
away that holds much of the page's text.
"""

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from kbchat.loaders.encodings import decode
from kbchat.loaders.markup import Markdown, declared_encoding, parsed
from kbchat.loaders.parts import facts
from kbchat.loaders.text import require_text
from kbchat.models import LoadedDocument, Metadata

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

_MAIN = "main, [role=main]"
_LIKELY_MAIN = "[itemprop=articleBody], #mw-content-text, #content, #main-content"
_UNREAD = "script, style, noscript, template, svg, iframe"
_HIDDEN = "[hidden]:not([hidden='until-found']), [aria-hidden=true]"
_OPENED = ("tabpanel", "region")
"""The roles of what is hidden until a reader opens it: tabs and folded parts."""
_FURNITURE = (
    "nav, footer, dialog, [role=navigation], [role=banner], [role=contentinfo], [role=search], [role=dialog], "
    "[role=alertdialog], "
    # What MediaWiki calls its furniture.
    ".navbox, .mw-editsection, .mw-jump-link, .noprint, .printfooter, .catlinks"
)
_NAMED = (
    "[class*=breadcrumb], [id*=breadcrumb], [class*=sidebar], [id*=sidebar], [class*=pagination], [class*=skip-link], "
    "[class*=skipToContent], [class*=share-buttons], [class*=social-], .toc, #toc, .table-of-contents, "
    "[class*=dropdown], [class*=interlanguage]"
)
"""What is furniture if it is made of links as well."""
_SIDEBAR = re.compile(
    r"(?:left|right|main|page|site|primary|secondary|sphinx)?[-_]?sidebar[-_]?(?:left|right|primary|secondary|\d)?",
    re.I,
)
"""A class or id that says sidebar and nothing else: not `has-sidebar`, nor `sidebar-layout`."""
_CONSENT = "[class*=cookie i], [id*=cookie i], [class*=consent i], [id*=consent i]"
_CONTROLS = "button, [role=button], select, textarea, input:not([type=hidden])"
_LINKS = "a[href], button, select, label"
_SECTIONS = ("body", "main", "article", "section", "h1", "h2", "h3", "h4", "h5", "h6")
"""Elements that are content whatever they are named: generators name them by their titles."""

_ENOUGH = 0.25
"""The share of the page's text, links apart, that its main part must hold to be believed."""
_MOST = 0.5
"""The share that articles must hold of what is not plainly beside the subject. Comments, news and cards are articles
as well, and a page says nowhere that the others are its content."""
_LITTLE = 0.3
"""The share of the page's text, links apart, that a name alone can take away."""
_FIELD = 40
"""Characters of text for each control of a form: with fewer, they only label what is to be filled in."""


class HtmlLoader:
    """A web page's main content. The page's title and description are metadata."""

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """Raises `UnreadableDocumentError` for a page without text."""
        text, guessed = decode(data, name=name, declared=declared_encoding(data))
        content, metadata = main_content(text)
        require_text(content, name=name, reason="the page holds no text")
        return LoadedDocument(content, metadata={**metadata, **facts(encoding=guessed)}, markup="markdown")


def main_content(html: str) -> tuple[str, Metadata]:
    """The Markdown of a page's main part, and what the page says about itself."""
    tree = parsed(html)
    metadata = _about(tree)
    if tree.body is None:
        return "", metadata
    _remove_furniture(tree.body)
    parts = _main(tree.body)
    if not parts:
        _remove_guessed(tree.body)
        parts = [tree.body]
    writer = Markdown()
    for part in parts:
        writer.write(part)
    return writer.text(), metadata


def _about(tree: "LexborHTMLParser") -> Metadata:
    title = tree.css_first("head > title")
    root = tree.css_first("html")
    description = tree.css_first("meta[name=description]")
    return facts(
        title=title.text() if title else None,
        description=description.attrs.get("content") if description else None,
        language=root.attrs.get("lang") if root else None,
    )


def _remove_furniture(body: "LexborNode") -> None:
    """Take out what is nowhere content."""
    _remove(body.css(_UNREAD))
    # What hides most of a page only does so until a script has run.
    most = _plain(body) / 2
    _remove(node for node in body.css(_HIDDEN) if node.attrs.get("role") not in _OPENED and _plain(node) <= most)
    _remove(
        node for node in body.css(_FURNITURE) if node.css_first(_MAIN) is None and not _is_inside(node, "blockquote")
    )
    _remove(node for node in _named(body, _NAMED) if _is_menu(node, 0, 0.5))
    _remove(node for node in body.css("aside, [role=complementary]") if _is_menu(node, 3, 0.6))
    _remove(node for node in body.css("a[href^='#']") if not any(map(str.isalnum, node.text())))


def _main(body: "LexborNode") -> "list[LexborNode]":
    """The part that calls itself the main one: the longest of those that do, but the page's own word goes first.

    Articles beside each other are one part. Nothing, if it holds too little of the page.
    """
    articles = [
        node for node in body.css("article") if not _is_inside(node, "article", "aside") and not _is_menu(node, 1, 0.6)
    ]
    for found in (
        [[node] for node in body.css(_MAIN)],
        [*([node] for node in body.css(_LIKELY_MAIN)), articles],
    ):
        part = max(found, key=lambda nodes: sum(map(_length, nodes)), default=[])
        if part:
            share, beside = (_MOST, _beside(body)) if part is articles else (_ENOUGH, [])
            for size in (_length, _plain):
                if sum(map(size, part)) >= share * (size(body) - sum(map(size, beside))) > 0:
                    return part
            return []
    return []


def _beside(body: "LexborNode") -> "list[LexborNode]":
    """The headers and asides of a page, by whose size its articles are not judged."""
    return [
        node
        for node in body.css("header, aside")
        if node.css_first("article") is None and not _is_inside(node, "article", "header", "aside")
    ]


def _remove_guessed(body: "LexborNode") -> None:
    """Take out what is likely to be furniture, where a page does not say what is its main part."""
    little = _LITTLE * _plain(body)
    _remove(node for node in body.css("ul, ol") if _is_menu(node, 4, 0.8))
    _remove(
        node
        for node in _named(body, "[class*=sidebar i], [id*=sidebar i]")
        if any(map(_SIDEBAR.fullmatch, _names(node))) and _plain(node) < little
    )
    # A banner asks for an answer; a text about cookies does not.
    _remove(
        node
        for node in _named(body, _CONSENT)
        if node.css_first(_CONTROLS) and not node.css_first("pre, table") and _plain(node) < little
    )
    # A header that holds the page's only title is not the site's.
    titled = body.css_first("h1") if all(_is_inside(title, "header") for title in body.css("h1")) else None
    _remove(node for node in body.css("header") if titled is None or not any(_plain(title) for title in node.css("h1")))
    _remove(node for node in body.css("form") if _plain(node) < _FIELD * len(node.css(_CONTROLS)))


def _named(body: "LexborNode", selector: str) -> "Iterator[LexborNode]":
    return (node for node in body.css(selector) if node.tag not in _SECTIONS)


def _names(node: "LexborNode") -> list[str]:
    """An element's classes and its id."""
    return f"{node.attrs.get('class') or ''} {node.attrs.get('id') or ''}".split()


def _remove(nodes: "Iterable[LexborNode]") -> None:
    found = {node.mem_id: node for node in nodes}
    # What is in another goes with it, and must not be touched afterwards.
    for node in [node for node in found.values() if not any(above.mem_id in found for above in _ancestors(node))]:
        node.decompose()


def _length(node: "LexborNode") -> int:
    """Characters of an element's text, spaces apart."""
    return sum(map(len, node.text().split()))


def _plain(node: "LexborNode") -> int:
    """Characters of an element's text, those of links and controls apart."""
    return max(_length(node) - sum(map(_length, node.css(_LINKS))), 0)


def _is_menu(node: "LexborNode", links: int, share: float) -> bool:
    """Whether there is little in an element but links, and so many of them."""
    length = _length(node)
    return length - _plain(node) > share * length and (links == 0 or len(node.css("a[href]")) >= links)


def _ancestors(node: "LexborNode") -> "Iterator[LexborNode]":
    above = node.parent
    while above is not None:
        yield above
        above = above.parent


def _is_inside(node: "LexborNode", *tags: str) -> bool:
    return any(above.tag in tags for above in _ancestors(node))
