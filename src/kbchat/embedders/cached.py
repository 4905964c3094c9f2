"""Embeddings that are kept: what was embedded once is not embedded again, in this run or a later one."""

import hashlib
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

import anyio
import numpy as np

from kbchat.embedders import Embedder, Vector, Vectors
from kbchat.embedders.fingerprint import identify, is_same
from kbchat.errors import InvalidInputError
from kbchat.models import EmbedderPin
from kbchat.threads import Threads

BUSY_SECONDS = 60.0
"""How long another run may hold the file."""
_VARIABLES = 500
"""Values that one statement names."""


class CachedEmbedder:
    """Another embedder, whose vectors are kept in a file. `open` it before it is used.

    Its calls raise the other one's errors, and `InvalidInputError` when the file cannot be used; then nothing of that
    call is kept, and the next one may succeed.
    """

    def __init__(self, inner: Embedder, path: Path, *, threads: Threads, busy_seconds: float = BUSY_SECONDS) -> None:
        self._inner = inner
        self._path = path
        self._threads = threads
        self._busy_seconds = busy_seconds
        self._lock = anyio.Lock()
        self._file: sqlite3.Connection | None = None
        self._of = 0

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def batch_size(self) -> int:
        return self._inner.batch_size

    async def open(self) -> None:
        """Open the file, or make it. It may hold the vectors of several models. Raises `InvalidInputError` for a file
        that is something else, and the embedder's error."""
        pin = await identify(self._inner)
        self._file, self._of = await self._threads.write(self._prepare, pin)

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return await self._embed("document", texts)

    async def embed_query(self, text: str) -> Vector:
        key = self._key("query", text)
        async with self._lock:
            known = (await self._threads.read(self._find, [key])).get(key)
            if known is None:
                known = await self._inner.embed_query(text)
                await self._threads.write(self._keep, [(key, known)])
        return known

    async def time_query(self, text: str) -> float:
        """The seconds that a question's vector takes: it is made, also where it is known, and kept."""
        async with self._lock:
            began = time.perf_counter()
            made = await self._inner.embed_query(text)
            seconds = time.perf_counter() - began
            await self._threads.write(self._keep, [(self._key("query", text), made)])
        return seconds

    async def aclose(self) -> None:
        await self._inner.aclose()
        file, self._file = self._file, None
        if file is not None:
            await self._threads.write(file.close)

    async def _embed(self, kind: str, texts: Sequence[str]) -> Vectors:
        keys = [self._key(kind, text) for text in texts]
        async with self._lock:
            known = await self._threads.read(self._find, keys)
            missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
            if missing:
                made = await self._inner.embed_documents(list(missing.values()))
                fresh = list(zip(missing, made, strict=True))
                known |= dict(fresh)
                await self._threads.write(self._keep, fresh)
        return np.stack([known[key] for key in keys]) if keys else np.zeros((0, 1), dtype=np.float32)

    def _prepare(self, pin: EmbedderPin) -> tuple[sqlite3.Connection, int]:
        """The file, and the number that the embedder has in it."""
        try:
            file = sqlite3.connect(
                self._path, timeout=self._busy_seconds, isolation_level=None, check_same_thread=False
            )
            file.execute("CREATE TABLE IF NOT EXISTS embedder (pin TEXT NOT NULL)")
            file.execute(
                "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID"
            )
            for number, known in file.execute("SELECT rowid, pin FROM embedder"):
                if is_same(EmbedderPin.model_validate_json(known), pin):
                    return file, int(number)
            made = file.execute("INSERT INTO embedder VALUES (?)", (pin.model_dump_json(),))
            return file, int(made.lastrowid or 0)
        except (sqlite3.Error, ValueError) as error:
            raise self._unusable(error) from None

    def _find(self, keys: Sequence[bytes]) -> dict[bytes, Vector]:
        found: dict[bytes, Vector] = {}
        for first in range(0, len(keys), _VARIABLES):
            part = keys[first : first + _VARIABLES]
            marks = ",".join("?" * len(part))
            try:
                rows = self._opened.execute(
                    f"SELECT key, vector FROM vectors WHERE key IN ({marks})",  # noqa: S608
                    part,
                )
                found |= {key: np.frombuffer(vector, dtype=np.float32) for key, vector in rows}
            except (sqlite3.Error, ValueError) as error:
                raise self._unusable(error) from None
        return found

    def _keep(self, fresh: Sequence[tuple[bytes, Vector]]) -> None:
        rows = [(key, vector.astype(np.float32).tobytes()) for key, vector in fresh]
        file = self._opened
        try:
            file.execute("BEGIN IMMEDIATE")
            file.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
            file.execute("COMMIT")
        except sqlite3.Error as error:
            if file.in_transaction:
                file.execute("ROLLBACK")
            raise self._unusable(error) from None

    def _key(self, kind: str, text: str) -> bytes:
        named = f"{self._of}:{kind}:{text}"
        return hashlib.blake2b(named.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    def _unusable(self, error: Exception) -> InvalidInputError:
        return InvalidInputError("cache", f"{self._path} cannot be used: {error}; name another file")

    @property
    def _opened(self) -> sqlite3.Connection:
        assert self._file is not None, "open it first"
        return self._file
