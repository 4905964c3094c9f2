"""Every error that a vendor may raise has its own of ours."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path

import chromadb.errors
import grpc
import httpx
import pymilvus.exceptions
import pytest

from kbchat.errors import CollectionNotFoundError, KbchatError, StoreError, StoreUnavailableError, VectorError
from kbchat.stores.chroma import ChromaStore
from kbchat.stores.milvus import MilvusStore
from kbchat.stores.vendors import Vendor
from kbchat.threads import Threads

CHROMA = {
    "AuthorizationError": StoreUnavailableError,
    "BatchSizeExceededError": StoreError,
    "ChromaAuthError": StoreUnavailableError,
    "DuplicateIDError": StoreError,
    "IDAlreadyExistsError": StoreError,
    "InternalError": StoreError,
    "InvalidArgumentError": VectorError,
    "InvalidDimensionException": VectorError,
    "InvalidHTTPVersion": StoreError,
    "InvalidUUIDError": StoreError,
    "NotFoundError": CollectionNotFoundError,
    "QuotaError": StoreUnavailableError,
    "RateLimitError": StoreUnavailableError,
    "UniqueConstraintError": StoreError,
    "VersionMismatchError": StoreError,
}


@pytest.fixture
def chroma() -> Vendor:
    return ChromaStore(url="http://me:secret@127.0.0.1:1", token="hidden", threads=Threads())._vendor


@pytest.fixture
def milvus() -> Vendor:
    return MilvusStore(uri="http://me:secret@127.0.0.1:1", token="hidden", threads=Threads())._vendor


def subclasses(base: type[Exception]) -> list[type[Exception]]:
    direct = base.__subclasses__()
    every = set(direct).union(*map(subclasses, direct))
    return sorted(every, key=lambda kind: kind.__name__)


def test_chroma_errors(chroma: Vendor) -> None:
    """Each of Chroma's errors becomes the one listed; one that is new in Chroma is to be listed."""
    ours = {
        kind.__name__: type(chroma.explain(kind("why"), "kb-a")) for kind in subclasses(chromadb.errors.ChromaError)
    }
    assert ours == CHROMA


@pytest.mark.parametrize("kind", subclasses(httpx.RequestError))
def test_transport_errors(chroma: Vendor, kind: type[httpx.RequestError]) -> None:
    """Whatever happens on the way to a Chroma server, the server is unavailable, and the message names it."""
    error = chroma.explain(kind("why"), "kb-a")
    assert type(error) is StoreUnavailableError
    assert "http://127.0.0.1:1" in error.message
    assert "secret" not in error.message


@pytest.mark.parametrize("error", [ValueError("why"), TypeError("why"), Exception("why"), httpx.InvalidURL("why")])
def test_unexpected_answers(chroma: Vendor, error: Exception) -> None:
    """What is no error of Chroma's means that something else answered."""
    assert type(chroma.explain(error, "kb-a")) is StoreUnavailableError


class Rpc(grpc.RpcError):  # type: ignore[misc]
    def __init__(self, status: grpc.StatusCode) -> None:
        self._status = status

    def code(self) -> grpc.StatusCode:
        return self._status


async def test_an_address_that_milvus_does_not_know() -> None:
    """Is told without the password in it, whatever the client says."""
    async with aclosing(MilvusStore(uri="foo://me:secret@127.0.0.1:1", threads=Threads())) as store:
        with pytest.raises(StoreUnavailableError, match=r"foo://127\.0\.0\.1:1 .* is milvus_uri right") as caught:
            await store.list_collections()
    assert "secret" not in caught.value.message


async def test_a_server_that_is_no_milvus(tmp_path: Path) -> None:
    """Answers, and so is not said to be silent; that it is another one is."""
    with ThreadPoolExecutor(1) as workers:
        server = grpc.server(workers)
        server.add_insecure_port(f"unix:{tmp_path}/other")
        server.start()
        async with aclosing(MilvusStore(uri=f"unix:{tmp_path}/other", threads=Threads(), timeout=5)) as store:
            with pytest.raises(StoreUnavailableError, match="is it a Milvus") as caught:
                await store.list_collections()
        server.stop(None).wait()
    assert "did not answer" not in caught.value.message


@pytest.mark.parametrize("status", grpc.StatusCode)
def test_grpc_statuses(milvus: Vendor, status: grpc.StatusCode) -> None:
    """A failed call to a Milvus server means that it is unavailable, whether it shows or hides in a cause."""
    hidden = pymilvus.exceptions.MilvusException(message="Fail connecting to server")
    hidden.__cause__ = Rpc(status)
    for error in (Rpc(status), hidden, pymilvus.exceptions.MilvusException(status, "Retry timeout")):
        ours = milvus.explain(error, "kb-a")
        assert type(ours) is StoreUnavailableError
        assert "http://127.0.0.1:1" in ours.message
        assert "secret" not in ours.message


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (100, "collection not found[collection=kb_a]", CollectionNotFoundError),
        (1, "can't find collection kb_a", CollectionNotFoundError),
        (101, "failed to search: collection not loaded", StoreUnavailableError),
        (65535, "attempt #3: collection not fully loaded", StoreUnavailableError),
        (65535, "empty grpc client: find no available rootcoord, check rootcoord state", StoreUnavailableError),
        (1, "service not ready[rootcoord=1]: Initializing", StoreUnavailableError),
        (2, "service unavailable", StoreUnavailableError),
        (503, "channel not available[channel=by-dev-rootcoord-dml_0]", StoreUnavailableError),
        (901, "node not found[node=1]", StoreUnavailableError),
        (8, "rate limit exceeded", StoreUnavailableError),
        (9, "force deny: disk quota exhausted", StoreUnavailableError),
        (65535, "the length(5) of float data should divide the dim(8)", VectorError),
        (65535, "vector dimension mismatch, expected vector size(byte) 32, actual 20", VectorError),
        (6, "vector field 'vector' expected dim 8, got 5", VectorError),
        (65535, "something else", StoreError),
    ],
)
def test_milvus_codes(milvus: Vendor, code: int, text: str, expected: type[KbchatError]) -> None:
    """What Milvus says itself becomes the error of ours that fits."""
    assert type(milvus.explain(pymilvus.exceptions.MilvusException(code, text), "kb-a")) is expected


def test_milvus_cannot_be_reached(milvus: Vendor) -> None:
    """That the client never came through is said as that, whatever code the client gives it."""
    error = pymilvus.exceptions.MilvusException(2, "Fail connecting to server on 127.0.0.1:1")
    assert "is it running" in milvus.explain(error, "kb-a").message


@pytest.mark.parametrize("kind", subclasses(pymilvus.exceptions.MilvusException))
def test_milvus_exceptions(milvus: Vendor, kind: type[Exception]) -> None:
    """Every class of pymilvus's becomes an error of ours."""
    assert isinstance(milvus.explain(kind(message="why"), "kb-a"), StoreError)


def test_tokens_stay_hidden(chroma: Vendor, milvus: Vendor) -> None:
    """A token is in no representation of a store's place."""
    assert "hidden" not in repr(chroma) + repr(milvus)
