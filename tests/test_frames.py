"""Events to bytes: the documented frames, OpenAI's, and nothing a reader of lines could break at."""

import json
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from kbchat import frames, references
from kbchat.events import Deltas, Done, EngineEvent, References, Retrieved
from kbchat.frames import DONE, KEEP_ALIVE, Flavour, FrameEncoder
from kbchat.models import Answer, Citation, Reference, Usage


def harmless(text: str) -> str:
    """The text in which nothing can be taken for the tag."""
    return text.replace("<references", "&lt;references")


ID = "chatcmpl-86f60a0c-e686-11ee-9322-acde48001122"
BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
FOUND = Reference(
    name="手册.md",
    document_id=7,
    chunk_id=2526,
    content='Keys & "locks" <b>\u2028',
    start=10,
    end=28,
    recall_score=0.75,
    metadata={"page": 3},
    dense=0.5,
)

any_text = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(BREAKS + "\"\\<>&'\x00\x7f"))
pieces = st.lists(any_text.filter(bool), max_size=6).map(tuple)


def encoder(
    *, incremental: bool = True, flavour: Flavour = "v2", include_usage: bool = False, model: str = "chatgpt_proxyllm"
) -> FrameEncoder:
    return FrameEncoder(
        id=ID,
        model=model,
        created=1710917272,
        incremental=incremental,
        flavour=flavour,
        include_usage=include_usage,
    )


def decode(data: bytes) -> list[Any]:
    """The frames' JSON. Fails where a reader of lines would."""
    text = data.decode()
    assert text == "" or text.endswith("\n\n")
    lines = text.splitlines()
    assert lines[1::2] == [""] * (len(lines) // 2)
    assert all(line.startswith("data: ") for line in lines[::2])
    return [json.loads(line.removeprefix("data: ")) for line in lines[::2]]


def contents(frames: list[Any]) -> list[str]:
    return [frame["choices"][0]["delta"]["content"] for frame in frames]


def run(encoder: FrameEncoder, *events: EngineEvent) -> list[Any]:
    return decode(b"".join(map(encoder.encode, events)))


def test_a_delta_is_the_documented_frame() -> None:
    """A frame is the documented one, key by key and in its spelling, with OpenAI's keys beside."""
    data = encoder().encode(Deltas(("AW",)))
    assert data == (
        b'data: {"id": "chatcmpl-86f60a0c-e686-11ee-9322-acde48001122", "object": "chat.completion.chunk", '
        b'"created": 1710917272, "model": "chatgpt_proxyllm", "choices": [{"index": 0, "delta": {"role": "assistant", '
        b'"content": "AW"}, "finish_reason": null}]}\n\n'
    )


def test_a_stream_in_order() -> None:
    """Nothing for what was retrieved, a frame a text, the tag as one delta, then an empty one with the reason."""
    found = (FOUND,)
    sent = run(encoder(), Retrieved(found), Deltas(("A", "B")), Deltas(("C",)), References(found), Done("length"))
    assert contents(sent) == ["A", "B", "C", "\n\n" + references.render(found), ""]
    assert [frame["choices"][0]["finish_reason"] for frame in sent] == [None] * 4 + ["length"]
    assert all("usage" not in frame and "references" not in frame for frame in sent)
    assert DONE == b"data: [DONE]\n\n"
    assert KEEP_ALIVE.startswith(b":")
    assert KEEP_ALIVE.endswith(b"\n\n")


def test_retrieval_alone_sends_nothing() -> None:
    """So that a model server's failure after it can still be a status."""
    assert encoder().encode(Retrieved((FOUND,))) == b""


@given(st.lists(pieces, max_size=5), st.sampled_from([ID, 'odd "id"']), any_text)
def test_every_text_survives_the_wire(batches: list[tuple[str, ...]], id: str, model: str) -> None:
    """Each frame is one line to any reader of lines, and its JSON gives back each text as its own frame."""
    made = FrameEncoder(id=id, model=model, created=0)
    held = False
    for texts in batches:
        sent = decode(made.encode(Deltas(texts)))
        held = held or "<" in "".join(texts)
        if not held:  # It may yet become a tag, and go out later.
            assert contents(sent) == list(texts)
        assert {(frame["id"], frame["model"]) for frame in sent} <= {(id, model)}


@given(pieces, st.booleans())
def test_the_text_so_far(texts: tuple[str, ...], found: bool) -> None:
    """With incremental off every frame, the finishing one too, holds all the text so far."""
    made = encoder(incremental=False)
    events: list[EngineEvent] = [Deltas(texts[:2]), Deltas(texts[2:])]
    events += [References((FOUND,))] * found
    sent = contents(run(made, *events, Done()))
    tag = "\n\n" + references.render([FOUND]) if found else ""
    assert sent[-1] == harmless("".join(texts)) + tag
    assert all(after.startswith(before) for before, after in pairwise(sent))


def test_a_forged_tag_goes_out_harmless() -> None:
    """`<references` in the model's own text is defused, also when it is split, and what was held is not lost."""
    sent = contents(run(encoder(), Deltas(("see <ref", "erences", " /> <re")), References((FOUND,)), Done()))
    assert "".join(sent[:-2]) == "see &lt;references /> <re"
    assert sum(content.count("<references") for content in sent) == 1
    assert contents(run(encoder(), Deltas(("a <ref",)), Done())) == ["a ", "<ref", ""]


def test_half_a_surrogate_pair_becomes_the_replacement_character() -> None:
    """A model's broken character does not break the stream."""
    assert contents(run(encoder(), Deltas(("a\ud83d", "b")))) == ["a\ufffd", "b"]


def test_usage_rides_on_the_finishing_frame_when_asked_for() -> None:
    """And only there: no other frame has the key."""
    sent = run(encoder(include_usage=True), Deltas(("A",)), Done(usage=Usage(prompt_tokens=3, completion_tokens=4)))
    assert "usage" not in sent[0]
    assert sent[1]["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def test_on_openais_route_references_are_a_list() -> None:
    """There is no tag in the text; the list rides on the finishing frame with places and score parts."""
    sent = run(encoder(flavour="openai", include_usage=True), Deltas(("A",)), References((FOUND,)), Done())
    assert contents(sent) == ["A", ""]
    [entry] = sent[-1]["references"]
    assert entry["name"] == "手册.md"
    [chunk] = entry["chunks"]
    assert chunk["id"] == 2526
    assert chunk["content"] == FOUND.content
    assert chunk["meta_info"] == "{'page': 3}"
    assert (chunk["document_id"], chunk["start"], chunk["end"], chunk["dense"]) == (7, 10, 28, 0.5)
    assert "usage" in sent[-1]
    assert run(encoder(flavour="openai"), Done())[-1]["references"] == []


@pytest.mark.parametrize("flavour", ["v2", "openai"])
def test_the_openai_sdk_reads_every_frame(flavour: Flavour) -> None:
    """The SDK's own models take each frame and the whole answer."""
    made = encoder(flavour=flavour, include_usage=True)
    for frame in run(made, Deltas(("A", "\u2028")), References((FOUND,)), Done(usage=Usage(prompt_tokens=1))):
        chunk = ChatCompletionChunk.model_validate(frame, strict=True)
        assert chunk.choices[0].delta.role == "assistant"
    answer = Answer(text="A", references=(FOUND,))
    body = frames.whole(answer, id=ID, model="m", created=1, flavour=flavour)
    assert ChatCompletion.model_validate_json(body, strict=True).choices[0].message.content


def test_the_whole_answer_is_the_documented_json() -> None:
    """The documented body, its content ending with the tag that the stream would have ended with."""
    answer = Answer(
        text="A <references", references=(FOUND,), usage=Usage(prompt_tokens=1, completion_tokens=2), finish_reason=None
    )
    data = frames.whole(answer, id=ID, model="chatgpt_proxyllm", created=1710917272)
    assert len(data.decode().splitlines()) == 1
    body = json.loads(data)
    assert body == {
        "id": ID,
        "object": "chat.completion",
        "created": 1710917272,
        "model": "chatgpt_proxyllm",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "A &lt;references\n\n" + references.render([FOUND]),
                },
                "finish_reason": None,
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }
    text, parsed = references.parse(body["choices"][0]["message"]["content"])
    assert (text, parsed[0].content) == ("A &lt;references", FOUND.content)


def test_the_whole_answer_without_references() -> None:
    """No tag; on OpenAI's route an empty list; the content is never null."""
    body = json.loads(frames.whole(Answer(text=""), id=ID, model="m", created=1))
    assert body["choices"][0]["message"]["content"] == ""
    assert "references" not in body
    body = json.loads(
        frames.whole(Answer(text="A", references=(FOUND,)), id=ID, model="m", created=1, flavour="openai")
    )
    assert body["choices"][0]["message"]["content"] == "A"
    assert body["references"][0]["chunks"][0]["document_id"] == 7


@given(any_text)
def test_an_error_is_one_frame(message: str) -> None:
    """The error frame holds message, type and code, in one line whatever the message holds."""
    [frame] = decode(frames.error_frame(message, type="upstream_error", code="model_server_failed"))
    assert frame == {"error": {"message": message, "type": "upstream_error", "code": "model_server_failed"}}


def test_the_tag_in_a_frame_is_xml() -> None:
    """A hostile chunk comes through frame, JSON, XML and JSON again as it was."""
    [content] = contents(run(encoder(), References((FOUND,))))
    listed = json.loads(ElementTree.fromstring(content.strip()).attrib["references"])
    assert listed[0]["chunks"][0]["content"] == FOUND.content


CITED = Citation(
    answer_start=2, answer_end=20, number=1, reference=FOUND, start=12, end=20, support=0.2, unsupported=("sixty",)
)


@pytest.mark.parametrize("flavour", ["v2", "openai"])
def test_citations_ride_on_the_finishing_frame(flavour: Flavour) -> None:
    """Checked citations are a list on the last frame, or beside `choices`; without any there is no such key."""
    events: list[EngineEvent] = [Deltas(("A b [1].",)), CITED, References((FOUND,)), Done()]
    *before, last = run(encoder(flavour=flavour), *events)
    expected = {
        "answer_start": 2,
        "answer_end": 20,
        "number": 1,
        "name": "手册.md",
        "document_id": 7,
        "chunk_id": 2526,
        "start": 12,
        "end": 20,
        "support": 0.2,
        "unsupported": ["sixty"],
    }
    assert last["citations"] == [expected]
    assert all("citations" not in frame for frame in before)
    answer = Answer(text="A b [1].", references=(FOUND,), citations=(CITED,))
    whole = json.loads(frames.whole(answer, id=ID, model="m", created=1, flavour=flavour))
    assert whole["citations"] == [expected]
    assert "citations" not in run(encoder(flavour=flavour), Done())[-1]


@given(st.lists(st.sampled_from(["<", "<refer", "ences", "<references", "x", " "]), max_size=12))
def test_citations_follow_what_is_neutralised(texts: list[str]) -> None:
    """An offset into the answer names the same place in the text as it is sent, in however many pieces it came."""
    neutraliser = references.Neutraliser()
    sent = "".join(piece for text in texts for piece in neutraliser.feed_all((text,)))
    text = "".join(texts)
    sent += neutraliser.flush()
    assert sent == harmless(text)
    assert all(sent[neutraliser.shift(at)] == char for at, char in enumerate(text) if char in " x")
