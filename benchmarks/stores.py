"""What kbchat's vector stores cost over the vendors' own clients: the same vectors, settings and batches, in turns.

    python benchmarks/stores.py --sizes 1000 10000 --out benchmarks/results

Writes `stores.json` and, where matplotlib is installed, `stores.png`.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kbchat.stores import Vectors, VectorStore
from kbchat.stores.chroma import ChromaStore, HnswSettings
from kbchat.stores.milvus import MilvusSettings, MilvusStore
from kbchat.threads import Threads

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from servers import ChromaServer, MilvusServer

if TYPE_CHECKING:
    from pymilvus import MilvusClient

DIMENSION = 256
QUESTIONS = 200
LEAST_BATCHES = 60
RAW, OURS = "raw", "kb-ours"
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
    """Medians in milliseconds."""

    store: str
    size: int
    batch: int
    upsert_raw: float
    upsert_kbchat: float
    query_raw: float
    query_kbchat: float
    recall: float
    """Of the ten that exact search finds, those that kbchat's store found."""

    @property
    def upsert_overhead(self) -> float:
        return self.upsert_kbchat / self.upsert_raw - 1

    @property
    def query_overhead_ms(self) -> float:
        return self.query_kbchat - self.query_raw


def raw_chroma(api: object, name: str = RAW) -> Client:
    hnsw = HnswSettings()
    collection = api.create_collection(  # type: ignore[attr-defined]
        name,
        embedding_function=None,
        configuration={
            "hnsw": {
                "space": "cosine",
                "max_neighbors": hnsw.max_neighbors,
                "ef_construction": hnsw.ef_construction,
                "ef_search": hnsw.ef_search,
            }
        },
    )
    return Client(
        lambda ids, vectors: collection.upsert(ids=[str(key) for key in ids], embeddings=vectors),
        lambda vector: collection.query(query_embeddings=[vector], n_results=10, include=["distances"]),
    )


def raw_milvus(client: "MilvusClient", name: str, settings: MilvusSettings = SETTINGS) -> Client:
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
    index = client.prepare_index_params()
    index.add_index("vector", index_type=settings.index, metric_type="COSINE", params=dict(settings.build))
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
        deadline = time.monotonic() + 120
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

    async def _time_ours(self, ours: Callable[[], Awaitable[object]]) -> None:
        begin = time.perf_counter()
        await ours()
        self.ours.append(1000 * (time.perf_counter() - begin))


async def compare(name: str, make_raw: Callable[[str], Client], store: VectorStore, *, size: int, batch: int) -> Result:
    random = np.random.default_rng(0)
    vectors = random.standard_normal((size + QUESTIONS, DIMENSION)).astype(np.float32)
    upserts, queries = Times(), Times()
    # Few batches have no median to speak of: small collections are made over and over.
    for number in range(max(1, LEAST_BATCHES * batch // size)):
        raw, ours = make_raw(f"{RAW}{number}"), f"{OURS}{number}"
        await store.create_collection(ours, dimension=DIMENSION)
        await store.count(ours)
        for start in range(0, size, batch):
            ids, part = list(range(start, start + batch)), vectors[start : start + batch]
            await upserts.both(partial(raw.upsert, ids, part), partial(store.upsert, ours, ids, part))
    await store.flush(ours)
    raw.settle()
    for question in vectors[size:]:
        await queries.both(partial(raw.query, question), partial(store.query, ours, question, limit=10))
    found = [{hit.id for hit in await store.query(ours, question, limit=10)} for question in vectors[size:]]
    await store.aclose()
    right = sum(len(hits & wanted) for hits, wanted in zip(found, exact(vectors, size), strict=True))
    # The first questions load the index, or wait for the last write to be seen.
    return Result(
        name,
        size,
        batch,
        upsert_raw=statistics.median(upserts.raw),
        upsert_kbchat=statistics.median(upserts.ours),
        query_raw=statistics.median(queries.raw[5:]),
        query_kbchat=statistics.median(queries.ours[5:]),
        recall=right / (10 * QUESTIONS),
    )


def exact(vectors: Vectors, size: int) -> list[set[int]]:
    """The ten nearest of each question, which stand behind the others."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return [{int(row) for row in np.argpartition(-(unit[:size] @ question), 10)[:10]} for question in unit[size:]]


def plot(results: list[Result], path: Path) -> None:
    try:
        import matplotlib
    except ImportError:
        print("no plot: matplotlib is not installed (pip install 'kbchat[bench]')")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5))
    for axis, kind in zip(axes, ("upsert", "query"), strict=True):
        for name in dict.fromkeys(result.store for result in results):
            mine = [result for result in results if result.store == name]
            sizes = [result.size for result in mine]
            line = axis.plot(sizes, [getattr(result, f"{kind}_kbchat") for result in mine], marker="o", label=name)
            color = line[0].get_color()
            axis.plot(sizes, [getattr(result, f"{kind}_raw") for result in mine], marker=".", ls="--", color=color)
        axis.set(xscale="log", yscale="log", xlabel="vectors", ylabel="median milliseconds", title=kind)
    axes[0].legend(title="kbchat (dashed: raw client)")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES))
    parser.add_argument("--sizes", nargs="+", type=int, default=[1000, 10_000, 100_000])
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    results = []
    for size in arguments.sizes:
        for name in arguments.stores:
            with (
                tempfile.TemporaryDirectory(prefix="kbchat-bench-") as folder,
                STORES[name](Path(folder)) as (raw, store),
            ):
                result = asyncio.run(compare(name, raw, store, size=size, batch=arguments.batch))
            results.append(result)
            print(
                f"{name:16} {size:7,}  upsert of {result.batch}: {result.upsert_raw:7.1f} ms raw, "
                f"{result.upsert_kbchat:7.1f} ours ({result.upsert_overhead:+.0%})  "
                f"query: {result.query_raw:6.2f} ms raw, {result.query_kbchat:6.2f} ours "
                f"({result.query_overhead_ms:+.2f} ms)  recall@10: {result.recall:.3f}",
                flush=True,
            )
    arguments.out.mkdir(parents=True, exist_ok=True)
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
    versions = {name: version(name) for name in ("kbchat", "chromadb", "pymilvus", "milvus-lite", "numpy")}
    report = {
        "machine": machine,
        "versions": versions,
        "dimension": DIMENSION,
        "questions": QUESTIONS,
        "results": [
            asdict(result) | {"upsert_overhead": result.upsert_overhead, "query_overhead_ms": result.query_overhead_ms}
            for result in results
        ],
    }
    (arguments.out / "stores.json").write_text(json.dumps(report, indent=2) + "\n")
    plot(results, arguments.out / "stores.png")


if __name__ == "__main__":
    main()
