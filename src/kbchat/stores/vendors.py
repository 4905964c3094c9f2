"""What a driver says of its vendor: how to open it, and what to do to the whole and to one collection.

`blocking` makes a store of it. Everything here blocks, and runs in worker threads.
"""

from contextlib import AbstractContextManager
from typing import Protocol

from kbchat.errors import KbchatError
from kbchat.stores import Vector, VectorHit, Vectors
from kbchat.stores.among import Ids


class Collection(Protocol):
    """A collection that has been looked up. Its methods block, take what has been checked, and raise what they like."""

    @property
    def key(self) -> object:
        """Differs from that of any other collection, also of one that had the same name, as far as can be told."""
        ...

    @property
    def dimension(self) -> int: ...

    @property
    def most_ids(self) -> int:
        """How many ids one request takes, and how many vectors it answers."""
        ...

    @property
    def most_vectors(self) -> int:
        """How many vectors one request takes."""
        ...

    @property
    def most_hits(self) -> int:
        """How many hits one request answers."""
        ...

    @property
    def few_ids(self) -> int:
        """Of how many ids, at most, it is quicker to tell them, or to look at each, than to search among all there is
        and drop the others."""
        ...

    @property
    def most_told(self) -> int:
        """How many of them one request takes."""
        ...

    def upsert(self, ids: list[int], vectors: Vectors) -> None: ...

    def delete(self, ids: list[int]) -> None: ...

    def nearest(self, questions: list[Vector], limit: int) -> list[list[VectorHit]]:
        """Of each question, in any order, ties cut as it likes."""
        ...

    def nearest_among(self, question: Vector, ids: Ids, limit: int) -> list[VectorHit]:
        """At least the `limit` nearest of these, ties by id, in any order: fewer only where fewer are there."""
        ...

    def fetch(self, ids: list[int]) -> dict[int, Vector]: ...

    def count(self) -> int: ...

    def size(self) -> int:
        """About how many there are, where to count them takes long."""
        ...

    def ids_after(self, last: int | None) -> tuple[list[int], bool]:
        """The next ids and whether there may be more, after the last one got (None: from the start)."""
        ...

    def flush(self) -> None: ...


class Engine(Protocol):
    """A vendor's client or engine, open. Its methods block and raise what they like."""

    def create(self, name: str, dimension: int) -> Collection:
        """The collection of that name, made if there is none. One that is there stays as it is."""
        ...

    def find(self, name: str) -> Collection: ...

    def drop(self, name: str) -> None:
        """May raise that there is none."""
        ...

    def names(self) -> list[str]: ...

    def ping(self) -> None: ...

    def turn(self) -> AbstractContextManager[object]:
        """Entered around each call, for an engine that cannot take several at a time."""
        ...

    def claim(self) -> bool:
        """Called before each write: False when it must be opened anew first, because another has written since."""
        ...

    def close(self) -> None: ...


class Vendor(Protocol):
    """How to open a vendor, and what its errors mean."""

    @property
    def is_embedded(self) -> bool:
        """Whether it works in this process, over files of ours, so that questions are best asked together."""
        ...

    @property
    def reopens(self) -> bool:
        """Whether only opening it anew shows what another process wrote."""
        ...

    def open(self) -> Engine: ...

    def explain(self, error: Exception, collection: str) -> KbchatError:
        """The error of ours that stands for one of the vendor's."""
        ...
