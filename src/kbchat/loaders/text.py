"""Plain text, Markdown, reStructuredText and source code: what is there, decoded."""

import re
from typing import ClassVar

from kbchat.errors import UnreadableDocumentError
from kbchat.loaders.encodings import decode
from kbchat.models import LoadedDocument, Markup, Metadata
from kbchat.text.outline import headings

_RST_TITLE = re.compile(r"^(?:([^\w\s])\1{2,}\n)?[ ]?(\S[^\n]*)\n([=\-~^\"'#*+.:`_])\3{2,}[ ]*$", re.MULTILINE)


class TextLoader:
    """Text as it stands, without markup."""

    markup: ClassVar[Markup] = "plain"

    def load(self, data: bytes, *, name: str) -> LoadedDocument:
        """Raises `UnreadableDocumentError` for binary data and for text of an encoding that cannot be told."""
        text, guessed = decode(data, name=name)
        metadata: Metadata = {"encoding": guessed} if guessed else {}
        if title := self.title(text):
            metadata["title"] = title
        return LoadedDocument(text, metadata=metadata, markup=self.markup)

    def title(self, text: str) -> str | None:
        """What the text calls itself."""
        return None


class MarkdownLoader(TextLoader):
    """Markdown as it stands; the first heading of the first level is the title."""

    markup = "markdown"

    def title(self, text: str) -> str | None:
        return markdown_title(text)


def markdown_title(text: str) -> str | None:
    """The first heading of the first level that says something; a comment in code or in the front matter is none."""
    return next((found.title for found in headings(text, "markdown") if found.level == 1 and found.title), None)


class RstLoader(TextLoader):
    """reStructuredText as it stands; the first heading is the title."""

    markup = "rst"

    def title(self, text: str) -> str | None:
        found = _RST_TITLE.search(text)
        return found[2].strip() if found else None


class CodeLoader(TextLoader):
    """A program's source as it stands."""

    markup = "code"


def tidy(text: str) -> str:
    """Text that an extractor gave, without what no text holds: other line ends, control characters, lone surrogates,
    and more than one empty line."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x0b", "\n").replace("\x0c", "\n\n")
    return _MANY_LINES.sub("\n\n", _TRAILING.sub("", _NO_TEXT.sub("", text))).strip("\n")


_NO_TEXT = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff\u00ad]")
_TRAILING = re.compile(r"(?<![ \t\u00a0])[ \t\u00a0]+(?=\n|\Z)")
_MANY_LINES = re.compile(r"\n{3,}")


def require_text(text: str, *, name: str, reason: str) -> str:
    """The text, unless there is nothing in it: then `UnreadableDocumentError` with the reason."""
    if not text or text.isspace():
        raise UnreadableDocumentError(name, reason)
    return text
