"""What the catalog holds of where spaces are: their collections, embedders and words, and what moves left over."""

from kbchat.catalog import moves, spaces
from kbchat.catalog.people import People
from kbchat.catalog.records import Leftover
from kbchat.models import EmbedderPin, LexicalPlace, SpaceInfo, VectorType


class Places(People):
    """The part of `Catalog` that knows where things are."""

    async def space_ids(self) -> set[int]:
        """Of every space that is not wholly removed, hidden or not."""
        return await self._read(spaces.ids)

    async def reveal_space(self, space_id: int) -> SpaceInfo:
        """Let a hidden space be seen by everybody, now that it is whole. Raises `SpaceExistsError`, and it stays
        hidden, when its name was taken meanwhile."""
        return await self._write_in_turn(space_id, lambda connection: spaces.reveal(connection, space_id))

    async def pin_embedder(self, space_id: int, pin: EmbedderPin, *, words: LexicalPlace | None = None) -> SpaceInfo:
        """Pin the embedder unless one is pinned, and say where the words are unless that is said; returns the space
        with what holds now."""
        return await self._write(lambda connection: moves.pin(connection, space_id, pin, words))

    async def replace_collection(
        self, space_id: int, *, collection: str, pin: EmbedderPin, writer: str, revision: int | None = None
    ) -> None:
        """Give the space another collection and embedder in one transaction, and raise its revision; the old collection
        is left over from then on. Raises `BusyError` when that is no longer the `revision` given: somebody wrote what
        the new collection does not hold."""
        now = self._clock()
        await self._write_in_turn(
            space_id,
            lambda connection: moves.replace_collection(
                connection, space_id, collection=collection, pin=pin, writer=writer, revision=revision, now=now
            ),
        )

    async def move_space(
        self, space_id: int, to: VectorType, *, words: LexicalPlace, writer: str, revision: int
    ) -> None:
        """Say that the space's collection, under its name, is now on another store and its words there; raises its
        revision, and what it was in is left over. Raises `BusyError` when that is no longer the `revision` given:
        somebody wrote what the collection there does not hold."""
        now = self._clock()
        await self._write_in_turn(
            space_id,
            lambda connection: moves.move(
                connection, space_id, to, words=words, writer=writer, revision=revision, now=now
            ),
        )

    async def note_leftover(self, space_id: int, leftover: Leftover) -> None:
        """Remember a collection before it is made, until the space is in it or it is dropped."""
        await self._write_in_turn(space_id, lambda connection: moves.note(connection, space_id, leftover))

    async def forget_leftover(self, space_id: int, leftover: Leftover) -> None:
        """Say that it was dropped. Does nothing when it is not remembered."""
        await self._write(lambda connection: moves.forget(connection, space_id, leftover))

    async def leftovers(self, space_id: int) -> list[Leftover]:
        """What is remembered of a space, hidden or not, in the order it was noted."""
        return await self._read(lambda connection: moves.left(connection, space_id))
