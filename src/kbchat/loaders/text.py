"""Plain text and Markdown: what is there, decoded."""

import codecs
import re

from kbchat.errors import UnreadableDocumentError
from kbchat.models import LoadedDocument, Metadata

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BINARY = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_TITLE = re.compile(r"^#\s+(.+?)\s*#*\s*$", re.MULTILINE)


class TextLoader:
    """Text as it stands, without markup."""

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """Raises `UnreadableDocumentError` for binary data and for text of an encoding that nothing declares."""
        return LoadedDocument(decode(data, name=name), metadata={})


class MarkdownLoader:
    """Markdown as it stands; the first heading of the first level is the title."""

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """Raises `UnreadableDocumentError` as for plain text."""
        text = decode(data, name=name)
        title = _TITLE.search(text)
        metadata: Metadata = {"title": title[1]} if title else {}
        return LoadedDocument(text, metadata=metadata, markup="markdown")


def decode(data: bytes, *, name: str) -> str:
    """Text of bytes in UTF-8, or in the encoding that a byte order mark declares; line ends become ``\\n``."""
    encoding = next((encoding for bom, encoding in _BOMS if data.startswith(bom)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        reason = f"not {error.encoding.upper()} text: byte 0x{data[error.start]:02x} at offset {error.start}"
        raise UnreadableDocumentError(name, f"{reason}; convert the file to UTF-8") from None
    if control := _BINARY.search(text):
        reason = f"binary data, not text: character U+{ord(control[0]):04X} at offset {control.start()}"
        raise UnreadableDocumentError(name, reason)
    return text.replace("\r\n", "\n").replace("\r", "\n")
