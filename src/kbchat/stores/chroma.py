"""Vectors in Chroma: its engine embedded in this process over a folder, or a server of its own by URL.

Both are one vendor API over two transports. The vendor's process-wide cache of clients by path is passed by: each store
has an engine of its own, which it can really reopen.
"""

import errno
import os
import shutil
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import numpy as np

from kbchat.addresses import without_credentials
from kbchat.errors import CollectionNotFoundError, KbchatError, StoreError, StoreUnavailableError, VectorError
from kbchat.stores import Vector, VectorHit, Vectors
from kbchat.stores.among import Ids
from kbchat.stores.blocking import BlockingStore
from kbchat.stores.records import hits_among
from kbchat.threads import Threads

if TYPE_CHECKING:
    import chromadb
    from chromadb.api.collection_configuration import CreateHNSWConfiguration
    from chromadb.config import Settings
    from chromadb.types import Collection as Model

# A server takes requests of 40 MiB and SQLite 32,766 variables; these stay well below.
_SLICE_BYTES = 4 * 1024 * 1024
_SLICE_IDS = 1000
# A vector takes about a millisecond to index, and a request must be done within the time-out.
_SLICE_SERVER = 500
# The embedded engine does not notice when its index no longer fits on the disk, and loses what does not. It writes it
# out every thousand vectors, which take less than this.
_ROOM_BYTES = 64 * 1024 * 1024
_FIRST_INDEX_SECONDS = 10.0
# Vectors written at once. The embedded engine keeps Python's global lock while it writes, so that nothing else in the
# process moves: these take it some 60 ms.
_SLICE_EMBEDDED = 512


HNSW: "CreateHNSWConfiguration" = {"space": "cosine", "max_neighbors": 32, "ef_construction": 100, "ef_search": 3000}
"""How the index of a new collection is built and searched: larger numbers find more and take longer.

With these, of the ten nearest among 100,000 random vectors of 256 dimensions 99 % are found in some 20 ms, among as
many vectors of sentences, which are easier to search, in 7.
"""


class ChromaStore(BlockingStore):
    """A `VectorStore` on Chroma. Give either `path`, a folder of this store's own, or `url`, a server's address.

    Nothing is opened before the first use. `token` goes out as Bearer token and as `X-Chroma-Token`. `timeout` is how
    many seconds a server may be silent. Certificates of an `https:` URL are checked, by the authority in `ca_file`
    where one is given.

    Several processes may share a folder if one at a time writes; the others see what it wrote after `refresh`.
    """

    def __init__(
        self,
        *,
        path: Path | str | None = None,
        url: str | None = None,
        token: str | None = None,
        ca_file: Path | None = None,
        threads: Threads,
        timeout: float = 10.0,
    ) -> None:
        if (path is None) == (url is None):
            raise TypeError("give either the path of a folder or the url of a server")
        vendor = _Folder(Path(path)) if path is not None else _Server(str(url), token, timeout, ca_file)
        super().__init__(vendor, threads=threads, timeout=timeout)


@dataclass(frozen=True, slots=True)
class _Folder:
    path: Path
    reopens: bool = True
    is_embedded: bool = True

    def open(self) -> "_Engine":
        from chromadb.config import Settings

        self.path.mkdir(parents=True, exist_ok=True)
        settings = Settings(
            chroma_api_impl="chromadb.api.rust.RustBindingsAPI",
            is_persistent=True,
            persist_directory=str(self.path),
            anonymized_telemetry=False,
        )
        # Read before the engine reads its index, so that a write in between is noticed.
        mark = _Mark(self.path / "last-write")
        engine = _Engine(settings, most_vectors=_SLICE_EMBEDDED)
        engine.claim = mark.claim
        return engine

    def explain(self, error: Exception, collection: str) -> KbchatError:
        # The engine passes on SQLite's and the system's texts and nothing else to go by.
        signs = ("unable to open", "readonly", "is locked", "disk is full", "disk I/O", "os error", "not a database")
        if isinstance(error, OSError) or any(sign in str(error) for sign in signs):
            return StoreUnavailableError(
                f"the vectors in {self.path} cannot be used ({error}); is the folder as kbchat left it, can it be "
                "written to, and has the disk room? `kbchat fsck --repair` rebuilds vectors from the catalog"
            )
        return _explain(error, collection)


@dataclass(frozen=True, slots=True)
class _Server:
    url: str
    token: str | None = field(repr=False)
    timeout: float
    ca_file: Path | None = None
    reopens: bool = False
    is_embedded: bool = False

    def open(self) -> "_Engine":
        import httpx
        from chromadb.api.fastapi import FastAPI
        from chromadb.config import Settings

        token = {} if self.token is None else {"Authorization": f"Bearer {self.token}", "X-Chroma-Token": self.token}
        settings = Settings(
            chroma_api_impl="chromadb.api.fastapi.FastAPI",
            chroma_server_host=self.url,
            # Asked for, though a host that is a URL already says it.
            chroma_server_http_port=urlsplit(self.url).port or 0,
            chroma_server_headers=token,
            anonymized_telemetry=False,
        )
        engine = _Engine(settings, most_vectors=_SLICE_SERVER)
        # The vendor waits for ever and leaves its connections open; neither can be set in another way.
        api = cast("FastAPI", engine.api)
        if self.ca_file is not None:
            # It would hand over a path, which the HTTP client no longer likes.
            trusted = ssl.create_default_context(cafile=str(self.ca_file))
            api._session.close()
            api._session = httpx.Client(headers=api._session.headers, verify=trusted)
        session = api._session
        session.timeout = httpx.Timeout(self.timeout)
        engine.on_close = session.close
        return engine

    def explain(self, error: Exception, collection: str) -> KbchatError:
        import httpx
        from chromadb.errors import AuthorizationError, ChromaAuthError, ChromaError, QuotaError, RateLimitError

        at = f"the Chroma server at {without_credentials(self.url)}"
        # What is no error of Chroma's own arrives as a bare Exception, raised while this one was handled.
        cause = error.__context__
        status = cause.response.status_code if isinstance(cause, httpx.HTTPStatusError) else 0
        if isinstance(error, AuthorizationError | ChromaAuthError) or status in (401, 403):
            return StoreUnavailableError(f"{at} refused the token; set the one it expects (chroma_token)")
        if isinstance(error, httpx.TimeoutException):
            return StoreUnavailableError(
                f"{at} did not answer within {self.timeout:g} seconds; try again, or raise store_timeout"
            )
        if isinstance(error, httpx.HTTPError | httpx.InvalidURL):
            return StoreUnavailableError(f"{at} cannot be reached ({error}); is it running, and is chroma_url right?")
        if isinstance(error, RateLimitError | QuotaError):
            return StoreUnavailableError(f"{at} takes no more for now ({error}); try again later")
        if not isinstance(error, ChromaError):
            said = f"status {status}" if status else type(error).__name__
            return StoreUnavailableError(f"{at} does not answer as Chroma does ({said}); is chroma_url right?")
        return _explain(error, collection)


def _explain(error: Exception, collection: str) -> KbchatError:
    """What Chroma says of its own, embedded or served."""
    from chromadb.errors import InvalidArgumentError, InvalidDimensionException, NotFoundError

    match error:
        case NotFoundError():
            return CollectionNotFoundError(collection)
        case InvalidDimensionException() | InvalidArgumentError():
            return VectorError(f"collection {collection!r} does not take these vectors: {error}")
        case _:
            return StoreError(f"Chroma failed: {error}")


class _Mark:
    """A file that every write changes.

    Chroma keeps its index in memory and writes it out as a whole. An engine that has not seen what another wrote would,
    with its next write, leave that out of the index for good.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = self._read()
        self._lock = threading.Lock()

    def _read(self) -> bytes:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""

    def claim(self) -> bool:
        """Change the mark, unless another has."""
        if shutil.disk_usage(self._path.parent).free < _ROOM_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with self._lock:
            if self._read() != self._known:
                return False
            self._known = os.urandom(16)
            # In place: to empty a file and fill it anew makes some file systems write it out at once.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            try:
                os.write(descriptor, self._known)
            finally:
                os.close(descriptor)
            return True


class _Engine:
    """Chroma at work: the vendor's system of components over one of its transports."""

    def __init__(self, settings: "Settings", *, most_vectors: int) -> None:
        from chromadb.api import ServerAPI
        from chromadb.config import System

        self._most_vectors = most_vectors
        self._system: System = System(settings)
        # It looks up which class the settings name.
        self.api: ServerAPI = self._system.instance(ServerAPI)  # type: ignore[type-abstract]
        self._system.start()
        self.claim: Callable[[], bool] = lambda: True
        self.on_close: Callable[[], None] = lambda: None

    def create(self, name: str, dimension: int) -> "_Collection":
        model = self.api.get_or_create_collection(
            name,
            configuration={"hnsw": HNSW},
            # Chroma itself learns the dimension from the first record only.
            metadata={"dimension": dimension},
        )
        return self._take(model)

    def find(self, name: str) -> "_Collection":
        return self._take(self.api.get_collection(name))

    def _take(self, model: "Model") -> "_Collection":
        from chromadb import Collection

        space = (model.configuration_json.get("hnsw") or {}).get("space")
        dimension = (model.metadata or {}).get("dimension") or model.dimension
        if space != "cosine" or not isinstance(dimension, int):
            raise StoreError(f"collection {model.name!r} was not made by kbchat; drop it or use another store")
        collection = Collection(client=self.api, model=model, embedding_function=None)
        most_ids = min(self.api.get_max_batch_size(), _SLICE_IDS)
        most_vectors = max(1, min(most_ids, self._most_vectors, _SLICE_BYTES // (4 * dimension)))
        return _Collection(collection, dimension, most_ids, most_vectors)

    def drop(self, name: str) -> None:
        self.api.delete_collection(name)

    def names(self) -> list[str]:
        return [model.name for model in self.api.list_collections()]

    def ping(self) -> None:
        # Unlike the heartbeat this asks for the token and reads the database.
        self.api.count_collections()

    def turn(self) -> AbstractContextManager[object]:
        return nullcontext()

    def close(self) -> None:
        self.on_close()
        self._system.stop()


class _Collection:
    most_hits = 1_000_000
    few_ids = 2_000

    def __init__(self, collection: "chromadb.Collection", dimension: int, most_ids: int, most_vectors: int) -> None:
        self._collection = collection
        self.dimension = dimension
        self.most_ids = self.most_told = most_ids
        self.most_vectors = most_vectors
        # The largest id that was written, while what was looked for last was not there yet; None when nothing is known.
        self._newest: int | None = None

    @property
    def key(self) -> object:
        return self._collection.id

    def upsert(self, ids: list[int], vectors: Vectors) -> None:
        texts = _texts(ids)
        # To move a vector within the index takes Chroma ten times as long as to forget it and take it in anew. Ids that
        # go on rising are not looked for: should one be there after all, it takes that long.
        if self._newest is None or min(ids) <= self._newest:
            there = self._collection.get(ids=texts, include=[])["ids"]
            if there:
                self._collection.delete(ids=there)
            self._newest = None if there else max(ids)
        else:
            self._newest = max(ids)
        self._collection.upsert(ids=texts, embeddings=vectors)

    def delete(self, ids: list[int]) -> None:
        self._collection.delete(ids=_texts(ids))

    def nearest(self, questions: list[Vector], limit: int) -> list[list[VectorHit]]:
        from chromadb.errors import InternalError

        end = time.monotonic() + _FIRST_INDEX_SECONDS
        while True:
            try:
                return self._nearest(questions, limit)
            except InternalError as error:
                # While the first vectors of a collection are being written, its index is missed for a moment.
                if "Nothing found on disk" not in str(error) or time.monotonic() >= end:
                    raise
                time.sleep(0.01)

    def _nearest(self, questions: list[Vector], limit: int) -> list[list[VectorHit]]:
        found = self._collection.query(query_embeddings=questions, n_results=limit, include=["distances"])
        # Chroma answers a cosine distance, from 0 to 2 but for rounding.
        return [
            [VectorHit(int(key), max(-1.0, min(1.0, 1.0 - distance))) for key, distance in zip(*each, strict=True)]
            for each in zip(found["ids"], cast("list[list[float]]", found["distances"]), strict=True)
        ]

    def nearest_among(self, question: Vector, ids: Ids, limit: int) -> list[VectorHit]:
        # Chroma can be told where to look, and takes longer over it than to give the vectors away.
        return hits_among(question, self.fetch(list(ids)))

    def fetch(self, ids: list[int]) -> dict[int, Vector]:
        found = self._collection.get(ids=_texts(ids), include=["embeddings"])
        vectors = np.asarray(found["embeddings"], dtype=np.float32)
        return {int(key): vector for key, vector in zip(found["ids"], vectors, strict=True)}

    def count(self) -> int:
        return int(self._collection.count())

    def size(self) -> int:
        return self.count()

    def ids_after(self, last: int | None) -> tuple[list[int], bool]:
        # All at once: pages by offset would miss ids when others are deleted meanwhile.
        return [int(key) for key in self._collection.get(include=[])["ids"]], False

    def flush(self) -> None:
        # What Chroma acknowledged is in its log on disk, and its index takes it in as it goes. But say if it is gone.
        self._collection.count()


def _texts(ids: Sequence[int]) -> list[str]:
    return [str(key) for key in ids]
