"""Electronic books, chapter by chapter."""

import posixpath
from collections.abc import Iterator
from urllib.parse import unquote
from xml.etree import ElementTree
from zipfile import ZipFile

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.encodings import decode
from kbchat.loaders.markup import whole_content
from kbchat.loaders.parts import facts, joined, unzipped
from kbchat.loaders.text import require_text
from kbchat.models import LoadedDocument

_CONTAINER = "{urn:oasis:names:tc:opendocument:xmlns:container}"
_OPF = "{http://www.idpf.org/2007/opf}"
_DC = "{http://purl.org/dc/elements/1.1/}"


class EpubLoader:
    """A book's chapters in reading order, as Markdown."""

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """Raises `UnreadableDocumentError` for one that is damaged, locked, a zip bomb or without text."""
        with unzipped(data, name=name, what="EPUB") as archive:
            if "META-INF/encryption.xml" in archive.namelist():
                raise UnreadableDocumentError(name, "protected by digital rights management")
            try:
                container = ElementTree.fromstring(archive.read("META-INF/container.xml"))  # noqa: S314 (expat's limits)
                root = container.find(f".//{_CONTAINER}rootfile")
                path = "" if root is None else root.get("full-path", "")
                package = ElementTree.fromstring(archive.read(path))  # noqa: S314 (expat's limits)
                chapters = list(_chapters(archive, package, posixpath.dirname(path), name))
            except (KeyError, ElementTree.ParseError) as error:
                raise UnreadableDocumentError(name, f"damaged: not a whole EPUB file ({error})") from None
        text, _ = joined((chapter, {}) for chapter in chapters)
        require_text(text, name=name, reason="no chapter holds text")
        metadata = facts(
            title=package.findtext(f".//{_DC}title"),
            author=package.findtext(f".//{_DC}creator"),
            language=package.findtext(f".//{_DC}language"),
        )
        return LoadedDocument(text, metadata=metadata, markup="markdown")


def _chapters(archive: ZipFile, package: ElementTree.Element, folder: str, name: str) -> Iterator[str]:
    items = {item.get("id"): item for item in package.iter(f"{_OPF}item")}
    for reference in package.iter(f"{_OPF}itemref"):
        item = items.get(reference.get("idref"))
        # The table of contents says nothing that the chapters do not.
        if item is None or "nav" in item.get("properties", "").split():
            continue
        member = posixpath.normpath(posixpath.join(folder, unquote(item.get("href", ""))))
        if member in archive.NameToInfo:
            html, _ = decode(archive.read(member), name=name)
            yield whole_content(html)
