"""The catalog against a plain model of itself, through random histories with crashes."""

import asyncio
import itertools
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kbchat.catalog import Catalog, PendingGeneration
from kbchat.models import SpaceInfo
from kbchat.testing.catalog_samples import a_space, assert_consistent, generation
from kbchat.threads import Threads

T = TypeVar("T")
Parts = tuple[str, ...]
MEMORY = Path("/dev/shm")

names = strategies.sampled_from(["a", "b", "c"])
parts = strategies.lists(strategies.sampled_from(["", "x", "längerer Text 🎉"]), max_size=3).map(tuple)


class History(RuleBasedStateMachine):
    """`live` is what readers must see, `pending` and `dead` what is beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        # In memory where there is such a folder: a thousand commits wait for no disk.
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
        self.catalogs: list[Catalog] = []
        self.crash()
        self.space: SpaceInfo = self.run(a_space(self.catalog))
        self.live: dict[str, tuple[PendingGeneration, Parts]] = {}
        self.pending: dict[int, tuple[str, PendingGeneration, Parts]] = {}
        self.dead: dict[int, PendingGeneration] = {}
        self.revision = 0
        self.writers = itertools.count()

    def run(self, call: Coroutine[object, object, T]) -> T:
        return self.runner.run(call)

    def teardown(self) -> None:
        for catalog in self.catalogs:
            self.run(catalog.aclose())
        self.runner.close()
        self.folder.cleanup()

    @rule()
    def crash(self) -> None:
        """The process is gone and another one opens the same files. The old one's connections are never heard again."""
        self.catalog = Catalog(Path(self.folder.name, "catalog.sqlite"), threads=Threads())
        self.run(self.catalog.open())
        self.catalogs.append(self.catalog)

    @rule(documents=strategies.lists(strategies.tuples(names, parts), min_size=1, max_size=3))
    def begin(self, documents: list[tuple[str, Parts]]) -> None:
        new = [generation(name, *texts, metadata={"of": name}) for name, texts in documents]
        for (name, texts), begun in zip(
            documents, self.run(self.catalog.begin_generations(self.space.id, new)), strict=True
        ):
            assert len(begun.chunk_ids) == len(texts)
            if name in self.live:
                assert begun.document_id == self.live[name][0].document_id
            self.pending[begun.id] = (name, begun, texts)

    @precondition(lambda self: self.pending)
    @rule(data=strategies.data())
    def publish(self, data: strategies.DataObject) -> None:
        known = sorted([*self.pending, *self.dead])
        chosen = data.draw(strategies.lists(strategies.sampled_from(known), max_size=4, unique=True))
        writer = f"w{next(self.writers)}"
        published = self.run(self.catalog.publish(self.space.id, chosen, writer=writer))
        winners = {self.pending[one][0]: one for one in chosen if one in self.pending}
        assert set(published) == set(winners.values())
        for one in chosen:
            if one not in self.pending:
                continue
            name, begun, texts = self.pending.pop(one)
            if winners[name] != one:
                self.dead[one] = begun
                continue
            if name in self.live:
                replaced = self.live[name][0]
                self.dead[replaced.id] = replaced
            self.live[name] = (begun, texts)
        self.revision += bool(winners)

    @rule(pending=strategies.booleans())
    def collect(self, pending: bool) -> None:
        expected = {begun.id: list(begun.chunk_ids) for begun in self.dead.values()}
        if pending:
            expected |= {begun.id: list(begun.chunk_ids) for _, begun, _ in self.pending.values()}
            self.pending = {}
        found = self.run(self.catalog.collectable(self.space.id, pending=pending))
        assert found == expected
        self.run(self.catalog.collect(self.space.id, list(found)))
        self.dead = {}

    @precondition(lambda self: self.live)
    @rule(data=strategies.data())
    def delete(self, data: strategies.DataObject) -> None:
        name = data.draw(strategies.sampled_from(sorted(self.live)))
        live, _ = self.live.pop(name)
        deleted = self.run(self.catalog.delete_document(self.space.id, live.document_id, writer="d"))
        assert (deleted.id, deleted.name) == (live.document_id, name)
        self.dead[live.id] = live
        for begun in [begun for of, begun, _ in self.pending.values() if of == name]:
            self.dead[begun.id] = self.pending.pop(begun.id)[1]
        self.revision += 1

    @invariant()
    def readers_see_the_model(self) -> None:
        """Documents, chunks, counters and revision are the model's, and nothing of what is not live is seen."""
        if not hasattr(self, "writers"):
            return

        async def check() -> None:
            await assert_consistent(self.catalog, self.space.id)
            info = await self.catalog.get_space(self.space.id)
            assert (info.document_count, info.revision) == (len(self.live), self.revision)
            states = await self.catalog.source_states(self.space.id, ["a", "b", "c"])
            assert {name: state.document_id for name, state in states.items()} == {
                name: live.document_id for name, (live, _) in self.live.items()
            }
            for name, (live, texts) in self.live.items():
                chunks = await self.catalog.document_chunks(live.document_id)
                assert tuple(chunk.id for chunk in chunks) == live.chunk_ids
                assert tuple(chunk.content for chunk in chunks) == texts
                assert all(chunk.metadata["of"] == name for chunk in chunks)

        self.run(check())


History.TestCase.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)
TestHistory = pytest.mark.timeout(300)(History.TestCase)
