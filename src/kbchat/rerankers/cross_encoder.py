"""Scores from a cross-encoder in this process, by sentence-transformers. It is loaded with the first question."""

import math
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kbchat.errors import MissingExtraError, RerankerError
from kbchat.threads import Threads

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


class CrossEncoderReranker:
    """A cross-encoder by its name or the folder it is in. One question at a time: each takes all cores there are.

    Raises `RerankerError` for a model that cannot be loaded, `MissingExtraError` without the extra.
    """

    def __init__(self, model: str, *, threads: Threads) -> None:
        self._model = model
        self._threads = threads
        self._using = threading.Lock()
        self._encoder: CrossEncoder | None = None

    @property
    def name(self) -> str:
        return f"sentence-transformers:{self._model}"

    async def rerank(self, question: str, texts: Sequence[str]) -> list[float]:
        return await self._threads.read(self._rerank, question, texts) if texts else []

    async def aclose(self) -> None:
        self._encoder = None

    def _rerank(self, question: str, texts: Sequence[str]) -> list[float]:
        with self._using:
            encoder = self._encoder = self._encoder or self._load()
            try:
                found = encoder.predict([(question, text) for text in texts], show_progress_bar=False)
                scores = [float(score) for score in found]
            except Exception as error:  # whatever a model's own code raises
                raise RerankerError(f"reranker {self.name!r} failed: {error}") from error
        if not all(map(math.isfinite, scores)):
            raise RerankerError(f"reranker {self.name!r} gave numbers that are not finite")
        return scores

    def _load(self) -> "CrossEncoder":
        try:
            from sentence_transformers import CrossEncoder
        except ImportError:
            raise MissingExtraError("A cross-encoder", "sentence-transformers") from None
        try:
            return CrossEncoder(self._model)
        except Exception as error:  # the hub's, the tokenizer's and the weights' own
            raise RerankerError(
                f"reranker {self.name!r} cannot be loaded ({error}); rerank_model names a cross-encoder or its folder"
            ) from error
