"""kbchat's static embedder as other systems take one, so that all of a benchmark embed alike. Runs where they do."""

from collections.abc import Callable, Sequence
from typing import Any

Embed = Callable[[Sequence[str]], list[list[float]]]


def embedder() -> Embed:
    """The embedder as a function. No vector is zero, which some stores refuse."""
    from kbchat.embedders.static import StaticEmbedder
    from kbchat.threads import Threads

    static = StaticEmbedder(threads=Threads())
    static.embed(["warm"])

    def embed(texts: Sequence[str]) -> list[list[float]]:
        rows: list[list[float]] = []
        for first in range(0, len(texts), 256):
            rows += static.embed(list(texts[first : first + 256])).tolist()
        return [row if any(row) else [1e-6] * 256 for row in rows]

    return embed


def for_llamaindex() -> Any:
    from llama_index.core.embeddings import BaseEmbedding

    embed = embedder()

    class Static(BaseEmbedding):
        def _get_query_embedding(self, query: str) -> list[float]:
            return embed([query])[0]

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return embed([query])[0]

        def _get_text_embedding(self, text: str) -> list[float]:
            return embed([text])[0]

        def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
            return embed(texts)

    return Static(embed_batch_size=256)


def for_langchain() -> Any:
    from langchain_core.embeddings import Embeddings

    embed = embedder()

    class Static(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return embed(texts)

        def embed_query(self, text: str) -> list[float]:
            return embed([text])[0]

    return Static()
