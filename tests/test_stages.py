"""Retrieval's stages, each chosen by call or in the settings: strategies, diversity, and text around the hits."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kbchat
from kbchat import fusion
from kbchat.chunking import Splitting
from kbchat.errors import InvalidInputError
from kbchat.models import Chunk
from kbchat.retrieval import scoring, selecting
from kbchat.retrieval.explaining import Cut, Scored
from kbchat.settings import RetrievalSettings
from kbchat.strategies import Expand, Stages, Strategy

QUESTION = "How often are the signing keys rotated?"
NOTES = {
    "keys": "The signing keys are rotated every ninety days.",
    "lock": "How often: the locks of the doors are changed once a year, the signing of visitors is a duty.",
    "swap": "Certificates get exchanged quarterly.",
    "food": "Lunch is served at noon.",
}
GUIDE = "# Guide\n\n## Keys\n\n{keys}\n\n## Lunch\n\n{lunch}\n\n# Annex\n\nNothing here.\n"


def guide() -> str:
    keys = "\n\n".join(f"Key number {n} is kept in drawer {n} of the {n}th floor, behind the fern." for n in range(12))
    lunch = "\n\n".join(f"On day {n} there is soup number {n}, and bread." for n in range(12))
    return GUIDE.format(keys=keys, lunch=lunch)


@pytest.fixture
async def kb(tmp_path: Path) -> AsyncIterator[kbchat.KnowledgeBase]:
    async with kbchat.KnowledgeBase(tmp_path) as opened:
        yield opened


@pytest.fixture
async def notes(kb: kbchat.KnowledgeBase) -> kbchat.KnowledgeSpace:
    space = await kb.create_space("notes")
    await space.ingest([kbchat.TextDocument(name=name, text=text) for name, text in NOTES.items()])
    return space


@pytest.fixture
async def manual(kb: kbchat.KnowledgeBase) -> kbchat.KnowledgeSpace:
    space = await kb.create_space("manual")
    await space.ingest(kbchat.TextDocument(name="guide.md", text=guide()), splitting=Splitting(max_tokens=24))
    return space


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_each_strategy_finds_in_order(notes: kbchat.KnowledgeSpace, strategy: Strategy) -> None:
    """The best hit is the answer and says so, scores never rise, and the trace is of what `retrieve` finds."""
    found = await notes.retrieve(QUESTION, strategy=strategy)
    assert found[0].name == "keys"
    assert found[0].recall_score > 0.5
    assert [it.recall_score for it in found] == sorted((it.recall_score for it in found), reverse=True)
    explained = await notes.explain(QUESTION, strategy=strategy.value)
    assert list(explained.references) == found
    assert explained.strategy is strategy
    foreign = await notes.retrieve("Who won the chess championship in Iceland?", strategy=strategy)
    assert all(it.recall_score < 0.5 for it in foreign)


async def test_dense_goes_by_cosine_alone(notes: kbchat.KnowledgeSpace) -> None:
    """Hits stand by their cosine, and only what the store brought is one."""
    explained = await notes.explain(QUESTION, strategy="dense")
    cosines = [it.dense for it in explained.candidates if it.dense is not None]
    assert cosines == sorted(cosines, reverse=True)
    assert all(it.dense_search for it in explained.candidates)
    assert explained.weighing is not None
    assert explained.weighing.model_dump() == {"lexical": 0.0, "dense": 1.0, "sentence": 0.0, "lift": 0.0}


async def test_lexical_asks_no_store(notes: kbchat.KnowledgeSpace, kb: kbchat.KnowledgeBase) -> None:
    """It answers also while the vectors are gone, and hits stand by their words."""
    parts = kb._parts
    assert parts is not None
    await parts.store(notes.vector_type).drop_collection((await notes.refresh()).collection)
    explained = await notes.explain(QUESTION, strategy="lexical")
    lexical = [it.lexical for it in explained.candidates if it.lexical is not None]
    assert lexical == sorted(lexical, reverse=True)
    assert {it.name for it in explained.candidates} == {"keys", "lock"}
    assert all(it.dense is None for it in explained.references)


async def test_ranks_are_added_up(notes: kbchat.KnowledgeSpace) -> None:
    """The score is the sum of 1 / (60 + rank) over the searches that brought a hit."""
    explained = await notes.explain(QUESTION, strategy="ranks")
    assert explained.weighing is None
    for it in explained.candidates:
        ranks = [place.rank for place in (it.dense_search, it.lexical_search) if place]
        assert it.fused is not None
        assert it.fused.score == pytest.approx(fusion.fuse_ranks(ranks))


@pytest.mark.parametrize("strategy", list(Strategy))
@pytest.mark.parametrize("few", [0, 10**9], ids=["searched", "each"])
async def test_strategies_and_filters(
    kb: kbchat.KnowledgeBase, strategy: Strategy, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter selects the same whether the selected are searched for or scored each."""
    monkeypatch.setattr(selecting, "FEW_CHUNKS", few)
    space = await kb.create_space("numbered")
    texts = {f"n{n}": f"Key {n} of house {n % 7} is rotated every {n} days." for n in range(60)}
    await space.ingest(
        [kbchat.TextDocument(name=name, text=text, metadata={"odd": int(name[1:]) % 2}) for name, text in texts.items()]
    )
    found = await space.retrieve("Which key is rotated?", where={"field": "odd", "eq": 1}, strategy=strategy, top_k=9)
    assert len(found) == 9
    assert all(int(it.name[1:]) % 2 for it in found)
    every = await space.retrieve("Which key is rotated?", strategy=strategy, top_k=60)
    assert {it.name for it in found} <= {it.name for it in every}


@pytest.mark.parametrize("few", [0, 10**9], ids=["searched", "each"])
async def test_a_filter_adds_no_hits(kb: kbchat.KnowledgeBase, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What shares no word with the question is no lexical hit, however few documents a filter leaves."""
    monkeypatch.setattr(selecting, "FEW_CHUNKS", few)
    space = await kb.create_space("shelf")
    texts = {"zoo": "The zoo sells ice cream.", "keys": "Keys are rotated every day.", "people": "Maria runs it."}
    await space.ingest(
        [kbchat.TextDocument(name=name, text=text, metadata={"zoo": name == "zoo"}) for name, text in texts.items()]
    )
    explained = await space.explain("zoo ice cream", where={"field": "zoo", "exists": True}, strategy="lexical")
    assert [it.name for it in explained.references] == ["zoo"]
    assert [it.name for it in explained.candidates] == ["zoo"]
    assert await space.retrieve("zoo ice cream", where={"field": "zoo", "eq": False}, strategy="lexical") == []


def test_whatever_is_chosen_is_chosen_once() -> None:
    """What a call may choose is what the settings may, with one range for both."""
    assert {"top_k", "score_threshold", *Stages.__annotations__} == RetrievalSettings.model_fields.keys()
    for name, most in (("top_k", 1000), ("expand_tokens", 100_000), ("diversity", 1), ("dense_weight", 10)):
        assert getattr(kbchat.Settings.model_validate({name: most}), name) == most
        with pytest.raises(kbchat.errors.SettingsError, match=name):
            kbchat.Settings.model_validate({name: most + 1})


async def test_settings_choose_too(tmp_path: Path) -> None:
    """What a call does not say, they do; what they cannot mean is refused with the words there are."""
    settings = kbchat.Settings(data_dir=tmp_path, strategy=Strategy.DENSE, diversity=0.3, expand=Expand.SECTION)
    async with kbchat.KnowledgeBase(settings=settings) as kb:
        space = await kb.create_space("notes")
        await space.ingest([kbchat.TextDocument(name=name, text=text) for name, text in NOTES.items()])
        explained = await space.explain(QUESTION)
        assert (explained.strategy, explained.diversity, explained.expand) == ("dense", 0.3, "section")
        chosen = await space.explain(QUESTION, strategy="lexical", diversity=0.0, expand="none")
        assert (chosen.strategy, chosen.diversity, chosen.expand) == ("lexical", 0.0, "none")
        with pytest.raises(InvalidInputError, match="strategy: 'best' is unknown; use one of: hybrid, dense"):
            await space.retrieve(QUESTION, strategy="best")
        with pytest.raises(InvalidInputError, match="expand: 'all' is unknown"):
            await space.retrieve(QUESTION, expand="all")
        for bad in (-0.1, 1.1, float("nan")):
            with pytest.raises(InvalidInputError, match="diversity: must be between 0 and 1"):
                await space.retrieve(QUESTION, diversity=bad)
        with pytest.raises(InvalidInputError, match="expand_tokens: must be between 1 and"):
            await space.retrieve(QUESTION, expand_tokens=0)
        with pytest.raises(TypeError, match="'nonsense'"):
            await space.retrieve(QUESTION, nonsense=1)  # type: ignore[call-arg]


async def test_weights_say_what_counts(kb: kbchat.KnowledgeBase, notes: kbchat.KnowledgeSpace) -> None:
    """By call: without the cosines the score is that of the words; the trace says what each counted."""
    explained = await notes.explain(QUESTION, dense_weight=0.0, sentence_weight=0.0)
    assert explained.weighing is not None
    assert (explained.weighing.dense, explained.weighing.sentence) == (0.0, 0.0)
    scored = [it for it in explained.candidates if it.fused is not None]
    assert [it.fused.score for it in scored if it.fused] == [it.lexical for it in scored]
    heavy = await notes.explain(QUESTION, dense_weight=2)
    best = heavy.candidates[0]
    assert best.fused is not None and best.lexical is not None and best.dense is not None and best.sentence is not None
    assert best.fused.score == pytest.approx(best.lexical + 2 * best.dense + 0.15 * best.sentence)
    with pytest.raises(InvalidInputError, match="sentence_weight: must be between 0 and 10"):
        await notes.retrieve(QUESTION, sentence_weight=-1)


async def test_diversity_makes_room_for_others(kb: kbchat.KnowledgeBase) -> None:
    """Of passages that say the same one is enough; the best one stays, and the trace says what was too alike."""
    space = await kb.create_space("copies")
    texts = {f"copy{n}": "The signing keys are rotated every ninety days." for n in range(5)}
    texts["other"] = "Who rotates keys: the operations team, signing a protocol each time."
    await space.ingest([kbchat.TextDocument(name=name, text=text) for name, text in texts.items()])
    plain = await space.retrieve(QUESTION, top_k=2)
    assert {it.name for it in plain} == {"copy0", "copy1"}
    explained = await space.explain(QUESTION, top_k=2, diversity=0.5)
    assert [it.name for it in explained.references] == ["copy0", "other"]
    assert explained.references[0].recall_score == plain[0].recall_score
    assert [it.name for it in explained.candidates if it.cut is Cut.ALIKE] == ["copy1", "copy2", "copy3", "copy4"]


def scored(values: list[float]) -> list[Scored]:
    chunks = [
        Chunk(id=n, document_id=n, document_name="d", position=0, start=0, end=1, content="x")
        for n in range(len(values))
    ]
    ordered = sorted(values, reverse=True)
    return [Scored(chunk, 0, None, 0, it, it, it, b"") for chunk, it in zip(chunks, ordered, strict=True)]


@given(
    st.lists(st.floats(-1, 2), max_size=12),
    st.lists(st.floats(-50, 50), max_size=12),
    st.integers(1, 15),
    st.floats(0, 1),
)
def test_orders_stay_orders(values: list[float], judged: list[float], top_k: int, weight: float) -> None:
    """Reranked or chosen for diversity: scores never rise, nothing is lost or doubled, the best one is among them."""
    ranked = scored(values)
    again = scoring.reranked(ranked, judged[: len(ranked)])
    assert sorted(it.chunk.id for it in again) == [it.chunk.id for it in ranked]
    if judged:
        finals = fusion.recall_scores([it.final for it in again], 0.8)
        assert finals == sorted(finals, reverse=True)
    chosen = scoring.diverse(ranked, top_k, weight, lambda one, other: float(one % 3 == other % 3))
    assert len(chosen) == min(top_k, len(ranked))
    assert [it.chunk.id for it in chosen] == sorted({it.chunk.id for it in chosen})
    assert chosen[:1] == ranked[:1]
    if weight == 0:
        assert chosen == ranked[:top_k]


@pytest.mark.parametrize("expand", [Expand.NEIGHBOURS, Expand.SECTION])
@pytest.mark.parametrize("budget", [1, 40, 60, 120, 5000])
async def test_hits_are_shown_with_what_is_around(manual: kbchat.KnowledgeSpace, expand: Expand, budget: int) -> None:
    """Their text is the document's own, holds the hit, stays in the budget (the hit itself is shown whatever it costs),
    and no two overlap; scores are those of the hits."""
    from kbchat.text.tokens import estimate

    text = (await manual.get_document("guide.md")).text
    assert text is not None
    plain = await manual.retrieve("In which drawer is key number 7?", top_k=4)
    wide = await manual.retrieve("In which drawer is key number 7?", top_k=4, expand=expand, expand_tokens=budget)
    by_id = {it.chunk_id: it for it in plain}
    assert wide[0].chunk_id == plain[0].chunk_id
    taken: set[int] = set()
    for it in wide:
        narrow = by_id[it.chunk_id]
        assert text[it.start : it.end] == it.content
        assert it.start <= narrow.start <= narrow.end <= it.end
        assert it.recall_score == narrow.recall_score
        assert estimate(it.content) <= max(budget * 1.1, estimate(narrow.content))
        assert not taken & set(range(it.start, it.end))
        taken |= set(range(it.start, it.end))
    if budget == 1:
        assert wide == plain


async def test_a_section_ends_at_its_heading(manual: kbchat.KnowledgeSpace) -> None:
    """All of it where the budget allows, nothing of the next; what it swallowed is told in the trace."""
    explained = await manual.explain("In which drawer is key number 7?", top_k=4, expand="section", expand_tokens=5000)
    assert explained.references[0].content.startswith("# Guide\n\n## Keys\n\nKey number 0")
    assert explained.references[0].content.endswith("behind the fern.")
    assert "soup" not in explained.references[0].content
    shown = [it for it in explained.candidates if it.cut is Cut.SHOWN]
    assert len(shown) == 4 - len(explained.references)
    assert shown
    assert explained.timings.expanding > 0


async def test_an_answer_rests_on_the_text_around(manual: kbchat.KnowledgeSpace) -> None:
    """Chat takes the same choices as retrieve."""
    answer = await manual.chat("In which drawer is key number 7?", top_k=1, expand="section", expand_tokens=300)
    assert len(answer.references) == 1
    assert answer.references[0].content.count("Key number") > 3


async def test_the_settings_budget_holds_for_pages(kb: kbchat.KnowledgeBase, tmp_path: Path) -> None:
    """A widened hit says which pages it is on."""
    from kbchat.catalog import Surroundings
    from kbchat.retrieval.expanding import _pages

    chunks = [
        Chunk(id=n, document_id=1, document_name="d", position=n, start=n, end=n + 1, content="x", metadata=of)
        for n, of in enumerate([{"page": 2}, {"page": 3, "page_end": 4}])
    ]
    assert Surroundings(chunks, "xx", 0).start == 0
    assert _pages({"page": 2, "title": "T"}, chunks) == {"title": "T", "page": 2, "page_end": 4}
    assert _pages({"page": 2}, chunks[:1]) == {"page": 2}
    assert _pages({"title": "T"}, [chunks[0].model_copy(update={"metadata": {}})]) == {"title": "T"}


async def test_nothing_is_found_in_an_empty_space(kb: kbchat.KnowledgeBase) -> None:
    """Whatever is asked for."""
    space = await kb.create_space("empty")
    for strategy in Strategy:
        assert await space.retrieve(QUESTION, strategy=strategy, diversity=0.5, expand="section") == []


@pytest.mark.parametrize("strategy", list(Strategy))
@pytest.mark.parametrize("question", ["the", "?", "ᚠᚢᚦᚨᚱᚲ", "keys " * 20_000])
async def test_odd_questions_are_answered_in_order(
    notes: kbchat.KnowledgeSpace, strategy: Strategy, question: str
) -> None:
    """Any strategy: no error, scores in [0, 1] that never rise, also where k is larger than the space."""
    found = await notes.retrieve(question, strategy=strategy, top_k=1000, diversity=0.3, expand="neighbours")
    scores = [it.recall_score for it in found]
    assert scores == sorted(scores, reverse=True)
    assert all(0.0 <= score <= 1.0 for score in scores)
