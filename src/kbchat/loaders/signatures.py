"""What the first bytes of a file, or the table of contents of a container, give away."""

import io
import re
import zipfile

from kbchat.loaders.encodings import BINARY

_ZIP = b"PK\x03\x04"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIPPED = (
    ("word/document.xml", "docx"),
    ("ppt/presentation.xml", "pptx"),
    ("xl/workbook.xml", "xlsx"),
    ("xl/workbook.bin", "xlsx"),
    ("META-INF/container.xml", "epub"),
)
_OLE_STREAMS = (
    # Names of streams, as the directory of a compound file holds them.
    ("EncryptedPackage", "encrypted"),
    ("__properties_version1.0", "msg"),
    ("Workbook", "xls"),
    ("Book", "xls"),
    ("WordDocument", "doc"),
    ("PowerPoint Document", "ppt"),
)
_MEMBER = 30
"""Where a zip archive names its first member, which in an OpenDocument file says what it is."""
_OPEN_DOCUMENTS = (
    (b"mimetypeapplication/vnd.oasis.opendocument.text", "an OpenDocument text; save it as .docx"),
    (b"mimetypeapplication/vnd.oasis.opendocument.presentation", "an OpenDocument presentation; save it as .pptx"),
    (b"mimetypeapplication/vnd.oasis.opendocument.graphics", "an OpenDocument drawing; save it as .pdf"),
)
_LOCKED_BOOK = re.compile(
    rb"\x09\x08(?:\x10\x00\x00\x06\x05\x00.{12}|\x08\x00\x00\x05\x05\x00.{4})(?:\x86\x00\x00\x00)?\x2f\x00", re.DOTALL
)
"""The first records of a workbook that is encrypted: BOF, WriteProtect and FilePass ([MS-XLS] 2.1.7.20.3)."""
_FOREIGN = (
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90\x00", "a program"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x1aE\xdf\xa3", "a film"),
)
_WORDS = (
    (re.compile(rb"GIF8[79]a"), "a GIF image"),
    (re.compile(rb"BZh[1-9]"), "a bzip2 archive"),
    (re.compile(rb"ID3"), "a sound file"),
    (re.compile(rb"OggS"), "a sound file"),
)
"""What a text may begin with as well."""
_POSTSCRIPT = re.compile(rb"%!PS(-Adobe-\d\.\d)?([ \t]+EPSF-\d\.\d)?[ \t]*[\r\n]")
_MARKED_PDF = re.compile(rb"(\xef\xbb\xbf)?\s*%PDF-")
_RTF = re.compile(rb"\{\\rtf[\d\\]")
_CONTROL = re.compile(BINARY.pattern.encode())
"""What no text holds, whatever its encoding, unless it has two bytes or four for each character."""
_HEAD = 1024
"""Bytes that a PDF may begin after: those of a mail or a server, say."""


def container(data: bytes, *, hint: str) -> str | None:
    """The name of the format of a PDF, RTF, zipped or compound file; None when it is none of those we read.

    `hint` is the format that the file's name stands for: believed where a container is too damaged to be looked into.
    """
    if _MARKED_PDF.match(data):
        return "pdf"
    if _RTF.match(data):
        return "rtf"
    if data.startswith(_ZIP):
        return _zipped(data, hint)
    if data.startswith(_OLE):
        found = _compound(data)
        return found if found in ("msg", "xls") else None
    if b"%PDF-" in data[:_HEAD] and (hint == "pdf" or _CONTROL.search(data)):
        return "pdf"  # Not a text that only says how a PDF begins.
    return None


def foreign(data: bytes) -> str | None:
    """Why a file of a known kind that holds no text for us is refused; None for any other."""
    if data.startswith(_OLE):
        match _compound(data):
            case "encrypted" | "locked xls":
                return "encrypted with a password; save it without one"
            case "doc":
                return "the old Word format; save it as .docx"
            case "ppt":
                return "the old PowerPoint format; save it as .pptx"
        return "a compound file of an unknown kind"
    if what := next((what for kind, what in _OPEN_DOCUMENTS if data.startswith(kind, _MEMBER)), None):
        return what
    if data.startswith((_ZIP, b"PK\x05\x06")):
        return "a zip archive of no kind that is known; unpack it"
    is_binary = _CONTROL.search(data, 0, _HEAD) is not None
    if is_binary and data[4:12] in (b"ftypisom", b"ftypmp42", b"ftypM4A ", b"ftypqt  ", b"ftypheic", b"ftypavif"):
        return "a film, sound or picture; it holds no text"
    what = next((what for signature, what in _FOREIGN if data.startswith(signature)), None)
    if what is None and is_binary:
        what = next((what for signature, what in _WORDS if signature.match(data)), None)
    if what is None and _POSTSCRIPT.match(data):
        what = "PostScript"
    return f"{what}; it holds no text that could be read" if what else None


def _zipped(data: bytes, hint: str) -> str | None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return hint if hint in ("docx", "pptx", "xlsx", "epub", "ods") else None
    for name, found in _ZIPPED:
        if name in names:
            return found
    return "ods" if {"content.xml", "mimetype"} <= names and hint == "ods" else None


def _compound(data: bytes) -> str | None:
    found = next((found for name, found in _OLE_STREAMS if f"{name}\0".encode("utf-16-le") in data), None)
    return "locked xls" if found == "xls" and _LOCKED_BOOK.search(data) else found
