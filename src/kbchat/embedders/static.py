"""The embedded default: wordllama's 256 dimensions, a vector a token, averaged. Nothing is downloaded.

Tokenizer and table are read from wordllama's package folder without importing it, which would cost half a second, 60 MB
and a change of the root logger. The vectors are wordllama's own but for rounding (and for texts that spell out the
tokenizer's special signs, such as `<unk>`). The table stays on disk as half
floats, mapped and shared between processes.
"""

import json
import re
import threading
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from kbchat.embedders import Vector, Vectors
from kbchat.errors import EmbedderError
from kbchat.threads import Threads

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
_WEIGHTS = "weights/l2_supercat_256.safetensors"
_TENSOR = "embedding.weight"

INLINE_CHARS = 1000
"""A question up to this long is embedded where it is asked: that takes less than going to a thread and back."""

_WIDEN_TOKENS = 2048


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
        short = self._model is not None and len(text) <= INLINE_CHARS
        vectors = self.embed([text]) if short else await self._threads.read(self.embed, [text])
        vector: Vector = vectors[0]
        return vector

    async def aclose(self) -> None:
        self._model = None

    def embed(self, texts: Sequence[str]) -> Vectors:
        """What `embed_documents` gives, in the calling thread."""
        model = self._model
        if model is None:
            with self._loading:
                model = self._model = self._model or _Model.load()
        return model.embed(texts)


class _Model(NamedTuple):
    tokens: "_Tokens"
    table: npt.NDArray[np.float16]

    @classmethod
    def load(cls) -> "_Model":
        from importlib.util import find_spec

        spec = find_spec("wordllama")
        folder = Path(next(iter(spec.submodule_search_locations or ()), "")) if spec is not None else Path()
        try:
            return cls(_Tokens.load(folder / _TOKENIZER), _map_tensor(folder / _WEIGHTS, _TENSOR))
        except Exception as error:  # the tokenizer's errors are bare exceptions
            raise EmbedderError(
                f"the static embedder cannot be loaded ({error}); reinstall it: pip install --force-reinstall wordllama"
            ) from error

    def embed(self, texts: Sequence[str]) -> Vectors:
        tokens = [self.tokens.of(text) for text in texts]
        rows: npt.NDArray[np.float16] | npt.NDArray[np.float32] = self.table
        if sum(map(len, tokens)) > _WIDEN_TOKENS:
            # A batch repeats its tokens: each is widened once, and then found under a smaller number.
            used = np.zeros(len(self.table), dtype=bool)
            for ids in tokens:
                used[ids] = True
            rows = self.table[used].astype(np.float32)
            number = np.cumsum(used) - 1
            tokens = [number[ids] for ids in tokens]
        sums = np.zeros((len(texts), self.table.shape[1]), dtype=np.float32)
        for row, ids in enumerate(tokens):
            if len(ids):
                np.add.reduce(rows[ids], axis=0, dtype=np.float32, out=sums[row])
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        vectors: Vectors = np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)
        return vectors


class _Tokens(dict[str, tuple[int, ...]]):
    """The tokens of pieces of text, remembered. Any thread may ask.

    No token of this vocabulary reaches across the start of a white space, across a line end, or to a Chinese, Japanese
    or Korean character beside it. So a text's tokens are those of its pieces, and most pieces are words seen before.
    """

    LIMIT = 50_000
    LONGEST = 32
    """Characters of a piece that is worth remembering."""

    def __init__(self, tokenizer: "Tokenizer") -> None:
        super().__init__()
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, path: Path) -> "_Tokens":
        from tokenizers import Tokenizer, normalizers

        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        # Its own normalizer also puts a blank before every text, which pieces must not have.
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        return cls(tokenizer)

    def of(self, text: str) -> npt.NDArray[np.intp]:
        pieces = _PIECE.findall(f" {_encodable(text)}") if text else ()
        return np.array(list(chain.from_iterable(map(self.__getitem__, pieces))), dtype=np.intp)

    def __missing__(self, piece: str) -> tuple[int, ...]:
        tokens = tuple(self._tokenizer.encode(piece, add_special_tokens=False).ids)
        if len(piece) <= self.LONGEST:
            if len(self) >= self.LIMIT:
                self.clear()
            self[piece] = tokens
        return tokens


_ALONE = "\n\u3000-\u9fff\uac00-\ud7af"
_PIECE = re.compile(rf"[ ▁]*[^ ▁{_ALONE}]+|[ ▁]+|[{_ALONE}]")


def _encodable(text: str) -> str:
    """The text with lone surrogates, which no tokenizer takes, replaced."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


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
