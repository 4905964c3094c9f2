"""Vectors from any server that speaks OpenAI's `/embeddings`: OpenAI, vLLM, Ollama, llama.cpp, TEI and their like."""

import json
import logging
from collections.abc import Sequence
from typing import NoReturn

import anyio
import numpy as np

from kbchat.embedders import Vector, Vectors
from kbchat.errors import EmbedderError, EmbedderUnavailableError
from kbchat.posting import ModelServer, Unanswered

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
        self._model = model
        self._server = ModelServer(
            base_url, "/embeddings", setting="embedder_base_url", api_key=api_key, timeout=timeout, hints=_HINTS
        )
        self._retry_pauses = tuple(retry_pauses)

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
        await self._server.aclose()

    async def _embed(self, texts: Sequence[str]) -> Vectors:
        body = json.dumps({"model": self._model, "input": list(texts), "encoding_format": "float"}).encode()
        pauses = iter(self._retry_pauses)
        while True:
            try:
                return self._vectors(await self._server.post(body), count=len(texts))
            except Unanswered as failure:
                if not failure.may_pass:
                    self._refuse(failure.message)
                error = self._unavailable(failure.message)
                pause = next(pauses, None)
                if pause is None or failure.wait > MAX_RETRY_AFTER:
                    raise error from failure.__cause__
                _log.info("embedder %s: trying again: %s", self.name, error.message)
                await anyio.sleep(max(pause, failure.wait))

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
