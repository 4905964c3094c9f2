"""What kbchat's vector stores cost over the vendors' own clients: the same vectors, settings and batches, in turns.

    python benchmarks/stores.py --json FILE --plot FILE
    python benchmarks/stores.py --stores milvus-server --sizes 100000 --json FILE --plot FILE

A collection is filled, its last 10,000 vectors in batches that are timed, the others in large ones that are not; small
collections are made over and over. Then it is searched. Results are put into what FILE holds already: stores and sizes
can be measured one by one. `--fill FOLDER` only fills, and `--filled FOLDER` measures what was filled there: the first
takes minutes and may be disturbed, the second may not.
"""

import argparse
import asyncio
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kbchat.errors import StoreUnavailableError
from kbchat.stores import Vectors, VectorStore
from kbchat.stores.chroma import HNSW, ChromaStore
from kbchat.stores.milvus import MilvusSettings, MilvusStore
from kbchat.threads import Threads
from reporting import About, Spread, about, add_outputs, canvas, draw, logarithmic, save

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from servers import ChromaServer, MilvusServer

if TYPE_CHECKING:
    from pymilvus import MilvusClient

DIMENSION = 256
QUESTIONS = 200
TIMED = 10_000
"""Number of vectors, at least, that are upserted in batches that are timed."""
LARGE = 500
"""Vectors in a batch that only fills."""
RAW, OURS = "raw", "kb-ours"
VENDORS = ("chromadb", "pymilvus", "milvus-lite", "milvus", "numpy")
HEAD = """
| store | vectors | upsert, raw | kbchat | added | query, raw | kbchat | added | recall@10 |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |"""
SETTINGS = MilvusSettings()
LITE_SETTINGS = MilvusSettings(index="FLAT", build={}, search={})


@dataclass(frozen=True)
class Client:
    """The two calls that are compared. The vendor's block and are timed where they are called, as its users do."""

    upsert: Callable[[list[int], Vectors], object]
    query: Callable[[Vectors], object]
    settle: Callable[[], object] = lambda: None
    """Return when what either of both wrote is indexed."""


@dataclass(frozen=True)
class Result:
    """Milliseconds. What is added is of each pair of calls that were made in turn, and the median of that."""

    store: str
    size: int
    batch: int
    upsert_raw: Spread
    upsert_kbchat: Spread
    upsert_added: Spread
    """As a share of the raw call."""
    query_raw: Spread
    query_kbchat: Spread
    query_added: Spread
    recall: float
    """Of the ten that exact search finds, those that kbchat's store found."""

    @classmethod
    def read(cls, saved: dict[str, Any]) -> "Result":
        return cls(**{name: Spread(**it) if isinstance(it, dict) else it for name, it in saved.items()})

    def row(self) -> str:
        """A line of a Markdown table."""
        upsert = f"{self.upsert_raw.median:.1f} | {self.upsert_kbchat.median:.1f} | {self.upsert_added:+.0%}"
        query = f"{self.query_raw.median:.2f} | {self.query_kbchat.median:.2f} | {self.query_added:+.2f}"
        return f"| {self.store} | {self.size:,} | {upsert} | {query} | {self.recall:.3f} |"


def raw_collection(api: Any, name: str) -> Any:
    """Chroma's own collection, with kbchat's settings for the index."""
    return api.get_or_create_collection(name, embedding_function=None, configuration={"hnsw": HNSW})


def raw_chroma(api: object, name: str) -> Client:
    collection = raw_collection(api, name)
    return Client(
        lambda ids, vectors: collection.upsert(ids=[str(key) for key in ids], embeddings=vectors),
        lambda vector: collection.query(query_embeddings=[vector], n_results=10, include=["distances"]),
    )


def raw_milvus(client: "MilvusClient", name: str, *, settings: MilvusSettings = SETTINGS) -> Client:
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
    index = client.prepare_index_params()
    index.add_index("vector", index_type=settings.index, metric_type="COSINE", params=dict(settings.build))
    if not client.has_collection(name):
        client.create_collection(name, schema=schema, index_params=index, consistency_level="Session")

    def upsert(ids: list[int], vectors: Vectors) -> None:
        client.upsert(name, [{"id": key, "vector": vector} for key, vector in zip(ids, vectors, strict=True)])

    def query(vector: Vectors) -> None:
        client.search(
            name,
            data=[vector],
            anns_field="vector",
            limit=10,
            output_fields=["id"],
            search_params={"metric_type": "COSINE", "params": dict(settings.search)},
            consistency_level="Session",
        )

    def settle() -> None:
        client.flush(name)
        deadline = time.monotonic() + 200
        for each in (name, name.replace(RAW, OURS.replace("-", "_"))) if settings is SETTINGS else ():
            while client.describe_index(each, "vector").get("pending_index_rows") and time.monotonic() < deadline:
                time.sleep(0.5)

    return Client(upsert, query, settle)


@contextmanager
def chroma_embedded(folder: Path) -> Iterator[tuple[Callable[[str], Client], VectorStore]]:
    import chromadb

    settings = chromadb.config.Settings(anonymized_telemetry=False)
    client = chromadb.PersistentClient(folder / "raw", settings=settings)
    yield partial(raw_chroma, client), ChromaStore(path=folder / "ours", threads=Threads())
    client.close()


@contextmanager
def chroma_server(folder: Path) -> Iterator[tuple[Callable[[str], Client], VectorStore]]:
    import chromadb

    with ChromaServer(folder) as server:
        host, _, port = server.url.removeprefix("http://").partition(":")
        settings = chromadb.config.Settings(anonymized_telemetry=False)
        yield (
            partial(raw_chroma, chromadb.HttpClient(host=host, port=int(port), settings=settings)),
            server.open(timeout=60),
        )


@contextmanager
def milvus_lite(folder: Path) -> Iterator[tuple[Callable[[str], Client], VectorStore]]:
    from pymilvus import MilvusClient

    raw = partial(raw_milvus, MilvusClient(str(folder / "raw.db")), settings=LITE_SETTINGS)
    yield raw, MilvusStore(uri=folder / "ours", threads=Threads(), settings=LITE_SETTINGS)


@contextmanager
def milvus_server(folder: Path) -> Iterator[tuple[Callable[[str], Client], VectorStore]]:
    from pymilvus import MilvusClient

    with MilvusServer(folder) as server:
        yield (
            partial(raw_milvus, MilvusClient(server.uri, token=server.token)),
            server.open(timeout=60),
        )


STORES = {
    "chroma-embedded": chroma_embedded,
    "chroma-server": chroma_server,
    "milvus-lite": milvus_lite,
    "milvus-server": milvus_server,
}


class Times:
    """Spans of both clients doing the same thing in turns: whoever goes second finds warmer caches."""

    def __init__(self) -> None:
        self.raw: list[float] = []
        self.ours: list[float] = []

    async def both(self, raw: Callable[[], object], ours: Callable[[], Awaitable[object]]) -> None:
        first_ours = len(self.raw) % 2
        if first_ours:
            await self._time_ours(ours)
        begin = time.perf_counter()
        raw()
        self.raw.append(1000 * (time.perf_counter() - begin))
        if not first_ours:
            await self._time_ours(ours)

    def pairs(self) -> list[tuple[float, float]]:
        return list(zip(self.raw, self.ours, strict=True))

    def forget(self, first: int) -> None:
        del self.raw[:first], self.ours[:first]

    async def _time_ours(self, ours: Callable[[], Awaitable[object]]) -> None:
        begin = time.perf_counter()
        await ours()
        self.ours.append(1000 * (time.perf_counter() - begin))


class Comparison:
    """Both clients on collections of one size, in one folder."""

    def __init__(self, name: str, make_raw: Callable[[str], Client], store: VectorStore, *, size: int, batch: int):
        self._name = name
        self._make_raw = make_raw
        self._store = store
        self._size = size
        self._batch = batch
        self._timed = min(size, TIMED)
        self._vectors = np.random.default_rng(0).standard_normal((size + QUESTIONS, DIMENSION)).astype(np.float32)

    async def fill(self) -> None:
        """All but what is timed; from where it was broken off, if it was."""
        raw, ours = self._make_raw(f"{RAW}0"), f"{OURS}0"
        await self._store.create_collection(ours, dimension=DIMENSION)
        there = await self._store.count(ours) // LARGE - 1
        for start in range(max(0, there) * LARGE, self._size - self._timed, LARGE):
            end = min(start + LARGE, self._size - self._timed)
            raw.upsert(list(range(start, end)), self._vectors[start:end])
            await self._store.upsert(ours, range(start, end), self._vectors[start:end])
        await self._store.flush(ours)
        raw.settle()

    async def measure(self) -> Result:
        upserts, queries = Times(), Times()
        for number in range(max(1, TIMED // self._size)):
            raw, ours = self._make_raw(f"{RAW}{number}"), f"{OURS}{number}"
            await self._store.create_collection(ours, dimension=DIMENSION)
            await loaded(lambda ours=ours: self._store.count(ours))  # type: ignore[misc]
            for start in range(self._size - self._timed, self._size, self._batch):
                ids, part = list(range(start, start + self._batch)), self._vectors[start : start + self._batch]
                await upserts.both(partial(raw.upsert, ids, part), partial(self._store.upsert, ours, ids, part))
        await self._store.flush(ours)
        raw.settle()
        questions = self._vectors[self._size :]
        for question in questions:
            await queries.both(partial(raw.query, question), partial(self._store.query, ours, question, limit=10))
        found = [{hit.id for hit in await self._store.query(ours, question, limit=10)} for question in questions]
        right = sum(len(hits & wanted) for hits, wanted in zip(found, exact(self._vectors, self._size), strict=True))
        # The first calls open connections, load the index, or wait for the last write to be seen.
        upserts.forget(5)
        queries.forget(10)
        return Result(
            self._name,
            self._size,
            self._batch,
            upsert_raw=Spread.of(upserts.raw),
            upsert_kbchat=Spread.of(upserts.ours),
            upsert_added=Spread.of([ours / raw - 1 for raw, ours in upserts.pairs()]),
            query_raw=Spread.of(queries.raw),
            query_kbchat=Spread.of(queries.ours),
            query_added=Spread.of([ours - raw for raw, ours in queries.pairs()]),
            recall=right / (10 * QUESTIONS),
        )


async def loaded(count: Callable[[], Awaitable[object]]) -> None:
    """A Milvus server that was killed needs half a minute to load what it has."""
    deadline = time.monotonic() + 120
    while True:
        try:
            await count()
            return
        except StoreUnavailableError:
            if time.monotonic() > deadline:
                raise


def exact(vectors: Vectors, size: int) -> list[set[int]]:
    """The ten nearest of each question, which stand behind the others."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return [{int(row) for row in np.argpartition(-(unit[:size] @ question), 10)[:10]} for question in unit[size:]]


def plot(results: list[Result], path: Path) -> None:
    figure, axes = canvas(2, width=9, height=3.8)
    for axis, kind in zip(axes, ("upsert", "query"), strict=True):
        for name in dict.fromkeys(result.store for result in results):
            mine = [result for result in results if result.store == name]
            sizes = [result.size for result in mine]
            ours, raw = ([getattr(it, f"{kind}_{whose}") for it in mine] for whose in ("kbchat", "raw"))
            line = axis.plot(sizes, [it.median for it in ours], marker="o", label=name)
            color = line[0].get_color()
            axis.fill_between(sizes, [it.low for it in ours], [it.high for it in ours], color=color, alpha=0.15)
            axis.plot(sizes, [it.median for it in raw], marker=".", ls="--", color=color)
        what = "a query" if kind == "query" else f"an upsert of {results[0].batch}"
        logarithmic(axis)
        logarithmic(axis, y=True)
        axis.set(xlabel="vectors", ylabel="milliseconds (median, quartiles)", title=what)
    axes[0].legend(title="kbchat (dashed: raw client)", fontsize=7, title_fontsize=7)
    draw(figure, path)


def merged(results: list[Result], new: Result, path: Path | None, header: About) -> list[Result]:
    """What there was, what the file holds, and the new one, which is written there."""
    saved = json.loads(path.read_text())["results"] if path and path.exists() else []
    every = {(it.size, it.store): it for it in [*map(Result.read, saved), *results, new]}
    ordered = sorted(every.values(), key=lambda it: (it.size, list(STORES).index(it.store)))
    save(path, header, ordered)
    return ordered


async def run(name: str, folder: Path, *, size: int, batch: int, fills: bool, measures: bool) -> Result | None:
    """Fill and measure one store in a folder, or one of these."""
    with STORES[name](folder) as (make_raw, store):
        comparison = Comparison(name, make_raw, store, size=size, batch=batch)
        try:
            if fills:
                await comparison.fill()
            return await comparison.measure() if measures else None
        finally:
            await store.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES))
    parser.add_argument("--sizes", nargs="+", type=int, default=[1000, 10_000, 100_000])
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--fill", type=Path, metavar="FOLDER", help="only fill, there")
    parser.add_argument("--filled", type=Path, metavar="FOLDER", help="measure what was filled there")
    add_outputs(parser)
    given = parser.parse_args()
    header = about(*VENDORS, dimension=DIMENSION, questions=QUESTIONS, batch=given.batch)
    every: list[Result] = []
    for size, name in itertools.product(given.sizes, given.stores):
        with tempfile.TemporaryDirectory(prefix="kbchat-bench-") as temporary:
            kept = given.fill or given.filled
            folder = kept / f"{name}-{size}" if kept else Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            done = run(name, folder, size=size, batch=given.batch, fills=not given.filled, measures=not given.fill)
            result = asyncio.run(done)
        if result is not None:
            print(result.row(), flush=True)
            every = merged(every, result, given.json, header)
    print(HEAD, *(it.row() for it in every), sep="\n")
    if given.plot and every:
        plot(every, given.plot)


if __name__ == "__main__":
    main()
