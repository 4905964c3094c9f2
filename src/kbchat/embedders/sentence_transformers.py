"""Models of sentence-transformers, by name or folder, in this process (the extra `sentence-transformers`)."""

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kbchat.embedders import Vector, Vectors
from kbchat.errors import EmbedderError, MissingExtraError
from kbchat.threads import Threads

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BATCH_TEXTS = 64


class SentenceTransformersEmbedder:
    """A model that is loaded when it is first used, from its folder or, by name, from where the library keeps models
    (or fetches them). Vectors come out with length 1.

    Questions and documents are encoded with the prompts that the model has for each, if it has any.
    """

    def __init__(self, model: str, *, threads: Threads) -> None:
        self._name = model
        self._threads = threads
        self._loading = threading.Lock()
        self._model: SentenceTransformer | None = None

    @property
    def name(self) -> str:
        return f"sentence-transformers:{self._name}"

    @property
    def batch_size(self) -> int:
        return BATCH_TEXTS

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return await self._threads.read(self._embed, texts, "document")

    async def embed_query(self, text: str) -> Vector:
        vector: Vector = (await self._threads.read(self._embed, [text], "query"))[0]
        return vector

    async def aclose(self) -> None:
        self._model = None

    def _embed(self, texts: Sequence[str], kind: str) -> Vectors:
        if not texts:
            return np.zeros((0, 1), dtype=np.float32)
        model = self._loaded()
        encode = model.encode_query if kind == "query" else model.encode_document
        try:
            made = encode(list(texts), batch_size=BATCH_TEXTS, normalize_embeddings=True, show_progress_bar=False)
        except Exception as error:  # the library's errors have no class in common
            raise EmbedderError(f"embedder {self.name!r}: {error}") from error
        vectors: Vectors = np.asarray(made, dtype=np.float32)
        if not np.isfinite(vectors).all():
            raise EmbedderError(f"embedder {self.name!r}: its vectors hold numbers that are not finite")
        return vectors

    def _loaded(self) -> "SentenceTransformer":
        with self._loading:
            if self._model is None:
                try:
                    from sentence_transformers import SentenceTransformer
                except ImportError:
                    raise MissingExtraError("a model of sentence-transformers", "sentence-transformers") from None
                try:
                    self._model = SentenceTransformer(self._name)
                except Exception as error:
                    what = f"embedder {self.name!r} cannot be loaded: {error}; name a folder that holds the model"
                    raise EmbedderError(what) from error
            return self._model
