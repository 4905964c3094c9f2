"""The embedded default: wordllama's 256 dimensions, a vector a token, averaged. Nothing is downloaded.

Tokenizer and table are read from wordllama's package folder without importing it, which would cost half a second, 60 MB
and a change of the root logger. The vectors are wordllama's own but for rounding (and for texts that spell out the
tokenizer's special signs, such as `<unk>`). The table stays on disk as half floats, mapped and shared between
processes; what is used of it is kept in floats.
"""

import json
import math
import threading
from collections.abc import Sequence
from mmap import mmap
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kbchat.embedders import Vector, Vectors
from kbchat.embedders.pieces import Cut, Offsets, Tokens
from kbchat.errors import EmbedderError
from kbchat.threads import Threads

_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
_WEIGHTS = "weights/l2_supercat_256.safetensors"
_TENSOR = "embedding.weight"

INLINE_CHARS = 1000
"""A question up to this long is embedded where it is asked: that takes less than going to a thread and back."""

_FEW = 32
"""Number of pieces, at most, that are faster added up one by one."""
_BLOCK = 4096
"""Pieces whose vectors are laid side by side at once."""


class StaticEmbedder:
    """Static word vectors: thousands of texts a second on one core, in any language that wordllama's tokenizer knows.

    A text without a known token has the zero vector.
    """

    def __init__(self, *, threads: Threads) -> None:
        self._threads = threads
        self._loading = threading.Lock()
        self._model: _Model | None = None

    @property
    def name(self) -> str:
        return "static"

    @property
    def batch_size(self) -> int:
        return 256

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return await self._threads.read(self.embed, texts)

    async def embed_query(self, text: str) -> Vector:
        if len(text) > INLINE_CHARS:
            vector: Vector = (await self._threads.read(self.embed, [text]))[0]
            return vector
        model = self._model
        if model is None:
            model = await self._threads.read(self._load)
        return model.embed_one(text)

    async def aclose(self) -> None:
        self._model = None

    def embed(self, texts: Sequence[str]) -> Vectors:
        """What `embed_documents` gives, in the calling thread."""
        return self.embed_with_parts(texts, ())[0]

    def embed_with_parts(self, texts: Sequence[str], parts: Sequence[Sequence[Offsets]]) -> tuple[Vectors, Vectors]:
        """The texts' vectors, and those of the parts of each as texts of their own, one after the other.

        A text is cut into words once for itself and its parts. Of the parts' vectors only the directions count.
        """
        return self._load().embed(texts, parts)

    def _load(self) -> "_Model":
        if (model := self._model) is None:
            with self._loading:
                model = self._model = self._model or _Model.load()
        return model


class _Table:
    """The tokens' vectors. Each is widened when it is first asked for: half floats are slow to reckon with."""

    def __init__(self, stored: npt.NDArray[np.float16]) -> None:
        self._stored = stored
        # Memory that is never written to takes no room. numpy's own would be given in pieces of 2 MB: soon all of it.
        memory = mmap(-1, max(1, stored.size * np.dtype(np.float32).itemsize))
        self._wide = np.frombuffer(memory, np.float32, stored.size).reshape(stored.shape)
        self._is_wide = np.zeros(len(stored), dtype=bool)

    def __getitem__(self, ids: npt.NDArray[np.uint16]) -> Vectors:
        missing = ids[~self._is_wide[ids]]
        if len(missing):
            # Marked afterwards: another thread may write the same numbers meanwhile, and reads none that are not there.
            self._wide[missing] = self._stored[missing]
            self._is_wide[missing] = True
        rows: Vectors = self._wide[ids]
        return rows


class _Model(NamedTuple):
    tokens: Tokens
    table: _Table
    dimension: int

    @classmethod
    def load(cls) -> "_Model":
        from importlib.util import find_spec

        spec = find_spec("wordllama")
        folder = Path(next(iter(spec.submodule_search_locations or ()), "")) if spec is not None else Path()
        try:
            stored = _map_tensor(folder / _WEIGHTS, _TENSOR)
            return cls(Tokens.load(folder / _TOKENIZER), _Table(stored), stored.shape[1])
        except Exception as error:  # the tokenizer's errors are bare exceptions
            raise EmbedderError(
                f"the static embedder cannot be loaded ({error}); reinstall it: pip install --force-reinstall wordllama"
            ) from error

    def embed_one(self, text: str) -> Vector:
        """The vector of a short text: that of `embed` but for rounding, in a fifth of the time."""
        vector: Vector = np.add.reduce(self.table[self.tokens.of(text)], axis=0)
        length = math.sqrt(float(vector @ vector))
        return vector / np.float32(length) if length > 0 else vector

    def embed(self, texts: Sequence[str], parts: Sequence[Sequence[Offsets]]) -> tuple[Vectors, Vectors]:
        cut = Cut.of(texts, parts)
        rows = self._rows(list(cut.numbers))
        sums = np.zeros((len(texts), self.dimension), dtype=np.float32)
        of_parts = np.zeros((len(cut.parts), self.dimension), dtype=np.float32)
        space = np.empty((min(_BLOCK, max(cut.sizes, default=0)), self.dimension), dtype=np.float32)
        last = part = 0
        for text, size in enumerate(cut.sizes):
            first, last = last, last + size
            own = cut.parts[part : part + len(parts[text])] if parts else []
            for begin in range(first, last, _BLOCK):
                ids = cut.ids[begin : min(begin + _BLOCK, last)]
                # Into memory that is there: to be given new memory would take longer than all else.
                block = rows.take(ids, axis=0, out=space[: len(ids)], mode="clip")
                sums[text] += np.add.reduce(block, axis=0)
            for _, start, end in own:
                rest = block[start - first : end - first] if size <= _BLOCK else rows[cut.ids[start:end]]
                np.add.reduce(rest, axis=0, out=of_parts[part])
                part += 1
        if part:
            self._begin(
                of_parts, cut, rows, [text[slice(*it)] for text, some in zip(texts, parts, strict=True) for it in some]
            )
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        vectors: Vectors = np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)
        return vectors, of_parts

    def _begin(self, of_parts: Vectors, cut: Cut, rows: Vectors, texts: Sequence[str]) -> None:
        """Add the parts' first pieces, and embed those parts that are none of whole pieces."""
        heads = np.array([head for head, _, _ in cut.parts], dtype=np.intp)
        whole = np.flatnonzero(heads >= 0)
        of_parts[whole] += rows[heads[whole]]
        apart = np.flatnonzero(heads < 0)
        if len(apart):
            of_parts[apart] = self.embed([texts[int(place)] for place in apart], ())[0]

    def _rows(self, pieces: Sequence[str]) -> Vectors:
        """The sum of each piece's tokens. Pieces of as many tokens are added up together, unless they are few, as a
        question's are."""
        tokens = self.tokens.of_each(pieces)
        sizes = np.fromiter(map(len, tokens), np.intp, len(tokens)) // Tokens.BYTES
        rows = np.zeros((len(tokens), self.dimension), dtype=np.float32)
        if len(tokens) <= _FEW:
            some = np.flatnonzero(sizes)
            if len(some):
                ids = np.frombuffer(b"".join(tokens), dtype=np.uint16)
                rows[some] = np.add.reduceat(self.table[ids], (np.cumsum(sizes) - sizes)[some])
            return rows
        for size in np.unique(sizes[sizes > 0]):
            same = np.flatnonzero(sizes == size)
            ids = np.frombuffer(b"".join([tokens[place] for place in same]), dtype=np.uint16)
            found = self.table[ids]
            rows[same] = found if size == 1 else np.add.reduce(found.reshape(len(same), size, -1), axis=1)
        return rows


def _map_tensor(path: Path, name: str) -> npt.NDArray[np.float16]:
    """A tensor of a safetensors file: eight bytes with the length of a JSON header, the header, the data."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))[name]
    if header["dtype"] != "F16":
        raise ValueError(f"{path.name} holds {header['dtype']}, not F16")
    first = 8 + size + header["data_offsets"][0]
    # A plain array over the map: the mapped class itself makes every operation slower.
    return np.asarray(np.memmap(path, np.float16, "r", offset=first, shape=tuple(header["shape"])))
