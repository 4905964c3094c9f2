"""OpenAI's chat protocol as bytes: the request and the stream of an answer. No I/O.

We read the stream ourselves: the OpenAI SDK builds an object graph for each delta, which takes some 60 µs where
decoding the four fields that matter takes less than one. At thousands of deltas a second that is the whole bill.
"""

import json
import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from kbchat.errors import GeneratorUnavailableError
from kbchat.generators import Generated
from kbchat.generators.alike import read_alike
from kbchat.generators.sse import SseParser
from kbchat.models import FinishReason, Message, Sampling, Usage
from kbchat.refusals import find_message, shorten


class _Turn(msgspec.Struct):
    role: str
    content: str


class _StreamOptions(msgspec.Struct):
    include_usage: bool


class _Request(msgspec.Struct, omit_defaults=True):
    model: str
    messages: list[_Turn]
    stream: Literal[True]
    stream_options: _StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    frequency_penalty: float | None = None
    presence_penalty: float | None = None


def encode_request(model: str, messages: Sequence[Message], sampling: Sampling, *, ask_usage: bool) -> bytes:
    """The body of a streamed chat request. What the sampling leaves open is not sent."""
    return msgspec.json.encode(
        _Request(
            model=model,
            messages=[_Turn(message.role, message.content) for message in messages],
            stream=True,
            stream_options=_StreamOptions(include_usage=True) if ask_usage else None,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            stop=sampling.stop,
            frequency_penalty=sampling.frequency_penalty,
            presence_penalty=sampling.presence_penalty,
        )
    )


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: object = None
    message: object = None
    kind: object = msgspec.field(default=None, name="object")


_CHUNK = msgspec.json.Decoder(_Chunk)
_DONE = b"[DONE]"


def said(event: bytes) -> str | None:
    """The text of an event that says nothing else; None for any other."""
    try:
        chunk = _CHUNK.decode(event)
    except (msgspec.DecodeError, UnicodeError):
        return None
    choice = chunk.choices[0] if chunk.choices and chunk.usage is None else None
    return None if choice is None or choice.delta is None or choice.finish_reason else choice.delta.content


def _read_alike(events: bytes) -> tuple[list[str], int]:
    return read_alike(events, said)


_SURROGATE = re.compile("[\ud800-\udfff]")


class AnswerDecoder:
    """The bytes of one streamed answer, cut anywhere, to what they say.

    A failure never swallows what was said before it: `over` tells that nothing more will come, and `end` raises.
    An answer of more than `max_chars` characters is ended there as too long: a server that repeats itself for ever
    must not be listened to for ever.
    """

    def __init__(self, name: str, *, max_chars: int) -> None:
        self._name = name
        self._parser = SseParser()
        self._room = max_chars
        self._half = ""
        """The first half of a surrogate pair whose second half is in the next delta."""
        self._finished = False
        self._failure: GeneratorUnavailableError | None = None
        self.done = False
        """Whether nothing may follow at all, not even the cost."""

    @property
    def over(self) -> bool:
        """Whether the answer is: it told why it finished, or failed. Only the cost may still follow."""
        return self._finished or self._failure is not None

    def feed(self, data: bytes) -> Generated | None:
        """What these bytes say; None if that is nothing."""
        if self.done:
            return None
        texts: list[str] = []
        events: list[bytes] = []
        if not (self._half or self._finished):
            texts, data = self._parser.take(data, _read_alike)
        try:
            events = self._parser.feed(data)
        except ValueError as error:
            self._fail(f"its server sent no chat stream: {error}")
        if events and events[-1].strip() == _DONE:
            self.done = True
            events.pop()
        elif not (events or texts):
            return None
        return self._generated(list(filter(None, texts)), self._decode(events))

    def end(self) -> None:
        """The stream is over. Raises `GeneratorUnavailableError` if the answer is not whole."""
        if self._finished:
            return
        raise self._failure or GeneratorUnavailableError(
            self._name, "its server broke off in the middle of the answer: the stream ended without a finish reason"
        )

    def _fail(self, message: str) -> None:
        self._failure = GeneratorUnavailableError(self._name, message)
        self.done = True

    def _generated(self, texts: list[str], chunks: list[_Chunk]) -> Generated | None:
        """What these texts and after them these chunks say."""
        finish: FinishReason | None = None
        usage: Usage | None = None
        for chunk in chunks:
            if chunk.choices:
                choice = chunk.choices[0]
                if finish is None and choice.delta is not None and choice.delta.content:
                    texts.append(choice.delta.content)
                if finish is None and choice.finish_reason:
                    # The wire knows two reasons; whatever else ended the answer, it ended.
                    finish = "length" if choice.finish_reason == "length" else "stop"
            elif chunk.error is not None or chunk.kind == "error":
                self._fail(f"its server failed in mid-answer: {_words(chunk)}")
                break
            if chunk.usage is not None:
                usage = _counted(chunk.usage) or usage
        if self._finished:
            return Generated(usage=usage) if usage else None
        self._room -= sum(map(len, texts))
        if finish is None and self._room < 0:
            finish = "length"
            self.done = True
        if finish is None and self.done and self._failure is None:
            finish = "stop"
        self._finished = finish is not None
        return Generated(tuple(texts), finish, usage) if texts or finish or usage else None

    def _decode(self, events: list[bytes]) -> list[_Chunk]:
        if not self._half:
            try:
                # One call for all that a read brought: an event that is one JSON value can be read as one line.
                return _CHUNK.decode_lines(b"\n".join(events))
            except (msgspec.DecodeError, UnicodeError):
                pass  # found one by one
        chunks = []
        for event in map(bytes.strip, events):
            if event == _DONE:
                self.done = True
                break
            if not event:
                continue
            try:
                chunks.append(self._chunk(event))
            except (ValueError, RecursionError):
                self._fail(f"its server sent what is no part of a chat stream: {shorten(repr(event))}")
                break
        return chunks

    def _chunk(self, event: bytes) -> _Chunk:
        if not self._half:
            try:
                return _CHUNK.decode(event)
            except (msgspec.DecodeError, UnicodeError):
                pass
        # Python's own reader, because only it takes half a character.
        return self._whole_characters(msgspec.convert(json.loads(event), _Chunk))

    def _whole_characters(self, chunk: _Chunk) -> _Chunk:
        """A server that cuts its text by UTF-16 units sends an emoji in two halves: put them together again."""
        if not chunk.choices or (delta := chunk.choices[0].delta) is None or not delta.content:
            return chunk
        text = self._half + delta.content
        self._half = ""
        if _SURROGATE.search(text):
            if "\ud800" <= text[-1] <= "\udbff":
                self._half = text[-1]
                text = text[:-1]
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        delta.content = text
        return chunk


def _words(chunk: _Chunk) -> str:
    return shorten(find_message(chunk.error or chunk.message) or "without a word")


def _counted(usage: _Usage) -> Usage | None:
    # Servers that do not count send zeros rather than nothing.
    if not usage.completion_tokens or usage.prompt_tokens is None:
        return None
    return Usage(prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens)
