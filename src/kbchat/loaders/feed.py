"""XML: news feeds entry by entry, anything else as the text of its elements."""

import re
from collections.abc import Iterator
from contextlib import suppress
from html.entities import html5
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.encodings import decode
from kbchat.loaders.html import HtmlLoader
from kbchat.loaders.markup import declared_encoding, whole_content
from kbchat.loaders.parts import facts, joined
from kbchat.loaders.text import require_text
from kbchat.models import LoadedDocument

_NAMED = re.compile(r"<!\[CDATA\[(?:.*?\]\]>|.*)|&(?!(?:amp|lt|gt|quot|apos);)([A-Za-z][A-Za-z0-9]{1,31};)", re.DOTALL)
"""A character's name that XML does not know, or text in which nothing is a name."""
_DECLARED = re.compile(r"<!ENTITY\s+([\w.:-]+)")
_PAGE = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?<(?:!DOCTYPE\s+)?html[\s>]", re.IGNORECASE)
_CONTENT = ("encoded", "content", "description", "summary")
"""Where a feed's entry keeps its text, the fullest first."""


class XmlLoader:
    """RSS and Atom feeds, web pages in XML, and plain XML. What is not well-formed is text as it stands."""

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """Raises `UnreadableDocumentError` for binary data, and for what holds no text."""
        # The parser knows few encodings, and none of several bytes. What is text already it takes whatever it declares.
        content, guessed = decode(data, name=name, declared=declared_encoding(data))
        root = _root(content)
        is_page = _PAGE.match(content) is not None if root is None else _local(root) == "html"
        if is_page:
            return HtmlLoader().load(data, name=name)
        if root is None:
            require_text(content, name=name, reason="the file holds no text")
            return LoadedDocument(content, metadata=facts(encoding=guessed))
        try:
            found = _document(root, guessed)
        except RecursionError:
            raise UnreadableDocumentError(name, "its elements are nested too deeply") from None
        require_text(found.text, name=name, reason="the file holds no text")
        return found


def _root(content: str) -> ElementTree.Element | None:
    """The root of XML that is well-formed, but for the names of characters that only HTML has; feeds use them."""
    # Programs write blank lines before the declaration, which must be the first.
    content = content.lstrip()
    with suppress(ElementTree.ParseError, ValueError):
        return ElementTree.fromstring(content)  # noqa: S314 (expat refuses to expand beyond its limits)
    own = {f"{name};" for name in _DECLARED.findall(content)}

    def spelt(found: re.Match[str]) -> str:
        return found[0] if found[1] is None or found[1] in own else escape(html5.get(found[1], found[0]))

    with suppress(ElementTree.ParseError, ValueError):
        return ElementTree.fromstring(_NAMED.sub(spelt, content))  # noqa: S314 (as above)
    return None


def _document(root: ElementTree.Element, encoding: str | None) -> LoadedDocument:
    entries = [element for element in root.iter() if _local(element) in ("item", "entry")]
    if _local(root) in ("rss", "feed", "RDF") and entries:
        channel = next((element for element in root.iter() if _local(element) == "channel"), root)
        text, _ = joined((_entry(entry), {}) for entry in entries)
        metadata = facts(title=_child(channel, "title"), encoding=encoding)
        return LoadedDocument(text, metadata=metadata, markup="markdown")
    text, _ = joined([("\n".join(_texts(root)), {})])
    return LoadedDocument(text, metadata=facts(encoding=encoding))


def _local(element: ElementTree.Element) -> str:
    return _local_name(element.tag) if isinstance(element.tag, str) else ""


def _child(element: ElementTree.Element, name: str) -> str:
    return next(("".join(child.itertext()).strip() for child in element if _local(child) == name), "")


def _markup(element: ElementTree.Element, name: str) -> str:
    """The HTML in a child: as its text, or as elements of its own."""
    child = next((child for child in element if _local(child) == name), None)
    if child is None or not len(child):
        return _child(element, name)
    for inner in child.iter():
        if isinstance(inner.tag, str):
            inner.tag = _local(inner)  # HTML has no prefixes.
    return ElementTree.tostring(child, encoding="unicode", method="html")


def _entry(entry: ElementTree.Element) -> str:
    title = _child(entry, "title")
    date = _child(entry, "pubDate") or _child(entry, "updated")
    body = next((html for name in _CONTENT if (html := _markup(entry, name))), "")
    return f"# {' '.join(title.split())}\n\n{date}\n\n{whole_content(body)}"


def _texts(element: ElementTree.Element) -> Iterator[str]:
    """A line for each element that says something, and for each stretch of text after one."""
    said = [f'{_local_name(name)}="{" ".join(value.split())}"' for name, value in element.items() if _is_data(name)]
    text = " ".join((element.text or "").split())
    if text or said:
        yield " ".join([_local(element), *said]) + (f": {text}" if text else "")
    for child in element:
        yield from _texts(child)
        if child.tail and child.tail.strip():
            yield " ".join(child.tail.split())


def _is_data(attribute: str) -> bool:
    """Whether an attribute is the document's own, and not about how it is written in XML."""
    return not attribute.startswith(("{http://www.w3.org/XML/", "{http://www.w3.org/2001/XMLSchema-instance}"))


def _local_name(name: str) -> str:
    return name.rpartition("}")[2]
