"""Every vector store side by side with exact search in memory, over histories that hypothesis makes up."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kbchat.errors import KbchatError
from kbchat.stores import VectorStore, chroma, milvus_collection
from kbchat.stores.chroma import ChromaStore
from kbchat.stores.memory import MemoryStore
from kbchat.stores.milvus import MilvusStore
from kbchat.testing.vectors import TOLERANCE, alike
from kbchat.threads import Threads
from servers import ChromaServer, MilvusServer

NAMES = ("kb-a", "kb-b")
DIMENSIONS = (2, 3)
ALL_IDS = [0, 1, 2, 3, 4, 5, 40, 41, 2**53, 2**53 + 1, 2**63 - 2, 2**63 - 1]
IDS = st.sampled_from(ALL_IDS)
# Small whole numbers make many equal and opposite directions. Zero vectors and wrong dimensions are to be refused, but
# not so often that little else is tried.
DIRECTION = st.tuples(st.sampled_from([-2, -1, 1, 2]), st.integers(-2, 2), st.integers(-2, 2))
WIDTH = st.sampled_from([2, 2, 2, 2, 3])
ZERO = st.integers(0, 19).map(lambda number: number == 0)


class SideBySide(RuleBasedStateMachine):
    """Whatever is done to both, they raise the same errors and hold and find the same."""

    def __init__(self, open_store: Callable[[], VectorStore]) -> None:
        super().__init__()
        self._open_store = open_store
        self._stack = ExitStack()
        self._portal = self._stack.enter_context(start_blocking_portal())
        self._truth: VectorStore = MemoryStore()
        self._store = open_store()
        self._run(self._store.list_collections)
        for name in NAMES:
            self._run(self._store.drop_collection, name)

    def teardown(self) -> None:
        for name in NAMES:
            self._run(self._store.drop_collection, name)
        self._run(self._store.aclose)
        self._stack.close()

    def _run(self, function: Callable[..., Any], *args: object, **options: object) -> Any:
        return self._portal.call(partial(function, *args, **options))

    def _both(self, method: str, *args: object, **options: object) -> tuple[Any, Any]:
        """The answers of the truth and of the store, where an error of ours is an answer too."""
        answers = []
        for store in (self._truth, self._store):
            try:
                answers.append(self._run(getattr(store, method), *args, **options))
            except KbchatError as error:
                answers.append(type(error))
        return answers[0], answers[1]

    def _same(self, method: str, *args: object, **options: object) -> None:
        truth, answer = self._both(method, *args, **options)
        assert answer == truth

    @rule(name=st.sampled_from(NAMES), dimension=st.sampled_from(DIMENSIONS))
    def create(self, name: str, dimension: int) -> None:
        self._same("create_collection", name, dimension=dimension)

    @precondition(lambda self: self._run(self._truth.list_collections))
    @rule(name=st.sampled_from(NAMES))
    def drop(self, name: str) -> None:
        self._same("drop_collection", name)

    @initialize()
    def begin(self) -> None:
        self.create(NAMES[0], DIMENSIONS[0])

    @rule(
        name=st.sampled_from(NAMES),
        records=st.lists(st.tuples(IDS, DIRECTION), max_size=6),
        width=WIDTH,
        zero=ZERO,
        flush=st.booleans(),
    )
    def upsert(
        self, name: str, records: list[tuple[int, tuple[int, ...]]], width: int, zero: bool, flush: bool
    ) -> None:
        vectors = np.array([row[:width] for _, row in records], dtype=np.float32).reshape(len(records), width)
        self._same("upsert", name, [key for key, _ in records], vectors * (not zero))
        if flush:
            self._same("flush", name)

    @rule(name=st.sampled_from(NAMES), ids=st.lists(IDS, max_size=4))
    def delete(self, name: str, ids: list[int]) -> None:
        self._same("delete", name, ids)

    @rule(
        name=st.sampled_from(NAMES),
        question=DIRECTION,
        width=WIDTH,
        limit=st.integers(0, 14),
        among=st.none() | st.lists(IDS, max_size=6) | st.just(ALL_IDS),
    )
    def query(self, name: str, question: tuple[int, ...], width: int, limit: int, among: list[int] | None) -> None:
        vector = np.array(question[:width], dtype=np.float32)
        truth, answer = self._both("query", name, vector, limit=limit, among=among)
        if isinstance(truth, type):
            assert answer is truth
            return
        everything, _ = self._both("query", name, vector, limit=100)
        exact = {hit.id: hit.score for hit in everything}
        assert [hit.score for hit in answer] == pytest.approx([hit.score for hit in truth], abs=TOLERANCE)
        assert [exact[hit.id] for hit in answer] == pytest.approx([hit.score for hit in answer], abs=TOLERANCE)
        assert answer == sorted(set(answer), key=lambda hit: (-hit.score, hit.id))

    @rule()
    def refresh(self) -> None:
        self._run(self._store.refresh)

    @rule()
    def reopen(self) -> None:
        self._run(self._store.aclose)
        self._store = self._open_store()

    @invariant()
    def hold_the_same(self) -> None:
        there = self._run(self._truth.list_collections)
        assert set(there) == set(self._run(self._store.list_collections)) & set(NAMES)
        for name in there:
            self._same("count", name)
            truth, answer = self._both(
                "fetch", name, [0, 1, 2, 3, 4, 5, 40, 41, 2**53, 2**53 + 1, 2**63 - 2, 2**63 - 1]
            )
            assert set(answer) == set(truth)
            assert all(alike(answer[key], truth[key]) for key in truth)
            assert sorted(self._portal.call(_ids, self._store, name)) == sorted(truth)


async def _ids(store: VectorStore, name: str) -> list[int]:
    return [key async for part in store.iterate(name, batch=3) for key in part]


def compare(open_store: Callable[[], VectorStore], *, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        partial(SideBySide, open_store),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture(params=[False, True], ids=["few", "many"])
def many(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of ids to look among counts as few, or as many, so that these are searched for."""
    if request.param:
        monkeypatch.setattr(chroma._Collection, "few_ids", 0)
        monkeypatch.setattr(milvus_collection, "TOLD_LITE", 1)
        monkeypatch.setattr(milvus_collection, "TOLD_SERVER", 1)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("many")
def test_chroma_embedded(tmp_path: Path) -> None:
    """Embedded Chroma does as exact search does."""
    compare(lambda: ChromaStore(path=tmp_path, threads=Threads()), examples=5, steps=20)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("many")
def test_milvus_lite(tmp_path: Path) -> None:
    """Milvus Lite does as exact search does."""
    compare(lambda: MilvusStore(uri=tmp_path / "vectors", threads=Threads()), examples=5, steps=20)


@pytest.mark.server
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("many")
def test_chroma_server(chroma_server: ChromaServer) -> None:
    """A Chroma server does as exact search does."""
    compare(chroma_server.open, examples=5, steps=20)


@pytest.mark.server
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("many")
def test_milvus_server(milvus_server: MilvusServer) -> None:
    """A Milvus server does as exact search does."""
    compare(
        lambda: milvus_server.open(timeout=30),
        examples=2,
        steps=15,
    )
