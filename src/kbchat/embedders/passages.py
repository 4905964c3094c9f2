"""What is kept of a chunk for scoring: its static vector and those of its sentences, packed in about two kilobytes.

A question's words may all stand in one sentence of a chunk, or scattered over it: the best sentence's cosine tells.
Always by the static embedder, whatever the space's own, so that scores mean the same everywhere and a served model is
not asked for every sentence.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kbchat.embedders import Vector, Vectors
from kbchat.embedders.static import StaticEmbedder
from kbchat.text import sentences

DIMENSION = 256
"""The chunk's vector is kept as half floats, those of its sentences as bytes."""
MAX_SENTENCES = 64
_HEAD_BYTES = 2 * DIMENSION
MAX_BYTES = _HEAD_BYTES + MAX_SENTENCES * DIMENSION
"""Of what is kept of a chunk."""


class Similarities(NamedTuple):
    """A question's cosines with packed chunks, in [-1, 1]; 0 where there is no vector."""

    chunk: npt.NDArray[np.float32]
    sentence: npt.NDArray[np.float32]
    """With the best sentence of each, 0 at least."""


def pack(static: StaticEmbedder, texts: Sequence[str]) -> list[bytes]:
    """The packed vectors of each text. Blocks, so call it in a worker thread."""
    return embed_and_pack(static, texts)[1]


def embed_and_pack(static: StaticEmbedder, texts: Sequence[str]) -> tuple[Vectors, list[bytes]]:
    """The same, and the texts' own vectors as the embedder gives them."""
    parts = [sentences.split(text)[:MAX_SENTENCES] for text in texts]
    vectors, of_sentences = static.embed_with_parts(texts, parts)
    heads = vectors.astype(np.float16)
    tails = _as_bytes(of_sentences)
    packed, first = [], 0
    for head, part in zip(heads, parts, strict=True):
        packed.append(head.tobytes() + tails[first : first + len(part)].tobytes())
        first += len(part)
    return vectors, packed


def is_packed(data: bytes) -> bool:
    """Whether it is what `pack` makes of some text."""
    if not _HEAD_BYTES <= len(data) <= MAX_BYTES or len(data) % DIMENSION:
        return False
    return bool(np.isfinite(np.frombuffer(data[:_HEAD_BYTES], dtype=np.float16)).all())


def compare(question: Vector, packed: Sequence[bytes]) -> Similarities:
    """A question's cosines with packed chunks, in their order. `question` is its static vector."""
    heads = np.frombuffer(b"".join([each[:_HEAD_BYTES] for each in packed]), dtype=np.float16)
    chunk = np.clip(_cosines(heads.reshape(-1, DIMENSION), question), -1.0, 1.0)
    counts = np.array([(len(each) - _HEAD_BYTES) // DIMENSION for each in packed], dtype=np.intp)
    tails = np.frombuffer(b"".join([each[_HEAD_BYTES:] for each in packed]), dtype=np.int8)
    cosines = np.clip(_cosines(tails.reshape(-1, DIMENSION), question), 0.0, 1.0)
    sentence = np.zeros(len(packed), dtype=np.float32)
    found = np.flatnonzero(counts)
    if len(found):
        sentence[found] = np.maximum.reduceat(cosines, (np.cumsum(counts) - counts)[found])
    return Similarities(chunk, sentence)


def cosines(packed: Sequence[bytes]) -> npt.NDArray[np.float32]:
    """The cosines of packed chunks with each other, by the vectors of the whole chunks; 0 where there is none."""
    heads = np.frombuffer(b"".join([each[:_HEAD_BYTES] for each in packed]), dtype=np.float16)
    wide = heads.reshape(-1, DIMENSION).astype(np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None]
    unit = np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)
    found: npt.NDArray[np.float32] = np.clip(np.einsum("ik,jk->ij", unit, unit), -1.0, 1.0)
    return found


def _as_bytes(vectors: Vectors) -> npt.NDArray[np.int8]:
    """Directions of vectors in bytes, each row over its own largest number."""
    scale = np.abs(vectors).max(axis=1, keepdims=True, initial=1e-12)
    numbers: npt.NDArray[np.int8] = np.rint(vectors * (127.0 / scale)).astype(np.int8)
    return numbers


def _cosines(rows: npt.NDArray[np.float16] | npt.NDArray[np.int8], question: Vector) -> npt.NDArray[np.float32]:
    """By einsum, not by BLAS: that wakes its threads for every question, who then spin for longer than this takes."""
    wide = rows.astype(np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide) * np.float32(question @ question))
    products = np.einsum("ij,j->i", wide, question)
    cosines: npt.NDArray[np.float32] = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
    return cosines
