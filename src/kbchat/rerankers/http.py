"""Scores from any server that speaks `/rerank` as Jina, Cohere, vLLM, TEI's proxies and llama.cpp do."""

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from kbchat.errors import RerankerError, RerankerUnavailableError, SettingsError

if TYPE_CHECKING:
    import aiohttp

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
        if not base_url.startswith(("http://", "https://")):
            raise SettingsError(f"rerank_base_url {base_url!r} is no URL; it looks like http://localhost:8000/v1")
        self._model = model
        self._url = base_url.rstrip("/") + "/rerank"
        self._api_key = api_key
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    @property
    def name(self) -> str:
        return self._model

    async def rerank(self, question: str, texts: Sequence[str]) -> list[float]:
        if not texts:
            return []
        asked = {"model": self._model, "query": question, "documents": list(texts), "top_n": len(texts)}
        return self._scores(await self._post(json.dumps(asked).encode()), count=len(texts))

    async def aclose(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

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
                    self._refuse_status(response.status, answer)
                return answer
        except TimeoutError as error:
            raise self._unavailable(f"its server did not answer within {self._timeout:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._unavailable(f"its server at {self._url} cannot be reached ({error}); is it running?") from error

    def _refuse_status(self, status: int, answer: bytes) -> NoReturn:
        said = answer[:500].decode(errors="replace").strip()
        if self._api_key:
            said = said.replace(self._api_key, "***")
        message = f"its server answered {status}: {said or 'nothing'}{_HINTS.get(status, '')}"
        if status == 429 or status >= 500:
            raise self._unavailable(message)
        self._refuse(message)

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

    def _unavailable(self, message: str) -> RerankerUnavailableError:
        return RerankerUnavailableError(f"reranker {self.name!r}: {message}")
