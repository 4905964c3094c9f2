"""What the catalog holds of people: their API keys, and their conversations."""

from collections.abc import Sequence
from datetime import datetime

from kbchat.catalog import conversations, keys
from kbchat.catalog.calls import Calls
from kbchat.models import KeyInfo, KeyRole
from kbchat.summaries import ConversationInfo, Turn


class People(Calls):
    """The part of `Catalog` that knows who asks."""

    # -- keys --------------------------------------------------------------------------------------------------------

    async def create_key(self, *, name: str, owner: str, role: KeyRole, digest: str) -> KeyInfo:
        """Keep the hash of a new key. Raises `KeyExistsError` while a key of that name is valid."""
        now = self._clock()
        return await self._write(
            lambda connection: keys.create(connection, name=name, owner=owner, role=role, digest=digest, now=now)
        )

    async def find_key(self, digest: str) -> KeyInfo | None:
        """The key with that hash, unless it was revoked."""
        return await self._glance(("key", digest), lambda connection: keys.find(connection, digest))

    async def list_keys(self) -> list[KeyInfo]:
        """All keys there ever were, in the order they were made."""
        return await self._read(keys.all_there_are)

    async def has_keys(self) -> bool:
        """Whether a key was ever made, also one that was revoked since."""
        return await self._read(keys.is_any)

    async def revoke_key(self, key: str | int) -> KeyInfo:
        """Make the key of that name or id worthless for ever. Raises `KeyNotFoundError`."""
        now = self._clock()
        return await self._write(lambda connection: keys.revoke(connection, key, now=now))

    # -- conversations -----------------------------------------------------------------------------------------------

    async def get_conversation(self, owner: str, uid: str, *, since: datetime) -> ConversationInfo:
        """Raises `ConversationNotFoundError`, also for one in which nothing was said since then."""
        return await self._read(lambda connection: conversations.get(connection, owner, uid, since=since))

    async def conversation_turns(self, owner: str, uid: str, *, most: int, since: datetime) -> list[Turn]:
        """The last turns of a conversation, in order. Raises `ConversationNotFoundError`."""
        return await self._read(lambda connection: conversations.turns(connection, owner, uid, most=most, since=since))

    async def list_conversations(
        self,
        owner: str,
        *,
        since: datetime,
        space_id: int | None = None,
        offset: int = 0,
        limit: int | None = None,
    ) -> tuple[list[ConversationInfo], int]:
        """A page of an owner's conversations, the newest first, and how many there are in all: those that asked the
        space last, where one is given."""
        return await self._read(
            lambda connection: conversations.page(
                connection, owner, since=since, space_id=space_id, offset=offset, limit=limit
            )
        )

    async def add_turns(
        self,
        owner: str,
        uid: str,
        said: Sequence[Turn],
        *,
        title: str,
        space_id: int | None,
        keep: int,
        since: datetime,
    ) -> None:
        """Add to a conversation, which is made with that title if it is not there or nothing was said in it since then,
        and forget all but the last `keep` turns."""
        now = self._clock()
        await self._write(
            lambda connection: conversations.add(
                connection, owner, uid, said, title=title, space_id=space_id, keep=keep, since=since, now=now
            )
        )

    async def delete_conversation(self, owner: str, uid: str, *, since: datetime) -> ConversationInfo:
        """Forget a conversation; returns it as it was. Raises `ConversationNotFoundError`."""
        return await self._write(lambda connection: conversations.delete(connection, owner, uid, since=since))

    async def expire_conversations(self, *, before: datetime) -> None:
        """Forget every conversation in which nothing was said since then, a hundred in one transaction."""
        while await self._write(lambda connection: conversations.expire(connection, before=before, most=100)):
            pass
