"""Files and folders: which documents a path stands for, what they are called, and which loader reads them."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kbchat.errors import InvalidInputError, UnreadableDocumentError
from kbchat.loaders import Loader
from kbchat.loaders.text import MarkdownLoader, TextLoader
from kbchat.models import LoadedDocument

_MARKDOWN = MarkdownLoader()
_TEXT = TextLoader()
LOADERS: dict[str, Loader] = {
    ".md": _MARKDOWN,
    ".mdx": _MARKDOWN,
    ".markdown": _MARKDOWN,
    ".txt": _TEXT,
    ".text": _TEXT,
    ".rst": _TEXT,
}
"""By suffix, in lower case. A file that is named itself, not found in a folder, is read as text whatever its suffix."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file to ingest. `name` is the document's: relative to the folder that was given, which it starts with."""

    path: Path
    name: str


def discover(paths: Iterable[Path]) -> list[FileSource]:
    """The documents that paths stand for: a file for itself, a folder for all files in it with a known suffix.

    Hidden files and folders are passed over, links to folders are not followed. Sorted, so that runs are repeatable.
    Raises `InvalidInputError` for a path that is not there and for a folder without documents.
    """
    found: dict[Path, FileSource] = {}
    for path in paths:
        sources = list(_discover(path))
        if not sources:
            suffixes = " ".join(sorted(LOADERS))
            raise InvalidInputError("paths", f"the folder {str(path)!r} holds no documents (looked for {suffixes})")
        found.update((source.path, source) for source in sources)
    return list(found.values())


def load(data: bytes, *, name: str) -> LoadedDocument:
    """The text of a file's bytes, read by the loader for its name. Raises `UnreadableDocumentError`."""
    return LOADERS.get(Path(name).suffix.lower(), _TEXT).load(data, name=name)


def read(source: FileSource, *, max_bytes: int) -> tuple[bytes, os.stat_result]:
    """A file's bytes, with the state it had when it was opened. Raises `UnreadableDocumentError`."""
    try:
        with source.path.open("rb") as file:
            stat = os.fstat(file.fileno())
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise UnreadableDocumentError(source.name, f"cannot be read: {error.strerror}") from None
    if len(data) > max_bytes:
        raise UnreadableDocumentError(source.name, f"larger than the limit of {max_bytes:,} bytes (max_document_bytes)")
    return data, stat


def _discover(path: Path) -> Iterator[FileSource]:
    root = path.resolve()
    if root.is_dir():
        for folder, folders, files in os.walk(root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                file = Path(folder, name)
                if not name.startswith(".") and file.suffix.lower() in LOADERS and file.is_file():
                    yield FileSource(file, file.relative_to(root.parent).as_posix())
    elif root.is_file():
        yield FileSource(root, root.name)
    elif root.exists():
        raise InvalidInputError("paths", f"{str(path)!r} is neither a file nor a folder")
    else:
        raise InvalidInputError("paths", f"there is no file or folder {str(path)!r}")
