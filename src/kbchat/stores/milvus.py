"""Vectors in Milvus: Milvus Lite over a folder, a standalone server, or a cluster, by configuration alone.

All three speak one protocol, so the driver has one client for them. Milvus Lite is a server too; it runs in this
process on a socket of its own, and one process at a time may have its folder.
"""

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kbchat.addresses import without_credentials
from kbchat.errors import (
    CollectionNotFoundError,
    KbchatError,
    MissingExtraError,
    StoreError,
    StoreUnavailableError,
    VectorError,
)
from kbchat.stores.blocking import BlockingStore
from kbchat.stores.lite import LiteServer
from kbchat.stores.milvus_collection import REFUSED, MilvusCollection, is_loading, is_partly_away
from kbchat.stores.milvus_names import TERMS, ours_of, theirs_of
from kbchat.threads import Threads

if TYPE_CHECKING:
    from pymilvus import MilvusClient

# Milvus Lite is in this process: there is nobody to wait for in vain, and seconds of work are no failure.
_LITE_TIMEOUT = 600.0
_NOT_FOUND = 100


@dataclass(frozen=True, slots=True)
class MilvusSettings:
    """How a new collection is indexed and how it is searched. `build` and `search` are Milvus's own parameters.

    Milvus Lite is given `FLAT` where nothing is said: exact, and quick enough for what a laptop holds, whereas it would
    build an `HNSW` index of 100,000 vectors for minutes, and not close before.

    The metric is how the index measures; what a search answers is the cosine by any of them. With `IP` and `L2` vectors
    of length 1 are indexed, and their lengths kept beside them.

    With `Session` every read sees this store's own writes, and another's after `refresh`. `Strong` sees everything and
    costs some 200 ms a search; `Bounded` and `Eventually` cost nothing and may see neither.
    """

    index: str = "HNSW"
    build: Mapping[str, int] = field(default_factory=lambda: {"M": 32, "efConstruction": 100})
    search: Mapping[str, int] = field(default_factory=lambda: {"ef": 3000})
    metric: Literal["COSINE", "IP", "L2"] = "COSINE"
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
        if is_loading(error):
            return StoreUnavailableError(f"{at} is still loading collection {collection!r}; try again in a minute")
        if is_partly_away(error):
            return StoreUnavailableError(f"{at} is starting or stopping ({error}); try again later")
        if code in REFUSED:
            return StoreUnavailableError(f"{at} takes no more for now ({error}); try again later")
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return StoreUnavailableError(f"{at} does not know what it was asked for; is it a Milvus from 2.3 on?")
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
        if self.settings.metric != "COSINE":
            schema.add_field("length", DataType.FLOAT)
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
        if set(fields) - {"length"} != {"id", "vector"} or "dim" not in fields["vector"]:
            raise StoreError(f"collection {theirs!r} was not made by kbchat; drop it or use another database")
        metric = self._index(theirs, is_unit="length" in fields)
        self.load(theirs)
        return MilvusCollection(self, name, int(fields["vector"]["dim"]), about.get("collection_id"), metric)

    def _index(self, theirs: str, *, is_unit: bool) -> str:
        """Index the collection unless it is; returns by which metric."""
        if self.client.list_indexes(theirs, timeout=self.timeout):
            # A collection keeps the metric that it was made with, whatever the settings say since.
            about = self.client.describe_index(theirs, "vector", timeout=self.timeout) if is_unit else {}
            return str(about.get("metric_type", "COSINE"))
        metric = (self.settings.metric if self.settings.metric != "COSINE" else "IP") if is_unit else "COSINE"
        index = self.client.prepare_index_params()
        index.add_index("vector", index_type=self.settings.index, metric_type=metric, params=dict(self.settings.build))
        self.client.create_index(theirs, index, timeout=self.timeout, sync=False)
        return metric

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

    def version(self) -> str:
        """As this Milvus calls itself; empty where it is not one that answers that."""
        import grpc

        try:
            return str(self.client.get_server_version(timeout=self.timeout))
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
            return ""

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
