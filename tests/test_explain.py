"""The trace of a retrieval: it says what happened, and asking for it changes nothing."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import kbchat
from kbchat import fusion
from kbchat.errors import InvalidInputError
from kbchat.retrieval import searching, selecting
from kbchat.retrieval.explaining import Clock, Cut, Explanation
from kbchat.sync import KnowledgeBase as SyncKnowledgeBase

QUESTION = "How are keys rotated?"


def note(number: int) -> kbchat.TextDocument:
    text = f"Keys of house {number} are rotated every {number} days by its owner. Lunch is at noon."
    return kbchat.TextDocument(name=f"n{number}", text=text, metadata={"number": number, "odd": bool(number % 2)})


@pytest.fixture
async def space(tmp_path: Path) -> AsyncIterator[kbchat.KnowledgeSpace]:
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        made = await kb.create_space("handbook")
        await made.ingest([note(number) for number in range(80)])
        yield made


def ids(explained: Explanation, cut: Cut | None) -> list[int]:
    return [it.chunk_id for it in explained.candidates if it.cut is cut]


@pytest.mark.parametrize("threshold", [None, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("top_k", [1, 5, 60])
async def test_it_finds_what_retrieve_finds(space: kbchat.KnowledgeSpace, top_k: int, threshold: float | None) -> None:
    """The references are the same to the last digit, and only they were not cut."""
    explained = await space.explain(QUESTION, top_k=top_k, score_threshold=threshold)
    assert list(explained.references) == await space.retrieve(QUESTION, top_k=top_k, score_threshold=threshold)
    assert ids(explained, None) == [it.chunk_id for it in explained.references]
    assert (explained.top_k, explained.score_threshold) == (top_k, threshold)


async def test_the_numbers_of_each_stage_fit_together(space: kbchat.KnowledgeSpace) -> None:
    """Fused is the weighted sum, the lifted order the result's; ranks follow scores; scores are shares of the best."""
    explained = await space.explain(QUESTION, top_k=3)
    weighing = explained.weighing
    assert weighing is not None
    scored = [it for it in explained.candidates if it.lifted is not None]
    assert [it.lifted.rank for it in scored if it.lifted] == list(range(1, len(scored) + 1))
    best = scored[0]
    assert best.lifted is not None
    for it in scored:
        assert it.fused is not None
        assert it.lifted is not None
        assert it.lexical is not None
        assert it.sentence is not None
        total = it.lexical + weighing.dense * (it.dense or 0.0) + weighing.sentence * it.sentence
        assert it.fused.score == pytest.approx(total)
        assert it.lifted.score >= it.fused.score
        assert it.recall_score == pytest.approx(explained.confidence * it.lifted.score / best.lifted.score)
        assert it.content is not None
        assert it.content.startswith("Keys of house")
    for stage in ("dense_search", "lexical_search", "promise", "fused"):
        places = sorted(
            (place.rank, place.score) for it in explained.candidates if (place := getattr(it, stage)) is not None
        )
        assert [score for _, score in places] == sorted((score for _, score in places), reverse=True), stage
        assert len({rank for rank, _ in places}) == len(places)


async def test_every_candidate_is_told_of_once(space: kbchat.KnowledgeSpace) -> None:
    """What was read and did not suffice, and what was never read, which has its place in the searches and its name."""
    explained = await space.explain(QUESTION, top_k=2)
    everything = [it.chunk_id for it in explained.candidates]
    assert len(set(everything)) == len(everything) >= explained.depth == 50
    assert len(ids(explained, Cut.TOP_K)) == 30
    unread = [it for it in explained.candidates if it.cut is Cut.NOT_READ]
    assert unread
    for it in unread:
        assert it.promise is not None
        assert it.name is not None
        assert (it.fused, it.lifted, it.recall_score) == (None, None, None)


async def test_the_threshold_cuts_within_top_k(space: kbchat.KnowledgeSpace) -> None:
    """What was not among the best is cut for that, whatever it scores."""
    explained = await space.explain(QUESTION, top_k=4, score_threshold=1.0)
    assert explained.references == ()
    assert len(ids(explained, Cut.SCORE_THRESHOLD)) == 4
    assert all(it.recall_score is not None and it.recall_score < 1 for it in explained.candidates[:4])


async def test_the_confidence_follows_from_its_clues(space: kbchat.KnowledgeSpace) -> None:
    """The offset and the parts add up to its logit; it is the best hit's score."""
    for question in (QUESTION, "What do penguins sing?", "密钥多久轮换一次？"):
        explained = await space.explain(question)
        logit = explained.offset + sum(clue.part for clue in explained.clues)
        assert explained.confidence == pytest.approx(fusion.sigmoid(logit))
        assert [clue.name for clue in explained.clues] == list(fusion.Constants._fields[1:])
        if explained.references and explained.references[0].recall_score:
            assert explained.references[0].recall_score == explained.confidence


@pytest.mark.parametrize("few", [0, 10**9], ids=["searched", "each"])
async def test_a_filter_is_seen_at_work(
    space: kbchat.KnowledgeSpace, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it does not select is no candidate; where few are selected each is one."""
    monkeypatch.setattr(selecting, "FEW_CHUNKS", few)
    where = {"field": "odd", "eq": True}
    explained = await space.explain(QUESTION, where=where)
    assert list(explained.references) == await space.retrieve(QUESTION, where=where)
    assert explained.selected is not None
    assert explained.selected.documents == 40
    assert explained.selected.share == pytest.approx(0.5)
    assert explained.selected.one_by_one is bool(few)
    assert all(it.name is not None and int(it.name[1:]) % 2 == 1 for it in explained.candidates)
    assert len(explained.candidates) == 40


async def test_a_filter_that_selects_nothing(space: kbchat.KnowledgeSpace) -> None:
    """Nothing is searched, and the trace says so."""
    explained = await space.explain(QUESTION, where={"field": "number", "eq": -1})
    assert (explained.references, explained.candidates, explained.confidence) == ((), (), 0.0)
    assert explained.selected is not None
    assert (explained.selected.documents, explained.rounds) == (0, 0)


async def test_what_is_dead_is_told_apart(tmp_path: Path) -> None:
    """A chunk that only the indexes still know has no name and no text, and is not live."""
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        space = await kb.create_space("handbook")
        await space.ingest([note(number) for number in range(3)])
        [dead] = await space.document_chunks("n1")
        parts = kb._parts
        assert parts is not None
        # What a process that was killed between publishing and collecting leaves behind.
        document = await space.get_document("n1")
        await parts.catalog.delete_document(space.id, document.id, writer=parts.writer_id)
        explained = await space.explain(QUESTION)
        assert {it.name for it in explained.references} == {"n0", "n2"}
        [candidate] = [it for it in explained.candidates if it.cut is Cut.NOT_LIVE]
        assert candidate.chunk_id == dead.id
        assert (candidate.name, candidate.content) == (None, None)
        assert candidate.dense_search is not None


async def test_an_empty_space_has_an_empty_trace(tmp_path: Path) -> None:
    """And a question that cannot be asked is refused as by `retrieve`."""
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        space = await kb.create_space("empty")
        explained = await space.explain(QUESTION, top_k=7)
        assert (explained.question, explained.top_k, explained.candidates, explained.rounds) == (QUESTION, 7, (), 0)
        for bad, field in (({"top_k": 0}, "top_k"), ({"score_threshold": 2.0}, "score_threshold")):
            with pytest.raises(InvalidInputError, match=field):
                await space.explain(QUESTION, **bad)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="query"):
            await space.explain(" ")
        with pytest.raises(InvalidInputError, match="where: must hold"):
            await space.explain(QUESTION, where={})


def fates(explained: Explanation) -> dict[str, str]:
    return {it.name: it.prompt for it in explained.candidates if it.prompt is not None and it.name is not None}


async def test_it_tells_what_a_prompt_quotes(tmp_path: Path) -> None:
    """What is quoted, what is too far behind, what there is no room for, and how large the prompt would be."""
    texts = {
        "long": "Keys are rotated every ninety days. " * 60,
        "keys": "The keys of the house are rotated every ninety days by its owner.",
        "lunch": "Lunch is at noon, and keys to the kitchen hang beside the door.",
    }
    for room, told in ((8000, {"tail"}), (600, {"budget"})):
        settings = kbchat.Settings(data_dir=tmp_path, prompt_tokens=room, chunk_tokens=1000)
        async with kbchat.KnowledgeBase(settings=settings) as kb:
            space = await kb.create_space("handbook", exist_ok=True)
            await space.ingest([kbchat.TextDocument(name=name, text=text) for name, text in texts.items()])
            explained = await space.explain(QUESTION)
            assert explained.prompt is not None
            assert explained.prompt.tokens <= explained.prompt.budget == room
            found = fates(explained)
            assert "quoted" in found.values()
            assert told <= set(found.values())
            assert len(found) == len(explained.references)
            events = [event async for event in space.stream(QUESTION, model="extractive")]
            assert isinstance(events[0], kbchat.Retrieved)
            assert {it.name for it in events[0].dropped} == {name for name, fate in found.items() if fate == "budget"}
            quoted = {reference.name for passage in events[0].passages for reference in passage.references}
            assert quoted == {name for name, fate in found.items() if fate in ("quoted", "shortened")}
            foreign = await space.explain("What do penguins sing?")
            assert set(fates(foreign).values()) <= {"not_found"}


async def test_a_question_that_fills_the_prompt_is_explained(tmp_path: Path) -> None:
    """The trace is of retrieval; that no prompt can be made is no failure of it."""
    settings = kbchat.Settings(data_dir=tmp_path, prompt_tokens=256)
    async with kbchat.KnowledgeBase(settings=settings) as kb:
        space = await kb.create_space("handbook")
        await space.ingest([note(number) for number in range(3)])
        explained = await space.explain("How are the keys rotated? " * 200)
        assert explained.references
        assert explained.prompt is None


async def test_a_conversation_is_explained(space: kbchat.KnowledgeSpace) -> None:
    """What a follow-up was searched for is told, and all that was tried; the hits are those of its answer."""
    turns = [
        kbchat.Message(role="user", content="How are the keys of house 7 rotated?"),
        kbchat.Message(role="assistant", content="Often."),
        kbchat.Message(role="user", content="And by whom?"),
    ]
    explained = await space.explain(turns)
    assert explained.question == "How are the keys of house 7 rotated?\nAnd by whom?"
    assert explained.searched == (explained.question,)
    events = [event async for event in space.stream(turns)]
    assert isinstance(events[0], kbchat.Retrieved)
    assert (events[0].question, events[0].references) == (explained.question, explained.references)
    foreign = kbchat.Message(role="user", content="What do penguins sing?")
    lost = await space.explain([foreign, turns[1], turns[2]])
    assert lost.searched == ("What do penguins sing?\nAnd by whom?", "And by whom?")
    with pytest.raises(InvalidInputError, match="messages: must end with"):
        await space.explain(turns[:2])


async def test_the_trace_survives_json(space: kbchat.KnowledgeSpace) -> None:
    """Written as JSON and read again it is the same."""
    explained = await space.explain(QUESTION, top_k=2, where={"field": "odd", "eq": False})
    assert Explanation.model_validate_json(explained.model_dump_json()) == explained


def test_the_clock_adds_up_what_stages_take() -> None:
    """Each stage its own seconds, over all rounds, also when a stage fails."""
    ticks = iter([0.0, 1.0, 3.0, 10.0, 14.0, 20.0, 21.0, 30.0])
    clock = Clock(lambda: next(ticks))
    with clock.time("reading"):
        pass
    with clock.time("reading"):
        pass
    with pytest.raises(KeyError), clock.time("scoring"):
        raise KeyError
    timings = clock.read()
    assert (timings.reading, timings.scoring, timings.analysis, timings.total) == (6.0, 1.0, 0.0, 30.0)


async def test_what_was_not_read_ahead_is_read(space: kbchat.KnowledgeSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the words alone told what is wanted makes no difference to what is found."""
    monkeypatch.setattr(searching, "AHEAD", 200)
    ahead = await space.explain(QUESTION)
    assert (ahead.timings.reading_ahead > 0, ahead.timings.reading) == (True, 0.0)
    monkeypatch.setattr(searching, "AHEAD", -31)
    late = await space.explain(QUESTION)
    assert late.timings.reading > 0
    assert late.references == ahead.references
    assert late.candidates == ahead.candidates


async def test_the_stages_take_what_they_take(space: kbchat.KnowledgeSpace) -> None:
    """Every stage that ran has a time, none more than the whole."""
    timings = (await space.explain(QUESTION)).timings
    ran = (timings.analysis, timings.embedding, timings.dense_search, timings.lexical_search, timings.reading_ahead)
    assert all(0 < seconds <= timings.total for seconds in (*ran, timings.scoring, timings.confidence))


def test_without_await(tmp_path: Path) -> None:
    """The face without `await` explains too."""
    with SyncKnowledgeBase(tmp_path) as kb:
        space = kb.create_space("handbook")
        space.ingest(note(1))
        explained = space.explain(QUESTION)
        assert list(explained.references) == space.retrieve(QUESTION)
