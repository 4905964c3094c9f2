"""One space on every store: the same chunks with the same scores, and filters that mean exactly the same."""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, given, settings

import kbchat
from kbchat.filters import matches, parse
from kbchat.models import VectorType
from kbchat.retrieval import selecting
from kbchat.settings import Settings
from kbchat.stores import VectorStore
from kbchat.stores.memory import MemoryStore
from postgresql import PostgresqlServer, needs_postgresql
from servers import ChromaServer, MilvusServer
from test_filters import FILTERS

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.leaves("the stores are used by several tests, and closed after them"),
]

QUESTIONS = [
    "How are keys rotated?",
    "Which house stands at the river?",
    "第七把钥匙",
    "boats under bridges",
    "zeppelin",
]
METADATA: list[dict[str, Any]] = [
    {"a": "a"},
    {"a": "ab", "b": True, "c": [1, "a", None]},
    {"a": 1, "b": 0.5},
    {"a": 1.0, "b": [], "c": "é"},
    {"b": "中", "c": -2.5},
    {"a": False, "c": ["b", 3, True]},
    {"a": None},
    {},
    {"a": "bé", "b": ["a", "b"], "c": 0},
    {"c": "ba", "b": -3},
]
TEXTS = [
    "Keys of house {n} are rotated every {n} days by the vault, and nobody rotates them by hand.",
    "House number {n} stands at the river, under a bridge, where {n} boats are moored.",
    "第{n}把钥匙每九十天轮换一次。食堂中午供应午餐。",
    "The cafeteria of floor {n} serves soup at noon.",
]
DOCUMENTS = [
    kbchat.TextDocument(
        name=f"n{n}", text=TEXTS[n % len(TEXTS)].format(n=n), metadata=METADATA[n % len(METADATA)] | {"number": n}
    )
    for n in range(60)
]


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as portal:
        yield portal


class OnAStore:
    """A knowledge base in another thread's loop, with one space of all the documents."""

    def __init__(self, portal: BlockingPortal, settings: Settings, kind: str, own: VectorStore | None = None) -> None:
        self._call = portal.call
        self._stack = AsyncExitStack()
        self._settings = settings
        self._kind = VectorType(kind)
        self._own = {} if own is None else {self._kind: own}
        self.space: kbchat.KnowledgeSpace = self._call(self._open)

    async def _open(self) -> kbchat.KnowledgeSpace:
        kb = await self._stack.enter_async_context(kbchat.KnowledgeBase(settings=self._settings, stores=self._own))
        space = await kb.create_space("手册 – Handbuch ß", vector_type=self._kind)
        await space.ingest(DOCUMENTS)
        return space

    def retrieve(self, question: str, where: dict[str, Any] | None = None, top_k: int = 60) -> list[kbchat.Reference]:
        async def ask() -> list[kbchat.Reference]:
            return await self.space.retrieve(question, top_k=top_k, where=where)

        return self._call(ask)

    def close(self) -> None:
        self._call(self._stack.aclose)


@pytest.fixture(scope="module")
def reference(portal: BlockingPortal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnAStore]:
    """On exact search in memory."""
    on = OnAStore(portal, Settings(data_dir=tmp_path_factory.mktemp("memory")), "Chroma", MemoryStore())
    yield on
    on.close()


SERVERS = [pytest.param(name, marks=pytest.mark.server) for name in ("chroma-server", "milvus-server")]
POSTGRESQL = pytest.param("chroma-postgresql", marks=[pytest.mark.server, needs_postgresql])
LITE = ("milvus-lite", "milvus-lite-ip", "milvus-lite-l2", "milvus-lite-words")


@pytest.fixture(scope="module", params=["chroma", *LITE, *SERVERS, POSTGRESQL])
def on(
    request: pytest.FixtureRequest, portal: BlockingPortal, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OnAStore]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    where: dict[str, Any] = {"data_dir": folder, "store_timeout": 30}
    match request.param:
        case "chroma-server":
            server: ChromaServer = request.getfixturevalue("chroma_server")
            where |= {"chroma_url": server.url}
        case "milvus-server":
            milvus: MilvusServer = request.getfixturevalue("milvus_server")
            where |= {"milvus_uri": milvus.uri, "milvus_token": milvus.token}
        case "chroma-postgresql":
            postgresql: PostgresqlServer = request.getfixturevalue("postgresql")
            where |= {"catalog_url": postgresql.url}
        case "milvus-lite-ip" | "milvus-lite-l2":
            where |= {"milvus_metric": request.param[-2:].upper()}
        case "milvus-lite-words":
            where |= {"lexical": "milvus"}
    on = OnAStore(portal, Settings(**where), "Milvus" if request.param.startswith("milvus") else "Chroma")
    yield on
    on.close()


@pytest.fixture
def tolerance(on: OnAStore) -> float:
    """Of a score: with another lexical index that of the lexical suite, seen through the confidence's curve."""
    return 0.1 if on._settings.lexical == "milvus" else 1e-4


def test_scores_are_the_same(reference: OnAStore, on: OnAStore, tolerance: float) -> None:
    """The ten best of each question are the same chunks, each with the same `recall_score` within 1e-4."""
    for question in QUESTIONS:
        expected, found = (side.retrieve(question, top_k=10) for side in (reference, on))
        if tolerance < 0.01:
            assert [hit.chunk_id for hit in found] == [hit.chunk_id for hit in expected], question
        scores = {hit.chunk_id: hit.recall_score for hit in reference.retrieve(question)}
        for hit in found:
            assert hit.recall_score == pytest.approx(scores[hit.chunk_id], abs=tolerance)


@pytest.mark.parametrize("few", [0, 2000], ids=["searched", "one by one"])
def test_filters_mean_the_same(on: OnAStore, monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    """Any filter finds exactly those documents that plain Python lets through, whichever way the search takes."""
    monkeypatch.setattr(selecting, "FEW_CHUNKS", few)
    # The question has a word or a meaning in common with every document.
    question = "keys house river cafeteria soup noon 钥匙"
    every = {hit.name for hit in on.retrieve(question)}
    assert every == {document.name for document in DOCUMENTS}

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(FILTERS)
    def compare(where: dict[str, Any]) -> None:
        expected = {document.name for document in DOCUMENTS if matches(parse(where), document.metadata)}
        assert {hit.name for hit in on.retrieve(question, where)} == expected

    compare()
