"""Loaders: from the bytes of a file to text that offsets can refer to.

`formats.format_of` says which one reads a file, by its content first and its name second. Loaders of one's own are
added by an entry point of the group `kbchat.loaders`, whose name is the format's and whose object is a `LoaderPlugin`,
or a class or function that gives one when it is called without arguments.
"""

from collections.abc import Set as AbstractSet
from typing import Protocol

from kbchat.models import LoadedDocument

__all__ = ["ENTRY_POINTS", "VERSION", "Loader", "LoaderPlugin"]

ENTRY_POINTS = "kbchat.loaders"
VERSION = 3
"""Raised whenever the same file gives another text or other blocks than before."""


class Loader(Protocol):
    """Takes the text out of one kind of file. Pure and blocking: the ingest runs it in a worker."""

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """The text of a file's bytes. `name` is the file's, for messages and hints only.

        Raises `UnreadableDocumentError` with the reason when no text can be taken from it, and `MissingExtraError`
        when a package that it needs is not installed.
        """
        ...


class LoaderPlugin(Loader, Protocol):
    """A loader that somebody added. It runs in a worker process, which is killed when it takes too long or too much."""

    @property
    def suffixes(self) -> AbstractSet[str]:
        """In lower case with their dot: which files of a folder are documents, and a hint at what is in them."""
        ...

    def recognises(self, data: bytes) -> bool:
        """Whether these bytes are certainly its kind of file. It is asked before the built-in formats are."""
        ...
