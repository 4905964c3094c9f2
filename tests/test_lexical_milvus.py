"""Spaces whose words are in Milvus: on Milvus Lite, and on a server with Milvus's own engine."""

import os
import sys
import uuid
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import pytest

import kbchat
from handbook import QUESTIONS, TEXTS, documents
from kbchat.errors import SettingsError, StoreUnavailableError
from kbchat.models import VectorType
from kbchat.settings import Settings
from kbchat.stores.milvus import MilvusStore
from kbchat.stores.milvus_terms import MilvusTerms
from kbchat.testing.lexical_suite import TOLERANCE
from postgresql import needs_postgresql
from servers import MilvusEngineServer, MilvusServer

Milvus = dict[str, Any]
"""The settings that say where a knowledge base's Milvus is."""


@pytest.fixture(params=["lite", pytest.param("engine", marks=pytest.mark.server)])
def milvus(request: pytest.FixtureRequest) -> Milvus:
    if request.param == "lite":
        return {}
    server: MilvusEngineServer = request.getfixturevalue("milvus_engine")
    return server.settings


async def lexical(space: kbchat.KnowledgeSpace) -> list[dict[str, float]]:
    return [{hit.name: hit.lexical for hit in await space.retrieve(question, top_k=10)} for question in QUESTIONS]


async def test_a_space_with_its_words_in_milvus(tmp_path: Path, milvus: Milvus) -> None:
    """It answers as one with the embedded index, is sound, is filled when its words are lost, and leaves nothing."""
    async with kbchat.KnowledgeBase(settings=Settings(data_dir=tmp_path, lexical="milvus", **milvus)) as kb:
        space = await kb.create_space("handbook", vector_type="Milvus")
        usual = await kb.create_space("usual", vector_type="Chroma")
        for each in (space, usual):
            await each.ingest(documents(TEXTS | {"old": "Keys were made of iron."}))
            await each.ingest(documents({"keys": TEXTS["keys"] + " Never on Fridays."}))
            await each.delete_document("old")
        assert not (tmp_path / "lexical" / space.info.lexical_name).exists()
        for one, other in zip(await lexical(space), await lexical(usual), strict=True):
            # The embedded one still counts what was deleted.
            assert one == pytest.approx(other, abs=2 * TOLERANCE)
        assert (await space.check()).findings == ()
        parts = kb._open
        before = await lexical(space)
        await parts.lexical.drop(space.info.lexical_name)
        report = await space.check()
        assert {finding.kind: finding.count for finding in report.findings} == {"terms_missing": 4}
        assert (await space.check(repair=True)).sound
        assert await lexical(space) == before
        name = space.info.terms_collection
        store = parts.store(VectorType.MILVUS)
        assert isinstance(store, MilvusStore)
        assert [ids async for ids in MilvusTerms(store).iterate(name)] != []
        await kb.delete_space("handbook")
        assert [ids async for ids in MilvusTerms(store).iterate(name)] == [[]]


async def test_words_stay_where_they_are(tmp_path: Path, milvus: Milvus) -> None:
    """Whatever another server's settings say, a space is searched where its words are; new ones go where they say."""
    for first, then in (("embedded", "milvus"), ("milvus", "embedded")):
        folder = tmp_path / first
        async with kbchat.KnowledgeBase(settings=Settings(data_dir=folder, lexical=first, **milvus)) as kb:
            space = await kb.create_space("handbook", vector_type="Milvus")
            await space.ingest(documents(TEXTS))
            before = await lexical(space)
        async with kbchat.KnowledgeBase(settings=Settings(data_dir=folder, lexical=then, **milvus)) as kb:
            space = await kb.get_space("handbook")
            assert await lexical(space) == before
            await space.ingest(documents({"more": "Boats are under bridges."}))
            assert (await space.retrieve("boats under bridges"))[0].name == "more"
            assert (await space.check()).findings == ()
            assert space.info.words == first
            new = await kb.create_space("new", vector_type="Milvus")
            await new.ingest(documents(TEXTS))
            assert (await new.refresh()).words == then
            for each in (space, new):
                assert bool(await terms_in_milvus(kb, each)) == (each.info.words == "milvus")


async def terms_in_milvus(kb: kbchat.KnowledgeBase, space: kbchat.KnowledgeSpace) -> list[int]:
    """The chunks of a space whose words are there."""
    terms = MilvusTerms(kb._open.store(VectorType.MILVUS))  # type: ignore[arg-type]
    return [key async for ids in terms.iterate(space.info.terms_collection) for key in ids]


async def test_words_move_to_milvus(tmp_path: Path, milvus: Milvus) -> None:
    """A space that was taken in with the embedded index is searched in Milvus once it is moved with settings that say
    so, and back; it stays where it is, and nothing is left over."""
    async with kbchat.KnowledgeBase(settings=Settings(data_dir=tmp_path, lexical="embedded", **milvus)) as kb:
        space = await kb.create_space("handbook", vector_type="Milvus")
        await space.ingest(documents(TEXTS))
        before = await lexical(space)
    async with kbchat.KnowledgeBase(settings=Settings(data_dir=tmp_path, lexical="milvus", **milvus)) as kb:
        space = await kb.get_space("handbook")
        info = await space.migrate("Milvus")
        assert (info.vector_type, info.words) == (VectorType.MILVUS, "milvus")
        for one, other in zip(await lexical(space), before, strict=True):
            assert one == pytest.approx(other, abs=TOLERANCE)
        await space.ingest(documents({"more": "Boats are under bridges."}))
        assert (await space.retrieve("boats under bridges"))[0].name == "more"
        assert (await space.check()).findings == ()
    async with kbchat.KnowledgeBase(settings=Settings(data_dir=tmp_path, lexical="embedded", **milvus)) as kb:
        space = await kb.get_space("handbook")
        assert (await space.migrate("Milvus")).words == "embedded"
        assert (await space.retrieve("boats under bridges"))[0].name == "more"
        assert (await space.check()).findings == ()
        assert await terms_in_milvus(kb, space) == []


async def test_words_go_along_when_a_space_moves(tmp_path: Path, milvus: Milvus) -> None:
    """To the index of the new store, and nothing of them stays behind; there and back."""
    async with kbchat.KnowledgeBase(settings=Settings(data_dir=tmp_path, lexical="milvus", **milvus)) as kb:
        space = await kb.create_space("handbook", vector_type="Milvus")
        await space.ingest(documents(TEXTS))
        before = await lexical(space)
        for to in ("Chroma", "Milvus", "Chroma"):
            await space.migrate(to)
            for one, other in zip(await lexical(space), before, strict=True):
                assert one == pytest.approx(other, abs=TOLERANCE)
            assert len(await terms_in_milvus(kb, space)) == (len(TEXTS) if to == "Milvus" else 0)
            assert (await space.check()).findings == ()


@pytest.mark.server
@needs_postgresql
async def test_two_servers_on_one_milvus(tmp_path: Path, postgresql_url: str, milvus: Milvus) -> None:
    """What one took in, replaced and removed, the other finds when the call returns, with the same scores."""
    shared: dict[str, Any] = {"catalog_url": postgresql_url, "milvus_uri": str(tmp_path / "shared"), **milvus}

    def of(name: str) -> Settings:
        return Settings(data_dir=tmp_path / name, lexical="milvus", busy_timeout=5, **shared)

    async with (
        kbchat.KnowledgeBase(settings=of("one")) as one,
        kbchat.KnowledgeBase(settings=of("other")) as other,
    ):
        space = await one.create_space("handbook", vector_type="Milvus")
        await space.ingest(documents(TEXTS))
        there = await other.get_space("handbook")
        assert await lexical(there) == await lexical(space)
        await there.ingest(
            documents({"keys": "Lunch is what keys are rotated at.", "more": "Boats are under bridges."})
        )
        await there.delete_document("ships")
        found = await lexical(space)
        assert found == await lexical(there)
        assert next(iter(found[3])) == "more"
        assert not any("ships" in hits for hits in found)
        assert not (tmp_path / "one" / "lexical").exists()
        assert (await space.check()).findings == ()


OTHER = """
import anyio, kbchat

async def main():
    async with kbchat.KnowledgeBase() as kb:
        space = await kb.get_space("handbook")
        await space.ingest([kbchat.TextDocument(name="ships", text="Cranes load ships in the harbour.")])
        print(*[hit.name for hit in await space.retrieve("boats, keys and cranes", strategy="lexical")])

anyio.run(main)
"""


@pytest.mark.server
@needs_postgresql
async def test_two_processes_on_one_milvus(
    tmp_path: Path, postgresql_url: str, milvus_engine: MilvusEngineServer
) -> None:
    """Another process finds what this one took in and not what it removed; this one finds what the other took in."""
    shared = {"catalog_url": postgresql_url, "lexical": "milvus", **milvus_engine.settings}
    async with kbchat.KnowledgeBase(settings=Settings(data_dir=tmp_path / "one", **shared)) as kb:
        space = await kb.create_space("handbook", vector_type="Milvus")
        await space.ingest(documents({"keys": TEXTS["keys"], "boats": "Boats are under bridges."}))
        await space.delete_document("boats")
        env = {f"KBCHAT_{name.upper()}": str(value) for name, value in {**shared, "data_dir": tmp_path / "two"}.items()}
        other = await anyio.run_process([sys.executable, "-c", OTHER], env={**os.environ, **env}, stderr=None)
        assert sorted(other.stdout.decode().split()) == ["keys", "ships"]
        (hit,) = await space.retrieve("cranes in harbours", strategy="lexical")
        assert hit.name == "ships"
        assert (await space.check()).findings == ()


@pytest.mark.server
@needs_postgresql
async def test_a_server_that_does_not_tell_its_version(
    tmp_path: Path, postgresql_url: str, milvus_engine: MilvusEngineServer
) -> None:
    """Has the words of those spaces alone whose settings say so."""
    for number, (wanted, there) in enumerate((("auto", "embedded"), ("milvus", "milvus"))):
        settings = Settings(
            data_dir=tmp_path / wanted, catalog_url=postgresql_url, lexical=wanted, **milvus_engine.settings
        )
        async with kbchat.KnowledgeBase(settings=settings) as kb:
            assert await MilvusTerms(kb._open.store(VectorType.MILVUS)).is_possible() is None  # type: ignore[arg-type]
            space = await kb.create_space(f"handbook-{number}", vector_type="Milvus")
            await space.ingest(documents(TEXTS))
            assert (await space.refresh()).words == there
            assert next(iter((await lexical(space))[0])) == "keys"


@pytest.mark.server
async def test_a_server_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    """While it is away that is said; once it is back all that was taken in is found, and more is taken in."""
    with MilvusEngineServer(tmp_path) as server:
        settings = Settings(data_dir=tmp_path / "data", lexical="milvus", **server.settings | {"store_timeout": 3})
        async with kbchat.KnowledgeBase(settings=settings) as kb:
            space = await kb.create_space("handbook", vector_type="Milvus")
            await space.ingest(documents(TEXTS))
            before = await lexical(space)
            server.kill()
            with pytest.raises(StoreUnavailableError, match="did not answer within 3 seconds"):
                await space.retrieve(QUESTIONS[0], strategy="lexical")
            server.start()
            assert await lexical(space) == before
            await space.ingest(documents({"more": "Boats are under bridges."}))
            assert (await space.retrieve("boats under bridges"))[0].name == "more"
            assert (await space.check()).findings == ()


@pytest.mark.server
async def test_a_server_without_sparse_vectors(milvus_server: MilvusServer, tmp_path: Path) -> None:
    """Milvus 2.3 is told apart; who asks for what it cannot do is told so, who does not gets the embedded index."""
    async with aclosing(milvus_server.open(timeout=30)) as store:
        assert await MilvusTerms(store).is_possible() is False
    asked = Settings(
        data_dir=tmp_path, milvus_uri=milvus_server.uri, milvus_token=milvus_server.token, lexical="milvus"
    )
    async with kbchat.KnowledgeBase(settings=asked) as kb:
        space = await kb.create_space(f"s{uuid.uuid4().hex}", vector_type="Milvus")
        with pytest.raises(SettingsError, match=r"from 2\.4 on"):
            await space.ingest(documents(TEXTS))
