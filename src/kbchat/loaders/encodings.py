"""Text of bytes in whatever encoding they are."""

import codecs
import re

from kbchat.errors import UnreadableDocumentError

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BINARY = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")

_PLAIN = re.compile("[\t\n -~\u3000-\u303f]")
_NOT_ASCII = re.compile("[^\x00-\x7f]+")


def decode(data: bytes, *, name: str, declared: str | None = None) -> tuple[str, str | None]:
    """Text of bytes, and the encoding if it had to be guessed; line ends become ``\\n``.

    In this order: the encoding of a byte order mark, UTF-8, the one that the file itself declares, the most probable
    one. Raises `UnreadableDocumentError` for what is no text, or is broken in its own encoding.
    """
    guessed = None
    text = _by_mark(data, name)
    if text is None and b"\x00" not in data:
        text = _try(data, "utf-8")
    if text is None and declared:
        text = _try(data, declared)
    if text is None:
        text, guessed = _guess(data, name)
    if control := _BINARY.search(text):
        reason = f"binary data, not text: character U+{ord(control[0]):04X} at offset {control.start()}"
        raise UnreadableDocumentError(name, reason)
    return text.replace("\r\n", "\n").replace("\r", "\n"), guessed


def _by_mark(data: bytes, name: str) -> str | None:
    encoding = next((encoding for bom, encoding in _BOMS if data.startswith(bom)), None)
    if encoding is None:
        return None
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise _broken(data, error, name) from None


def _try(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None


def _guess(data: bytes, name: str) -> tuple[str, str]:
    if broken := _broken_utf8(data):
        raise _broken(data, broken, name)
    # Loaded only for what is not UTF-8.
    import chardet

    encoding = chardet.detect(data)["encoding"]
    if encoding is None or (b"\x00" in data and not _is_wide(data)):
        raise UnreadableDocumentError(name, "binary data, not text")
    try:
        text = data.decode(encoding)
        if "16" in encoding and not _PLAIN.search(text):
            # Nearly any bytes are characters of UTF-16; texts also hold spaces, line ends or full stops.
            raise UnreadableDocumentError(name, "binary data, not text")
        return text, encoding
    except UnicodeDecodeError as error:
        raise _broken(data, error, name) from None
    except LookupError:
        raise UnreadableDocumentError(name, f"its encoding {encoding} is unknown; convert the file to UTF-8") from None


def _is_wide(data: bytes) -> bool:
    """Whether zero bytes are halves of characters: in UTF-16 without a mark all of them stand in even places, or all in
    odd ones. A few could stand so by chance."""
    even, odd = data[::2].count(0), data[1::2].count(0)
    return min(even, odd) == 0 and max(even, odd) >= 4


def _broken_utf8(data: bytes) -> UnicodeDecodeError | None:
    """The error in what is UTF-8 but for a few bytes: any other encoding would make nonsense of the rest."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        text = data.decode(errors="replace")
        bad = text.count("\ufffd")
        foreign = sum(map(len, _NOT_ASCII.findall(text)))
        return error if 10 * bad <= foreign else None
    return None


def _broken(data: bytes, error: UnicodeDecodeError, name: str) -> UnreadableDocumentError:
    where = f"byte 0x{data[error.start]:02x} at offset {error.start}" if error.start < len(data) else "cut short"
    reason = f"not {error.encoding.upper()} text: {where}; convert the file to UTF-8"
    return UnreadableDocumentError(name, reason)
