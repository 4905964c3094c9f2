"""Rerankers: an HTTP server on a real socket in good days and bad ones. Cross-encoders have an environment of their own
(`neighbours`)."""

import json
import math
from collections.abc import AsyncIterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

import kbchat
from kbchat.errors import (
    InvalidInputError,
    MissingExtraError,
    RerankerError,
    RerankerUnavailableError,
    SettingsError,
)
from kbchat.rerankers.cross_encoder import CrossEncoderReranker
from kbchat.rerankers.http import HttpReranker
from kbchat.threads import Threads
from upstream import Behaviour, Exchange, Upstream, answers, upstream

NOTES = {
    "keys": "Signing keys are rotated every ninety days by the operations team.",
    "lunch": "Keys to the cafeteria are kept by the cook. Lunch is at noon.",
    "travel": "Trips abroad need the approval of a manager. Keys of rented cars are given back.",
}


def scores(*values: float, backwards: bool = False) -> Behaviour:
    """A server that gives these scores, whatever it is asked."""

    async def behave(exchange: Exchange) -> None:
        results = [{"index": index, "relevance_score": value} for index, value in enumerate(values)]
        await exchange.status(200, json.dumps({"model": "m", "results": results[::-1] if backwards else results}))

    return behave


def prefers(word: str, *, logits: bool = False) -> Behaviour:
    """A server that scores passages by whether they hold a word."""

    async def behave(exchange: Exchange) -> None:
        found = [float(word in text) for text in exchange.request["documents"]]
        values = [10.0 * value - 5.0 for value in found] if logits else [0.1 + 0.8 * value for value in found]
        await scores(*values)(exchange)

    return behave


@pytest.fixture
async def server() -> AsyncIterator[Upstream]:
    async with upstream() as serving:
        yield serving


@pytest.fixture
async def reranker(server: Upstream) -> AsyncIterator[HttpReranker]:
    made = HttpReranker(model="m", base_url=server.base_url, api_key="secret-key", timeout=5.0)
    yield made
    await made.aclose()
    await made.aclose()


async def test_passages_are_scored(server: Upstream, reranker: HttpReranker) -> None:
    """In the order of the passages, whatever the server's; the request names the model and carries the key."""
    server.behave = scores(0.25, 0.5, 1.0, backwards=True)
    assert await reranker.rerank("q", ["a", "b", "c"]) == [0.25, 0.5, 1.0]
    assert server.last.request == {"model": "m", "query": "q", "documents": ["a", "b", "c"], "top_n": 3}
    assert server.last.headers["authorization"] == "Bearer secret-key"
    assert await reranker.rerank("q", []) == []
    assert len(server.exchanges) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 413, 422])
async def test_refusals_say_what_to_do(server: Upstream, reranker: HttpReranker, status: int) -> None:
    """They come through with the server's words, but never with the key."""
    server.behave = answers(status, '{"detail": "no, secret-key"}')
    with pytest.raises(RerankerError, match=f"answered {status}") as caught:
        await reranker.rerank("q", ["a"])
    assert not isinstance(caught.value, RerankerUnavailableError)
    assert "secret-key" not in caught.value.message
    assert "no, ***" in caught.value.message


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_cannot_now_is_unavailable(server: Upstream, reranker: HttpReranker, status: int) -> None:
    """Asked once: a question waits for the answer."""
    server.behave = answers(status, "later")
    with pytest.raises(RerankerUnavailableError, match=f"answered {status}: later"):
        await reranker.rerank("q", ["a"])
    assert len(server.exchanges) == 1


async def test_a_silent_server_is_not_waited_for(server: Upstream) -> None:
    """The time-out ends it; and so does a connection that breaks, or none."""

    async def hangs(exchange: Exchange) -> None:
        await exchange.hang()

    server.behave = hangs
    silent = HttpReranker(model="m", base_url=server.base_url, timeout=0.1)
    with pytest.raises(RerankerUnavailableError, match=r"within 0\.1 s"):
        await silent.rerank("q", ["a"])
    await silent.aclose()
    nowhere = HttpReranker(model="m", base_url="http://ann:hunter2@127.0.0.1:9", timeout=5.0)
    with pytest.raises(RerankerUnavailableError, match=r"http://127\.0\.0\.1:9/rerank cannot be reached") as caught:
        await nowhere.rerank("q", ["a"])
    assert "hunter2" not in caught.value.message  # A password in an address is not told.
    await nowhere.aclose()
    with pytest.raises(SettingsError, match="no URL"):
        HttpReranker(model="m", base_url="localhost")


@pytest.mark.parametrize(
    "body",
    [
        "<html>",
        "[]",
        '{"results": null}',
        '{"results": [{"index": 0}]}',
        '{"results": []}',
        '{"results": [{"index": 0, "relevance_score": 0.1}, {"index": 0, "relevance_score": 0.1}]}',
        '{"results": [{"index": 0, "relevance_score": 0.1}, {"index": 2, "relevance_score": 0.1}]}',
        '{"results": [{"index": 0, "relevance_score": NaN}, {"index": 1, "relevance_score": 0.1}]}',
    ],
)
async def test_an_answer_that_is_none(server: Upstream, reranker: HttpReranker, body: str) -> None:
    """Too few scores, too many, of other passages, not finite, or no scores at all."""
    server.behave = answers(200, body)
    with pytest.raises(RerankerError, match="its server"):
        await reranker.rerank("q", ["a", "b"])


@pytest.fixture
async def space(tmp_path: Path, server: Upstream) -> AsyncIterator[kbchat.KnowledgeSpace]:
    settings = kbchat.Settings(data_dir=tmp_path, rerank_model="m", rerank_base_url=server.base_url)
    async with kbchat.KnowledgeBase(settings=settings) as kb:
        made = await kb.create_space("handbook")
        await made.ingest([kbchat.TextDocument(name=name, text=text) for name, text in NOTES.items()])
        yield made


@pytest.mark.parametrize("logits", [False, True])
async def test_the_reranker_has_the_last_word(space: kbchat.KnowledgeSpace, server: Upstream, logits: bool) -> None:
    """Its order is the list's; scores never rise, the best one's stays what it was, and each tells the reranker's."""
    question = "How often are signing keys rotated?"
    before = await space.retrieve(question, rerank=False)
    assert not server.exchanges
    server.behave = prefers("cook", logits=logits)
    found = await space.retrieve(question)
    assert before[0].name == "keys"
    assert found[0].name == "lunch"
    assert {it.name for it in found} == {it.name for it in before}
    assert found[0].recall_score == before[0].recall_score > 0.5
    assert all(it.recall_score < found[0].recall_score / 2 for it in found[1:])
    assert [it.recall_score for it in found] == sorted((it.recall_score for it in found), reverse=True)
    assert [it.rerank for it in found] == ([5.0, -5.0, -5.0] if logits else pytest.approx([0.9, 0.1, 0.1]))
    assert all(it.rerank is None for it in before)


async def test_the_trace_shows_the_reranker(space: kbchat.KnowledgeSpace, server: Upstream) -> None:
    """Its name, its scores and ranks, and how long it took."""
    server.behave = prefers("cook")
    explained = await space.explain("signing keys", top_k=2)
    assert explained.reranker == "m"
    assert explained.candidates[0].name == "lunch"
    assert [it.rerank.rank for it in explained.candidates if it.rerank] == [1, 2, 3]
    assert explained.timings.reranking > 0
    assert list(explained.references) == await space.retrieve("signing keys", top_k=2)
    without = await space.explain("signing keys", rerank=False)
    assert (without.reranker, without.timings.reranking) == (None, 0.0)


async def test_its_errors_come_through(space: kbchat.KnowledgeSpace, server: Upstream) -> None:
    """A reranker that is down is an error, not another order."""
    server.behave = answers(500, "down")
    with pytest.raises(RerankerUnavailableError):
        await space.retrieve("signing keys")


async def test_no_reranker_can_be_asked_for_where_there_is_none(tmp_path: Path) -> None:
    """The message names the setting."""
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        space = await kb.create_space("handbook")
        assert await space.retrieve("keys", rerank=False) == []
        with pytest.raises(InvalidInputError, match="rerank: no reranker is configured"):
            await space.retrieve("keys", rerank=True)
    with pytest.raises(SettingsError, match="rerank_model needs rerank_base_url"):
        async with kbchat.KnowledgeBase(settings=kbchat.Settings(data_dir=tmp_path, rerank_model="m")):
            pass


class Backwards:
    """A reranker of one's own: what is longest comes last."""

    name = "backwards"
    closed = False

    async def rerank(self, question: str, texts: Sequence[str]) -> list[float]:
        return [1.0 / (1 + len(text)) for text in texts]

    async def aclose(self) -> None:
        self.closed = True


async def test_a_reranker_of_ones_own(tmp_path: Path) -> None:
    """It goes before the settings', orders the hits unless a call or the settings say no, and is closed with the
    rest."""
    own = Backwards()
    settings = kbchat.Settings(data_dir=tmp_path, rerank_model="m", rerank_base_url="http://127.0.0.1:9/v1")
    async with kbchat.KnowledgeBase(settings=settings, reranker=own) as kb:
        space = await kb.create_space("handbook")
        await space.ingest([kbchat.TextDocument(name=name, text=text) for name, text in NOTES.items()])
        found = await space.retrieve("Who rotates the signing keys?")
        assert [it.rerank for it in found] == sorted((1.0 / (1 + len(text)) for text in NOTES.values()), reverse=True)
        assert (await space.explain("keys")).reranker == "backwards"
        unasked = await space.retrieve("Who rotates the signing keys?", rerank=False)
        assert unasked[0].name == "keys"
        assert [it.rerank for it in unasked] == [None] * 3
    assert own.closed
    quiet = kbchat.Settings(data_dir=tmp_path, rerank=False)
    async with kbchat.KnowledgeBase(settings=quiet, reranker=Backwards()) as kb:
        space = await kb.get_space("handbook")
        assert (await space.retrieve("keys"))[0].rerank is None
        assert (await space.retrieve("keys", rerank=True))[0].rerank is not None


@pytest.mark.skipif(bool(find_spec("sentence_transformers")), reason="sentence-transformers is installed")
async def test_without_the_extra_it_is_named(tmp_path: Path) -> None:
    """When the first question is asked."""
    with pytest.raises(MissingExtraError, match=r"kbchat\[sentence-transformers\]"):
        await CrossEncoderReranker(str(tmp_path), threads=Threads()).rerank("q", ["a"])


class Answering:
    """A reranker of one's own that answers what it was made with."""

    name = "answering"

    def __init__(self, *scores: float) -> None:
        self._scores = list(scores)

    async def rerank(self, question: str, texts: Sequence[str]) -> list[float]:
        return self._scores

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        ((math.nan,) * 3, "gave passage 1 of 3 the score nan"),
        ((0.5, math.inf, 0.5), "gave passage 2 of 3 the score inf"),
        ((0.5, 0.5, -math.inf), "gave passage 3 of 3 the score -inf"),
        ((), "gave 0 scores for 3 passages"),
        ((0.5,) * 2, "gave 2 scores for 3 passages"),
        ((0.5,) * 4, "gave 4 scores for 3 passages"),
    ],
)
async def test_bad_numbers_of_ones_own(tmp_path: Path, scores: tuple[float, ...], told: str) -> None:
    """A score for each passage, each of them finite: the error says which reranker gave what else."""
    async with kbchat.KnowledgeBase(tmp_path, reranker=Answering(*scores)) as kb:
        space = await kb.create_space("handbook")
        await space.ingest([kbchat.TextDocument(name=name, text=text) for name, text in NOTES.items()])
        with pytest.raises(RerankerError, match=f"^reranker 'answering' {told}"):
            await space.retrieve("Who rotates the signing keys?")
