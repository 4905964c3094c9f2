"""Which spaces are listed by their name."""

from pathlib import Path

import pytest

import kbchat
from kbchat.errors import InvalidInputError
from serving import SPACES, serving


async def test_a_name_that_nothing_can_have(tmp_path: Path) -> None:
    """Is refused on every database alike, as an owner is; one that nothing has finds nothing."""
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        await kb.create_space("Überblick")
        assert [space.name for space in await kb.list_spaces(name="U\u0308berblick")] == ["Überblick"]
        assert (await kb.list_spaces(name=" "), await kb.count_spaces(name="another")) == ([], 0)
        for name in ("a\0b", "\ud800", 5):
            for asked in (kb.list_spaces, kb.count_spaces):
                with pytest.raises(InvalidInputError) as caught:
                    await asked(name=name)  # type: ignore[arg-type]
                assert caught.value.field == "name"


async def test_it_is_said_over_http(tmp_path: Path) -> None:
    """With the parameter's name."""
    async with serving(tmp_path) as served:
        status, body = await served.get(f"{SPACES}?name=a%00b")
        assert (status, body["error"]["param"]) == (400, "name")
