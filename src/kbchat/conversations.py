"""Conversations that kbchat remembers, so that who asks need send the newest question only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from kbchat.errors import ConversationNotFoundError, SpaceNotFoundError
from kbchat.inputs import checked_name, checked_page, composed_owner, keepable
from kbchat.models import Chunk, Citation, Message, Reference
from kbchat.summaries import ConversationInfo, Sources, Turn

if TYPE_CHECKING:
    from kbchat.catalog import Catalog
    from kbchat.settings import Settings

EXPIRE_EVERY = timedelta(hours=1)
TITLE_CHARACTERS = 120
"""Characters of the first question, at most, that are the title."""


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
            turns = await self._turns(owner, uid)
        except ConversationNotFoundError:
            return []
        return [Message(role=turn.role, content=keepable(turn.content)) for turn in turns]

    async def show(self, uid: str, *, owner: str = "", of_owner: str | None = None) -> list[Turn]:
        """What was said so far, with the passages that each answer was given and its checked citations. A passage that
        is no longer in the space, because its document was removed or has newer content, has an empty `content`; with
        `of_owner` so has each of a space that is not, or no longer, that owner's. Raises `ConversationNotFoundError`.
        """
        turns = await self._turns(owner, uid)
        wanted: dict[int, set[int]] = {}
        for turn in turns:
            if turn.sources is not None:
                ids = {reference.chunk_id for reference in turn.sources.references}
                wanted.setdefault(turn.sources.space_id, set()).update(ids)
        live = {space_id: await self._live(space_id, ids, of_owner) for space_id, ids in wanted.items()}
        return [
            turn
            if turn.sources is None
            else turn.model_copy(update={"sources": _filled(turn.sources, live[turn.sources.space_id])})
            for turn in turns
        ]

    async def _turns(self, owner: str, uid: str) -> list[Turn]:
        owner, uid = composed_owner(owner), _checked(uid)
        return await self._catalog.conversation_turns(owner, uid, most=self._keep, since=self._since)

    async def _live(self, space_id: int, ids: set[int], of_owner: str | None) -> dict[int, Chunk]:
        try:
            space = await self._catalog.get_space(space_id)
        except SpaceNotFoundError:
            return {}
        if of_owner not in (None, space.owner):
            return {}
        return await self._catalog.live_chunks(space_id, sorted(ids))

    async def remember(
        self,
        uid: str,
        question: str,
        answer: str,
        *,
        owner: str = "",
        space_id: int | None = None,
        references: Sequence[Reference] = (),
        citations: Sequence[Citation] = (),
    ) -> None:
        """Keep a question with its answer and, where a space was asked, its references and citations."""
        owner, uid = composed_owner(owner), _checked(uid)
        now = self._clock()
        if now - self._expired > EXPIRE_EVERY:
            self._expired = now
            await self._catalog.expire_conversations(before=now - self._age)
        sources = None
        if space_id is not None and references:
            sources = _bare(Sources(space_id=space_id, references=tuple(references), citations=tuple(citations)))
        said = [Turn(role="user", content=question), Turn(role="assistant", content=keepable(answer), sources=sources)]
        title = " ".join(question.split())[:TITLE_CHARACTERS]
        await self._catalog.add_turns(
            owner, uid, said, title=title, space_id=space_id, keep=self._keep, since=now - self._age
        )

    async def get(self, uid: str, *, owner: str = "") -> ConversationInfo:
        """Raises `ConversationNotFoundError`."""
        return await self._catalog.get_conversation(composed_owner(owner), _checked(uid), since=self._since)

    async def list(
        self, *, owner: str = "", space_id: int | None = None, offset: int = 0, limit: int | None = None
    ) -> list[ConversationInfo]:
        """An owner's conversations, the newest first: those that asked the space last, where one is given."""
        offset, limit = checked_page(offset, limit)
        found, _ = await self._catalog.list_conversations(
            composed_owner(owner), since=self._since, space_id=space_id, offset=offset, limit=limit
        )
        return found

    async def count(self, *, owner: str = "", space_id: int | None = None) -> int:
        """How many conversations `list` has in all."""
        owner = composed_owner(owner)
        _, total = await self._catalog.list_conversations(owner, since=self._since, space_id=space_id, limit=0)
        return total

    async def delete(self, uid: str, *, owner: str = "") -> ConversationInfo:
        """Forget a conversation; returns it as it was. Raises `ConversationNotFoundError`."""
        return await self._catalog.delete_conversation(composed_owner(owner), _checked(uid), since=self._since)


def _checked(uid: str) -> str:
    """Raises `InvalidInputError` for a name that cannot be kept."""
    return checked_name(uid, field="uid")


def _bare(sources: Sources) -> Sources:
    """Without the documents' words: those are the catalog's to keep and to remove."""

    def bare(reference: Reference) -> Reference:
        return reference.model_copy(update={"content": "", "metadata": {}})

    return _changed(sources, bare)


def _filled(sources: Sources, live: Mapping[int, Chunk]) -> Sources:
    """With the words of the passages that are still there."""

    def filled(reference: Reference) -> Reference:
        chunk = live.get(reference.chunk_id)
        if chunk is None:
            return reference
        found = {"name": chunk.document_name, "content": chunk.content, "metadata": chunk.metadata}
        return reference.model_copy(update=found)

    return _changed(sources, filled)


def _changed(sources: Sources, change: Callable[[Reference], Reference]) -> Sources:
    citations = tuple(
        it if it.reference is None else it.model_copy(update={"reference": change(it.reference)})
        for it in sources.citations
    )
    references = tuple(change(it) for it in sources.references)
    return Sources(space_id=sources.space_id, references=references, citations=citations)
