"""Vectors from any server that speaks OpenAI's `/embeddings`: OpenAI, vLLM, Ollama, llama.cpp, TEI and their like."""

import json
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import anyio
import numpy as np

from kbchat.embedders import Vector, Vectors
from kbchat.errors import EmbedderError, EmbedderUnavailableError, SettingsError

if TYPE_CHECKING:
    import aiohttp

_log = logging.getLogger("kbchat.embedders")

BATCH_TEXTS = 128
RETRY_PAUSES = (0.5, 2.0)
"""Seconds before each further try after a failure that may pass."""
MAX_RETRY_AFTER = 10.0
"""Seconds: a server that asks to be left alone for longer is not waited for."""
_HINTS = {
    401: "; set the key it expects (embedder_api_key)",
    403: "; set a key with the right to use it (embedder_api_key)",
    404: "; is embedder_base_url right (it usually ends in /v1), and does the server have this model?",
    413: "; make the chunks smaller (chunk_tokens)",
}


class OpenAIEmbedder:
    """One embedding model on one OpenAI-compatible server. The connection is kept; `aclose` lets go of it.

    `timeout` is how many seconds the server may take for a batch. Vectors come out with length 1, whatever the server
    sends. No redirect is followed, so the key goes nowhere else. Raises `SettingsError` for a base URL that is none.
    """

    def __init__(
        self,
        *,
        model: str,
        base_url: str,
        api_key: str | None = None,
        timeout: float = 60.0,
        retry_pauses: Sequence[float] = RETRY_PAUSES,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise SettingsError(f"embedder_base_url {base_url!r} is no URL; it looks like http://localhost:8000/v1")
        self._model = model
        self._url = base_url.rstrip("/") + "/embeddings"
        self._api_key = api_key
        self._timeout = timeout
        self._retry_pauses = tuple(retry_pauses)
        self._session: aiohttp.ClientSession | None = None

    @property
    def name(self) -> str:
        return f"openai:{self._model}"

    @property
    def batch_size(self) -> int:
        return BATCH_TEXTS

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        parts = [await self._embed(texts[first : first + BATCH_TEXTS]) for first in range(0, len(texts), BATCH_TEXTS)]
        if len({part.shape[1] for part in parts}) > 1:
            self._refuse("its vectors change in dimension")
        return np.concatenate(parts) if parts else np.zeros((0, 1), dtype=np.float32)

    async def embed_query(self, text: str) -> Vector:
        vector: Vector = (await self._embed([text]))[0]
        return vector

    async def aclose(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _embed(self, texts: Sequence[str]) -> Vectors:
        body = json.dumps({"model": self._model, "input": list(texts), "encoding_format": "float"}).encode()
        pauses = iter(self._retry_pauses)
        while True:
            try:
                return self._vectors(await self._post(body), count=len(texts))
            except _Passing as failure:
                pause = next(pauses, None)
                if pause is None or failure.wait > MAX_RETRY_AFTER:
                    raise failure.error from failure.__cause__
                _log.info("embedder %s: trying again: %s", self.name, failure.error.message)
                await anyio.sleep(max(pause, failure.wait))

    async def _post(self, body: bytes) -> bytes:
        import aiohttp

        if self._session is None:
            headers = {"Content-Type": "application/json", "User-Agent": "kbchat"}
            if self._api_key:
                headers["Authorization"] = f"Bearer {self._api_key}"
            self._session = aiohttp.ClientSession(
                headers=headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=self._timeout),
            )
        try:
            async with self._session.post(self._url, data=body, allow_redirects=False) as response:
                answer = await response.read()
                if response.status != 200:
                    self._refuse_status(response.status, answer, response.headers.get("Retry-After"))
                return answer
        except TimeoutError as error:
            raise _Passing(self._unavailable(f"its server did not answer within {self._timeout:g} s")) from error
        except (aiohttp.ClientError, OSError) as error:
            message = f"its server at {self._url} cannot be reached ({error}); is it running?"
            raise _Passing(self._unavailable(message)) from error

    def _refuse_status(self, status: int, answer: bytes, retry_after: str | None) -> NoReturn:
        said = answer[:500].decode(errors="replace").strip()
        if self._api_key:
            said = said.replace(self._api_key, "***")
        message = f"its server answered {status}: {said or 'nothing'}{_HINTS.get(status, '')}"
        if status == 429 or status >= 500:
            wait = float(retry_after) if retry_after is not None and retry_after.isdecimal() else 0.0
            raise _Passing(self._unavailable(message), wait)
        self._refuse(message)

    def _vectors(self, answer: bytes, *, count: int) -> Vectors:
        try:
            data = sorted(json.loads(answer)["data"], key=lambda item: item["index"])
            vectors = np.array([item["embedding"] for item in data], dtype=np.float32)
        except (ValueError, TypeError, KeyError):
            self._refuse("its server did not answer with embeddings; is embedder_base_url right?")
        if vectors.ndim != 2 or len(vectors) != count or not vectors.size:
            self._refuse(f"its server answered {len(vectors)} vectors for {count} texts")
        if not np.isfinite(vectors).all():
            self._refuse("its server answered numbers that are not finite")
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        normal: Vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
        return normal

    def _refuse(self, message: str) -> NoReturn:
        raise EmbedderError(f"embedder {self.name!r}: {message}")

    def _unavailable(self, message: str) -> EmbedderUnavailableError:
        return EmbedderUnavailableError(f"embedder {self.name!r}: {message}")


class _Passing(Exception):  # noqa: N818 - not an error of ours yet
    """A failure that another try may not meet; `wait` is how many seconds the server asked for."""

    def __init__(self, error: EmbedderUnavailableError, wait: float = 0.0) -> None:
        super().__init__(error.message)
        self.error = error
        self.wait = wait
