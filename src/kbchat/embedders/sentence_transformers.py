"""Any model of sentence-transformers, in this process. Models that tell questions from documents by prompts are given
the right one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from kbchat.embedders import Vector, Vectors
from kbchat.errors import EmbedderError
from kbchat.inprocess import InProcess
from kbchat.threads import Threads

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BATCH_TEXTS = 64


class SentenceTransformersEmbedder:
    """One model by its name on the hub or its folder, loaded when first used. Vectors come out with length 1.

    A text longer than the model reads is cut by it. The model works on one batch at a time, whoever asks.
    """

    def __init__(self, *, model: str, threads: Threads) -> None:
        self._model = InProcess(
            model, kind="SentenceTransformer", what="embedder", setting="embedder", error=EmbedderError, threads=threads
        )

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def batch_size(self) -> int:
        return BATCH_TEXTS

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return await self._model.use(lambda model: _embed(cast("SentenceTransformer", model), texts, as_query=False))

    async def embed_query(self, text: str) -> Vector:
        vectors = await self._model.use(lambda model: _embed(cast("SentenceTransformer", model), [text], as_query=True))
        vector: Vector = vectors[0]
        return vector

    async def aclose(self) -> None:
        self._model.close()


def _embed(model: "SentenceTransformer", texts: Sequence[str], *, as_query: bool) -> Vectors:
    if not texts:
        return np.zeros((0, model.get_embedding_dimension() or 1), dtype=np.float32)
    encode = model.encode_query if as_query else model.encode_document
    vectors = encode(list(texts), batch_size=BATCH_TEXTS, show_progress_bar=False, normalize_embeddings=True)
    return np.asarray(vectors, dtype=np.float32)
