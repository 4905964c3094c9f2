"""Web pages: their main content as Markdown, without menus, banners and footers."""

import re
from typing import TYPE_CHECKING

from kbchat.loaders.encodings import decode
from kbchat.loaders.markup import Markdown, parsed
from kbchat.loaders.parts import facts
from kbchat.loaders.text import require_text
from kbchat.models import LoadedDocument, Metadata

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

_DECLARED = re.compile(rb"""(?:<meta[^>]{0,200}?charset|<\?xml[^>]{0,100}?encoding)\s*=\s*["']?\s*([\w-]+)""", re.I)
_MAIN = "main, [role=main], article, [itemprop=articleBody], #mw-content-text, #content, #main-content"
_BOILERPLATE = (
    "nav, footer, aside, dialog, [hidden], [aria-hidden=true], [role=navigation], [role=banner], [role=contentinfo], "
    "[role=search], [role=complementary], [role=alert], [role=dialog], "
    # What site builders and wikis call their furniture.
    "[class*=breadcrumb], [class*=cookie], [id*=cookie], [class*=sidebar], [id*=sidebar], [class*=pagination], "
    "[class*=skip-link], [class*=skipToContent], [class*=share-buttons], [class*=social-], "
    ".toc, #toc, .table-of-contents, "
    "[class*=dropdown], [class*=interlanguage], .navbox, .mw-editsection, .mw-jump-link, .noprint, "
    ".printfooter, .catlinks, .hash-link, .headerlink"
)
_OUTSIDE = "header, form"
"""Furniture where it stands beside the main content; inside it, a header holds the title."""
_ENOUGH = 0.25
"""The share of the page's text that its main part must hold to be believed."""


class HtmlLoader:
    """A web page's main content. The page's title and description are metadata."""

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """Raises `UnreadableDocumentError` for a page without text."""
        declared = _DECLARED.search(data[:4096])
        text, guessed = decode(data, name=name, declared=declared[1].decode() if declared else None)
        content, metadata = main_content(text)
        require_text(content, name=name, reason="the page holds no text")
        return LoadedDocument(content, metadata={**metadata, **facts(encoding=guessed)}, markup="markdown")


def main_content(html: str) -> tuple[str, Metadata]:
    """The Markdown of a page's main part, and what the page says about itself."""
    tree = parsed(html)
    metadata = _about(tree)
    body = tree.body
    if body is None:
        return "", metadata
    _remove(body, "script, style, noscript, template, svg, iframe")
    everything = len(body.text())
    _remove(body, _BOILERPLATE)
    main = _main(body)
    if main is None or len(main.text()) < _ENOUGH * len(body.text()) or everything < 200:
        main = body
        _remove(body, _OUTSIDE)
        _remove_menus(body)
    writer = Markdown()
    writer.write(main)
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


def _main(body: "LexborNode") -> "LexborNode | None":
    """The part that calls itself the main one: the longest of those that do, but the page's own word goes first."""
    for selector in ("main, [role=main]", _MAIN):
        found = body.css(selector)
        if found:
            return max(found, key=lambda node: len(node.text()))
    return None


def _remove(body: "LexborNode", selector: str) -> None:
    for node in body.css(selector):
        node.decompose()


def _remove_menus(body: "LexborNode") -> None:
    """Take out lists that are little but links, where a page does not say what is its main part."""
    for node in body.css("ul, ol"):
        length = len(node.text())
        links = node.css("a")
        if len(links) >= 4 and sum(len(link.text()) for link in links) > 0.8 * length:
            node.decompose()
