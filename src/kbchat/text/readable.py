"""Names and texts of documents, checked: what files bring is not all that a catalog can keep."""

from collections.abc import Mapping

from pydantic import JsonValue

from kbchat.errors import InvalidInputError, UnreadableDocumentError
from kbchat.inputs import checked_metadata, checked_name

_ENCODED = 1_000_000
"""Characters that are encoded at once, to see whether they can be."""


def is_text(name: str) -> bool:
    """Whether a name is text: file systems also hold names that are only bytes."""
    return printable(name) == name


def printable(name: str) -> str:
    """The name with bytes that are no text written as escapes."""
    return name.encode(errors="backslashreplace").decode()


def check_name(name: str) -> None:
    """Raise `UnreadableDocumentError` for a name that cannot be kept."""
    try:
        checked_name(name, field="name")
    except InvalidInputError as error:
        raise UnreadableDocumentError(name, error.message) from None


def check_metadata(metadata: Mapping[str, JsonValue], *, name: str) -> None:
    """Raise `UnreadableDocumentError` for metadata that cannot be kept."""
    try:
        checked_metadata(metadata, field="metadata")
    except InvalidInputError as error:
        raise UnreadableDocumentError(name, error.message) from None


def check_text(text: str, *, name: str) -> None:
    """Raise `UnreadableDocumentError` for a text that cannot be kept or found."""
    if not text or text.isspace():
        raise UnreadableDocumentError(name, "the document is empty")
    if "\x00" in text:
        raise UnreadableDocumentError(name, f"a NUL character at offset {text.index(chr(0))}; remove it")
    for first in range(0, 0 if text.isascii() else len(text), _ENCODED):
        try:
            text[first : first + _ENCODED].encode()
        except UnicodeEncodeError as error:
            place = first + error.start
            reason = f"a lone surrogate at offset {place}: text that was decoded wrongly; decode it again"
            raise UnreadableDocumentError(name, reason) from None


def can_be_kept(name: str) -> bool:
    """Whether a catalog can keep a name."""
    try:
        check_name(name)
    except UnreadableDocumentError:
        return False
    return True
