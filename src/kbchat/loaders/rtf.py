"""Rich Text Format."""

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.parts import joined, needing
from kbchat.loaders.text import require_text
from kbchat.models import LoadedDocument


class RtfLoader:
    """The text of a rich text file, without its styles."""

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """Raises `UnreadableDocumentError` for one that is damaged or without text."""
        with needing("RTF"):
            from striprtf.striprtf import rtf_to_text
        try:
            content = rtf_to_text(data.decode("latin-1"), errors="replace")  # type: ignore[no-untyped-call]
        except (ValueError, LookupError, IndexError) as error:
            raise UnreadableDocumentError(name, f"damaged: not a whole RTF file ({error})") from None
        text, _ = joined([(content, {})])
        require_text(text, name=name, reason="the document holds no text")
        return LoadedDocument(text, metadata={})
