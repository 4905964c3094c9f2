"""Scores from any server that speaks `/rerank` as Jina, Cohere, vLLM, TEI's proxies and llama.cpp do."""

import json
import math
from collections.abc import Sequence
from typing import NoReturn

from kbchat.errors import RerankerError, RerankerUnavailableError
from kbchat.posting import ModelServer, Unanswered

_HINTS = {
    401: "; set the key it expects (rerank_api_key)",
    403: "; set a key with the right to use it (rerank_api_key)",
    404: "; is rerank_base_url right (it often ends in /v1), and does the server have this model?",
    413: "; make the chunks smaller (chunk_tokens)",
    429: "; try again later",
}


class HttpReranker:
    """One reranking model on one server. The connection is kept; `aclose` lets go of it.

    `timeout` is how many seconds the server may take. A question waits for its answer, so nothing is tried twice. No
    redirect is followed, so the key goes nowhere else. Raises `SettingsError` for a base URL that is none.
    """

    def __init__(self, *, model: str, base_url: str, api_key: str | None = None, timeout: float = 60.0) -> None:
        self._model = model
        self._server = ModelServer(
            base_url, "/rerank", setting="rerank_base_url", api_key=api_key, timeout=timeout, hints=_HINTS
        )

    @property
    def name(self) -> str:
        return self._model

    async def rerank(self, question: str, texts: Sequence[str]) -> list[float]:
        if not texts:
            return []
        asked = {"model": self._model, "query": question, "documents": list(texts), "top_n": len(texts)}
        try:
            answer = await self._server.post(json.dumps(asked).encode())
        except Unanswered as failure:
            if not failure.may_pass:
                self._refuse(failure.message)
            raise RerankerUnavailableError(f"reranker {self.name!r}: {failure.message}") from failure.__cause__
        return self._scores(answer, count=len(texts))

    async def aclose(self) -> None:
        await self._server.aclose()

    def _scores(self, answer: bytes, *, count: int) -> list[float]:
        try:
            results = json.loads(answer)["results"]
            scores = {int(each["index"]): float(each["relevance_score"]) for each in results}
        except (ValueError, TypeError, KeyError):
            self._refuse("its server did not answer with scores; is rerank_base_url right?")
        if scores.keys() != set(range(count)) or len(results) != count:
            self._refuse(f"its server answered scores of other passages than the {count} that it was asked for")
        if not all(map(math.isfinite, scores.values())):
            self._refuse("its server answered numbers that are not finite")
        return [scores[number] for number in range(count)]

    def _refuse(self, message: str) -> NoReturn:
        raise RerankerError(f"reranker {self.name!r}: {message}")
