"""The tool `grep`: what is not shown is told, and can be come to."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import kbchat
from kbchat.agents.results import GrepResult
from kbchat.agents.tools import Toolbox

LOG = "".join(f"line {number} error\nline {number} fine\n" for number in range(60))


@pytest.fixture
async def toolbox(tmp_path: Path) -> AsyncIterator[Toolbox]:
    async with kbchat.KnowledgeBase(tmp_path / "data") as kb:
        space = await kb.create_space("logs")
        texts = {"a.log": LOG, "b.log": "nothing here", "c.log": "an error at the end"}
        await space.ingest([kbchat.TextDocument(name=name, text=text) for name, text in texts.items()])
        yield Toolbox(kb)


async def grep(toolbox: Toolbox, **arguments: object) -> GrepResult:
    found = await toolbox.call("grep", {"space": "logs", "pattern": "error$", **arguments})  # type: ignore[dict-item]
    assert isinstance(found, GrepResult)
    return found


@pytest.mark.parametrize("limit", [1, 7, 59, 60, 61, 200])
async def test_page_by_page_every_line_is_found_once(toolbox: Toolbox, limit: int) -> None:
    """Where a page ends within a document, the next one goes on behind the last line that was shown."""
    everything = [("a.log", 2 * number + 1) for number in range(60)]
    seen: list[tuple[str, int]] = []
    offset, start = 0, 0
    while True:
        page = await grep(toolbox, pattern="error", limit=limit, offset=offset, start=start)
        assert len(page.matches) <= limit
        assert [LOG[it.start : it.end] for it in page.matches if it.document == "a.log"] == ["error"] * sum(
            it.document == "a.log" for it in page.matches
        )
        seen += [(it.document, it.line) for it in page.matches]
        if page.next_offset is None:
            break
        assert page.note == "there are more; narrow it down, or go on with `offset` and `start`"
        offset, start = page.next_offset, page.next_start
    assert seen == [*everything, ("c.log", 1)]
    assert page.note is None


async def test_more_is_said_only_where_there_is_more(toolbox: Toolbox) -> None:
    """A page that holds the last match says that all was searched."""
    page = await grep(toolbox, glob="a.log", pattern="error", limit=60)
    assert (len(page.matches), page.next_offset, page.next_start, page.note) == (60, None, 0, None)
    page = await grep(toolbox, glob="[ab].log", pattern="error", limit=60)
    assert (page.searched, page.next_offset) == (2, None)


async def test_the_start_is_of_the_first_document_alone(toolbox: Toolbox) -> None:
    """Those after it are searched from their beginning; a start behind the text is its end."""
    page = await grep(toolbox, pattern="error", start=10**9)
    assert [(it.document, it.line) for it in page.matches] == [("c.log", 1)]
