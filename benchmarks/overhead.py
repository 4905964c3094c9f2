"""What retrieval costs beyond the searches it is made of, stage by stage, in one run.

    python benchmarks/overhead.py [--chunks 100000] [--data-dir DIR] [--json FILE] [--plot FILE]

A space of so many made-up chunks is ingested through the public face. Then, one at a time and warm: embedding the
question, the store's search and the index's search as the retriever makes them, and `space.retrieve` whole, by turns of
ten questions, so that all see the same machine; what comes first changes from turn to turn. Warm means that the files
were read before, so that the system has them in memory; each question is new. The target is: the embedding,
the slower of the two searches and 2 ms; and a p99 within three times the median. Then once more with the catalog read
from the disk, then many questions at once.
"""

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import kbchat
from kbchat.retrieval.retriever import CANDIDATES
from kbchat.retrieval.searching import LEXICAL_DEPTH
from kbchat.text.analysis import analyse_question
from reporting import about, add_outputs, canvas, draw, quantile, save

TOP_K = 10
WARM = 20
"""Questions asked before any counts."""
RUN = 10
"""Questions asked in one way before it is the other's turn. With a turn each, threads wake on the cores where the other
way left them, and half of the whole ones wait a millisecond for the core that the two searches share."""
ALLOWED = 0.002
"""Seconds beyond embedding and the slower search."""
STAGES = (
    "analysis",
    "embedding",
    "dense_search",
    "lexical_search",
    "reading_ahead",
    "reading",
    "scoring",
    "confidence",
)
CHUNKS_OF_DOCUMENT = 4


@dataclass(frozen=True, slots=True)
class Results:
    """Seconds of each part and stage; and of questions that come together, by how many these are."""

    chunks: int
    seconds: dict[str, dict[str, float]]
    at_once: dict[int, dict[str, float]]


_SYLLABLES = [first + second for first in "bdfgklmnprstv" for second in ("a", "e", "i", "o", "u", "an", "er")]


def words(count: int, rng: random.Random) -> list[str]:
    """Made-up words, each of two or three syllables."""
    return ["".join(rng.choices(_SYLLABLES, k=rng.choice((2, 2, 3)))) for _ in range(count)]


def texts(chunks: int, rng: random.Random) -> list[kbchat.TextDocument]:
    """Documents of ten sections, of words that are as unevenly frequent as in a language."""
    vocabulary = words(20_000, rng)
    weights = [1.0 / rank for rank in range(1, len(vocabulary) + 1)]
    documents = []
    for number in range(-(-chunks // CHUNKS_OF_DOCUMENT)):
        stream = rng.choices(vocabulary, weights, k=10 * 60)
        sections = [
            f"## {stream[first]} {stream[first + 1]}\n\n"
            + ". ".join(" ".join(stream[at : at + 12]).capitalize() for at in range(first, first + 60, 12))
            + "."
            for first in range(0, len(stream), 60)
        ]
        documents.append(kbchat.TextDocument(name=f"d{number}.md", text="\n\n".join(sections)))
    return documents


async def timed(call: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began


Seconds = dict[str, list[float]]
Took = Awaitable[dict[str, float]]


async def one_at_a_time(kb: kbchat.KnowledgeBase, space: kbchat.KnowledgeSpace, questions: Sequence[str]) -> Seconds:
    """Seconds of each part and of the whole, question by question."""
    seconds: Seconds = {}

    async def ask(questions: Sequence[str], *ways: Callable[[kbchat.KnowledgeSpace, str], Took], skip: int = 0) -> None:
        for first in range(0, len(questions), RUN):
            # Who comes second finds the processor's caches filled.
            for way in ways if first // RUN % 2 else reversed(ways):
                for number, question in enumerate(questions[first : first + RUN], first):
                    took = await way(space, question)
                    if number >= skip:
                        for name, value in took.items():
                            seconds.setdefault(name, []).append(value)

    await ask(questions, partial(raw, kb), whole, skip=WARM)
    for embed, store, index in zip(*(seconds[name] for name in ("embed", "store", "index")), strict=True):
        seconds.setdefault("allowed", []).append(embed + max(store, index) + ALLOWED)
    # One after the other: a trace leaves much for the garbage collector.
    await ask(questions, of_stages, skip=WARM)
    await ask(questions, partial(from_disk, kb.settings.data_dir / "catalog.sqlite"), skip=WARM)
    return seconds


async def raw(kb: kbchat.KnowledgeBase, space: kbchat.KnowledgeSpace, question: str) -> dict[str, float]:
    """Embedding and both searches, one after the other."""
    parts, info, terms = kb._open, space.info, analyse_question(question)
    store, index = parts.store(info.vector_type), parts.lexical
    began = time.perf_counter()
    vector = await parts.embedder.embed_query(question)
    return {
        "embed": time.perf_counter() - began,
        "store": await timed(lambda: store.query(info.collection, vector, limit=CANDIDATES)),
        "index": await timed(lambda: index.search(info.lexical_name, terms, limit=CANDIDATES * LEXICAL_DEPTH)),
    }


async def whole(space: kbchat.KnowledgeSpace, question: str) -> dict[str, float]:
    return {"retrieve": await timed(lambda: space.retrieve(question, top_k=TOP_K))}


async def from_disk(catalog: Path, space: kbchat.KnowledgeSpace, question: str) -> dict[str, float]:
    """The whole, where the system has forgotten the catalog's file."""
    descriptor = os.open(catalog, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    return {"retrieve from disk": await timed(lambda: space.retrieve(question, top_k=TOP_K))}


async def of_stages(space: kbchat.KnowledgeSpace, question: str) -> dict[str, float]:
    timings = (await space.explain(question, top_k=TOP_K)).timings
    return {f"stage {name}": getattr(timings, name) for name in STAGES}


async def at_once(space: kbchat.KnowledgeSpace, questions: Sequence[str], number: int) -> dict[str, float]:
    """How long questions take that come together, from the first one's start."""
    taken: list[float] = []
    began = time.perf_counter()
    whole = 0.0
    for first in range(0, len(questions) - number + 1, number):
        began = time.perf_counter()

        async def ask(question: str, began: float = began) -> None:
            await space.retrieve(question, top_k=TOP_K)
            taken.append(time.perf_counter() - began)

        await asyncio.gather(*(ask(question) for question in questions[first : first + number]))
        whole += time.perf_counter() - began
    return {"p50": statistics.median(taken), "p95": quantile(taken, 0.95), "a_second": len(taken) / whole}


async def measure(folder: Path, chunks: int, asked: int, together: Sequence[int]) -> Results:
    rng = random.Random(7)
    async with kbchat.KnowledgeBase(folder) as kb:
        space = await kb.create_space("overhead", exist_ok=True)
        is_there = space.info.chunk_count >= chunks
        documents = texts(min(chunks, 2000) if is_there else chunks, rng)
        if not is_there:
            report = await space.ingest(documents)
            print(f"{report.added} documents, {report.chunks} chunks in {report.seconds:.0f} s", flush=True)
        warm(folder)
        questions = [question_from(rng.choice(documents).text, rng) for _ in range(asked + WARM)]
        documents.clear()
        seconds = await one_at_a_time(kb, space, questions)
        warm(folder)
        return Results(
            chunks=(await space.refresh()).chunk_count,
            seconds={name: {"p50": quantile(it, 0.5), "p99": quantile(it, 0.99)} for name, it in seconds.items()},
            at_once={number: await at_once(space, questions, number) for number in together},
        )


def warm(folder: Path) -> None:
    """Have the system read every file into its memory, where it will be after a while."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                while file.read(1 << 22):
                    pass


def question_from(text: str, rng: random.Random) -> str:
    """Some words of a passage, in another order."""
    found = text.replace("#", " ").replace(".", " ").split()
    first = rng.randrange(len(found) - 14)
    return " ".join(rng.sample(found[first : first + 14], 7))


def show(results: Results) -> None:
    for name, each in results.seconds.items():
        print(f"  {name:22} p50 {each['p50'] * 1000:7.2f} ms   p99 {each['p99'] * 1000:7.2f} ms")
    whole, allowed = results.seconds["retrieve"], results.seconds["allowed"]["p50"]
    verdict = "in" if whole["p50"] <= allowed else "OVER"
    print(f"retrieve {whole['p50'] * 1000:.2f} ms, allowed {allowed * 1000:.2f}: {verdict}")
    print(f"p99 over the median: {whole['p99'] / whole['p50']:.2f} (at most 3)")
    for number, each in results.at_once.items():
        p50, p95 = each["p50"] * 1000, each["p95"] * 1000
        print(f"{number:>3} at once: p50 {p50:.1f} ms, p95 {p95:.1f} ms, {each['a_second']:.0f} a second")


def plot(results: Results, path: Path) -> None:
    def middle(name: str) -> float:
        return results.seconds[name]["p50"] * 1000

    beside = ("lexical_search", "reading_ahead")
    stages = {name.replace("_", " "): middle(f"stage {name}") for name in STAGES if name not in beside}
    bars = {
        "retrieve, by stage": stages,
        "retrieve": {"whole": middle("retrieve")},
        "wanted": {
            "embedding": middle("embed"),
            "the slower search": middle("allowed") - middle("embed") - 2,
            "2 ms": 2,
        },
        "the index alone": {"search": middle("index")},
        "the store alone": {"search": middle("store")},
    }
    figure, (axes,) = canvas(height=3)
    for place, (name, parts) in enumerate(bars.items()):
        left = 0.0
        for number, (part, width) in enumerate(parts.items()):
            shade = {"color": f"C{number}", "label": part} if place == 0 else {"color": str(0.55 + 0.15 * number)}
            axes.barh(name, width, left=left, **shade)
            left += width
        axes.text(left + 0.1, name, f"{left:.1f}", va="center", fontsize=8)
    axes.margins(x=0.08)
    axes.set_xlabel(f"milliseconds (median), {results.chunks:,} chunks")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    draw(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--at-once", default="1,8,64", help="so many questions together, a comma between")
    parser.add_argument("--data-dir", type=Path, help="keep the space there, and find it there the next time")
    add_outputs(parser)
    given = parser.parse_args()
    counts = {it: getattr(given, it) for it in ("chunks", "questions", "at_once")}
    header = about("chromadb", "tantivy", "wordllama", **counts)
    together = [int(number) for number in given.at_once.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        results = asyncio.run(measure(given.data_dir or Path(folder), given.chunks, given.questions, together))
    show(results)
    save(given.json, header, results)
    if given.plot:
        plot(results, given.plot)


if __name__ == "__main__":
    main()
