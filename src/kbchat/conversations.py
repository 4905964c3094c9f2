"""Conversations that kbchat remembers, so that who asks need send the newest question only."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from kbchat.errors import ConversationNotFoundError
from kbchat.inputs import checked_name
from kbchat.models import Message
from kbchat.summaries import ConversationInfo

if TYPE_CHECKING:
    from kbchat.catalog import Catalog
    from kbchat.settings import Settings

EXPIRE_EVERY = timedelta(hours=1)


def _now() -> datetime:
    return datetime.now(UTC)


class Conversations:
    """The conversations of one knowledge base. Each belongs to an owner: the same name with another is another one.

    The last `conversation_turns` turns are kept, and a conversation is forgotten `conversation_days` after the last.
    """

    def __init__(self, catalog: Catalog, settings: Settings, *, clock: Callable[[], datetime] = _now) -> None:
        self._catalog = catalog
        self._keep = settings.conversation_turns
        self._age = timedelta(days=settings.conversation_days)
        self._clock = clock
        self._expired = datetime.min.replace(tzinfo=UTC)

    @property
    def _since(self) -> datetime:
        return self._clock() - self._age

    async def turns(self, uid: str, *, owner: str = "") -> list[Message]:
        """What was said so far, in order; nothing in a conversation that is new."""
        try:
            return await self._catalog.conversation_turns(owner, _checked(uid), most=self._keep, since=self._since)
        except ConversationNotFoundError:
            return []

    async def remember(self, uid: str, question: str, answer: str, *, owner: str = "") -> None:
        """Keep a question with its answer."""
        uid = _checked(uid)
        now = self._clock()
        if now - self._expired > EXPIRE_EVERY:
            self._expired = now
            await self._catalog.expire_conversations(before=now - self._age)
        said = [Message(role="user", content=question), Message(role="assistant", content=answer)]
        await self._catalog.add_turns(owner, uid, said, keep=self._keep)

    async def get(self, uid: str, *, owner: str = "") -> ConversationInfo:
        """Raises `ConversationNotFoundError`."""
        return await self._catalog.get_conversation(owner, _checked(uid), since=self._since)

    async def list(
        self, *, owner: str = "", offset: int = 0, limit: int | None = None
    ) -> tuple[list[ConversationInfo], int]:
        """A page of an owner's conversations, the newest first, and how many there are in all."""
        return await self._catalog.list_conversations(owner, since=self._since, offset=offset, limit=limit)

    async def delete(self, uid: str, *, owner: str = "") -> ConversationInfo:
        """Forget a conversation; returns it as it was. Raises `ConversationNotFoundError`."""
        return await self._catalog.delete_conversation(owner, _checked(uid), since=self._since)


def _checked(uid: str) -> str:
    """Raises `InvalidInputError` for a name that cannot be kept."""
    return checked_name(uid, field="conv_uid")
