"""Which index the words of each space are in, and keeping it level with the catalog."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import anyio

from kbchat.errors import SettingsError
from kbchat.lexical.chosen import ChosenIndex
from kbchat.maintenance.replica import level
from kbchat.models import LexicalPlace, SpaceInfo, VectorType

if TYPE_CHECKING:
    from kbchat.catalog import Catalog
    from kbchat.lexical import LexicalIndex
    from kbchat.settings import Settings
    from kbchat.stores import VectorStore
    from kbchat.threads import Threads


class _InMilvus(NamedTuple):
    """Whether Milvus can have words, None where it does not tell, and the index there unless it says that it cannot."""

    is_possible: bool | None
    sparse: LexicalIndex | None


class WordIndexes:
    """A space's words are where its catalog row says, so that servers whose settings differ search the same index; the
    settings say where those of a space go that is new to a store.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        catalog: Catalog,
        lexical: ChosenIndex,
        threads: Threads,
        milvus: Callable[[], VectorStore],
    ) -> None:
        """`milvus` gives the store of such spaces; it is not called before words are looked for there."""
        self._settings = settings
        self._catalog = catalog
        self._lexical = lexical
        self._threads = threads
        self._milvus = milvus
        self._found: _InMilvus | None = None
        self._opening = anyio.Lock()

    async def planned(self, vector_type: VectorType) -> LexicalPlace:
        """Where the settings want the words of a space that comes to such a store: by themselves in Milvus where
        several servers share one that can have them. Raises `SettingsError` where they want what it cannot."""
        wanted = self._settings.lexical
        if vector_type is not VectorType.MILVUS or wanted == "embedded":
            return "embedded"
        from kbchat.stores.milvus import is_server

        served = self._catalog.is_shared and is_server(self._settings.milvus_uri or "")
        if wanted == "auto" and not served:
            return "embedded"
        possible = (await self._look()).is_possible
        if wanted == "auto":
            return "milvus" if possible else "embedded"
        if possible is False:
            raise SettingsError("lexical is 'milvus', but this Milvus has no sparse vectors; those from 2.4 on have")
        return "milvus"

    async def choose(self, space: SpaceInfo) -> None:
        """Let the lexical index pass a space on to where its words are."""
        words = space.words or await self.planned(space.vector_type)
        if words == "embedded":
            self._lexical.forget(space.lexical_name)
        elif not self._lexical.is_chosen(space.lexical_name):
            self._lexical.choose(space.lexical_name, await self._needed(), there=space.terms_collection)

    async def level(self, space: SpaceInfo) -> None:
        """Make a space's index hold what its catalog does. The caller holds the writer's lock."""
        await self.choose(space)
        await self._lexical.refresh(space.lexical_name)
        await level(space, catalog=self._catalog, lexical=self._lexical, threads=self._threads)

    async def fill(self, space: SpaceInfo, words: LexicalPlace) -> None:
        """Make another index hold them, for the space to be searched there from some moment on."""
        if words == "embedded" and self._catalog.is_shared:
            return  # Each server's catches up by itself.
        index = ChosenIndex(self._lexical.usual)
        if words == "milvus":
            index.choose(space.lexical_name, await self._needed(), there=space.terms_collection)
        await index.refresh(space.lexical_name)
        await level(space, catalog=self._catalog, lexical=index, threads=self._threads)

    async def drop(self, space: SpaceInfo) -> None:
        """Remove a space's words, wherever they are."""
        if (space.words or await self.planned(space.vector_type)) == "milvus":
            await self.drop_collection(space.terms_collection)
        self._lexical.forget(space.lexical_name)
        await self._lexical.usual.drop(space.lexical_name)

    async def drop_collection(self, name: str) -> None:
        """Remove the words in a collection of Milvus."""
        index = (await self._look()).sparse
        await (self._milvus().drop_collection(name) if index is None else index.drop(name))

    async def _needed(self) -> LexicalIndex:
        index = (await self._look()).sparse
        if index is None:
            raise SettingsError(
                "the space's words are in Milvus, but this Milvus has no sparse vectors; set milvus_uri to the one "
                "that it was taken in with, or to one from 2.4 on"
            )
        return index

    async def _look(self) -> _InMilvus:
        """What Milvus can have; asked once."""
        async with self._opening:
            if self._found is None:
                self._found = await self._ask(self._milvus())
            return self._found

    async def _ask(self, store: VectorStore) -> _InMilvus:
        from kbchat.lexical.sparse import SparseIndex
        from kbchat.stores.milvus import MilvusStore
        from kbchat.stores.milvus_terms import MilvusTerms

        if not isinstance(store, MilvusStore):
            return _InMilvus(is_possible=False, sparse=None)
        terms = MilvusTerms(store)
        is_possible = await terms.is_possible()
        return _InMilvus(is_possible, None if is_possible is False else SparseIndex(terms, threads=self._threads))
