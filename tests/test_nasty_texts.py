"""Texts made to keep a program busy: nothing that reads users' or documents' text needs more than a moment for them.

A pattern that tries every place again, or every way to share blanks out between its parts, is done with a sentence at
once and with such a text in hours. Python matches without letting another thread run, so a server would stand still.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from kbchat.citations.checker import CitationChecker
from kbchat.citations.claims import Text
from kbchat.errors import ReferencesError, UnreadableDocumentError
from kbchat.followups import is_follow_up
from kbchat.generators.extractive import ExtractiveGenerator
from kbchat.loaders.html import HtmlLoader
from kbchat.loaders.tables import CsvLoader
from kbchat.loaders.text import MarkdownLoader, RstLoader, TextLoader, tidy
from kbchat.models import LoadedDocument, Markup, Prompt, Reference, Sampling
from kbchat.prompting import language_of, merge, without_command
from kbchat.references import TAG_OPENING, ParsedReference, parse
from kbchat.text.analysis import analyse, analyse_question
from kbchat.text.outline import Outline
from kbchat.text.sentences import is_heading, split
from kbchat.text.splitting import split as chunks
from kbchat.text.tokens import estimate

LENGTH = 15_000
UNITS = (
    *(" ", "\n", "\t", "#", "[", "(", "{", "<", "`", "*", "-", "|", "=", "~", ".", "!", "'", '"', "\\", "0", ",", "，"),
    *("。", "[a](", "![", "](", "{#a} ", "\\'", '\\"', "`a`[1] ", "[1]", "[1,", "1.", "1,", "one ", "一", "不", "not "),
    *("Not a. ", "don't ", "it ", "that ", "a ", "A. ", "- ", "> ", "a\n", "# \n", "a\n--\n", "a\n==\n", "\\n# ", "呢"),
    *(
        "please ",
        "请",
        "pub(",
        "static ",
        "&#",
        "<a ",
        "<li>",
        "<!--",
        "\xa0",
        "é",
        "か",
        "a,b\n",
        '"a"',
        ',"',
        "\u0303",
    ),
)

MARKUPS: tuple[Markup, ...] = ("plain", "markdown", "rst", "code")


def nasty() -> Iterator[str]:
    for unit in UNITS:
        many = unit * (LENGTH // len(unit))
        yield f"x{many}x"
        yield f"# x{many}x"


def passage(text: str) -> Reference:
    return Reference(
        chunk_id=1, document_id=1, name="a", content=text, start=0, end=len(text), metadata={}, recall_score=0.9
    )


def checked(text: str) -> None:
    checker = CitationChecker(merge([passage("Keys are rotated every 90 days.")]))
    checker.feed(f"{text} [1]. ")
    checker.flush()


def extracted(text: str) -> None:
    async def ask() -> None:
        prompt = Prompt(messages=(), question=f"keys {text[:100]}", passages=merge([passage(text)]), grounded=True)
        async with ExtractiveGenerator().stream(prompt, Sampling()) as pieces:
            async for _ in pieces:
                pass

    asyncio.run(ask())


def parsed(text: str) -> None:
    for written in (text, TAG_OPENING + text, f'{TAG_OPENING}{text.replace(chr(34), "")}" />'):
        try:
            parse(written)
        except ReferencesError:
            continue


def metadata(text: str) -> None:
    for written in (text, "{'a': '" + text, "{'a': '" + text.replace("'", "") + "'}"):
        found = ParsedReference(name="a", chunk_id=1, content="", meta_info=written, recall_score=0.5, group=0)
        assert isinstance(found.metadata, dict)


def loaded(loader: TextLoader | CsvLoader | HtmlLoader) -> Callable[[str], None]:
    def load(text: str) -> None:
        with suppress(UnreadableDocumentError):
            loader.load(text.encode(), name="a")

    return load


def outlined(markup: Markup) -> Callable[[str], object]:
    return lambda text: Outline.of(text, markup)


def chunked(markup: Markup) -> Callable[[str], object]:
    return lambda text: chunks(LoadedDocument(text, metadata={}, markup=markup))


def claimed(text: str) -> None:
    found = Text(text)
    assert isinstance(found.negations, list)
    assert isinstance(found.dates, list)
    assert isinstance(found.denies, bool)
    assert found.language in ("english", "other", "unspaced", None)


READERS: dict[str, Callable[[str], object]] = {
    "terms": analyse,
    "terms of a question": analyse_question,
    "sentences": split,
    "headings": lambda text: [is_heading(text, start) for start, _ in split(text)],
    "tokens": estimate,
    "claims": claimed,
    "citations": checked,
    "answers": extracted,
    "commands": without_command,
    "languages": language_of,
    "follow-ups": is_follow_up,
    "references": parsed,
    "metadata of references": metadata,
    "extracted text": tidy,
    "plain text": loaded(TextLoader()),
    "Markdown": loaded(MarkdownLoader()),
    "reStructuredText": loaded(RstLoader()),
    "HTML": loaded(HtmlLoader()),
    "CSV": loaded(CsvLoader()),
    **{f"{markup} outlines": outlined(markup) for markup in MARKUPS},
    **{f"{markup} chunks": chunked(markup) for markup in MARKUPS},
}


@pytest.mark.parametrize("reader", READERS)
def test_nasty_texts(reader: str) -> None:
    """Each of them is read within a test's time."""
    for text in nasty():
        READERS[reader](text)
