"""API keys, as the face gives them out."""

from pathlib import Path

import pytest

import kbchat
from kbchat.errors import InvalidInputError, KeyNotFoundError
from kbchat.models import KeyRole


async def test_a_key_is_seen_once(tmp_path: Path) -> None:
    """It opens what its hash stands for; the data holds no trace of it."""
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        info, key = await kb.keys.create("laptop", owner="alice", role=KeyRole.WRITER)
        assert await kb.keys.find(key) == info
        assert await kb.keys.find(key[:-1]) is None
        assert await kb.keys.list() == [info]
        assert key not in repr(info)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or key.encode() not in path.read_bytes()


async def test_keys_are_long_and_never_the_same(tmp_path: Path) -> None:
    """256 random bits, and a beginning by which a leaked one is known."""
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        keys = {(await kb.keys.create(f"key {number}"))[1] for number in range(20)}
    assert len(keys) == 20
    assert all(key.startswith("kb-") and len(key) == 46 for key in keys)


async def test_a_key_reads_unless_told(tmp_path: Path) -> None:
    """The least is the default."""
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        info, _ = await kb.keys.create("laptop")
        assert (info.role, info.owner) == (KeyRole.READER, "")


@pytest.mark.parametrize(("name", "owner"), [("", "a"), (" x", "a"), ("a\nb", "a"), ("x", "a\x00")])
async def test_a_name_that_cannot_be_kept_is_refused(tmp_path: Path, name: str, owner: str) -> None:
    """With the field at fault."""
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        with pytest.raises(InvalidInputError, match=r"name|owner"):
            await kb.keys.create(name, owner=owner)
        assert await kb.keys.list() == []


async def test_a_revoked_key_opens_nothing(tmp_path: Path) -> None:
    """In every process, at once."""
    async with kbchat.KnowledgeBase(tmp_path) as kb, kbchat.KnowledgeBase(tmp_path) as other:
        info, key = await kb.keys.create("laptop")
        assert await other.keys.find(key) == info
        await other.keys.revoke("laptop")
        assert await kb.keys.find(key) is None
        assert await kb.keys.any()
        with pytest.raises(KeyNotFoundError, match="kbchat keys list"):
            await kb.keys.revoke("laptop")
