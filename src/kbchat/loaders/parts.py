"""What loaders share: the packages they need, and the parts they put texts together from."""

import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import JsonValue

from kbchat.errors import MissingExtraError, UnreadableDocumentError
from kbchat.loaders.text import tidy
from kbchat.models import Block

MAX_UNPACKED = 512 * 1024 * 1024
"""Bytes that a zipped document may unpack to. Checked against what the archive declares, which its reader enforces."""
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError, ValueError)
"""What an archive that is not whole raises, as it is opened and as its members are read."""
_UNTITLED = ("Word Document", "PowerPoint Presentation")
"""What programs call a document that nobody gave a title."""
_CONTENT_TYPES = "[Content_Types].xml"
_STRICT = b"http://purl.oclc.org/ooxml/officeDocument/relationships/"
"""The names that only Strict Open XML has, which the packages that read Office documents do not know."""


@contextmanager
def needing(what: str) -> Iterator[None]:
    """Import a format's package inside this. Raises `MissingExtraError` when it is not installed."""
    try:
        yield
    except ImportError:
        raise MissingExtraError(f"reading {what}", "documents") from None


@contextmanager
def unzipped(data: bytes, *, name: str, what: str) -> Iterator[zipfile.ZipFile]:
    """A zipped document's archive. Raises `UnreadableDocumentError` for one that is damaged, locked or a bomb."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > MAX_UNPACKED:
                raise UnreadableDocumentError(name, f"unpacks to more than {MAX_UNPACKED:,} bytes")
            if any(member.flag_bits & 1 for member in members):
                raise UnreadableDocumentError(name, "encrypted with a password; save it without one")
            yield archive
    except DAMAGE as error:
        raise UnreadableDocumentError(name, f"damaged or cut short: not a whole {what} file ({error})") from None


def office(data: bytes, *, name: str, what: str, suffix: str, types: Mapping[str, str]) -> io.BytesIO:
    """An Office document, to be opened. Parts of a content type that `types` holds are said to be of the one it gives.

    Bombs and damage are refused before anything is unpacked, and so is Strict Open XML, which cannot be read.
    """
    with unzipped(data, name=name, what=what) as archive:
        members = set(archive.namelist())
        if "_rels/.rels" in members and _STRICT in archive.read("_rels/.rels"):
            raise UnreadableDocumentError(name, f"written as Strict Open XML; save it as an ordinary {suffix} document")
        declared = archive.read(_CONTENT_TYPES) if _CONTENT_TYPES in members else b""
    changed = declared
    for found, taken in types.items():
        changed = changed.replace(found.encode(), taken.encode())
    document = io.BytesIO(data)
    if changed != declared:
        with zipfile.ZipFile(document, "a") as archive:
            # The other parts stay as they are packed; a name that is there twice would be warned of.
            archive.filelist.remove(archive.NameToInfo.pop(_CONTENT_TYPES))
            archive.writestr(_CONTENT_TYPES, changed)
        document.seek(0)
    return document


@contextmanager
def parsing(name: str, what: str, *errors: type[Exception]) -> Iterator[None]:
    """Read an Office document inside this. Raises `UnreadableDocumentError` for one that is damaged: `errors` are what
    its package calls that, beside what parts raise that are missing or not as they should be."""
    damage: tuple[type[Exception], ...] = (*DAMAGE, KeyError, AttributeError, TypeError, SyntaxError, *errors)
    try:
        yield
    except damage as error:
        # Without the address in memory of the file that was given.
        said = re.sub(r" '?<[^<>]* at 0x[0-9a-fA-F]+>'?", "", str(error))
        raise UnreadableDocumentError(name, f"damaged: not a whole {what} file ({said})") from None


def about(document: Any) -> dict[str, JsonValue]:
    """What an Office document says of itself; nothing where that cannot be told."""
    try:
        known = document.core_properties
        return facts(title="" if known.title in _UNTITLED else known.title, author=known.author)
    except (AttributeError, KeyError, ValueError):
        return {}


def joined(
    parts: Iterable[tuple[str, Mapping[str, JsonValue]]], *, separator: str = "\n\n"
) -> tuple[str, tuple[Block, ...]]:
    """One text of the parts that are not blank, tidied, and a block for each."""
    texts: list[str] = []
    blocks: list[Block] = []
    position = 0
    for raw, metadata in parts:
        text = tidy(raw)
        if not text or text.isspace():
            continue
        if texts:
            position += len(separator)
        blocks.append(Block(position, position + len(text), metadata))
        texts.append(text)
        position += len(text)
    return separator.join(texts), tuple(blocks)


def facts(**known: object) -> dict[str, JsonValue]:
    """Metadata of those values that say something: texts on one line, lists of texts."""
    found: dict[str, JsonValue] = {}
    for key, value in known.items():
        if isinstance(value, str) and (text := " ".join(tidy(value).split())):
            found[key] = text
        elif isinstance(value, list | tuple) and value:
            found[key] = [str(item) for item in value]
    return found
