"""What every lexical index must hold, as a test class to inherit.

    class TestMyIndex(LexicalIndexSuite):
        @pytest.fixture
        async def open_index(self, tmp_path):
            return lambda: MyIndex(tmp_path)

Every index that `open_index` opens stands on the same folder or server. Needs pytest, anyio's plugin with
`anyio_mode = "auto"`, and blockbuster.
"""

import math
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable

import anyio
import pytest
from blockbuster import blockbuster_ctx

from kbchat import fusion
from kbchat.lexical import LexicalEntry, LexicalIndex
from kbchat.text.analysis import Terms, analyse

TOLERANCE = 0.02
"""How far a score may be from the formula's: indexes keep lengths in few bits."""

TEXTS = {
    1: "Keys are rotated every ninety days.",
    2: "Rotate the keys of the server by hand.",
    3: "The cafeteria serves lunch at noon.",
    4: "密钥每九十天轮换一次。",
    5: "食堂中午供应午餐。",
    6: "Keys, keys and again keys.",
    7: "An unrelated and much longer text about bridges, rivers, boats, harbours, cranes, ships and the open sea.",
    9_000_000_000_000_000_000: "The largest of ids, with a lighthouse.",
}


def entries(texts: dict[int, str]) -> list[LexicalEntry]:
    return [LexicalEntry(key, analyse(text)) for key, text in texts.items()]


def exact_scores(texts: dict[int, str], question: Terms) -> dict[int, float]:
    """`labs` of each text that shares a term, by the formula alone."""
    documents = {key: analyse(text)._asdict() for key, text in texts.items()}
    total, top = len(texts), 0.0
    scores: Counter[int] = Counter()
    for field, terms in question._asdict().items():
        mean = sum(len(document[field]) for document in documents.values()) / total
        for term in dict.fromkeys(terms):
            holding = [key for key, document in documents.items() if term in document[field]]
            weight = fusion.FIELD_WEIGHTS[field] * fusion.term_weight(total, len(holding))
            top += fusion.BM25_TOP * weight
            for key in holding:
                often, length = documents[key][field].count(term), len(documents[key][field])
                norm = fusion.K1 * (1 - fusion.B + fusion.B * length / mean)
                scores[key] += weight * fusion.BM25_TOP * often / (often + norm)
    return {key: score / top for key, score in scores.items()}


async def all_ids(index: LexicalIndex, name: str, *, batch: int = 1000) -> list[int]:
    return [key async for part in index.iterate(name, batch=batch) for key in part]


class LexicalIndexSuite:
    """Behaviour of one index, and of a second one on the same data."""

    @pytest.fixture
    def open_index(self) -> Callable[[], LexicalIndex]:
        raise NotImplementedError("a subclass says how its index is opened")

    @pytest.fixture
    async def index(self, open_index: Callable[[], LexicalIndex]) -> AsyncIterator[LexicalIndex]:
        index = open_index()
        with blockbuster_ctx():
            yield index
        await index.aclose()

    @pytest.fixture
    def name(self) -> str:
        return f"test-{uuid.uuid4().hex}"

    async def fill(self, index: LexicalIndex, name: str, texts: dict[int, str]) -> None:
        await index.upsert(name, entries(texts))
        await index.commit(name)

    async def found(self, index: LexicalIndex, name: str, question: str, *, limit: int = 10) -> list[int]:
        return [hit.id for hit in (await index.search(name, analyse(question), limit=limit)).hits]

    async def test_an_index_never_written_to_is_empty(self, index: LexicalIndex, name: str) -> None:
        """It counts nothing, finds nothing, and weighs a question's terms as unknown ones."""
        assert await index.count(name) == 0
        assert await all_ids(index, name) == []
        result = await index.search(name, analyse("rotated keys"), limit=5)
        assert result.hits == []
        assert result.weights.unigrams == pytest.approx(dict.fromkeys(["rotat", "key"], fusion.term_weight(0, 0)))
        await index.delete(name, [1])
        await index.commit(name)
        await index.drop(name)

    async def test_commits_with_more_to_come(self, index: LexicalIndex, name: str) -> None:
        """Each is seen at once; an entry that was committed before is replaced, as one that was not; terms may come
        joined."""
        await index.upsert(name, [LexicalEntry(1, analyse("red keys")), LexicalEntry(2, analyse("blue keys").joined())])
        await index.commit(name, more=True)
        assert await self.found(index, name, "keys") == [1, 2]
        await index.upsert(name, [LexicalEntry(1, analyse("green locks"))])
        await index.upsert(name, [LexicalEntry(1, analyse("white locks"))])
        await index.commit(name, more=True)
        assert await self.found(index, name, "red green") == []
        assert await self.found(index, name, "white locks") == [1]
        await index.commit(name)
        assert await index.count(name) == 2
        await index.release(name)
        assert await self.found(index, name, "keys") == [2]

    @pytest.mark.parametrize(
        "question",
        ["How are keys rotated?", "九十天轮换密钥", "keys 密钥", "key", "lunch at noon in the cafeteria", "餐"],
    )
    async def test_scores_are_the_formulas(self, index: LexicalIndex, name: str, question: str) -> None:
        """BM25 over three fields, over the most it could be; every text that shares a term, best first."""
        await self.fill(index, name, TEXTS)
        result = await index.search(name, analyse(question), limit=100)
        exact = exact_scores(TEXTS, analyse(question))
        assert {hit.id for hit in result.hits} == set(exact)
        for hit in result.hits:
            assert hit.score == pytest.approx(exact[hit.id], abs=TOLERANCE)
            assert 0.0 < hit.score < 1.0
        assert result.hits == sorted(result.hits, key=lambda hit: (-hit.score, hit.id))

    async def test_weights_tell_how_rare_a_term_is_here(self, index: LexicalIndex, name: str) -> None:
        """Each distinct term of the question once, by field, unknown ones too."""
        await self.fill(index, name, TEXTS)
        weights = (await index.search(name, analyse("keys keys rotated zeppelin 午餐"), limit=1)).weights
        total = len(TEXTS)
        known = {"key": 3, "rotat": 2, "zeppelin": 0, "午餐": 1}
        assert weights.unigrams == pytest.approx({t: fusion.term_weight(total, n) for t, n in known.items()})
        assert set(weights.bigrams) == {"key_key", "key_rotat", "rotat_zeppelin"}
        assert set(weights.characters) == {"午", "餐"}

    async def test_the_limit_keeps_the_best(self, index: LexicalIndex, name: str) -> None:
        """Fewer hits are the first of more; none at all for a limit of 0."""
        await self.fill(index, name, TEXTS)
        every = await self.found(index, name, "rotate keys")
        assert len(every) == 3
        assert await self.found(index, name, "rotate keys", limit=2) == every[:2]
        assert await self.found(index, name, "rotate keys", limit=0) == []

    async def test_a_search_among_some(self, index: LexicalIndex, name: str) -> None:
        """Only those are found, with the scores that they have anyway; none where none is given or there."""
        await self.fill(index, name, TEXTS)
        question = analyse("How are keys rotated?")
        every = (await index.search(name, question, limit=9)).hits
        some = await index.search(name, question, limit=9, among=[2, 3, 6, 99])
        assert [hit.id for hit in some.hits] == [hit.id for hit in every if hit.id in (2, 6)]
        assert dict(some.hits) == pytest.approx({key: score for key, score in every if key in (2, 6)}, abs=1e-6)
        for none in ([], [99]):
            assert (await index.search(name, question, limit=9, among=none)).hits == []

    async def test_a_search_among_thousands(self, index: LexicalIndex, name: str) -> None:
        """The best of those, also where these are the worst of all: what is found without `among`, less the others."""
        words = ["harbour", "harbour crane", "crane", "ship and river", "lighthouse"]
        await self.fill(index, name, {key: f"{words[key * 7 % 5]} {'sea ' * (key % 3)}" for key in range(7000)})
        question = analyse("harbour crane at sea")
        every = (await index.search(name, question, limit=7000)).hits
        worst = [hit.id for hit in every[-1000:]] + [key for key in range(7000) if key * 7 % 5 > 2]
        for some in (range(500, 7000), range(0, 7000, 2), worst, range(2, 7000, 5), range(6000, 20_000)):
            expected = [hit for hit in every if hit.id in set(some)]
            for limit in (7, 300):
                found = await index.search(name, question, limit=limit, among=some)
                assert [hit.id for hit in found.hits] == [hit.id for hit in expected[:limit]]
                assert dict(found.hits) == pytest.approx(dict(expected[:limit]), abs=1e-6)
                assert found.weights == (await index.search(name, question, limit=1)).weights

    async def test_ties_break_by_id(self, index: LexicalIndex, name: str) -> None:
        """Of equal texts those with the lowest ids are found, in whatever order they were written."""
        ids = [*range(900, 1000), *range(100, 200)]
        for part in (ids[:70], ids[70:]):
            await self.fill(index, name, dict.fromkeys(part, "equal texts everywhere"))
        assert await self.found(index, name, "equal texts", limit=7) == list(range(100, 107))

    @pytest.mark.parametrize("question", ["", "🙂", "zeppelin", "的"])
    async def test_a_question_without_a_known_term_finds_nothing(
        self, index: LexicalIndex, name: str, question: str
    ) -> None:
        """No term, or only unknown ones: no hits and no error."""
        await self.fill(index, name, {1: "Keys are rotated."})
        assert await self.found(index, name, question) == []

    async def test_endless_questions_are_answered(self, index: LexicalIndex, name: str) -> None:
        """100,000 characters of distinct words still find the text they hold the words of."""
        await self.fill(index, name, TEXTS)
        question = (
            " ".join(f"word{n}" for n in range(12_000))
            + " rotated keys 密钥"
            + "".join(map(chr, range(0x4E00, 0x6000)))
        )
        assert {1, 2, 4, 6} <= set(await self.found(index, name, question))

    async def test_upsert_replaces(self, index: LexicalIndex, name: str) -> None:
        """The same id again: within one batch, before a commit and after it; the last one stays."""
        await index.upsert(name, [LexicalEntry(1, analyse("first")), LexicalEntry(1, analyse("second"))])
        await index.upsert(name, entries({1: "third", 2: "other"}))
        await index.commit(name)
        assert await index.count(name) == 2
        assert [await self.found(index, name, word) for word in ("first", "second", "third")] == [[], [], [1]]
        await self.fill(index, name, {1: "fourth"})
        assert await index.count(name) == 2
        assert [await self.found(index, name, word) for word in ("third", "fourth", "other")] == [[], [1], [2]]

    async def test_delete_removes(self, index: LexicalIndex, name: str) -> None:
        """What is deleted is not found, counted or listed; unknown ids are no error; others stay."""
        await self.fill(index, name, TEXTS)
        await index.delete(name, [1, 6, 404])
        await index.commit(name)
        assert await self.found(index, name, "keys") == [2]
        assert sorted(await all_ids(index, name)) == sorted(TEXTS.keys() - {1, 6})
        assert await index.count(name) == len(TEXTS) - 2

    async def test_a_deleted_id_may_come_back(self, index: LexicalIndex, name: str) -> None:
        """Also in the same batch as its deletion."""
        await self.fill(index, name, {1: "first"})
        await index.delete(name, [1])
        await index.upsert(name, entries({1: "again"}))
        await index.commit(name)
        assert await self.found(index, name, "again") == [1]
        assert await self.found(index, name, "first") == []

    async def test_texts_without_terms_are_counted(self, index: LexicalIndex, name: str) -> None:
        """They cannot be found, but are there."""
        await self.fill(index, name, {1: "🙂", 2: "keys"})
        assert await index.count(name) == 2
        assert await self.found(index, name, "keys") == [2]

    async def test_ids_come_in_batches(self, index: LexicalIndex, name: str) -> None:
        """Each id once, no batch larger than asked, up to the largest id."""
        await self.fill(index, name, TEXTS)
        batches = [part async for part in index.iterate(name, batch=3)]
        assert all(1 <= len(part) <= 3 for part in batches)
        assert sorted(key for part in batches for key in part) == sorted(TEXTS)

    async def test_indexes_are_apart(self, index: LexicalIndex, name: str) -> None:
        """What is in one is neither found in another nor dropped with it."""
        other = f"{name}-b"
        await self.fill(index, name, {1: "keys"})
        await self.fill(index, other, {2: "keys"})
        assert await self.found(index, name, "keys") == [1]
        await index.drop(name)
        assert await index.count(name) == 0
        assert await self.found(index, other, "keys") == [2]

    async def test_a_dropped_index_begins_anew(self, index: LexicalIndex, name: str) -> None:
        """Also when writes were waiting for a commit: they are gone with it."""
        await self.fill(index, name, {1: "keys"})
        await index.upsert(name, entries({2: "keys"}))
        await index.drop(name)
        await index.drop(name)
        assert await self.found(index, name, "keys") == []
        await self.fill(index, name, {3: "keys"})
        assert await self.found(index, name, "keys") == [3]

    async def test_commits_are_seen_by_others(self, open_index: Callable[[], LexicalIndex], name: str) -> None:
        """A second index on the same data sees each commit after a refresh, and may then write itself."""
        one, other = open_index(), open_index()
        await self.fill(one, name, {1: "keys"})
        await other.refresh(name)
        assert await self.found(other, name, "keys") == [1]
        await self.fill(other, name, {2: "keys"})
        await one.refresh(name)
        assert await self.found(one, name, "keys") == [1, 2]
        await one.delete(name, [1])
        await one.commit(name)
        await other.refresh(name)
        assert await self.found(other, name, "keys") == [2]
        await other.drop(name)
        await one.refresh(name)
        assert await self.found(one, name, "keys") == []
        await self.fill(one, name, {5: "locks", 6: "keys and locks"})
        await other.refresh(name)
        assert await self.found(other, name, "locks keys") == [6, 5]
        await one.aclose()
        await other.aclose()

    async def test_what_was_committed_outlives_the_index(
        self, open_index: Callable[[], LexicalIndex], name: str
    ) -> None:
        """Closing loses nothing; what was not committed does not count. Closing twice does nothing."""
        first = open_index()
        await self.fill(first, name, TEXTS)
        await first.upsert(name, entries({50: "uncommitted keys"}))
        await first.aclose()
        await first.aclose()
        again = open_index()
        assert await again.count(name) == len(TEXTS)
        assert {1, 2, 6} <= set(await self.found(again, name, "keys"))
        await again.delete(name, [50])
        await self.fill(again, name, {51: "keys"})
        assert await again.count(name) == len(TEXTS) + 1
        assert 50 not in await self.found(again, name, "keys")
        await again.aclose()

    async def test_searches_go_on_while_it_is_written(self, index: LexicalIndex, name: str) -> None:
        """A reader sees each commit wholly or not at all."""
        await self.fill(index, name, {0: "keys"})
        done = False
        sizes: set[int] = set()

        async def read() -> None:
            while not done:
                sizes.add(len(await self.found(index, name, "keys", limit=1000)))

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(read)
            for start in range(1, 101, 20):
                await self.fill(index, name, dict.fromkeys(range(start, start + 20), "keys"))
            done = True
        assert sizes <= {1, 21, 41, 61, 81, 101}
        assert len(await self.found(index, name, "keys", limit=1000)) == 101

    async def test_many_entries(self, index: LexicalIndex, name: str) -> None:
        """Thousands in one call; the rare one among them is found first."""
        texts = dict.fromkeys(range(5000), "common words of every text")
        texts[4321] = "common words and one lighthouse"
        await self.fill(index, name, texts)
        assert (await self.found(index, name, "common lighthouse"))[0] == 4321
        assert await index.count(name) == 5000

    async def test_equal_data_scores_equally(self, index: LexicalIndex, name: str) -> None:
        """Written in one go or in parts, with deletions in between: the same hits with nearly the same scores."""
        other = f"{name}-b"
        await self.fill(index, name, TEXTS)
        await self.fill(index, other, dict.fromkeys(TEXTS, "something else first"))
        for key, text in reversed(TEXTS.items()):
            await self.fill(index, other, {key: text})
        question = analyse("How are the keys rotated? 密钥")
        one, two = [(await index.search(which, question, limit=9)).hits for which in (name, other)]
        assert [hit.id for hit in one] == [hit.id for hit in two]
        assert all(math.isclose(a.score, b.score, abs_tol=TOLERANCE) for a, b in zip(one, two, strict=True))
