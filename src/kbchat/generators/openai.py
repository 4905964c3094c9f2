"""Answers from any server that speaks OpenAI's chat protocol: vLLM, Ollama, llama.cpp, OpenAI and their like."""

import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from kbchat.addresses import check_base_url, without_credentials
from kbchat.errors import (
    GeneratorBusyError,
    GeneratorError,
    GeneratorTimeoutError,
    GeneratorUnavailableError,
)
from kbchat.generators import Generated
from kbchat.generators.openai_wire import AnswerDecoder, encode_request
from kbchat.models import Prompt, Sampling
from kbchat.refusals import explain, seconds_to_wait, shorten

if TYPE_CHECKING:
    import aiohttp

_log = logging.getLogger("kbchat.generators")

RETRY_PAUSES = (0.2, 0.8)
"""Seconds before each further try, give or take half. Tries are for what passes: nothing was said yet."""
_PATIENCE = 2.0
"""Seconds: a server that says to come back within them is asked again; one that has told why it finished and neither
counts nor closes is not waited for any longer."""
_CLOSING = 0.05
"""Seconds in which a finished answer's connection may end by itself, to be used again."""
MAX_ANSWER_CHARS = 64 * 1024 * 1024
"""No model says this much: a server that does has lost its mind."""
_ERROR_BYTES = 16 * 1024


class OpenAIGenerator:
    """One model on one OpenAI-compatible server. Connections are kept and shared; `aclose` lets go of them.

    `name` is what requests call it, `model` what the server does. `connect_timeout` and `read_timeout` are seconds to
    reach the server and seconds it may be silent. The base URL is used as it is given: `/chat/completions` is put
    after it. No proxy is asked, no redirect followed, so the key goes nowhere else. An answer of more than
    `max_answer_chars` is ended there as too long. Raises `SettingsError` for a base URL that is none.
    """

    def __init__(
        self,
        name: str,
        *,
        base_url: str,
        model: str,
        api_key: str | None = None,
        context_tokens: int = 8192,
        connect_timeout: float = 10.0,
        read_timeout: float = 60.0,
        retry_pauses: Sequence[float] = RETRY_PAUSES,
        max_answer_chars: int = MAX_ANSWER_CHARS,
    ) -> None:
        check_base_url(base_url, setting=f"model {name!r}: base_url", api_key=api_key)
        self._shown_url = without_credentials(base_url)
        self._name = name
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._model = model
        self._api_key = api_key or None
        self._context_tokens = context_tokens
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._retry_pauses = tuple(retry_pauses)
        self._max_answer_chars = max_answer_chars
        self._ask_usage = True
        self._session: aiohttp.ClientSession | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    @asynccontextmanager
    async def stream(self, prompt: Prompt, sampling: Sampling) -> AsyncIterator[AsyncIterator[Generated]]:
        response = await self._open(prompt, sampling)
        try:
            async with aclosing(self._read(response)) as pieces:
                yield pieces
        finally:
            # The server sees at once that nobody listens. A connection whose answer was read to its end is already
            # back among those to be used again.
            response.close()

    async def aclose(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _open(self, prompt: Prompt, sampling: Sampling) -> "aiohttp.ClientResponse":
        """The response whose stream is about to begin, after as many tries as make sense."""
        import aiohttp

        pauses = iter(self._retry_pauses)
        ask_usage = self._ask_usage
        while True:
            body = encode_request(self._model, prompt.messages, sampling, ask_usage=ask_usage)
            try:
                response = await self._post(body)
                if response.status == 200:
                    return response
                words = await _words(response)
                refusal = self._refusal(response.status, words, response.headers.get("Retry-After"))
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                refusal = self._failure(error)
            else:
                if ask_usage and response.status in (400, 422) and b"stream_options" in words:
                    # An older server. It is asked without from now on, and we count ourselves.
                    ask_usage = self._ask_usage = False
                    continue
            pause = next(pauses, None) if refusal.passing else None
            if pause is None:
                raise refusal.error from refusal.cause
            _log.info("model %r: trying again: %s", self._name, refusal.error.message)
            jittered = pause * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, guards nothing
            await anyio.sleep(max(jittered, refusal.wait))

    async def _post(self, body: bytes) -> "aiohttp.ClientResponse":
        if self._session is None:
            self._session = self._connect()
        return await self._session.post(self._url, data=body, allow_redirects=False)

    def _connect(self) -> "aiohttp.ClientSession":
        import aiohttp

        headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
            # Compressed streams come in lumps.
            "Accept-Encoding": "identity",
            "User-Agent": "kbchat",
        }
        if self._api_key is not None:
            headers["Authorization"] = f"Bearer {self._api_key}"
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout, sock_read=self._read_timeout),
        )

    async def _read(self, response: "aiohttp.ClientResponse") -> AsyncGenerator[Generated, None]:
        import aiohttp

        decoder = AnswerDecoder(self._name, max_chars=self._max_answer_chars)
        try:
            while not decoder.over:
                data = await response.content.readany()
                if not data:
                    break
                if (generated := decoder.feed(data)) is not None:
                    yield generated
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._failure(error).error from error
        decoder.end()
        if (cost := await _read_rest(response, decoder)) is not None:
            yield cost

    def _refusal(self, status: int, words: bytes, retry_after: str | None) -> "_Refusal":
        """What a status other than 200 means."""
        said = explain(words, key=self._api_key)
        if status == 429:
            seconds = seconds_to_wait(retry_after)
            error: GeneratorError = GeneratorBusyError(self._name, f"its server is busy (429): {said}", seconds)
            return _Refusal(error, passing=(seconds or 0.0) <= _PATIENCE, wait=seconds or 0.0)
        hint = _HINTS.get(status, "")
        error = GeneratorUnavailableError(self._name, f"its server answered {status}: {said}{hint}")
        return _Refusal(error, passing=status >= 500)

    def _failure(self, error: Exception) -> "_Refusal":
        """What an error of the connection means. All of aiohttp's are mapped here."""
        import aiohttp

        url = self._shown_url
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            message = f"its server at {url} cannot be reached within {self._connect_timeout:g} s"
            return _Refusal(GeneratorTimeoutError(self._name, message), cause=error)
        if isinstance(error, TimeoutError):
            message = f"its server was silent for {self._read_timeout:g} s"
            return _Refusal(GeneratorTimeoutError(self._name, message), cause=error)
        if isinstance(error, aiohttp.ClientConnectorError):
            message = f"its server at {url} cannot be reached: {shorten(str(error.os_error))}; is it running?"
            passing = not isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError)
            return _Refusal(GeneratorUnavailableError(self._name, message), passing=passing, cause=error)
        broken = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError | OSError)
        what = "broke off the connection" if broken else "cannot be understood"
        message = f"its server {what}: {shorten(str(error)) or type(error).__name__}"
        passing = isinstance(error, aiohttp.ServerDisconnectedError | OSError)
        return _Refusal(GeneratorUnavailableError(self._name, message), passing=passing, cause=error)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a try failed, whether another may go better, and how many seconds the server wants to be left alone."""

    error: GeneratorError
    passing: bool = False
    wait: float = 0.0
    cause: Exception | None = None


_HINTS = {
    401: "; check the model's api_key",
    403: "; check the model's api_key",
    404: "; check the model's name and base_url",
}


async def _words(response: "aiohttp.ClientResponse") -> bytes:
    """The beginning of an error's body. The connection is used again only if that was all."""
    words = b""
    try:
        while len(words) < _ERROR_BYTES and (data := await response.content.readany()):
            words += data
    finally:
        response.close()
    return words[:_ERROR_BYTES]


async def _read_rest(response: "aiohttp.ClientResponse", decoder: AnswerDecoder) -> Generated | None:
    """The cost, which may come after the answer. The answer is whole: nothing here fails any more."""
    import aiohttp

    cost = None
    try:
        if not decoder.done:
            with anyio.move_on_after(_PATIENCE):
                while not decoder.done and (data := await response.content.readany()):
                    cost = decoder.feed(data) or cost
        if not response.content.at_eof():
            with anyio.move_on_after(_CLOSING):
                while await response.content.readany():
                    pass
    except (aiohttp.ClientError, OSError) as error:
        _log.debug("after the answer: %s", type(error).__name__)
    return cost
