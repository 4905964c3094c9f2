"""How well kbchat finds things beside LlamaIndex, LangChain, txtai and bm25s, in one run.

    python benchmarks/peers.py DATASET... [--only kbchat bm25s] [--json FILE] [--plot FILE]

DATASETs are as for `quality.py`. All get kbchat's chunks and the static embedder, and answer the same questions; each
runs in a process and, but for kbchat, an environment of its own (below `.bench`, made at the first run). How each is
used is in `retrieving/systems.py`. Measured is nDCG@10 of the ten best chunks' documents, and recall and precision of
the five best chunks where passages are judged.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import kbchat
from kbchat import evaluation
from kbchat.models import Chunk
from kbchat.text.splitting import embedded_text
from kbchat.tuning.sets import Dataset, read
from kbchat.tuning.trials import Asked
from reporting import Spread, about, add_outputs, bars, canvas, draw, save, versions

HERE = Path(__file__).parent
ROOT = HERE.parent
SHARED = ["numpy", "pydantic>=2.10", "anyio", "msgspec", "tokenizers", "wordllama", "chardet", "PyStemmer"]
SHARED += ["semantic-text-splitter>=0.25", "pydantic-settings"]
ENVIRONMENTS = {
    "bm25s": ["bm25s"],
    "llamaindex": ["llama-index-core", "llama-index-retrievers-bm25"],
    "langchain": ["langchain-core", "langchain-classic", "langchain-community", "rank-bm25"],
    "txtai": ["txtai"],
}
SYSTEMS = {
    "kbchat": "kbchat",
    "bm25s": "bm25s, its tokenizer for English",
    "bm25s-terms": "bm25s over kbchat's terms",
    "llamaindex": "LlamaIndex, vectors",
    "llamaindex-hybrid": "LlamaIndex, vectors and BM25 by rank fusion",
    "langchain": "LangChain, vectors",
    "langchain-hybrid": "LangChain, vectors and BM25 by rank fusion",
    "txtai": "txtai, vectors",
    "txtai-hybrid": "txtai, hybrid",
}


class Prepared(NamedTuple):
    dataset: Dataset
    names: list[str]
    """The document of each chunk."""
    chunks: list[Chunk]


async def kbchats(datasets: Sequence[Dataset]) -> "tuple[list[Prepared], Found]":
    """The chunks that all are given, what kbchat finds, and how long each question took it."""
    prepared, found, seconds = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        async with kbchat.KnowledgeBase(folder) as base:
            for number, dataset in enumerate(datasets):
                space = await base.create_space(f"set-{number}")
                texts = [kbchat.TextDocument(name=name, text=text) for name, text in dataset.texts.items()]
                await space.ingest(texts)
                pairs = [(name, chunk) for name in dataset.texts for chunk in await known_chunks(space, name)]
                at = {chunk.id: place for place, (_, chunk) in enumerate(pairs)}
                prepared.append(Prepared(dataset, [name for name, _ in pairs], [chunk for _, chunk in pairs]))
                asked = Asked(space)
                answers = [await asked.ask(question.text, top_k=10) for question in dataset.questions.values()]
                found.append([[at[it.chunk_id] for it in each] for each in answers])
                seconds.append(asked.seconds)
    return prepared, Found(found, seconds, versions("kbchat"))


async def known_chunks(space: kbchat.KnowledgeSpace, name: str) -> list[Chunk]:
    try:
        return await space.document_chunks(name)
    except kbchat.DocumentNotFoundError:  # An empty text makes none.
        return []


def python_of(system: str) -> str:
    """The interpreter of a system's environment, which is made when it is missing."""
    name = system.partition("-")[0]
    folder = ROOT / ".bench" / f"peer-{name}"
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        uv = Path(sys.executable).with_name("uv")
        command = [str(uv), "pip", "install", "--quiet", "--python", str(python), *ENVIRONMENTS[name], *SHARED]
        subprocess.run(command, check=True)
        (folder / ".ready").touch()
    return str(python)


class Found(NamedTuple):
    """Numbers of the chunks found and seconds taken, question by question, set by set."""

    chunks: list[list[list[int]]]
    seconds: list[list[float]]
    versions: dict[str, str]


def others(system: str, prepared: Sequence[Prepared]) -> Found:
    """What another system finds among the same chunks."""
    given = []
    for each in prepared:
        texts = []
        for chunk in each.chunks:
            headings = chunk.metadata.get("headings")
            texts.append(embedded_text(tuple(map(str, headings)) if isinstance(headings, list) else (), chunk.content))
        given.append({"chunks": texts, "questions": [it.text for it in each.dataset.questions.values()]})
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "given.json"), Path(folder, "found.json")
        source.write_text(json.dumps(given))
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(HERE)]),
            "TOKENIZERS_PARALLELISM": "false",
        }
        command = [python_of(system), str(HERE / "retrieving" / "systems.py"), system, str(source), str(out)]
        subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
        results = json.loads(out.read_text())
    sets = results["sets"]
    return Found([each["found"] for each in sets], [each["seconds"] for each in sets], results["versions"])


def measured(prepared: Prepared, found: Sequence[Sequence[int]]) -> dict[str, list[float]]:
    values: dict[str, list[float]] = {}
    for question, numbers in zip(prepared.dataset.questions.values(), found, strict=True):
        if question.excerpts:
            shown = [(prepared.chunks[at].start, prepared.chunks[at].end) for at in numbers[:5]]
            result = evaluation.excerpts(shown, question.excerpts)
            values.setdefault("recall@5", []).append(result.recall)
            values.setdefault("precision@5", []).append(result.precision)
        else:
            documents = list(dict.fromkeys(prepared.names[at] for at in numbers))
            values.setdefault("ndcg@10", []).append(evaluation.ndcg(documents, question.grades, 10))
    return values


Values = dict[str, dict[str, list[float]]]
"""By group of sets and measure, question by question."""


def grouped(prepared: Sequence[Prepared], found: Found) -> Values:
    """What was measured, and the seconds."""
    values: Values = {}
    for each, numbers, times in zip(prepared, found.chunks, found.seconds, strict=True):
        of_group = values.setdefault(each.dataset.name.partition("/")[0], {})
        for name, some in {**measured(each, numbers), "seconds": times}.items():
            of_group.setdefault(name, []).extend(some)
    return values


def show(values: Values, ours: Values | None) -> dict[str, dict[str, Any]]:
    """Each measure with its interval, and beside ours, if that was measured too."""
    results: dict[str, dict[str, Any]] = {}
    for group, of in values.items():
        measures = {name: some for name, some in of.items() if name != "seconds"}
        intervals = {name: evaluation.interval(some) for name, some in measures.items()}
        took = Spread.of(1000 * it for it in of["seconds"])
        told = ""
        if ours is not None and ours is not values:
            pairs = [(name, evaluation.compare(some, ours[group][name])) for name, some in measures.items()]
            told = "; to kbchat " + ", ".join(f"{name} {it.difference.mean:+.4f} p {it.p:.3f}" for name, it in pairs)
        figures = ", ".join(f"{name} {it}" for name, it in intervals.items())
        print(f"  {group}: {figures}{told}; {took:.1f} ms", flush=True)
        results[group] = {
            "means": {name: it._asdict() for name, it in intervals.items()},
            "milliseconds": took,
            "values": measures,
        }
    return results


def plot(results: dict[str, dict[str, Any]], path: Path) -> None:
    """The first measure of each group of sets."""
    series: dict[str, dict[str, evaluation.Interval]] = {}
    for system, it in results.items():
        for group, of in it["groups"].items():
            name, mean = next(iter(of["means"].items()))
            series.setdefault(f"{group}, {name}", {})[SYSTEMS[system]] = evaluation.Interval(**mean)
    figure, (axes,) = canvas(height=1 + 0.2 * sum(map(len, series.values())))
    bars(axes, series, told=".3f")
    axes.set(xlabel="mean (95 % interval)", xlim=(0, 1.1))
    draw(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", type=Path, metavar="DATASET")
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    add_outputs(parser)
    options = parser.parse_args()
    datasets = [dataset for folder in options.datasets for dataset in read(folder)]
    header = about("wordllama", sets=len(datasets), questions=sum(len(it.questions) for it in datasets))
    prepared, ours = asyncio.run(kbchats(datasets))
    values: dict[str, Values] = {}
    results: dict[str, dict[str, Any]] = {}
    for system in options.only:
        found = ours if system == "kbchat" else others(system, prepared)
        values[system] = grouped(prepared, found)
        print(f"{SYSTEMS[system]} ({', '.join(f'{name} {it}' for name, it in found.versions.items())})", flush=True)
        results[system] = {"versions": found.versions, "groups": show(values[system], values.get("kbchat"))}
    save(options.json, header, results)
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
