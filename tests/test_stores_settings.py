"""Where stores are and how they are reached, by settings alone: tokens, certificates, databases, kinds of index."""

import shutil
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import pytest

import kbchat
from certificates import make_certificate, server_context
from kbchat.errors import StoreError, StoreUnavailableError
from kbchat.models import VectorType
from kbchat.settings import Settings
from kbchat.stores.milvus import MilvusSettings
from kbchat.testing.vectors import alike, assert_best, some_vectors
from kbchat.wiring import OwnParts, Parts
from servers import ChromaServer, MilvusServer, Proxy

pytestmark = pytest.mark.timeout(300)

DOCUMENT = kbchat.TextDocument(name="keys", text="Keys are rotated every ninety days by the vault.")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return make_certificate(tmp_path)


async def answers(settings: Settings, kind: VectorType) -> None:
    """A space is made on that store, and answers."""
    async with kbchat.KnowledgeBase(settings=settings) as kb:
        space = await kb.create_space("handbook", vector_type=kind)
        await space.ingest(DOCUMENT)
        assert [hit.name for hit in await space.retrieve("How are keys rotated?")] == ["keys"]
        await kb.delete_space("handbook")


async def refused(settings: Settings, kind: VectorType, why: str) -> None:
    async with kbchat.KnowledgeBase(settings=settings) as kb:
        space = await kb.create_space("handbook", vector_type=kind)
        with pytest.raises(StoreUnavailableError, match=why):
            await space.ingest(DOCUMENT)


@pytest.mark.server
async def test_chroma_by_token_and_certificate(
    chroma_server: ChromaServer, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    """The token of the settings goes out; a certificate is checked by the authority that they name."""
    port = urlsplit(chroma_server.url).port or 0
    async with Proxy(port, token="Bearer right", tls=server_context(*certificate)) as proxy:
        of = {"data_dir": tmp_path / "kb", "chroma_url": f"https://127.0.0.1:{proxy.port}"}
        right = Settings(**of, chroma_token="right", chroma_ca_file=certificate[0])
        await answers(right, VectorType.CHROMA)
        wrong = Settings(**of | {"data_dir": tmp_path / "a"}, chroma_token="wrong", chroma_ca_file=certificate[0])
        await refused(wrong, VectorType.CHROMA, r"refused the token; .*\(chroma_token\)")
        unknown = Settings(**of | {"data_dir": tmp_path / "b"}, chroma_token="right")
        await refused(unknown, VectorType.CHROMA, "cannot be reached.*[Cc]ertificate|CERTIFICATE")


@pytest.mark.server
async def test_milvus_by_token_and_certificate(
    milvus_server: MilvusServer, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    """As Chroma's."""
    async with Proxy(Path(milvus_server.uri.removeprefix("unix:")), tls=server_context(*certificate)) as proxy:
        of = {"milvus_uri": f"https://127.0.0.1:{proxy.port}", "store_timeout": 20.0}
        trusted = {"milvus_ca_file": certificate[0]}
        await answers(
            Settings(**of, **trusted, data_dir=tmp_path / "kb", milvus_token=milvus_server.token), VectorType.MILVUS
        )
        wrong = Settings(**of, **trusted, data_dir=tmp_path / "a", milvus_token="root:wrong")
        await refused(wrong, VectorType.MILVUS, r"refused the token; .*\(milvus_token\)")
        unknown = Settings(**of | {"store_timeout": 2.0}, data_dir=tmp_path / "b", milvus_token=milvus_server.token)
        await refused(unknown, VectorType.MILVUS, "did not answer|cannot be used")


@pytest.mark.server
async def test_a_milvus_database(milvus_server: MilvusServer, tmp_path: Path) -> None:
    """Collections are in the database that the settings name; one that is not there is an error that says so."""

    def of(database: str) -> Settings:
        return Settings(
            data_dir=tmp_path / database,
            milvus_uri=milvus_server.uri,
            milvus_token=milvus_server.token,
            milvus_database=database,
            store_timeout=20,
        )

    def make(name: str) -> None:
        from pymilvus import MilvusClient

        client = MilvusClient(milvus_server.uri, token=milvus_server.token, dedicated=True)
        client.create_database(name)
        client.close()

    await anyio.to_thread.run_sync(make, "kbtest")
    await answers(of("kbtest"), VectorType.MILVUS)
    parts = Parts(of("nowhere"), OwnParts())
    with pytest.raises(StoreError, match="nowhere"):
        await parts.store(VectorType.MILVUS).ping()
    await parts.aclose()


@pytest.fixture
async def tuned(milvus_server: MilvusServer, tmp_path: Path) -> AsyncIterator[Parts]:
    """Parts whose Milvus is told how to index."""
    settings = Settings(
        data_dir=tmp_path,
        milvus_uri=milvus_server.uri,
        milvus_token=milvus_server.token,
        milvus_index_type="IVF_FLAT",
        milvus_index_params={"nlist": 4},
        milvus_search_params={"nprobe": 4},
        milvus_metric="L2",
        milvus_consistency="Strong",
        store_timeout=30,
    )
    parts = Parts(settings, OwnParts())
    yield parts
    await parts.aclose()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What Milvus's own client is asked from now on, and does: the method and its named arguments."""
    from pymilvus import MilvusClient

    calls: list[tuple[str, dict[str, Any]]] = []

    def listen(method: str) -> None:
        real = getattr(MilvusClient, method)

        def heard(client: MilvusClient, *args: object, **named: object) -> object:
            calls.append((method, named))
            return real(client, *args, **named)

        monkeypatch.setattr(MilvusClient, method, heard)

    for method in ("create_collection", "search", "query"):
        listen(method)
    return calls


@pytest.mark.server
async def test_the_kind_of_index(
    tuned: Parts, milvus_server: MilvusServer, asked: list[tuple[str, dict[str, Any]]]
) -> None:
    """A collection is made with the index of the settings, and searched with their parameters and consistency; what it
    answers are cosines by any metric, and a store with other settings goes on with it."""
    store = tuned.store(VectorType.MILVUS)
    vectors = some_vectors(20)
    await store.create_collection("kb-tuned", dimension=vectors.shape[1])
    await store.upsert("kb-tuned", range(20), vectors)
    assert (await store.query("kb-tuned", vectors[7], limit=3))[0].id == 7
    assert_best(await store.query("kb-tuned", vectors[8], limit=20), range(20), vectors, vectors[8], 20)

    def there() -> tuple[dict[str, Any], dict[str, Any]]:
        with store.using("kb-tuned") as opened:  # type: ignore[attr-defined]
            client = opened.engine.client
            return client.describe_index("kb_tuned", "vector"), client.describe_collection("kb_tuned")

    index, collection = await anyio.to_thread.run_sync(there)
    assert (index["index_type"], index["metric_type"], int(index["nlist"])) == ("IVF_FLAT", "L2", 4)
    assert collection["consistency_level"] == 0, "Strong"
    assert {call["consistency_level"] for _, call in asked} == {"Strong"}
    searched = [call["search_params"] for method, call in asked if method == "search"]
    assert searched == [{"metric_type": "L2", "params": {"nprobe": 4}}] * 2
    async with aclosing(milvus_server.open(timeout=30)) as usual:
        assert_best(await usual.query("kb-tuned", vectors[8], limit=20), range(20), vectors, vectors[8], 20)
        assert alike((await usual.fetch("kb-tuned", [8]))[8], vectors[8])
    await store.drop_collection("kb-tuned")


@pytest.mark.server
@pytest.mark.parametrize("level", ["Session", "Bounded", "Eventually"])
async def test_only_a_first_look_is_strong(
    milvus_server: MilvusServer, tmp_path: Path, asked: list[tuple[str, dict[str, Any]]], level: str
) -> None:
    """What was there before, and what was deleted, is looked for by a strong read once; all others are as the settings
    say, and with `Session` each finds what was written just before it."""
    where = {"milvus_uri": milvus_server.uri, "milvus_token": milvus_server.token, "milvus_consistency": level}
    parts = Parts(Settings(**where, data_dir=tmp_path, store_timeout=30), OwnParts())
    store, vectors, name = parts.store(VectorType.MILVUS), some_vectors(20), f"kb-{level.lower()}"
    await store.create_collection(name, dimension=vectors.shape[1])
    assert await store.count(name) == 0
    for key, vector in enumerate(vectors):
        await store.upsert(name, [key], vectors[key : key + 1])
        found = await store.query(name, vector, limit=1)
        assert level != "Session" or found[0].id == key
    await store.delete(name, [3])
    assert 3 not in {hit.id for hit in await store.query(name, vectors[3], limit=20)}
    await store.query(name, vectors[3], limit=1)
    await store.drop_collection(name)
    await parts.aclose()
    levels = [call["consistency_level"] for _, call in asked]
    assert levels == [level, "Strong", *[level] * len(vectors), "Strong", level]


def test_milvus_settings_have_good_defaults(tmp_path: Path) -> None:
    """Those of the store where nothing is said; parameters of one kind of index are not given to another."""
    from kbchat.wiring import _milvus_settings

    where = {"data_dir": tmp_path, "milvus_uri": "http://localhost:19530"}
    assert _milvus_settings(Settings(**where)) == MilvusSettings()
    assert _milvus_settings(Settings(**where, milvus_index_type="FLAT")) == MilvusSettings("FLAT", {}, {})
    assert _milvus_settings(Settings(**where, milvus_search_params={"ef": 100})) == MilvusSettings(search={"ef": 100})
    exact = MilvusSettings("FLAT", {}, {})
    assert _milvus_settings(Settings(data_dir=tmp_path)) == exact
    assert _milvus_settings(Settings(data_dir=tmp_path, milvus_uri=str(tmp_path / "lite"))) == exact
    assert _milvus_settings(Settings(data_dir=tmp_path, milvus_metric="IP")) == replace(exact, metric="IP")
