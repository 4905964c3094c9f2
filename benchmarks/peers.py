"""How well kbchat finds things beside LlamaIndex, LangChain, txtai and bm25s, in one run.

    python benchmarks/peers.py DATASET... [--only kbchat bm25s] [--json FILE]

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
from typing import NamedTuple

import kbchat
from kbchat import evaluation
from kbchat.models import Chunk
from kbchat.text.splitting import embedded_text
from kbchat.tuning.sets import Dataset, read
from kbchat.tuning.trials import Asked

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


async def kbchats(datasets: Sequence[Dataset]) -> tuple[list[Prepared], list[list[list[int]]], list[list[float]]]:
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
    return prepared, found, seconds


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


def others(system: str, prepared: Sequence[Prepared]) -> tuple[list[list[list[int]]], list[list[float]]]:
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
    return [each["found"] for each in results], [each["seconds"] for each in results]


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", type=Path, metavar="DATASET")
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    datasets = [dataset for folder in options.datasets for dataset in read(folder)]
    prepared, ours, our_seconds = asyncio.run(kbchats(datasets))
    table: dict[str, dict[str, dict[str, list[float]]]] = {}
    for system in options.only:
        found, seconds = (ours, our_seconds) if system == "kbchat" else others(system, prepared)
        values: dict[str, dict[str, list[float]]] = {}
        for each, numbers, times in zip(prepared, found, seconds, strict=True):
            of_group = values.setdefault(each.dataset.name.partition("/")[0], {})
            for name, some in {**measured(each, numbers), "seconds": times}.items():
                of_group.setdefault(name, []).extend(some)
        table[system] = values
        print(SYSTEMS[system], flush=True)
        for group, of in values.items():
            times = sorted(of.pop("seconds"))
            figures = ", ".join(f"{name} {evaluation.interval(some)}" for name, some in of.items())
            told = ""
            if system != "kbchat" and "kbchat" in table:
                pairs = [(name, evaluation.compare(some, table["kbchat"][group][name])) for name, some in of.items()]
                told = "; to kbchat " + ", ".join(
                    f"{name} {it.difference.mean:+.4f} p {it.p:.3f}" for name, it in pairs
                )
            print(f"  {group}: {figures}{told}; p50 {times[len(times) // 2] * 1000:.1f} ms", flush=True)
    if options.json:
        options.json.write_text(json.dumps(table) + "\n")


if __name__ == "__main__":
    main()
