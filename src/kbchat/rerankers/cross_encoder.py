"""Scores from a cross-encoder of sentence-transformers in this process."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from kbchat.errors import RerankerError
from kbchat.inprocess import InProcess
from kbchat.threads import Threads

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


class CrossEncoderReranker:
    """A cross-encoder by its name on the hub or its folder, loaded with the first question. One question at a time.

    Raises `RerankerError` for a model that cannot be loaded, `MissingExtraError` without the extra.
    """

    def __init__(self, model: str, *, threads: Threads) -> None:
        self._model = InProcess(
            model, kind="CrossEncoder", what="reranker", setting="rerank_model", error=RerankerError, threads=threads
        )

    @property
    def name(self) -> str:
        return self._model.name

    async def rerank(self, question: str, texts: Sequence[str]) -> list[float]:
        if not texts:
            return []
        pairs = [(question, text) for text in texts]
        scores = await self._model.use(lambda model: _scores(cast("CrossEncoder", model), pairs))
        if not all(map(math.isfinite, scores)):
            raise RerankerError(f"reranker {self.name!r} gave numbers that are not finite")
        return scores

    async def aclose(self) -> None:
        self._model.close()


def _scores(encoder: "CrossEncoder", pairs: list[tuple[str, str]]) -> list[float]:
    return [float(score) for score in encoder.predict(pairs, show_progress_bar=False)]
