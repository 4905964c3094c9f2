"""Vectors in Chroma: its engine embedded in this process over a folder, or a server of its own by URL.

Both are one vendor API over two transports, so they share everything but how they are opened, closed and explained.
The vendor's process-wide cache of clients by path is passed by: each store has an engine of its own, which it can
really reopen.
"""

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, TypeVarTuple, cast
from urllib.parse import urlsplit, urlunsplit

import anyio
import numpy as np

from kbchat.errors import CollectionNotFoundError, KbchatError, StoreError, StoreUnavailableError, VectorError
from kbchat.stores import Vector, VectorHit, Vectors
from kbchat.stores.records import (
    best_first,
    check_dimension,
    check_ids,
    check_name,
    check_question,
    check_records,
    slices,
)
from kbchat.threads import Threads

if TYPE_CHECKING:
    from chromadb import Collection
    from chromadb.api import ServerAPI
    from chromadb.config import Settings, System
    from chromadb.types import Collection as CollectionModel

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# A server takes requests of 40 MiB and SQLite 32,766 variables; these stay well below, and a cancelled caller
# waits for one slice at most.
_SLICE_BYTES = 4 * 1024 * 1024
_SLICE_IDS = 5000
# No collection holds as many.
_ALL = 2**31 - 1


@dataclass(frozen=True, slots=True)
class HnswSettings:
    """How the index of a new collection is built and searched: larger finds more and takes longer."""

    max_neighbors: int = 32
    ef_construction: int = 200
    ef_search: int = 400


class ChromaStore:
    """A `VectorStore` on Chroma. Give either `path`, a folder of this store's own, or `url`, a server's address.

    Nothing is opened before the first use. `token` goes out as Bearer token and as `X-Chroma-Token`. `timeout` is how
    many seconds a server may be silent. Certificates of an `https:` URL are checked; the variable `SSL_CERT_FILE` names
    an authority of one's own.

    Several processes may share a folder if one at most writes; the others see what it wrote after `refresh`.
    """

    def __init__(
        self,
        *,
        path: Path | str | None = None,
        url: str | None = None,
        token: str | None = None,
        threads: Threads,
        timeout: float = 10.0,
        hnsw: HnswSettings | None = None,
    ) -> None:
        if (path is None) == (url is None):
            raise TypeError("give either the path of a folder or the url of a server")
        self._place: _Place = _Folder(Path(path)) if path is not None else _Server(str(url), token, timeout)
        self._threads = threads
        self._timeout = timeout
        self._hnsw = hnsw or HnswSettings()
        self._engine: _Engine | None = None
        self._closed = False
        # Guards what may change: which engine is in use and by how many. Held while one opens, never during a call.
        self._changed = threading.Condition()

    async def create_collection(self, name: str, *, dimension: int) -> None:
        check_name(name)
        check_dimension(dimension)
        await self._threads.write(self._create, name, dimension)

    async def drop_collection(self, name: str) -> None:
        await self._threads.write(self._drop, name)

    async def list_collections(self) -> list[str]:
        return await self._threads.read(self._list)

    async def upsert(self, name: str, ids: Sequence[int], vectors: Vectors) -> None:
        for part in await self._threads.read(self._on, name, _Known.cut, ids, vectors):
            await self._threads.write(self._on, name, _Known.upsert, *part)

    async def delete(self, name: str, ids: Sequence[int]) -> None:
        for part in await self._threads.read(self._on, name, _Known.cut_ids, ids):
            await self._threads.write(self._on, name, _Known.delete, part)

    async def query(self, name: str, vector: Vector, *, limit: int) -> list[VectorHit]:
        return await self._threads.read(self._on, name, _Known.query, vector, limit)

    async def fetch(self, name: str, ids: Sequence[int]) -> dict[int, Vector]:
        found: dict[int, Vector] = {}
        for part in await self._threads.read(self._on, name, _Known.cut_ids, ids):
            found |= await self._threads.read(self._on, name, _Known.fetch, part)
        return found

    async def count(self, name: str) -> int:
        return await self._threads.read(self._on, name, _Known.count)

    async def iterate(self, name: str, *, batch: int = 1000) -> AsyncIterator[list[int]]:
        # All at once: pages by offset would miss ids when others are deleted meanwhile.
        ids = await self._threads.read(self._on, name, _Known.ids)
        for part in slices(len(ids), batch):
            yield ids[part]

    async def flush(self, name: str) -> None:
        # What Chroma acknowledged is in its log on disk, and its index takes it in as it goes.
        await self._threads.read(self._on, name, _Known.count)

    async def refresh(self) -> None:
        if isinstance(self._place, _Folder):
            await self._threads.write(self._retire)

    async def ping(self) -> None:
        await self._threads.read(self._ping)

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._threads.write(self._close)

    # From here on everything runs in worker threads.

    def _create(self, name: str, dimension: int) -> None:
        with self._using(name) as engine:
            engine.known[name] = known = engine.create(name, dimension, self._hnsw)
        if known.dimension != dimension:
            raise VectorError(
                f"collection {name!r} is there with dimension {known.dimension}, not {dimension}; drop it first"
            )

    def _drop(self, name: str) -> None:
        try:
            with self._using(name) as engine:
                engine.known.pop(name, None)
                engine.api.delete_collection(name)
        except CollectionNotFoundError:
            pass

    def _list(self) -> list[str]:
        with self._using() as engine:
            return [model.name for model in engine.api.list_collections()]

    def _ping(self) -> None:
        with self._using() as engine:
            engine.api.count_collections()

    def _on(self, name: str, function: "Callable[[_Known, *Ts], T]", *args: *Ts) -> T:
        """Call a method of a collection; again if meanwhile another of the same name has taken its place."""
        with self._using(name) as engine:
            known = engine.known.get(name) or engine.find(name)
            try:
                with _errors(self._place, name):
                    return function(known, *args)
            except (CollectionNotFoundError, VectorError):
                engine.known.pop(name, None)
                now = engine.find(name)
                if now.id == known.id:
                    raise
            return function(now, *args)

    @contextmanager
    def _using(self, collection: str = "") -> "Iterator[_Engine]":
        with _errors(self._place, collection):
            with self._changed:
                if self._closed:
                    raise StoreError("this store is closed")
                if self._engine is None:
                    self._engine = self._place.open()
                engine = self._engine
                engine.users += 1
            try:
                yield engine
            finally:
                with self._changed:
                    engine.users -= 1
                    if not engine.users and engine is not self._engine:
                        engine.close()
                    self._changed.notify_all()

    def _retire(self) -> None:
        """Let the engine go: at once, or when the last call that uses it is over."""
        with self._changed:
            engine, self._engine = self._engine, None
            if engine is not None and not engine.users:
                engine.close()

    def _close(self) -> None:
        with self._changed:
            engine, self._closed = self._engine, True
        self._retire()
        if engine is not None:
            with self._changed:
                self._changed.wait_for(lambda: not engine.users, self._timeout)


class _Place(Protocol):
    """Where a Chroma is: how to open it and how to explain its failures."""

    def open(self) -> "_Engine": ...

    def unavailable(self, error: BaseException) -> StoreUnavailableError | None:
        """What to tell if the error means that the store cannot be used now."""
        ...


@dataclass(frozen=True, slots=True)
class _Folder:
    path: Path

    def open(self) -> "_Engine":
        from chromadb.config import Settings

        self.path.mkdir(parents=True, exist_ok=True)
        return _Engine.start(
            Settings(
                chroma_api_impl="chromadb.api.rust.RustBindingsAPI",
                is_persistent=True,
                persist_directory=str(self.path),
                anonymized_telemetry=False,
            )
        )

    def unavailable(self, error: BaseException) -> StoreUnavailableError | None:
        # The engine passes on SQLite's and the system's texts and nothing else to go by.
        signs = ("unable to open", "readonly", "is locked", "disk is full", "disk I/O", "os error", "not a database")
        if isinstance(error, OSError) or any(sign in str(error) for sign in signs):
            return StoreUnavailableError(
                f"the vectors in {self.path} cannot be used ({error}); is the folder writable, the disk not full and "
                "the folder what kbchat left there? `kbchat fsck --repair` rebuilds vectors from the catalog"
            )
        return None


@dataclass(frozen=True, slots=True)
class _Server:
    url: str
    token: str | None = field(repr=False)
    timeout: float

    def open(self) -> "_Engine":
        import httpx
        from chromadb.api.fastapi import FastAPI
        from chromadb.config import Settings

        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}", "X-Chroma-Token": self.token}
        engine = _Engine.start(
            Settings(
                chroma_api_impl="chromadb.api.fastapi.FastAPI",
                chroma_server_host=self.url,
                # Asked for, though a host that is a URL already says it.
                chroma_server_http_port=urlsplit(self.url).port or 0,
                chroma_server_headers=headers,
                anonymized_telemetry=False,
            )
        )
        # The vendor waits for ever and leaves its connections open; neither can be set in another way.
        session = cast("FastAPI", engine.api)._session
        session.timeout = httpx.Timeout(self.timeout)
        engine.on_close = session.close
        return engine

    def unavailable(self, error: BaseException) -> StoreUnavailableError | None:
        import httpx
        from chromadb.errors import AuthorizationError, ChromaAuthError, ChromaError, RateLimitError

        at = f"the Chroma server at {_without_credentials(self.url)}"
        # What is no error of Chroma's own arrives as a bare Exception, raised while this one was handled.
        cause = error if isinstance(error, httpx.HTTPError) else error.__context__
        status = cause.response.status_code if isinstance(cause, httpx.HTTPStatusError) else 0
        if isinstance(error, AuthorizationError | ChromaAuthError) or status in (401, 403):
            return StoreUnavailableError(f"{at} refused the token; set the one it expects (chroma_token)")
        if isinstance(error, httpx.TimeoutException):
            return StoreUnavailableError(
                f"{at} did not answer within {self.timeout:g} seconds; try again, or raise store_timeout"
            )
        if isinstance(error, httpx.HTTPError | httpx.InvalidURL):
            return StoreUnavailableError(f"{at} cannot be reached ({error}); is it running, and is chroma_url right?")
        if status or isinstance(error, RateLimitError) or not isinstance(error, ChromaError):
            said = f"status {status}" if status else str(error)
            return StoreUnavailableError(f"{at} does not answer as Chroma does ({said}); is chroma_url right?")
        return None


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


@contextmanager
def _errors(place: _Place, collection: str) -> Iterator[None]:
    """Every error of the vendor's leaves as one of ours."""
    try:
        yield
    except KbchatError:
        raise
    except Exception as error:
        raise _ours(error, place, collection) from error
    except BaseException as error:
        # A panic of the engine is no Exception, but no reason to end the process either.
        if type(error).__name__ != "PanicException":
            raise
        raise StoreError(f"Chroma's engine failed: {error}") from error


def _ours(error: Exception, place: _Place, collection: str) -> KbchatError:
    from chromadb.errors import InvalidArgumentError, InvalidDimensionException, NotFoundError

    match error:
        case NotFoundError():
            return CollectionNotFoundError(collection)
        case InvalidDimensionException() | InvalidArgumentError():
            return VectorError(f"collection {collection!r} does not take these vectors: {error}")
        case _:
            return place.unavailable(error) or StoreError(f"Chroma failed: {error}")


class _Engine:
    """Chroma at work: the vendor's component system, and the collections looked up so far."""

    def __init__(self, system: "System", api: "ServerAPI") -> None:
        self._system = system
        self.api = api
        self.known: dict[str, _Known] = {}
        self.users = 0
        self.on_close: Callable[[], None] = lambda: None

    @classmethod
    def start(cls, settings: "Settings") -> "_Engine":
        from chromadb.api import ServerAPI
        from chromadb.config import System

        system = System(settings)
        api = system.instance(ServerAPI)  # type: ignore[type-abstract]  # it looks up who implements it
        system.start()
        return cls(system, api)

    def close(self) -> None:
        self.on_close()
        self._system.stop()

    def create(self, name: str, dimension: int, hnsw: HnswSettings) -> "_Known":
        """The collection of that name, made if there is none. One that is there stays as it is."""
        model = self.api.get_or_create_collection(
            name,
            configuration={
                "hnsw": {
                    "space": "cosine",
                    "max_neighbors": hnsw.max_neighbors,
                    "ef_construction": hnsw.ef_construction,
                    "ef_search": hnsw.ef_search,
                }
            },
            # Chroma itself learns the dimension from the first record only.
            metadata={"dimension": dimension},
        )
        return self._take(model)

    def find(self, name: str) -> "_Known":
        self.known[name] = known = self._take(self.api.get_collection(name))
        return known

    def _take(self, model: "CollectionModel") -> "_Known":
        from chromadb import Collection

        space = (model.configuration_json.get("hnsw") or {}).get("space")
        dimension = (model.metadata or {}).get("dimension") or model.dimension
        if space != "cosine" or not isinstance(dimension, int):
            raise StoreError(f"collection {model.name!r} was not made by kbchat; drop it or use another store")
        collection = Collection(client=self.api, model=model, embedding_function=None)
        return _Known(collection, dimension, min(self.api.get_max_batch_size(), _SLICE_IDS))


class _Known:
    """A collection that has been looked up, with what every call on it needs."""

    def __init__(self, collection: "Collection", dimension: int, most: int) -> None:
        self._collection = collection
        self._most = most
        self.dimension = dimension
        self.id = collection.id

    def cut(self, ids: Sequence[int], vectors: Vectors) -> list[tuple[list[int], Vectors]]:
        """Records checked and cut into what one request takes."""
        kept, matrix = check_records(ids, vectors, dimension=self.dimension)
        size = max(1, min(self._most, _SLICE_BYTES // (4 * self.dimension)))
        return [(kept[part], matrix[part]) for part in slices(len(kept), size)]

    def cut_ids(self, ids: Sequence[int]) -> list[list[int]]:
        check_ids(ids)
        unique = list(dict.fromkeys(ids))
        return [unique[part] for part in slices(len(unique), self._most)]

    def upsert(self, ids: list[int], vectors: Vectors) -> None:
        self._collection.upsert(ids=[str(key) for key in ids], embeddings=vectors)

    def delete(self, ids: list[int]) -> None:
        self._collection.delete(ids=[str(key) for key in ids])

    def query(self, vector: Vector, limit: int) -> list[VectorHit]:
        question = check_question(vector, dimension=self.dimension)
        return best_first(lambda asked: self._nearest(question, asked), limit=limit, most=_ALL)

    def _nearest(self, question: Vector, limit: int) -> list[VectorHit]:
        found = self._collection.query(query_embeddings=[question], n_results=limit, include=["distances"])
        distances = cast("list[list[float]]", found["distances"])
        # Chroma answers a cosine distance, which rounding may take a little below zero.
        return [
            VectorHit(int(key), min(1.0, 1.0 - distance))
            for key, distance in zip(found["ids"][0], distances[0], strict=True)
        ]

    def fetch(self, ids: list[int]) -> dict[int, Vector]:
        found = self._collection.get(ids=[str(key) for key in ids], include=["embeddings"])
        vectors = np.asarray(found["embeddings"], dtype=np.float32)
        return {int(key): vector for key, vector in zip(found["ids"], vectors, strict=True)}

    def count(self) -> int:
        return int(self._collection.count())

    def ids(self) -> list[int]:
        return [int(key) for key in self._collection.get(include=[])["ids"]]
