"""Rich Text Format."""

import re

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.parts import joined, needing
from kbchat.loaders.text import require_text
from kbchat.models import LoadedDocument

_NOTE = re.compile(rb"\{\s*\\footnote(?![a-z])")
_BRACE = re.compile(rb"\\[\\{}]|([{}])")


class RtfLoader:
    """The text of a rich text file, without its styles; notes stand at the end."""

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """Raises `UnreadableDocumentError` for one that is damaged or without text."""
        with needing("RTF"):
            from striprtf.striprtf import rtf_to_text
        try:
            content = rtf_to_text(_with_notes(data).decode("latin-1"), errors="replace")  # type: ignore[no-untyped-call]
        except (ValueError, LookupError, IndexError) as error:
            raise UnreadableDocumentError(name, f"damaged: not a whole RTF file ({error})") from None
        text, _ = joined([(content, {})])
        require_text(text, name=name, reason="the document holds no text")
        return LoadedDocument(text, metadata={})


def _with_notes(data: bytes) -> bytes:
    """The file with its notes as paragraphs at its end: what reads it passes over them where they stand."""
    kept, notes, position = [], [], 0
    while note := _NOTE.search(data, position):
        end = _closed(data, note.end())
        kept.append(data[position : note.start()])
        notes.append(b"\\par{" + data[note.end() : end].lstrip())
        position = end
    kept.append(data[position:])
    body = b"".join(kept)
    at = body.rfind(b"}")
    return body[:at] + b"".join(notes) + body[at:] if notes and at >= 0 else data


def _closed(data: bytes, position: int) -> int:
    """Where the group that is open ends."""
    depth = 1
    for brace in _BRACE.finditer(data, position):
        if brace[1]:
            depth += 1 if brace[1] == b"{" else -1
        if depth == 0:
            return brace.end()
    return len(data)
