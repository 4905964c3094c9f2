"""Loaders: from the bytes of a file to text that offsets can refer to."""

from typing import Protocol

from kbchat.models import LoadedDocument


class Loader(Protocol):
    """Takes the text out of one kind of file. Pure and blocking: the ingest runs it in a worker."""

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """The text of a file's bytes. `name` is the file's, for messages and hints only.

        Raises `UnreadableDocumentError` with the reason when no text can be taken from it.
        """
        ...
