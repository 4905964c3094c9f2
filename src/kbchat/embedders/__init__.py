"""Embedders: the protocol every one obeys."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
"""Shape (n, dimension), rows of length 1, or all zero for a text that the model knows no word of."""
Vector = npt.NDArray[np.float32]
"""Shape (dimension,), of length 1 or all zero."""


class Embedder(Protocol):
    """Turns texts into vectors whose cosine says how alike they are."""

    @property
    def name(self) -> str:
        """What settings call it and spaces pin, for example `static` or `openai:text-embedding-3-small`."""
        ...

    @property
    def batch_size(self) -> int:
        """How many texts one call takes best."""
        ...

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts that are to be found, in the order of the texts. Raises `EmbedderError`."""
        ...

    async def embed_query(self, text: str) -> Vector:
        """The vector of a question. Raises `EmbedderError`."""
        ...

    async def aclose(self) -> None:
        """Let go of connections and memory. Closing twice does nothing."""
        ...
