"""The lexical index of sparse vectors: what its counts go through."""

from collections.abc import AsyncIterator, Mapping, Sequence

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kbchat import fusion
from kbchat.errors import LexicalIndexError
from kbchat.lexical import LexicalEntry, sparse
from kbchat.lexical.sparse import SparseIndex
from kbchat.stores.milvus_terms import has_sparse
from kbchat.stores.sparse_rows import SparseRow
from kbchat.testing.lexical_suite import TOLERANCE, exact_scores
from kbchat.text.analysis import Terms, analyse
from kbchat.threads import Threads

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
        ("master-20240606-8d2ab5e", None),
        ("", None),
    ],
)
def test_which_servers_have_sparse_vectors(version: str, has: bool | None) -> None:
    """Those from 2.4 on, as far as what they say of themselves tells."""
    assert has_sparse(version) is has
