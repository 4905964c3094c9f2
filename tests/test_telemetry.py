"""What is told of the work: spans to OpenTelemetry, where the application has loaded it, and stages to listeners."""

import sys
from collections.abc import Iterator
from contextlib import aclosing
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

import kbchat
from kbchat.errors import GeneratorUnavailableError
from kbchat.telemetry import Span, listening, tell_stage

QUESTION = "How often are keys rotated?"
TEXT = "Keys are rotated every ninety days by the vault."


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """The real SDK, set up as an application does, for one test."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


@pytest.fixture
def settings(tmp_path: Path) -> kbchat.Settings:
    return kbchat.Settings(data_dir=tmp_path)


async def handbook(kb: kbchat.KnowledgeBase) -> kbchat.KnowledgeSpace:
    space = await kb.create_space("handbook", owner="alice")
    await space.ingest(kbchat.TextDocument(name="keys.md", text=TEXT))
    return space


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans() if span.name.startswith("kbchat.")}


async def test_the_spans_of_a_chat(exporter: InMemorySpanExporter, settings: kbchat.Settings) -> None:
    """Retrieve, prompt and generate are children of the chat, which is one of what the caller has current."""
    async with kbchat.KnowledgeBase(settings=settings) as kb:
        space = await handbook(kb)
        with trace.get_tracer("test").start_as_current_span("request") as request:
            answer = await space.chat(QUESTION)
    spans = by_name(exporter)
    chat = spans["kbchat.chat"]
    assert set(spans) == {"kbchat.chat", "kbchat.retrieve", "kbchat.prompt", "kbchat.generate"}
    assert chat.parent is not None
    assert chat.parent.span_id == request.get_span_context().span_id
    assert chat.context is not None
    for name in set(spans) - {"kbchat.chat"}:
        parent = spans[name].parent
        assert parent is not None
        assert parent.span_id == chat.context.span_id
    assert dict(spans["kbchat.retrieve"].attributes or {}) == {
        "kbchat.hits": 1,
        "kbchat.best_score": answer.references[0].recall_score,
    }
    assert (spans["kbchat.prompt"].attributes or {})["kbchat.passages"] == 1
    assert dict(spans["kbchat.generate"].attributes or {}) == {
        "gen_ai.request.model": "extractive",
        "gen_ai.usage.input_tokens": answer.usage.prompt_tokens,
        "gen_ai.usage.output_tokens": answer.usage.completion_tokens,
    }


async def test_spans_hold_nothing_that_was_said(exporter: InMemorySpanExporter, settings: kbchat.Settings) -> None:
    """Neither the question nor a document, nor a name of a space, a document or an owner."""
    async with kbchat.KnowledgeBase(settings=settings) as kb:
        await (await handbook(kb)).chat(QUESTION)
    told = "".join(span.to_json() for span in by_name(exporter).values())
    for word in ("rotated", "ninety", "handbook", "keys.md", "alice"):
        assert word not in told


async def test_a_failure_is_told_by_its_class(exporter: InMemorySpanExporter, settings: kbchat.Settings) -> None:
    """Its message may hold names; the spans above it failed too, those beside it did not."""
    unreachable = settings.model_copy(update={"llm_base_url": "http://127.0.0.1:9/v1", "llm_model": "secret"})
    async with kbchat.KnowledgeBase(settings=unreachable) as kb:
        space = await handbook(kb)
        with pytest.raises(GeneratorUnavailableError):
            await space.chat(QUESTION)
    spans = by_name(exporter)
    for name in ("kbchat.generate", "kbchat.chat"):
        assert spans[name].status.status_code is StatusCode.ERROR
        assert (spans[name].attributes or {})["error.type"] == "GeneratorUnavailableError"
        assert not spans[name].status.description
        assert not spans[name].events
    assert spans["kbchat.retrieve"].status.status_code is StatusCode.UNSET


async def test_a_reader_who_leaves_ends_the_spans(exporter: InMemorySpanExporter, settings: kbchat.Settings) -> None:
    """That is no failure."""
    async with kbchat.KnowledgeBase(settings=settings) as kb:
        space = await handbook(kb)
        async with space.stream(QUESTION) as stream, aclosing(stream.batches()) as events:
            await anext(events)
            await anext(events)
    spans = by_name(exporter)
    assert {"kbchat.chat", "kbchat.generate"} <= set(spans)
    assert all(span.status.status_code is StatusCode.UNSET for span in spans.values())


def test_without_the_library_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not imported for this."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "opentelemetry"]:
        monkeypatch.delitem(sys.modules, name)
    with Span("kbchat.chat") as chat, Span("kbchat.prompt", chat) as span:
        span.tell({"kbchat.passages": 1})
    assert "opentelemetry" not in sys.modules


def test_a_library_that_another_thread_is_importing_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chroma imports it with its first use: a question that comes meanwhile is answered without spans."""
    half = ModuleType("opentelemetry.trace")
    half.__spec__ = ModuleSpec("opentelemetry.trace", None)
    half.__spec__._initializing = True  # type: ignore[attr-defined]  # as importlib says it
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", half)
    with Span("kbchat.chat") as span:
        span.tell({"kbchat.hits": 1})


async def test_stages_are_told_to_who_listens(settings: kbchat.Settings) -> None:
    """Each that a question went through, also in the tasks that were started for it, and nothing outside the block."""
    told: list[str] = []
    async with kbchat.KnowledgeBase(settings=settings) as kb:
        space = await handbook(kb)
        with listening(lambda stage, seconds: told.append(stage)):
            await space.retrieve(QUESTION)
        assert {"embedding", "dense_search", "lexical_search", "reading_ahead", "scoring", "confidence"} <= set(told)
        told.clear()
        await space.retrieve(QUESTION)
        tell_stage("reading", 1.0)
    assert not told
