"""Vectors in Milvus: Milvus Lite over a folder, a standalone server, or a cluster, by configuration alone.

All three speak one protocol, so the driver has one client for them. Milvus Lite is a server too; it runs in this
process on a socket of its own, and one process at a time may have its folder.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from kbchat.addresses import without_credentials
from kbchat.errors import (
    CollectionNotFoundError,
    KbchatError,
    MissingExtraError,
    StoreError,
    StoreUnavailableError,
    VectorError,
)
from kbchat.stores import Vector, VectorHit, Vectors
from kbchat.stores.blocking import BlockingStore
from kbchat.stores.lite import LiteServer
from kbchat.stores.milvus_names import MAX_ID_THERE, TERMS, id_here, ids_there, ours_of, theirs_of
from kbchat.threads import Threads

if TYPE_CHECKING:
    from pymilvus import MilvusClient

T = TypeVar("T")

# A server takes and answers messages of 64 MiB; a cancelled caller waits for one slice at most.
_SLICE_BYTES = 4 * 1024 * 1024
_SLICE_IDS = 1000
# What one search or query answers at most.
_MOST_HITS = 16_384
# A server does not index stretches with fewer rows, so that sealing them is not worth its while.
_WORTH_FLUSHING = 1024
# Milvus Lite looks through fresh rows in Python, some 70 µs a row, until they are flushed.
_LITE_FRESH = 5000
# It is in this process: there is nobody to wait for in vain, and seconds of work are no failure.
_LITE_TIMEOUT = 600.0
_NOT_FOUND, _NOT_LOADED = 100, (101, 103)
_REFUSED = (8, 9)
"""Codes for: too many requests, and no more writes (disk or memory used up)."""


@dataclass(frozen=True, slots=True)
class MilvusSettings:
    """How a new collection is indexed and how it is searched. `build` and `search` are Milvus's own parameters.

    Milvus Lite is given `FLAT` where nothing is said: exact, and quick enough for what a laptop holds, whereas it would
    build an `HNSW` index of 100,000 vectors for minutes, and not close before.

    With `Session` every read sees this store's own writes, and another's after `refresh`. `Strong` sees everything and
    costs some 200 ms a search; `Bounded` and `Eventually` cost nothing and may see neither.
    """

    index: str = "HNSW"
    build: Mapping[str, int] = field(default_factory=lambda: {"M": 32, "efConstruction": 100})
    search: Mapping[str, int] = field(default_factory=lambda: {"ef": 3000})
    consistency: Literal["Strong", "Session", "Bounded", "Eventually"] = "Session"


class MilvusStore(BlockingStore):
    """A `VectorStore` on Milvus. `uri` is a server's (`http://`, `https://`, `unix:`), or a folder's path for Milvus
    Lite.

    Nothing is opened before the first use. `token` is `user:password` or a key. `timeout` is how many seconds a call
    may take. Certificates of an `https:` URI are checked, by the authority in `ca_file` where one is given.
    """

    def __init__(
        self,
        *,
        uri: Path | str,
        token: str | None = None,
        database: str = "",
        ca_file: Path | None = None,
        threads: Threads,
        timeout: float = 10.0,
        settings: MilvusSettings | None = None,
    ) -> None:
        if is_server(str(uri)):
            vendor: _Server | _Lite = _Server(
                str(uri), token or "", database, timeout, settings or MilvusSettings(), ca_file
            )
        else:
            vendor = _Lite(Path(uri), settings or MilvusSettings("FLAT", {}, {}))
        super().__init__(vendor, threads=threads, timeout=timeout)


def is_server(uri: str) -> bool:
    """Whether it is a server's address; else it is the path of a folder."""
    return "://" in uri or uri.startswith("unix:")


@dataclass(frozen=True, slots=True)
class _Server:
    uri: str
    token: str = field(repr=False)
    database: str
    timeout: float
    settings: MilvusSettings
    ca_file: Path | None = None
    reopens: bool = False
    is_embedded: bool = False

    def open(self) -> "MilvusEngine":
        client = _connect(self.uri, self.token, self.database, self.timeout, self.ca_file)
        return MilvusEngine(client, self.settings, self.timeout)

    def explain(self, error: Exception, collection: str) -> KbchatError:
        import grpc
        from pymilvus.exceptions import MilvusException

        at = f"the Milvus server at {without_credentials(self.uri)}"
        # A failure to connect hides why in its cause.
        hidden = error.__cause__ if isinstance(error.__cause__, grpc.RpcError) else error
        code = hidden.code() if isinstance(hidden, grpc.RpcError) else getattr(error, "code", None)
        if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            return StoreUnavailableError(f"{at} refused the token; set the one it expects (milvus_token)")
        if _loading(error):
            return StoreUnavailableError(f"{at} is still loading collection {collection!r}; try again in a minute")
        if code in _REFUSED:
            return StoreUnavailableError(f"{at} takes no more for now ({error}); try again later")
        if isinstance(code, grpc.StatusCode) or _lost(error):
            return StoreUnavailableError(
                f"{at} did not answer within {self.timeout:g} seconds; is it running, and is milvus_uri right?"
            )
        if not isinstance(error, MilvusException):
            return StoreUnavailableError(f"{at} cannot be used ({error}); is milvus_uri right?")
        if self.uri in str(error):  # Not one that the client knows, and it says the whole of it.
            return StoreUnavailableError(f"{at} cannot be used: Milvus knows no such address; is milvus_uri right?")
        return _explain(error, collection)


@dataclass(frozen=True, slots=True)
class _Lite:
    folder: Path
    settings: MilvusSettings
    reopens: bool = False
    is_embedded: bool = True

    def open(self) -> "MilvusEngine":
        lite = LiteServer.enter(self.folder.absolute())
        try:
            client = _connect(lite.uri, "", "", _LITE_TIMEOUT)
        except BaseException:
            lite.leave()
            raise
        return MilvusEngine(client, self.settings, _LITE_TIMEOUT, lite)

    def explain(self, error: Exception, collection: str) -> KbchatError:
        from milvus_lite.exceptions import DataDirLockedError

        if isinstance(error, DataDirLockedError):
            return StoreUnavailableError(
                f"another process has the Milvus Lite folder {self.folder} open, and only one may; stop it, or set "
                "milvus_uri to a Milvus server"
            )
        if isinstance(error, OSError):
            return StoreUnavailableError(
                f"the Milvus Lite folder {self.folder} cannot be used ({error}); can it be written to, and has the "
                "disk room?"
            )
        return _explain(error, collection)


def _explain(error: Exception, collection: str) -> KbchatError:
    """What Milvus says of its own, wherever it runs."""
    code, text = getattr(error, "code", None), str(getattr(error, "message", error))
    if code == _NOT_FOUND or "can't find collection" in text or "collection not found" in text:
        return CollectionNotFoundError(collection)
    if "dim" in text and any(word in text for word in ("mismatch", "expected", "should divide")):
        return VectorError(f"collection {collection!r} does not take these vectors: {text}")
    return StoreError(f"Milvus failed: {text}")


def _loading(error: Exception) -> bool:
    # Some ways the code gets lost and only the text arrives.
    return getattr(error, "code", None) in _NOT_LOADED or "not fully loaded" in str(error)


def _lost(error: Exception) -> bool:
    # The client has no class and no code for it, only these texts.
    text = str(error)
    return "Fail connecting" in text or "Retry timeout" in text or "Retry run out" in text


def _connect(uri: str, token: str, database: str, timeout: float, ca_file: Path | None = None) -> "MilvusClient":
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise MissingExtraError("Milvus", "milvus") from error
    # It logs every error that it raises, with the traceback, to a handler of its own.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    trusted = {} if ca_file is None else {"server_pem_path": str(ca_file)}
    client = MilvusClient(uri, token=token, db_name=database, timeout=timeout, dedicated=True, **trusted)
    # The vendor reconnects under a lock over all connections, so that callers would wait for each other's time-outs.
    # The channel below reconnects by itself.
    client._get_connection()._on_rpc_error = lambda error: False
    return client


class MilvusEngine:
    def __init__(
        self, client: "MilvusClient", settings: MilvusSettings, timeout: float, lite: LiteServer | None = None
    ) -> None:
        self.client = client
        self.settings = settings
        self.timeout = timeout
        self.lite = lite

    def create(self, name: str, dimension: int) -> "MilvusCollection":
        try:
            return self.find(name)
        except Exception as error:
            if not isinstance(_explain(error, name), CollectionNotFoundError):
                raise
        from pymilvus import DataType

        schema = self.client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
        try:
            self.client.create_collection(
                theirs_of(name), schema=schema, consistency_level=self.settings.consistency, timeout=self.timeout
            )
        except Exception:
            # Another may have been quicker, perhaps with another dimension.
            if not self.client.has_collection(theirs_of(name), timeout=self.timeout):
                raise
        return self.find(name)

    def find(self, name: str) -> "MilvusCollection":
        theirs = theirs_of(name)
        about = self.client.describe_collection(theirs, timeout=self.timeout)
        fields = {field["name"]: field["params"] for field in about["fields"]}
        if set(fields) != {"id", "vector"} or "dim" not in fields["vector"]:
            raise StoreError(f"collection {theirs!r} was not made by kbchat; drop it or use another database")
        if not self.client.list_indexes(theirs, timeout=self.timeout):
            index = self.client.prepare_index_params()
            index.add_index(
                "vector", index_type=self.settings.index, metric_type="COSINE", params=dict(self.settings.build)
            )
            self.client.create_index(theirs, index, timeout=self.timeout, sync=False)
        self.load(theirs)
        return MilvusCollection(self, name, int(fields["vector"]["dim"]), about.get("collection_id"))

    def load(self, theirs: str) -> None:
        """Ask for the collection to be loaded unless it is or soon will be; reads wait for it."""
        from pymilvus.client.types import LoadState

        state = self.client.get_load_state(theirs, timeout=self.timeout)["state"]
        if state not in (LoadState.Loaded, LoadState.Loading):
            self.client.load_collection(theirs, timeout=self.timeout, _async=True)

    def drop(self, name: str) -> None:
        self.client.drop_collection(theirs_of(name), timeout=self.timeout)

    def names(self) -> list[str]:
        every = (ours_of(theirs) for theirs in self.client.list_collections(timeout=self.timeout))
        return [name for name in every if name is not None and not name.startswith(TERMS)]

    def ping(self) -> None:
        self.client.list_collections(timeout=self.timeout)

    def turn(self) -> AbstractContextManager[object]:
        return self.lite.turn if self.lite is not None else nullcontext()

    def claim(self) -> bool:
        return True

    def close(self) -> None:
        self.client.close()
        if self.lite is not None:
            self.lite.leave()


class MilvusCollection:
    most_ids = _SLICE_IDS
    most_hits = _MOST_HITS

    def __init__(self, engine: MilvusEngine, name: str, dimension: int, number: object) -> None:
        self._engine = engine
        self._client = engine.client
        self._name = name
        self._theirs = theirs_of(name)
        self._timeout = engine.timeout
        # Changes that only a strong read is sure to see: those before this object was made, and our deletions, which
        # Milvus's own session does not count. Which of them have been seen.
        self._changes, self._seen = 1, 0
        self._unflushed = 0
        self.dimension = dimension
        self.key = (number, dimension)
        self.most_vectors = max(1, min(_SLICE_IDS, _SLICE_BYTES // (4 * dimension)))

    def upsert(self, ids: list[int], vectors: Vectors) -> None:
        rows = [{"id": key, "vector": vector} for key, vector in zip(ids_there(ids), vectors, strict=True)]
        self._client.upsert(self._theirs, rows, timeout=self._timeout)
        self.wrote(len(ids))

    def wrote(self, number: int) -> None:
        self._unflushed += number
        if self._engine.lite and self._unflushed >= _LITE_FRESH:
            self._seal()

    def delete(self, ids: list[int]) -> None:
        self._client.delete(self._theirs, ids=ids_there(ids), timeout=self._timeout)
        self._changes += 1

    def nearest(self, questions: list[Vector], limit: int) -> list[list[VectorHit]]:
        params = dict(self._engine.settings.search)
        if "ef" in params:
            params["ef"] = max(params["ef"], limit)
        found = self._read(
            lambda level: self._client.search(
                self._theirs,
                data=questions,
                anns_field="vector",
                limit=limit,
                output_fields=["id"],
                search_params={"metric_type": "COSINE", "params": params},
                consistency_level=level,
                timeout=self._timeout,
            )
        )
        hits = [
            [VectorHit(id_here(hit["id"]), max(-1.0, min(1.0, float(hit["distance"])))) for hit in each]
            for each in found
        ]
        if not any(hits):
            self._check_dimension()
        return hits

    def _check_dimension(self) -> None:
        # An empty collection does not look at the question.
        now = self._engine.find(self._name)
        if now.dimension != self.dimension:
            raise VectorError(f"collection {self._name!r} now has dimension {now.dimension}, not {self.dimension}")

    def fetch(self, ids: list[int]) -> dict[int, Vector]:
        rows = self._rows(f"id in {ids_there(ids)}", ["vector"], limit=len(ids))
        return {id_here(row["id"]): np.asarray(row["vector"], dtype=np.float32) for row in rows}

    def count(self) -> int:
        (row,) = self._rows("", ["count(*)"], limit=None)
        return int(row["count(*)"])

    def ids_after(self, last: int | None) -> tuple[list[int], bool]:
        # Where a limit cuts, Milvus keeps the least, so that the next page follows on.
        after = MAX_ID_THERE - 1 if last is None else ids_there([last])[0]
        there = sorted(row["id"] for row in self._rows(f"id > {after}", ["id"], limit=_MOST_HITS))
        return [id_here(key) for key in there], len(there) == _MOST_HITS

    def _rows(self, where: str, fields: Sequence[str], *, limit: int | None) -> Sequence[Mapping[str, Any]]:
        more = {} if limit is None else {"limit": limit}
        rows: Sequence[Mapping[str, Any]] = self._read(
            lambda level: self._client.query(
                self._theirs,
                filter=where,
                output_fields=list(fields),
                consistency_level=level,
                timeout=self._timeout,
                **more,
            )
        )
        return rows

    def _read(self, read: Callable[[str], T]) -> T:
        """Read, asking again for as long as the time-out lasts while a server says that it has not loaded yet."""
        from pymilvus.exceptions import MilvusException

        end = time.monotonic() + self._timeout
        while True:
            changes = self._changes
            try:
                answer = read(self._engine.settings.consistency if self._seen == changes else "Strong")
            except MilvusException as error:
                if not _loading(error) or time.monotonic() >= end:
                    raise
                self._engine.load(self._theirs)
                time.sleep(0.05)
            else:
                self._seen = max(self._seen, changes)
                return answer

    def flush(self) -> None:
        self._check_dimension()
        if self._engine.lite or self._unflushed >= _WORTH_FLUSHING:
            self._seal()

    def _seal(self) -> None:
        """What Milvus acknowledged is safe already. To seal it, in the background, lets it be indexed."""
        from pymilvus.exceptions import MilvusException

        self._unflushed = 0
        try:
            self._client.flush(self._theirs, timeout=self._timeout, _async=True, retry_on_rate_limit=False)
        except MilvusException as error:
            if error.code not in _REFUSED:
                raise
