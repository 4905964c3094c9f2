"""Any model of sentence-transformers, by its name on the model hub or by a folder that holds it, in this process.

A name is fetched once, by the library itself, into its cache; a folder needs no network. Models that tell questions
from documents by prompts are given the right one.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kbchat.embedders import Vector, Vectors
from kbchat.errors import EmbedderError, MissingExtraError
from kbchat.threads import Threads

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BATCH_TEXTS = 64


class SentenceTransformersEmbedder:
    """One model of sentence-transformers, loaded when first used. Vectors come out with length 1.

    A text longer than the model reads is cut by it. The model works on one batch at a time, whoever asks.
    """

    def __init__(self, *, model: str, threads: Threads) -> None:
        """`model` is a name on the hub or a folder."""
        self._name = model
        self._threads = threads
        self._lock = threading.Lock()
        self._model: SentenceTransformer | None = None

    @property
    def name(self) -> str:
        return f"sentence-transformers:{self._name}"

    @property
    def batch_size(self) -> int:
        return BATCH_TEXTS

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return await self._threads.read(self._embed, texts, "encode_document")

    async def embed_query(self, text: str) -> Vector:
        vectors = await self._threads.read(self._embed, [text], "encode_query")
        vector: Vector = vectors[0]
        return vector

    async def aclose(self) -> None:
        self._model = None

    def _embed(self, texts: Sequence[str], method: str) -> Vectors:
        with self._lock:
            if self._model is None:
                self._model = _load(self._name)
            if not texts:
                return np.zeros((0, self._model.get_embedding_dimension() or 1), dtype=np.float32)
            try:
                vectors = getattr(self._model, method)(
                    list(texts), batch_size=BATCH_TEXTS, show_progress_bar=False, normalize_embeddings=True
                )
            except (RuntimeError, ValueError, IndexError) as error:  # what torch and the tokenizers raise
                raise EmbedderError(f"the embedder {self.name!r} cannot embed: {error}") from error
        return np.asarray(vectors, dtype=np.float32)


def _load(model: str) -> "SentenceTransformer":
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtraError("the embedder 'sentence-transformers:…'", "sentence-transformers") from error
    # A folder that is not there would be taken for a name on the hub.
    folder = Path(model).expanduser()
    if model.startswith((".", "/", "~")) and not folder.is_dir():
        raise EmbedderError(f"there is no folder {model!r} to load an embedding model from")
    try:
        return SentenceTransformer(str(folder) if folder.is_dir() else model)
    except Exception as error:  # the hub's, the tokenizers' and torch's errors have no common base
        raise EmbedderError(
            f"the embedding model {model!r} cannot be loaded ({type(error).__name__}); give a folder that holds it, "
            "or its name on the hub where the hub can be reached"
        ) from error
