"""The lexical index of sparse vectors: what its counts go through, and spaces whose words are in Milvus."""

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kbchat
from kbchat import fusion
from kbchat.errors import LexicalIndexError, SettingsError
from kbchat.lexical import LexicalEntry, sparse
from kbchat.lexical.sparse import SparseIndex
from kbchat.models import VectorType
from kbchat.settings import Settings
from kbchat.stores.milvus import MilvusStore
from kbchat.stores.milvus_terms import MilvusTerms, has_sparse
from kbchat.stores.sparse_rows import SparseRow
from kbchat.testing.lexical_suite import TOLERANCE, exact_scores
from kbchat.text.analysis import Terms, analyse
from kbchat.threads import Threads
from postgresql import needs_postgresql
from servers import MilvusServer

NAME = "terms-1"


class MemoryRows:
    """The protocol in a dictionary, shared by all who hold it. After `fail` writes the process is as if killed."""

    def __init__(self) -> None:
        self.rows: dict[int, SparseRow] = {}
        self.writes = 0
        self.fail = -1

    def _write(self) -> None:
        if self.fail == 0:
            raise ConnectionError("killed")
        self.fail -= 1
        self.writes += 1

    async def put(self, name: str, rows: Sequence[SparseRow]) -> None:
        self._write()
        self.rows |= {row.id: row for row in rows}

    async def remove(self, name: str, ids: Sequence[int]) -> None:
        self._write()
        for key in ids:
            self.rows.pop(key, None)

    async def fetch(self, name: str, ids: Sequence[int]) -> dict[int, SparseRow]:
        return {key: self.rows[key] for key in ids if key in self.rows}

    async def marks(self, name: str, *, below: int) -> list[tuple[int, str]]:
        return sorted(((key, row.note) for key, row in self.rows.items() if key < below), reverse=True)

    async def nearest(
        self, name: str, question: Mapping[int, float], *, limit: int, among: Sequence[int] | None = None
    ) -> list[tuple[int, float]]:
        sums = {
            key: sum(question.get(place, 0.0) * weight for place, weight in row.vector.items())
            for key, row in self.rows.items()
            if key >= 0 and (among is None or key in among)
        }
        return sorted(((key, found) for key, found in sums.items() if found > 0), key=lambda it: (-it[1], it[0]))[
            :limit
        ]

    async def iterate(self, name: str) -> AsyncIterator[list[int]]:
        yield [key for key in self.rows if key >= 0]

    async def flush(self, name: str) -> None:
        pass

    async def drop(self, name: str) -> None:
        self.rows.clear()

    async def refresh(self, name: str) -> None:
        pass


def an_index(rows: MemoryRows) -> SparseIndex:
    return SparseIndex(rows, threads=Threads())


async def assert_counts(index: SparseIndex, texts: Mapping[int, str]) -> None:
    """Every term of the texts weighs what it weighs in them, and every score is the formula's."""
    assert await index.count(NAME) == len(texts)
    words = sorted({word for text in texts.values() for word in analyse(text).unigrams} | {"nowher"})
    found = await index.search(NAME, Terms(tuple(words), (), ()), limit=1000)
    holding = {word: sum(word in analyse(text).unigrams for text in texts.values()) for word in words}
    assert found.weights.unigrams == {word: fusion.term_weight(len(texts), many) for word, many in holding.items()}
    for question in ("alpha beta", "gamma", "alpha delta 密钥"):
        scores = exact_scores(dict(texts), analyse(question)) if texts else {}
        hits = (await index.search(NAME, analyse(question), limit=1000)).hits
        assert {hit.id for hit in hits if hit.id in texts} == set(scores)
        assert all(abs(hit.score - scores[hit.id]) <= TOLERANCE for hit in hits if hit.id in texts)


WORDS = st.lists(st.sampled_from(["alpha", "beta", "gamma", "delta", "密钥", "轮换"]), max_size=30).map(" ".join)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.dictionaries(st.integers(0, 5), WORDS, max_size=4)),
        st.tuples(st.just("delete"), st.lists(st.integers(0, 5), max_size=3)),
        st.tuples(st.just("commit"), st.booleans()),
        st.tuples(st.just("refresh"), st.none()),
    ),
    max_size=14,
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_counts_are_those_of_the_texts(steps: list[tuple[str, object]]) -> None:
    """Whatever is written, replaced, deleted and committed by one after another of several objects."""

    async def run() -> None:
        rows = MemoryRows()
        index, waiting = an_index(rows), {}
        texts: dict[int, str] = {}
        for step, what in steps:
            match step, what:
                case "put", dict():
                    await index.upsert(NAME, [LexicalEntry(key, analyse(text)) for key, text in what.items()])
                    waiting |= what
                case "delete", list():
                    await index.delete(NAME, what)
                    waiting |= dict.fromkeys(what)
                case "commit", bool():
                    await index.commit(NAME)
                    texts = {key: text for key, text in (texts | waiting).items() if text is not None}
                    waiting = {}
                    await assert_counts(index, texts)
                    if what:
                        index = an_index(rows)
                case _:
                    await index.refresh(NAME)
        await index.commit(NAME)
        await assert_counts(an_index(rows), {k: t for k, t in (texts | waiting).items() if t is not None})

    anyio.run(run)


async def test_a_growing_space_keeps_to_the_formula() -> None:
    """Short texts first, then ever longer ones: scores stay within the tolerance of the true average length."""
    rows = MemoryRows()
    index = an_index(rows)
    texts: dict[int, str] = {}
    for number in range(30):
        texts[number] = " ".join(["alpha", *["beta", "gamma", "other"][: number % 4]] * (1 + number))
        await index.upsert(NAME, [LexicalEntry(number, analyse(texts[number]))])
        await index.commit(NAME)
        await assert_counts(index, texts)
    steady = rows.writes
    for number in range(30, 40):
        texts[number] = texts[20]
        await index.upsert(NAME, [LexicalEntry(number, analyse(texts[number]))])
        await index.commit(NAME)
    # A row, a change and a removal each, and hardly ever more: an average that stays lets every vector stay.
    assert rows.writes - steady < 10 * 3 + 4


async def test_a_long_log_begins_anew() -> None:
    """After many commits the log is short; who read the long one and who reads the short one count the same."""
    rows = MemoryRows()
    index, other = an_index(rows), an_index(rows)
    texts = {}
    for number in range(2 * sparse.MOST_PIECES + 5):
        texts[number] = f"alpha beta{number} gamma"
        await index.upsert(NAME, [LexicalEntry(number, analyse(texts[number]))])
        await index.commit(NAME)
        if number % 50 == 0:
            await other.refresh(NAME)
            await assert_counts(other, texts)
    assert sum(key < 0 for key in rows.rows) <= sparse.MOST_PIECES
    for reader in (other, an_index(rows)):
        await reader.refresh(NAME)
        await assert_counts(reader, texts)


@pytest.mark.parametrize("after", range(9))
async def test_what_was_cut_short_counts_once(after: int) -> None:
    """Killed after any write of an ingest that replaces a chunk, who writes it all again has counts that are right."""
    rows = MemoryRows()
    index = an_index(rows)
    await index.upsert(NAME, [LexicalEntry(key, analyse(f"alpha beta number{key}")) for key in range(4)])
    await index.commit(NAME)
    new = {10: "alpha delta", 11: "gamma"}

    async def ingest(index: SparseIndex) -> None:
        await index.upsert(NAME, [LexicalEntry(key, analyse(text)) for key, text in new.items()])
        await index.commit(NAME)
        await index.delete(NAME, [0, 1])
        await index.commit(NAME)

    rows.fail = after
    try:
        await ingest(index)
    except ConnectionError:
        rows.fail = -1
        again = an_index(rows)
        await again.delete(NAME, list(new))
        await again.commit(NAME)
        await ingest(again)
    rows.fail = -1
    await assert_counts(an_index(rows), {2: "alpha beta number2", 3: "alpha beta number3"} | new)


async def test_damaged_counts_say_how_to_mend_them() -> None:
    """Reading names the command that rebuilds the index."""
    rows = MemoryRows()
    index = an_index(rows)
    await index.upsert(NAME, [LexicalEntry(1, analyse("alpha"))])
    await index.commit(NAME)
    rows.rows[-2] = rows.rows[-2]._replace(note="0 1 token rubbish")
    with pytest.raises(LexicalIndexError, match="fsck --repair"):
        await an_index(rows).count(NAME)


TEXTS = {
    "keys": "Keys are rotated every ninety days by the vault. Nobody rotates them by hand.",
    "lunch": "The cafeteria serves lunch at noon. On Fridays there is soup.",
    "ships": "An unrelated text about bridges, rivers, boats, harbours, cranes, ships and the open sea.",
    "密钥": "密钥每九十天轮换一次。食堂中午供应午餐。",
}
QUESTIONS = ["How are keys rotated?", "When is lunch served?", "九十天轮换密钥", "bridges and boats", "zeppelin"]


def documents(texts: Mapping[str, str]) -> list[kbchat.TextDocument]:
    return [kbchat.TextDocument(name=name, text=text) for name, text in texts.items()]


async def lexical(space: kbchat.KnowledgeSpace) -> list[dict[str, float]]:
    return [{hit.name: hit.lexical for hit in await space.retrieve(question, top_k=10)} for question in QUESTIONS]


async def test_a_space_with_its_words_in_milvus(tmp_path: Path) -> None:
    """It answers as one with the embedded index, is sound, is filled when its words are lost, and leaves nothing."""
    async with kbchat.KnowledgeBase(settings=Settings(data_dir=tmp_path, lexical="milvus")) as kb:
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


async def test_words_stay_where_they_are(tmp_path: Path) -> None:
    """Whatever another server's settings say, a space is searched where its words are; new ones go where they say."""
    for first, then in (("embedded", "milvus"), ("milvus", "embedded")):
        folder = tmp_path / first
        async with kbchat.KnowledgeBase(settings=Settings(data_dir=folder, lexical=first)) as kb:
            space = await kb.create_space("handbook", vector_type="Milvus")
            await space.ingest(documents(TEXTS))
            before = await lexical(space)
        async with kbchat.KnowledgeBase(settings=Settings(data_dir=folder, lexical=then)) as kb:
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


async def test_words_move_to_milvus(tmp_path: Path) -> None:
    """A space that was taken in with the embedded index is searched in Milvus once it is moved with settings that say
    so, and back; it stays where it is, and nothing is left over."""
    async with kbchat.KnowledgeBase(settings=Settings(data_dir=tmp_path, lexical="embedded")) as kb:
        space = await kb.create_space("handbook", vector_type="Milvus")
        await space.ingest(documents(TEXTS))
        before = await lexical(space)
    async with kbchat.KnowledgeBase(settings=Settings(data_dir=tmp_path, lexical="milvus")) as kb:
        space = await kb.get_space("handbook")
        info = await space.migrate("Milvus")
        assert (info.vector_type, info.words) == (VectorType.MILVUS, "milvus")
        for one, other in zip(await lexical(space), before, strict=True):
            assert one == pytest.approx(other, abs=TOLERANCE)
        await space.ingest(documents({"more": "Boats are under bridges."}))
        assert (await space.retrieve("boats under bridges"))[0].name == "more"
        assert (await space.check()).findings == ()
    async with kbchat.KnowledgeBase(settings=Settings(data_dir=tmp_path, lexical="embedded")) as kb:
        space = await kb.get_space("handbook")
        assert (await space.migrate("Milvus")).words == "embedded"
        assert (await space.retrieve("boats under bridges"))[0].name == "more"
        assert (await space.check()).findings == ()
        assert await terms_in_milvus(kb, space) == []


async def test_words_go_along_when_a_space_moves(tmp_path: Path) -> None:
    """To the index of the new store, and nothing of them stays behind; there and back."""
    async with kbchat.KnowledgeBase(settings=Settings(data_dir=tmp_path, lexical="milvus")) as kb:
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
async def test_two_servers_on_one_milvus(tmp_path: Path, postgresql_url: str) -> None:
    """What one took in, replaced and removed, the other finds when the call returns, with the same scores."""

    def of(name: str) -> Settings:
        return Settings(
            data_dir=tmp_path / name,
            catalog_url=postgresql_url,
            milvus_uri=str(tmp_path / "shared"),
            lexical="milvus",
            busy_timeout=5,
        )

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


@pytest.mark.parametrize(
    ("version", "has"),
    [
        ("v2.3.5", False),
        ("2.3.22-dev", False),
        ("v1.1.1", False),
        ("v2.4.0", True),
        ("2.4-rc.1", True),
        ("v2.6.4", True),
        ("v2.10.0", True),
        ("milvus_lite-3.2.2", True),
        ("v10.0", True),
        ("master-20240606-8d2ab5e", False),
        ("", False),
    ],
)
def test_which_servers_have_sparse_vectors(version: str, has: bool) -> None:
    """Those from 2.4 on, as far as what they say of themselves tells."""
    assert has_sparse(version) is has


@pytest.mark.server
async def test_a_server_without_sparse_vectors(milvus_server: MilvusServer, tmp_path: Path) -> None:
    """Milvus 2.3 is told apart; who asks for what it cannot do is told so, who does not gets the embedded index."""
    async with aclosing(milvus_server.open(timeout=30)) as store:
        assert not await MilvusTerms(store).is_possible()
    asked = Settings(
        data_dir=tmp_path, milvus_uri=milvus_server.uri, milvus_token=milvus_server.token, lexical="milvus"
    )
    async with kbchat.KnowledgeBase(settings=asked) as kb:
        space = await kb.create_space(f"s{uuid.uuid4().hex}", vector_type="Milvus")
        with pytest.raises(SettingsError, match=r"from 2\.4 on"):
            await space.ingest(documents(TEXTS))
