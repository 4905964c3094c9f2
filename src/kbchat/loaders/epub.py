"""Electronic books, chapter by chapter."""

import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from urllib.parse import unquote
from xml.etree import ElementTree
from zipfile import ZipFile

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.encodings import decode
from kbchat.loaders.markup import declared_encoding, parsed, whole_content
from kbchat.loaders.nodes import flat
from kbchat.loaders.parts import facts, joined, unzipped
from kbchat.loaders.text import require_text
from kbchat.models import LoadedDocument
from kbchat.text.outline import headings

_CONTAINER = "{urn:oasis:names:tc:opendocument:xmlns:container}"
_OPF = "{http://www.idpf.org/2007/opf}"
_DC = "{http://purl.org/dc/elements/1.1/}"
_NCX = "{http://www.daisy.org/z3986/2005/ncx/}"
_CIPHER = "{http://www.w3.org/2001/04/xmlenc#}CipherReference"
_TAG = re.compile(r"<[^<>]+>")
_ID = re.compile(r"""\bid\s*=\s*["']([^"']+)["']""")


class EpubLoader:
    """A book's chapters in reading order, as Markdown."""

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """Raises `UnreadableDocumentError` for one that is damaged, locked, a zip bomb or without text."""
        with unzipped(data, name=name, what="EPUB") as archive:
            try:
                book = _Book(archive, name)
                chapters = list(book.chapters())
            except (KeyError, ElementTree.ParseError) as error:
                raise UnreadableDocumentError(name, f"damaged: not a whole EPUB file ({error})") from None
        text, _ = joined((chapter, {}) for chapter in chapters)
        require_text(text, name=name, reason="no chapter holds text")
        metadata = facts(title=book.fact("title"), author=book.fact("creator"), language=book.fact("language"))
        return LoadedDocument(text, metadata=metadata, markup="markdown")


class _Book:
    """What is in a book's archive. Raises `KeyError` or `ParseError` where it is not whole."""

    def __init__(self, archive: ZipFile, name: str) -> None:
        self._archive = archive
        self._name = name
        self._folded = {member.casefold(): member for member in archive.NameToInfo}
        root = self._xml("META-INF/container.xml").find(f".//{_CONTAINER}rootfile")
        self._path = "" if root is None else self._member("", root.get("full-path", ""))
        self._package = self._xml(self._path)
        self._items = {item.get("id"): item for item in self._package.iter(f"{_OPF}item")}

    def fact(self, name: str) -> str | None:
        """What the book says of itself."""
        return self._package.findtext(f".//{_DC}{name}")

    def chapters(self) -> Iterator[str]:
        """The text of each file in reading order, under its title in the table of contents.

        A file that is not in it goes on with the chapter before.
        """
        members = list(self._spine())
        if locked := self._encrypted().intersection(members):
            reason = f"protected by digital rights management: {min(locked)} is encrypted"
            raise UnreadableDocumentError(self._name, reason)
        pages = {member: self._page(member) for member in members}
        contents = self._contents()
        titles = _titles(pages, contents) if contents else _own_titles(pages, self.fact("title") or "")
        for member in members:
            yield _titled(whole_content(pages[member]), titles.get(member, ""))

    def _spine(self) -> Iterator[str]:
        for reference in self._package.iter(f"{_OPF}itemref"):
            item = self._items.get(reference.get("idref"))
            # The table of contents says nothing that the chapters do not.
            if item is None or _is_nav(item):
                continue
            member = self._member(self._path, item.get("href", ""))
            if member in self._archive.NameToInfo:
                yield member

    def _encrypted(self) -> frozenset[str]:
        """What cannot be read. Fonts often cannot, in books that are open."""
        path = "META-INF/encryption.xml"
        if path not in self._archive.NameToInfo:
            return frozenset()
        return frozenset(self._member("", cipher.get("URI", "")) for cipher in self._xml(path).iter(_CIPHER))

    def _contents(self) -> list[tuple[str, str, str]]:
        """The table of contents: a title, the file it leads to and the place in it."""
        for item in sorted(self._items.values(), key=_is_nav, reverse=True):
            path = self._member(self._path, item.get("href", ""))
            if path not in self._archive.NameToInfo:
                continue
            if _is_nav(item):
                links = list(_nav(self._page(path)))
            elif item.get("media-type") == "application/x-dtbncx+xml":
                links = list(_ncx(self._archive.read(path)))
            else:
                continue
            if links:
                places = ((title, *target.partition("#")[::2]) for title, target in links)
                return [(title, self._member(path, file), unquote(place)) for title, file, place in places]
        return []

    def _member(self, base: str, link: str) -> str:
        """The member of the archive that a link in another means; if none is written so, one that differs in case."""
        name = posixpath.normpath(posixpath.join(posixpath.dirname(base), unquote(link)))
        return name if name in self._archive.NameToInfo else self._folded.get(name.casefold(), name)

    def _page(self, member: str) -> str:
        data = self._archive.read(member)
        return decode(data, name=self._name, declared=declared_encoding(data))[0]

    def _xml(self, member: str) -> ElementTree.Element:
        return ElementTree.fromstring(self._archive.read(member))  # noqa: S314 (expat's limits)


def _is_nav(item: ElementTree.Element) -> bool:
    return "nav" in item.get("properties", "").split()


def _nav(html: str) -> Iterator[tuple[str, str]]:
    """The titles and links of a table of contents that is a page."""
    navs = parsed(html).css("nav")
    for nav in [nav for nav in navs if "toc" in (nav.attrs.get("epub:type") or "").split()] or navs[:1]:
        for link in nav.css("a[href]"):
            yield flat(link), link.attrs.get("href") or ""


def _ncx(data: bytes) -> Iterator[tuple[str, str]]:
    """The same of one in the older form. One that is damaged costs the titles only."""
    try:
        points = ElementTree.fromstring(data).iter(f"{_NCX}navPoint")  # noqa: S314 (expat's limits)
    except (ElementTree.ParseError, ValueError):
        return
    for point in points:
        content = point.find(f"{_NCX}content")
        label = point.findtext(f"{_NCX}navLabel/{_NCX}text")
        if content is not None and label and label.strip():
            yield " ".join(label.split()), content.get("src", "")


def _titles(pages: Mapping[str, str], contents: list[tuple[str, str, str]]) -> dict[str, str]:
    """What the table of contents calls the pages that it leads to the beginning of."""
    places = {member: _places(pages[member]) for member in {member for _, member, _ in contents} & pages.keys()}
    first: dict[str, tuple[int, str]] = {}
    for title, member, place in contents:
        at = places.get(member, {}).get(place)
        if at is not None and (member not in first or at < first[member][0]):
            first[member] = (at, title)
    # A page may hold thousands of chapters: what stands before its first one alone is read.
    return {member: title for member, (at, title) in first.items() if not at or not whole_content(pages[member][:at])}


def _places(html: str) -> dict[str, int]:
    """Where the elements of a page begin that a link may lead to; the page itself is the one without a name."""
    places = {"": 0}
    for tag in _TAG.finditer(html):
        for name in _ID.findall(tag[0]):
            places.setdefault(name, tag.start())
    return places


def _own_titles(pages: Mapping[str, str], book: str) -> dict[str, str]:
    """What pages call themselves, where that tells them apart."""
    found = {member: parsed(html).css_first("head > title") for member, html in pages.items()}
    titles = {member: flat(title) for member, title in found.items() if title is not None}
    count = Counter([*titles.values(), " ".join(book.split())])
    return {member: title for member, title in titles.items() if count[title] == 1}


def _titled(text: str, title: str) -> str:
    """A chapter under its title, unless it begins with a heading of its own."""
    first = next(headings(text, "markdown"), None)
    if not title or not text or (first and (first.level == 1 or not text[: first.start] or first.title == title)):
        return text
    line, _, rest = text.partition("\n")
    return f"# {title}\n\n{rest if line.casefold() == title.casefold() else text}"
