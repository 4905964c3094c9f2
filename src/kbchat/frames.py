"""From the engine's events to the bytes of the wire: the documented frames and OpenAI's. Pure, no I/O.

A stream is what `FrameEncoder.encode` gives for each event, then `DONE`; after a failure it is `error_frame` and no
`DONE`. Every frame is `data: {JSON}`, a blank line, and nothing within that any reader of lines could break at.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Literal, assert_never

from pydantic import JsonValue

from kbchat import references
from kbchat.events import Deltas, Done, EngineEvent, References, Retrieved
from kbchat.models import Answer, Citation, FinishReason, Reference, Usage
from kbchat.numbering import numbers

Flavour = Literal["v2", "openai"]
"""Where the references go. `v2`: into the text, as a last delta with the tag. `openai`: a list `references` on the
finishing frame (beside `choices` when not streamed), because chat front ends show text as it is."""

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"

_encode = json.JSONEncoder(ensure_ascii=False).encode
# JSON leaves these raw. Readers of lines (str.splitlines, httpx) break at the first three; half a surrogate pair is no
# character, and there is no encoding for it.
_RAW = re.compile("[\x85\u2028\u2029\ud800-\udfff]")


class FrameEncoder:
    """Encodes the events of one answer, in their order.

    `encode` gives the frames that an event becomes, which may be none: nothing goes out for `Retrieved`, so that
    whatever fails before the first text can still be an ordinary status. Checked citations ride on the finishing frame,
    as a list `citations`.

    - `incremental=False`: each frame holds all the text so far, the finishing one too.
    - `include_usage`: the counted tokens ride on the finishing frame.
    """

    def __init__(
        self,
        *,
        id: str,
        model: str,
        created: int,
        incremental: bool = True,
        flavour: Flavour = "v2",
        include_usage: bool = False,
    ) -> None:
        self._incremental = incremental
        self._flavour = flavour
        self._include_usage = include_usage
        self._neutraliser = references.Neutraliser()
        self._references: tuple[Reference, ...] = ()
        self._citations: list[Citation] = []
        self._so_far = ""
        # All that is the same in every frame is made once; a delta only has its text put between.
        self._head = (
            f'data: {{"id": {_text(id)}, "object": "chat.completion.chunk", "created": {created}, '
            f'"model": {_text(model)}, "choices": [{{"index": 0, "delta": {{"role": "assistant", "content": "'
        )
        self._tail = '"}, "finish_reason": null}]}\n\n'
        self._seam = self._tail + self._head
        self._bytes = self._head.encode(), self._seam.encode(), self._tail.encode()

    def encode(self, event: EngineEvent) -> bytes:
        """The frames of an event, one for each text of `Deltas`."""
        match event:
            case Deltas():
                return self._contents(self._neutraliser.feed_all(event.texts))
            case References():
                return self._flush() + self._encode_references(event.references)
            case Done():
                return self._flush() + self._finish(event)
            case Citation():
                self._citations.append(event)
                return b""
            case Retrieved():
                return b""
            case _:
                assert_never(event)

    def _contents(self, texts: Sequence[str]) -> bytes:
        if not texts:
            return b""
        raw = "".join(texts)
        # Printable text holds no control, separator or surrogate: with no quote or backslash it is JSON as it stands.
        if not raw.isprintable() or '"' in raw or "\\" in raw:
            texts = [_escape(text) for text in texts]
        if not self._incremental:
            texts = self._accumulate(texts)
        if raw.isascii():
            return f"{self._head}{self._seam.join(texts)}{self._tail}".encode()
        # One wide character would widen the whole join: better to join what is encoded.
        head, seam, tail = self._bytes
        return b"%b%b%b" % (head, seam.join([text.encode() for text in texts]), tail)

    def _accumulate(self, texts: Sequence[str]) -> list[str]:
        grown = []
        for text in texts:
            self._so_far += text
            grown.append(self._so_far)
        return grown

    def _flush(self) -> bytes:
        held = self._neutraliser.flush()
        return self._contents((held,)) if held else b""

    def _encode_references(self, found: tuple[Reference, ...]) -> bytes:
        if self._flavour == "openai":
            self._references = found
            return b""
        tag = references.render(found)
        return self._contents(("\n\n" + tag,)) if tag else b""

    def _finish(self, event: Done) -> bytes:
        more: dict[str, JsonValue] = {}
        if self._include_usage:
            more["usage"] = _usage(event.usage)
        if self._flavour == "openai":
            more["references"] = references.detailed(self._references, numbers(self._references))
        if self._citations:
            more["citations"] = [cited(citation, self._neutraliser.shift) for citation in self._citations]
        extra = f", {_text(more)[1:-1]}" if more else ""
        reason = _text(event.finish_reason)
        return f'{self._head}{self._so_far}"}}, "finish_reason": {reason}}}]{extra}}}\n\n'.encode()


def whole(answer: Answer, *, id: str, model: str, created: int, flavour: Flavour = "v2") -> bytes:
    """The JSON of an answer that is not streamed. It says what the frames of the same answer say."""
    neutraliser = references.Neutraliser()
    content = neutraliser.feed(answer.text) + neutraliser.flush()
    if flavour == "v2" and answer.references:
        content = f"{content}\n\n{references.render(answer.references)}"
    body: dict[str, JsonValue] = {
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [_choice(content, answer.finish_reason)],
        "usage": _usage(answer.usage),
    }
    if flavour == "openai":
        body["references"] = references.detailed(answer.references, numbers(answer.references))
    if answer.citations:
        body["citations"] = [cited(citation, neutraliser.shift) for citation in answer.citations]
    return _text(body).encode()


def error_frame(message: str, *, type: str, code: str) -> bytes:
    """The last frame of a stream that failed after its first. No `DONE` follows: a cut answer is not a whole one."""
    return f"data: {_text({'error': {'message': message, 'type': type, 'code': code}})}\n\n".encode()


def _choice(content: str, finish_reason: FinishReason | None) -> JsonValue:
    return {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish_reason}


def cited(citation: Citation, shift: Callable[[int], int]) -> JsonValue:
    """A citation as both chat routes send it, with its offsets in the text as it is sent."""
    reference = citation.reference
    return {
        "answer_start": shift(citation.answer_start),
        "answer_end": shift(citation.answer_end),
        "number": citation.number,
        "name": None if reference is None else reference.name,
        "document_id": None if reference is None else reference.document_id,
        "chunk_id": None if reference is None else reference.chunk_id,
        "start": citation.start,
        "end": citation.end,
        "support": citation.support,
        "unsupported": list(citation.unsupported),
    }


def _usage(usage: Usage) -> dict[str, JsonValue]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


def _escape(text: str) -> str:
    return _text(text)[1:-1]


def _text(value: JsonValue) -> str:
    text = _encode(value)
    # What is replaced stands only inside JSON strings.
    return text if text.isascii() else _RAW.sub(_replacement, text)


def _replacement(match: re.Match[str]) -> str:
    code = ord(match[0])
    return "\\ufffd" if 0xD800 <= code <= 0xDFFF else f"\\u{code:04x}"
