"""API keys: who may ask a server what. The catalog holds their hashes; a key itself is seen once, when it is made."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

from kbchat.errors import KeyNotFoundError
from kbchat.inputs import checked_handle, checked_name, checked_owner, checked_word
from kbchat.models import KeyInfo, KeyRole

if TYPE_CHECKING:
    from kbchat.catalog import Catalog

PREFIX = "kb-"
"""By which people, and scanners for leaked keys, know what they see."""


class Keys:
    """The keys of one knowledge base."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def create(self, name: str, *, owner: str = "", role: KeyRole = KeyRole.READER) -> tuple[KeyInfo, str]:
        """Make a key; returns what is known of it and the key itself, which nobody can find out again.

        One that is not an admin's sees and touches only what belongs to its owner. Raises `KeyExistsError` while
        another one of that name is valid, and `InvalidInputError`.
        """
        key = PREFIX + secrets.token_urlsafe(32)
        info = await self._catalog.create_key(
            name=checked_name(name, field="name"),
            owner=checked_owner(owner),
            role=checked_word(KeyRole, role, field="role"),
            digest=digest(key),
        )
        return info, key

    async def find(self, key: str) -> KeyInfo | None:
        """What is known of a key; None for one that is not known or was revoked."""
        # Looked up by its hash: how long that takes tells of the hash of a guess, from which nobody comes to a key.
        return await self._catalog.find_key(digest(key))

    async def list(self) -> list[KeyInfo]:
        """All keys there ever were, in the order they were made."""
        return await self._catalog.list_keys()

    async def any(self) -> bool:
        """Whether a key was ever made. Revoking the last one does not open the doors again."""
        return await self._catalog.has_keys()

    async def revoke(self, name_or_id: str | int) -> KeyInfo:
        """Make a key worthless, at once and for ever: a text is its name, a number its id. Raises
        `KeyNotFoundError`."""
        handle = checked_handle(name_or_id, field="name_or_id")
        if not handle:
            raise KeyNotFoundError(name_or_id)
        return await self._catalog.revoke_key(handle)


def digest(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
