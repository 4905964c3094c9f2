"""One question's way: retrieved, packed, generated, counted; and stopped wherever the reader stops."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

import anyio
import pytest

from kbchat.chat import collect, open_chat
from kbchat.errors import GeneratorUnavailableError, InvalidInputError, StoreUnavailableError
from kbchat.events import Deltas, Done, EngineEvent, References, Retrieved
from kbchat.generators import Generator
from kbchat.generators.extractive import ExtractiveGenerator
from kbchat.generators.openai import OpenAIGenerator
from kbchat.models import Answer, Citation, Message, Reference, Sampling, Usage
from kbchat.testing.model_server import ModelServer, Script
from kbchat.text.tokens import TokenCounter, estimate
from kbchat.threads import Threads
from upstream import AT_ONCE

QUESTION = (Message(role="user", content="How often are keys rotated?"),)
SENTENCE = "Keys are rotated every ninety days."


def hit(content: str = SENTENCE, *, document_id: int = 1, score: float = 0.9) -> Reference:
    return Reference(
        name=f"doc{document_id}",
        document_id=document_id,
        chunk_id=document_id,
        content=content,
        start=0,
        end=len(content),
        recall_score=score,
    )


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        yield server


@pytest.fixture
async def model(server: ModelServer) -> AsyncIterator[Generator]:
    generator = OpenAIGenerator("local", base_url=server.base_url, model="m", retry_pauses=(), read_timeout=5.0)
    yield generator
    await generator.aclose()


class Chat:
    """`open_chat` with what most tests do not care about, and a record of what was searched for."""

    def __init__(self, generator: Generator, found: Sequence[Reference] | None) -> None:
        self.generator = generator
        self.found = found
        self.searched: list[str] = []
        self.rewriter: Generator | None = None
        self.counter = TokenCounter(lambda: None)

    def open(
        self, messages: Sequence[Message] = QUESTION, *, sampling: Sampling | None = None, budget: int = 4096
    ) -> AbstractAsyncContextManager[AsyncIterator[EngineEvent]]:
        async def retrieve(question: str) -> Sequence[Reference]:
            self.searched.append(question)
            return self.found or ()

        return open_chat(
            messages,
            retrieve=None if self.found is None else retrieve,
            generator=self.generator,
            sampling=sampling or Sampling(),
            budget_tokens=budget,
            counter=self.counter,
            threads=Threads(4),
            rewriter=self.rewriter,
        )

    async def events(
        self, messages: Sequence[Message] = QUESTION, *, sampling: Sampling | None = None
    ) -> list[EngineEvent]:
        async with self.open(messages, sampling=sampling) as events:
            return [event async for event in events]

    async def answer(self, *, budget: int = 4096) -> Answer:
        async with self.open(budget=budget) as events:
            return await collect(events)


async def test_the_events_in_order(model: Generator) -> None:
    """Retrieved, deltas, references, done, with what each is to hold."""
    found = [hit(score=0.8), hit(document_id=2), hit("Weak.", document_id=3, score=0.2)]
    chat = Chat(model, found)
    retrieved, *deltas, references, done = await chat.events()
    assert isinstance(retrieved, Retrieved)
    assert retrieved.references == tuple(found)
    assert retrieved.question == QUESTION[0].content
    assert [passage.name for passage in retrieved.passages] == ["doc2", "doc1"]
    assert "".join(text for event in deltas if isinstance(event, Deltas) for text in event.texts) == "Hello, world."
    assert references == References((found[1], found[0]))
    assert done == Done("stop", Usage(prompt_tokens=11, completion_tokens=4), "local")
    assert chat.searched == ["How often are keys rotated?"]


async def test_what_the_model_is_sent(server: ModelServer, model: Generator) -> None:
    """The packed prompt: instructions, earlier turns, passages and the question."""
    turns = [Message(role="user", content="Hi"), Message(role="assistant", content="Hello")]
    chat = Chat(model, [hit()])
    await chat.events([*turns, *QUESTION])
    sent = server.requests[0].body["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "user"]
    assert SENTENCE in sent[-1]["content"]


@pytest.mark.parametrize("found", [[], [hit(score=0.49)]], ids=["no hit", "below the line"])
async def test_nothing_found(server: ModelServer, model: Generator, found: list[Reference]) -> None:
    """The model is told so; hits below the line are shown as found, quoted nowhere and no reference."""
    retrieved, *rest = await Chat(model, found).events()
    assert retrieved == Retrieved(tuple(found), question=QUESTION[0].content)
    assert not any(isinstance(event, References) for event in rest)
    sent = server.requests[0].body["messages"]
    assert "nothing in them fits" in sent[0]["content"]
    assert sent[1]["content"] == QUESTION[0].content


async def test_a_chat_without_a_space(server: ModelServer, model: Generator) -> None:
    """Neither retrieval nor references, and nothing put to the user's words."""
    events = await Chat(model, None).events()
    assert {type(event) for event in events} == {Deltas, Done}
    assert server.requests[0].body["messages"] == [{"role": "user", "content": QUESTION[0].content}]


async def test_a_whole_answer(model: Generator) -> None:
    """`collect` gives text, references, usage, reason, model and what was dropped."""
    chat = Chat(model, [hit(SENTENCE * 30, document_id=1), hit(SENTENCE * 30, document_id=2)])
    answer = await chat.answer(budget=400)
    assert answer.text == "Hello, world."
    assert [reference.document_id for reference in answer.references] == [1]
    assert [reference.document_id for reference in answer.dropped] == [2]
    assert (answer.finish_reason, answer.model, answer.usage.total_tokens) == ("stop", "local", 15)


async def test_a_server_that_does_not_count(server: ModelServer, model: Generator) -> None:
    """Prompt and answer are counted here, once, at the end."""
    server.script(Script(usage=None, finish_reason="length"))
    answer = await Chat(model, None).answer()
    assert answer.usage == Usage(
        prompt_tokens=estimate(QUESTION[0].content), completion_tokens=estimate("Hello, world.")
    )
    assert answer.finish_reason == "length"


async def test_the_answer_without_a_model() -> None:
    """The embedded default through the same pipeline."""
    answer = await Chat(ExtractiveGenerator(), [hit()]).answer()
    assert answer.text == f"{SENTENCE} [1]"
    assert answer.references == (hit(),)
    assert answer.usage.prompt_tokens > answer.usage.completion_tokens > 0
    assert (await Chat(ExtractiveGenerator(), []).answer()).references == ()


async def test_the_model_keeps_room_to_answer(server: ModelServer) -> None:
    """The prompt is smaller than the model's context by what the answer may have."""
    generator = OpenAIGenerator("local", base_url=server.base_url, model="m", context_tokens=1000)
    chat = Chat(generator, [hit(SENTENCE * 10, document_id=n) for n in range(1, 20)])
    await chat.events()
    await chat.events(sampling=Sampling(max_tokens=400))
    await chat.events(sampling=Sampling(max_tokens=5000))
    sizes = [sum(estimate(m["content"]) + 4 for m in request.body["messages"]) for request in server.requests]
    assert 500 < sizes[0] <= 750
    assert 400 < sizes[1] <= 600
    assert sizes[2] <= 500
    await generator.aclose()


async def test_what_is_searched_for() -> None:
    """The last message of the user, without a command."""
    chat = Chat(ExtractiveGenerator(), [hit()])
    await chat.events([Message(role="user", content="Introduce AWEL")])
    turns = [QUESTION[0], Message(role="assistant", content="a"), Message(role="user", content="Who holds AWEL keys?")]
    await chat.events(turns)
    await chat.events([*turns, Message(role="assistant", content="c")])
    assert chat.searched == ["AWEL", "Who holds AWEL keys?", "Who holds AWEL keys?"]


FOLLOW_UP = (*QUESTION, Message(role="assistant", content="Often."), Message(role="user", content="And who does it?"))


async def test_a_follow_up_is_searched_for_with_what_it_follows() -> None:
    """Where no model is there to put it into words of its own."""
    chat = Chat(ExtractiveGenerator(), [hit()])
    await chat.events(FOLLOW_UP)
    assert chat.searched == ["How often are keys rotated?\nAnd who does it?"]


async def test_what_only_looks_like_a_follow_up_is_searched_for_alone_too() -> None:
    """When the two together find nothing."""
    chat = Chat(ExtractiveGenerator(), [])
    await chat.events(FOLLOW_UP)
    assert chat.searched == ["How often are keys rotated?\nAnd who does it?", "And who does it?"]


async def test_a_model_puts_a_follow_up_into_words_of_its_own(server: ModelServer, model: Generator) -> None:
    """It is shown what was said, and the answer is asked for as it was."""
    server.script(Script(texts=("Who rotates ", "the keys?")), Script(texts=("Ops do. [1]",)))
    chat = Chat(model, [hit()])
    chat.rewriter = model
    retrieved = (await chat.events(FOLLOW_UP))[0]
    assert chat.searched == ["Who rotates the keys?"]
    assert isinstance(retrieved, Retrieved)
    assert retrieved.question == "Who rotates the keys?"
    assert "How often are keys rotated?" in server.requests[0].body["messages"][1]["content"]
    assert "And who does it?" in server.requests[1].body["messages"][-1]["content"]
    await chat.events(QUESTION)
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "script", [Script(status=500), Script(texts=("a\n", "b")), Script(texts=("x" * 2000,)), Script(texts=(" ",))]
)
async def test_a_model_that_does_not_rewrite_is_done_without(
    server: ModelServer, model: Generator, script: Script
) -> None:
    """The rule is good enough then."""
    server.script(script, Script())
    chat = Chat(model, [hit()])
    chat.rewriter = model
    await chat.events(FOLLOW_UP)
    assert chat.searched == ["How often are keys rotated?\nAnd who does it?"]


async def test_no_question_is_searched_for(model: Generator) -> None:
    """A conversation without one is refused before anything is done."""
    chat = Chat(model, [hit()])
    with pytest.raises(InvalidInputError):
        await chat.events([Message(role="assistant", content="hi")])
    assert chat.searched == []


async def test_errors_come_through(server: ModelServer, model: Generator) -> None:
    """Of retrieval before any event, of the model after what was retrieved."""

    async def fail(question: str) -> Sequence[Reference]:
        raise StoreUnavailableError("the store is down")

    with pytest.raises(StoreUnavailableError):
        async with open_chat(
            QUESTION,
            retrieve=fail,
            generator=model,
            sampling=Sampling(),
            budget_tokens=4096,
            counter=TokenCounter(lambda: None),
            threads=Threads(1),
        ) as events:
            await anext(events)
    assert server.requests == []
    server.script(Script(status=500))
    events_seen = []
    with pytest.raises(GeneratorUnavailableError):
        async with Chat(model, [hit()]).open() as events:
            async for event in events:
                events_seen.append(event)  # noqa: PERF401 - the list is wanted although the loop raises
    assert [type(event) for event in events_seen] == [Retrieved]


async def test_a_cut_answer_is_no_answer(server: ModelServer, model: Generator) -> None:
    """Neither references nor done after a stream that broke off."""
    server.script(Script(ending="cut"))
    seen = []
    with pytest.raises(GeneratorUnavailableError):
        async with Chat(model, [hit()]).open() as events:
            async for event in events:
                seen.append(type(event))  # noqa: PERF401 - the list is wanted although the loop raises
    assert set(seen) == {Retrieved, Deltas}


@pytest.mark.parametrize("kept", [1, 2, 50], ids=["retrieved", "first delta", "mid-answer"])
async def test_closing_stops_the_model_at_once(server: ModelServer, model: Generator, kept: int) -> None:
    """Wherever the reader leaves, the model's server sees it at once."""
    server.script(Script(texts=("x",), forever=True, pause=0.001))
    async with Chat(model, [hit()]).open() as events:
        for _ in range(kept):
            await anext(events)
        left = time.monotonic()
    if kept == 1:
        assert server.requests == []
        return
    await server.requests[0].disconnected.wait()
    stopped = server.requests[0].disconnected_at
    assert stopped is not None
    assert stopped - left < AT_ONCE


@pytest.mark.parametrize(
    "script", [Script(hang=True), Script(ending="stall"), Script(forever=True)], ids=["hang", "stall", "forever"]
)
async def test_cancelling_stops_the_model(server: ModelServer, model: Generator, script: Script) -> None:
    """A reader that is cancelled while it waits, or while it reads, leaves nothing running."""
    server.script(script)
    with anyio.move_on_after(0.05) as scope:
        await Chat(model, [hit()]).answer()
    assert scope.cancelled_caught
    await server.requests[0].disconnected.wait()


async def test_cancelling_stops_the_search(model: Generator) -> None:
    """Retrieval is waited for inside the iteration, and is cancelled with it."""
    cancelled = anyio.Event()

    async def hang(question: str) -> Sequence[Reference]:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()
        raise AssertionError("it sleeps for ever")

    with anyio.move_on_after(0.02):
        async with open_chat(
            QUESTION,
            retrieve=hang,
            generator=model,
            sampling=Sampling(),
            budget_tokens=4096,
            counter=TokenCounter(lambda: None),
            threads=Threads(1),
        ) as events:
            await anext(events)
    assert cancelled.is_set()


async def test_nothing_happens_before_iteration(server: ModelServer, model: Generator) -> None:
    """Opening an answer and leaving it asks nobody."""
    chat = Chat(model, [hit()])
    async with chat.open():
        pass
    assert (chat.searched, server.requests) == ([], [])


async def test_long_texts_are_counted_in_parts(server: ModelServer, model: Generator) -> None:
    """Neither a long prompt nor a long answer is held whole or counted in the event loop."""
    long = "keys are rotated every ninety days, and " * 2_000
    server.script(Script(texts=(long,) * 8, usage=None))
    answer = await Chat(model, [hit(long)]).answer(budget=30_000)
    assert answer.text == long * 8
    assert estimate(long * 8) <= answer.usage.completion_tokens <= estimate(long * 8) + 4


async def test_cited_sentences_are_checked(server: ModelServer, model: Generator) -> None:
    """Each citation follows the delta that ends its sentence, and the whole answer has them all."""
    server.script(Script(texts=("Keys are rotated ", "every ninety days [1].", " Or every sixty days", " [1].")))
    chat = Chat(model, [hit()])
    events = [event for event in await chat.events() if isinstance(event, Deltas | Citation)]
    kinds = [type(event).__name__ for event in events]
    assert kinds.index("Citation") < len(kinds) - 1
    assert kinds[-1] == "Citation"
    answer = await chat.answer()
    assert [citation.supported for citation in answer.citations] == [True, False]
    assert answer.citations[1].unsupported == ("sixty",)
    assert [event for event in events if isinstance(event, Citation)] == list(answer.citations)


async def test_extracts_support_themselves() -> None:
    """What the extractive generator quotes is carried by what it cites, to the letter."""
    answer = await Chat(ExtractiveGenerator("extractive"), [hit()]).answer()
    (citation,) = answer.citations
    assert citation.support == 1.0
    assert SENTENCE[citation.start : citation.end] == SENTENCE


async def test_nothing_is_checked_without_passages(server: ModelServer, model: Generator) -> None:
    """A chat without a space has no citations, whatever the model writes."""
    server.script(Script(texts=("Something [1].",)))
    assert (await Chat(model, None).answer()).citations == ()
