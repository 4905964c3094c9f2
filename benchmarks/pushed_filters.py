"""What a filter costs, and finds, where the vector store applies it, beside kbchat's way.

    python benchmarks/pushed_filters.py [--vectors 100000] [--json FILE] [--plot FILE]

Of so many vectors some are selected: by chance, or (`far`) those that are farthest from the question. Wanted are the
fifty nearest of these. `pushed down`: the store's own client is told the ids that it may answer with. `kbchat`: its
store is asked with `among`, and tells the engine, reads the vectors, or looks deeper (`stores/among.py`). Vectors in
random directions, the hardest to search; embedded Chroma and Milvus Lite with kbchat's settings.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kbchat.stores import Vector, VectorStore
from kbchat.stores.among import Ids
from kbchat.stores.chroma import ChromaStore
from kbchat.stores.lite import LiteServer
from kbchat.stores.milvus import MilvusStore
from kbchat.stores.milvus_names import theirs_of
from kbchat.threads import Threads
from reporting import Spread, about, add_outputs, bars, canvas, draw, logarithmic, save

NAME = "kb-filtered"
DIMENSION = 256
WANTED = 50
QUESTIONS = 15
SELECTED = (1_000, 5_000, 20_000, 50_000)
FAR = 5_000
Ask = Callable[[Vector, Ids], Awaitable[list[int]]]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--vectors", type=int, default=100_000)
    add_outputs(arguments)
    given = arguments.parse_args()
    header = about("chromadb", "pymilvus", "milvus-lite", vectors=given.vectors, wanted=WANTED, questions=QUESTIONS)
    results = asyncio.run(measure(given.vectors))
    save(given.json, header, results)
    if given.plot:
        plot(results, given.plot)


async def measure(count: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    vectors = random.standard_normal((count, DIMENSION)).astype(np.float32)
    questions = random.standard_normal((QUESTIONS, DIMENSION)).astype(np.float32)
    chosen: list[Ids | None] = [
        Ids(random.choice(count, some, replace=False).tolist()) for some in SELECTED if some <= count
    ]
    chosen.append(None)
    results: dict[str, Any] = {}
    print(f"{'':28} {'selected':>9} {'milliseconds a question':>26} {'of the nearest found':>22}")
    for store, pushed in ((chroma, pushed_to_chroma), (milvus_lite, pushed_to_milvus)):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vectors"
            async with aclosing(store(path)) as opened:
                await opened.create_collection(NAME, dimension=DIMENSION)
                await opened.upsert(NAME, range(count), vectors)
                await opened.flush(NAME)
                results |= await compare(f"{store.__name__}, kbchat", of_kbchat(opened), vectors, questions, chosen)
            with pushed(path) as ask:
                results |= await compare(f"{store.__name__}, pushed down", ask, vectors, questions, chosen)
    return results


def chroma(path: Path) -> VectorStore:
    return ChromaStore(path=path, threads=Threads())


def milvus_lite(path: Path) -> VectorStore:
    return MilvusStore(uri=path, threads=Threads())


def of_kbchat(store: VectorStore) -> Ask:
    async def ask(question: Vector, chosen: Ids) -> list[int]:
        return [hit.id for hit in await store.query(NAME, question, limit=WANTED, among=chosen)]

    return ask


@contextmanager
def pushed_to_chroma(path: Path) -> Iterator[Ask]:
    import chromadb

    collection = chromadb.PersistentClient(str(path)).get_collection(NAME, embedding_function=None)

    async def ask(question: Vector, chosen: Ids) -> list[int]:
        ids = [str(key) for key in chosen]
        found = collection.query(query_embeddings=[question], ids=ids, n_results=WANTED, include=["distances"])
        return [int(key) for key in found["ids"][0]]

    yield ask


@contextmanager
def pushed_to_milvus(path: Path) -> Iterator[Ask]:
    from pymilvus import MilvusClient

    server = LiteServer.enter(path)
    client = MilvusClient(server.uri)
    client.load_collection(theirs_of(NAME))

    async def ask(question: Vector, chosen: Ids) -> list[int]:
        where = f"id in {list(chosen)}"
        (found,) = client.search(theirs_of(NAME), data=[question], filter=where, limit=WANTED, output_fields=["id"])
        return [hit["id"] for hit in found]

    yield ask
    client.close()
    server.leave()


async def compare(way: str, ask: Ask, vectors: Any, questions: Any, selections: list[Ids | None]) -> dict[str, Any]:
    """None of the selections is of those that are far from each question."""
    results = {}
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for selection in selections:
        taken, found = [], []
        for number, question in enumerate(questions):
            scores = unit @ question
            chosen = Ids(np.argpartition(scores, FAR)[:FAR].tolist()) if selection is None else selection
            ids = np.array(chosen)
            nearest = set(ids[np.argpartition(-scores[ids], WANTED)[:WANTED]].tolist())
            if not number:
                await ask(question, chosen)  # warms up
            started = time.perf_counter()
            answer = await ask(question, chosen)
            taken.append((time.perf_counter() - started) * 1000)
            found.append(len(nearest & set(answer)) / WANTED)
        spread, share = Spread.of(taken), Spread.of(found)
        mean = sum(found) / len(found)
        told = f"{FAR:,} far" if selection is None else f"{len(selection):,}"
        print(f"{way:28} {told:>9} {format(spread, '.1f'):>26} {mean:22.3f}", flush=True)
        results[f"{way}, {told}"] = {"milliseconds": spread, "found": share, "found on average": mean}
    return results


def plot(results: dict[str, Any], path: Path) -> None:
    figure, axes = canvas(2, width=9, height=4)
    for each, what in zip(axes, ("milliseconds", "found"), strict=True):
        bars(each, {what: {way: it[what] for way, it in results.items()}})
        each.set(xlabel="milliseconds a question" if what == "milliseconds" else "share of the fifty nearest found")
    logarithmic(axes[0])
    draw(figure, path)


if __name__ == "__main__":
    main()
