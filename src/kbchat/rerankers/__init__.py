"""Rerankers: the protocol every one obeys."""

from collections.abc import Sequence
from typing import Protocol


class Reranker(Protocol):
    """Reads a question and passages side by side, which searches cannot, and says how well they go together."""

    @property
    def name(self) -> str:
        """What traces call it, for example `BAAI/bge-reranker-v2-m3`."""
        ...

    async def rerank(self, question: str, texts: Sequence[str]) -> list[float]:
        """A score for each text, in their order; higher is better. In [0, 1], or logits of any size; always finite.

        Raises `RerankerError`.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections and memory. Closing twice does nothing."""
        ...
