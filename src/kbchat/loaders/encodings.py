"""Text of bytes in whatever encoding they are."""

import codecs
import re
import unicodedata
from collections.abc import Iterator
from itertools import islice

from kbchat.errors import UnreadableDocumentError

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
BINARY = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
"""What no text holds, but by mistake."""
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"  # CSI
    r"|[\]PX^_][^\x00-\x08\x0a-\x1f]*(?:\x07|\x1b\\)"  # OSC, DCS, SOS, PM and APC, with what they hold
    r"|\$[@-C]|\$?[()*+\-./][0-~]|[#%][0-~]| [FGLMN]|[0-~])?"
)
"""What tells a terminal how to show a text, such as in colour (ECMA-48 and ECMA-35). None goes beyond its line."""
_SLICE = 1 << 20
"""Characters that are rid of them at a time: what is left between them are objects, for a while."""
_STRAY = 100
"""Characters for each of those that a text may hold: a terminal's bell in a log, say."""

_NO_STRAY = re.compile("[\x00\x0e\x0f]")
"""What is no text in any number: zero bytes, and what shifts to another set of characters and back."""
_PLAIN = re.compile("[\t\n -~\u3000-\u303f]")
_HIGH = re.compile(b"[\x80-\xff]")
_JAPANESE = re.compile(rb"\x1b\$[@B]")
"""What turns to Japanese in ISO-2022-JP."""
_SEVEN_BITS = ("hz", "utf-7")
"""Encodings that are ASCII to look at, without escape sequences: only what is declared tells."""

_WORD = re.compile(r"[^\W\d_]+")
_ALPHABETS = ("GREEK", "CYRILLIC", "HEBREW", "ARABIC", "ARMENIAN", "GEORGIAN")
"""Scripts that are not written together with Latin letters in one word, as Chinese, Korean and Thai may be."""
_UNWORDLY = re.compile(r"(?<=[^\W\d_])[^\w\s\x00-\x7f‐-—’…·](?=[^\W\d_])|(?<=[a-z])[À-ÖØ-ÞŠŒŽŸ]")
"""What no word of a Western language holds: a sign between two letters, a capital with an accent after a small one."""
_JUDGED = 200_000
"""Bytes by which an encoding is guessed, from a little before the first one that is not ASCII."""
_WEAK = 0.1
"""The confidence below which a guess says little: short texts, and those with a few accents or signs."""

_WIDER = {"iso8859-1": "cp1252", "ascii": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932"}
_WIDER |= {"euc_kr": "cp949", "iso8859-9": "cp1254", "tis-620": "cp874", "iso8859-11": "cp874"}
"""What is declared by its standard's name is often written in what vendors made of it; browsers read it so as well."""


def decode(data: bytes, *, name: str, declared: str | None = None) -> tuple[str, str | None]:
    """Text of bytes, and the encoding if it had to be guessed; line ends become ``\\n``.

    In this order: the encoding of a byte order mark, UTF-8, the one that the file itself declares, the most probable
    one; but what is declared, or else ISO-2022-JP, goes first where ASCII is what some encodings are made of. The mark
    that ended texts under DOS is left out, and so are a terminal's escape sequences and stray control characters.
    Raises `UnreadableDocumentError` for what is no text, or is broken in its own encoding.
    """
    guessed = None
    text = _by_mark(data, name)
    if text is None and declared and (b"\x1b" in data or _codec(declared) in _SEVEN_BITS):
        text = _declared(data, declared)
    if text is None and not declared and data.isascii() and _JAPANESE.search(data):
        text = _try(data, "iso2022_jp_ext")
        guessed = "ISO-2022-JP" if text is not None else None
    if text is None and b"\x00" not in data:
        text = _try(data, "utf-8")
    if text is None and declared:
        text = _declared(data, declared)
    if text is None:
        text, guessed = _guess(data, name)
    text = text.rstrip("\x1a")
    if "\x1b" in text:
        text = "".join(_ESCAPES.sub("", part) for part in _slices(text))
    if control := BINARY.search(text):
        # In an encoding that was guessed nearly all that is binary is text as well.
        if guessed or _NO_STRAY.search(text) or _has_more(text, len(text) // _STRAY):
            reason = f"binary data, not text: character U+{ord(control[0]):04X} at offset {control.start()}"
            raise UnreadableDocumentError(name, reason)
        text = BINARY.sub("", text)
    return text.replace("\r\n", "\n").replace("\r", "\n"), guessed


def _slices(text: str) -> Iterator[str]:
    """A text in parts that end where a line does, if any does."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + _SLICE, start + 2 * _SLICE)
        yield text[start : (end := start + 2 * _SLICE if end < 0 else end)]
        start = end


def _has_more(text: str, most: int) -> bool:
    """Whether a text has more control characters than that."""
    return sum(1 for _ in islice(BINARY.finditer(text), most + 1)) > most


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
        text = data.decode(encoding)
        if _codec(encoding) == "utf-7":
            text.encode()  # It lets halves of characters through, which are no text.
        return text
    except (ValueError, LookupError):  # Not only of decoding: some codecs refuse any data, some names are none.
        return None


def _declared(data: bytes, encoding: str) -> str | None:
    wider = _WIDER.get(_codec(encoding))
    text = _try(data, wider) if wider else None
    return _try(data, encoding) if text is None else text


def _codec(encoding: str) -> str:
    """The one name of an encoding that has several; nothing for one that is unknown."""
    try:
        return codecs.lookup(encoding).name
    except (ValueError, LookupError):
        return ""


def _guess(data: bytes, name: str) -> tuple[str, str]:
    if broken := _broken_utf8(data):
        raise _broken(data, broken, name)
    encoding = _most_probable(data)
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


def _most_probable(data: bytes) -> str | None:
    """The detector's first guess that does not read words as mixtures of scripts.

    The words of many languages hold a few bytes that are not ASCII, and any code page has some letter for them. Where
    the detector is not sure either, the text is Windows' Western one if it reads well as that.
    """
    # Loaded only for what is not UTF-8.
    import chardet

    if b"\x00" in data:
        return chardet.detect(data)["encoding"]
    first = next((found.start() for found in _HIGH.finditer(data)), 0)
    data = data[max(first - 1000, 0) :][:_JUDGED]
    guesses = chardet.detect_all(data, ignore_threshold=True)
    if guesses[0]["encoding"] is None:
        return None
    best = next((guess for guess in guesses if not _mixes_scripts(data, guess["encoding"] or "")), guesses[0])
    western = [guess["confidence"] for guess in guesses if _codec(guess["encoding"] or "") == "cp1252"]
    is_open = best["confidence"] < _WEAK or best["confidence"] < 1.05 * max(western, default=0)
    return "Windows-1252" if is_open and _reads_western(data) else best["encoding"]


def _mixes_scripts(data: bytes, encoding: str) -> bool:
    """Whether most words of another alphabet would hold Latin letters as well."""
    pure = mixed = 0
    try:
        text = data.decode(encoding, "ignore")
    except LookupError:
        return False
    for word in _WORD.findall(text):
        if word.isascii():
            continue
        scripts = {unicodedata.name(letter, "").partition(" ")[0] for letter in word}
        if scripts.intersection(_ALPHABETS):
            mixed, pure = (mixed + 1, pure) if "LATIN" in scripts else (mixed, pure + 1)
    return mixed > 0 and mixed >= pure


def _reads_western(data: bytes) -> bool:
    """Whether these bytes are words with some accents, and signs between words, in Windows' Western code page."""
    text = _try(data, "cp1252")
    if text is None or _UNWORDLY.search(text):
        return False
    words = (word for word in _WORD.findall(text) if not word.isascii())
    letters = [letter for word in words for letter in word if letter.isalpha()]
    accented = sum(not letter.isascii() for letter in letters)
    return 2 * accented <= len(letters)


def _is_wide(data: bytes) -> bool:
    """Whether zero bytes are halves of characters: in UTF-16 without a mark all of them stand in even places, or all in
    odd ones. A few could stand so by chance."""
    even, odd = data[::2].count(0), data[1::2].count(0)
    return min(even, odd) == 0 and max(even, odd) >= 4


def _broken_utf8(data: bytes) -> UnicodeDecodeError | None:
    """The error in what is UTF-8 but for a few bytes: any other encoding would make nonsense of the rest.

    Bytes of other encodings form characters of UTF-8 as well, by chance, but break more of them than they form.
    """
    try:
        data.decode()
    except UnicodeDecodeError as error:
        text = data.decode(errors="replace")
        bad = text.count("\ufffd")
        # Counted by what is left without them: a list of a large text's characters would take gigabytes.
        good = len(text) - len(text.encode("ascii", "ignore")) - bad
        return error if good > bad else None
    return None


def _broken(data: bytes, error: UnicodeDecodeError, name: str) -> UnreadableDocumentError:
    where = f"byte 0x{data[error.start]:02x} at offset {error.start}" if error.start < len(data) else "cut short"
    reason = f"not {error.encoding.upper()} text: {where}; convert the file to UTF-8"
    return UnreadableDocumentError(name, reason)
