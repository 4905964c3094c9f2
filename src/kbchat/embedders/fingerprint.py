"""Telling models apart: what a space remembers of its embedder, and whether another one is the same."""

import base64

import numpy as np

from kbchat.embedders import Embedder
from kbchat.errors import EmbedderError
from kbchat.models import EmbedderPin

CANARIES = (
    "The keys are rotated every ninety days.",
    "Ein Zug fährt durch den Tunnel unter dem Berg.",
    "机器学习模型需要大量的数据。",
    "def add(left, right): return left + right",
)
"""Texts whose vectors identify a model. Never changed: every pinned space compares with them."""
_NUMBERS = 24
"""How many numbers of each vector are kept."""
_ALIKE = 0.99
"""Servers answer the same text with vectors whose cosine is above 0.999, other models with cosines around 0."""


async def identify(embedder: Embedder) -> EmbedderPin:
    """What to pin to a space that this embedder is used for. Raises `EmbedderError`."""
    vectors = await embedder.embed_documents(CANARIES)
    if vectors.ndim != 2 or len(vectors) != len(CANARIES) or not np.isfinite(vectors).all() or not vectors.any():
        raise EmbedderError(f"the embedder {embedder.name!r} gave no usable vectors for {len(CANARIES)} plain texts")
    kept = vectors[:, :_NUMBERS]
    scaled = np.rint(kept * (127 / max(float(np.abs(kept).max()), 1e-12))).astype(np.int8)
    return EmbedderPin(
        name=embedder.name, dimension=vectors.shape[1], fingerprint=base64.b64encode(scaled.tobytes()).decode()
    )


def is_same(one: EmbedderPin, other: EmbedderPin) -> bool:
    """Whether vectors of both can stand in one index. Rounding and a server's noise do not matter, nor does the name.

    Comparing pins by `==` is stricter: the last bit of a vector may then decide.
    """
    if one == other:
        return True
    if one.dimension != other.dimension:
        return False
    left, right = _numbers(one), _numbers(other)
    if left.shape != right.shape:
        return False
    scale = float(np.linalg.norm(left) * np.linalg.norm(right))
    return scale > 0 and float(left @ right) / scale >= _ALIKE


def _numbers(pin: EmbedderPin) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    try:
        return np.frombuffer(base64.b64decode(pin.fingerprint, validate=True), dtype=np.int8).astype(np.float32)
    except ValueError:
        return np.zeros(0, dtype=np.float32)
