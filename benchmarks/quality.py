"""How good retrieval is on sets with judged answers, through the public face and the default settings.

    python benchmarks/quality.py DATASET... [--gate MEASURE=VALUE] [--json FILE]

A DATASET is a folder in BEIR's layout (`corpus.jsonl`, `queries.jsonl`, `qrels.tsv`) or in that of Chroma's chunking
report (`questions_df.csv`, `corpora/*.md`). Prints each measure with its 95 % interval, how many questions are told to
be answerable by their own set and by the others, and how long a question takes.
"""

import argparse
import asyncio
import csv
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import kbchat
from kbchat import evaluation
from kbchat.prompting import TAIL_CUT

FOUND = 0.5
"""The line: a best hit below it means that the space does not hold the answer."""


@dataclass
class Question:
    text: str
    grades: dict[str, float] = field(default_factory=dict)
    excerpts: list[evaluation.Range] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)


@dataclass
class Dataset:
    """Texts by name, and questions about them. With `excerpts` each text is a space of its own."""

    name: str
    texts: dict[str, str]
    questions: dict[str, Question]


def read_beir(folder: Path) -> Dataset:
    """A set in BEIR's layout. Title and text are one document."""
    texts = {}
    for line in (folder / "corpus.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        texts[row["_id"]] = f"{row.get('title', '')}\n\n{row['text']}".strip()
    questions = {}
    for line in (folder / "queries.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        questions[row["_id"]] = Question(row["text"], answers=row.get("answers", []))
    for row in csv.DictReader((folder / "qrels.tsv").open(encoding="utf-8"), delimiter="\t"):
        if row["corpus-id"] not in texts:
            sys.exit(f"{folder}: the judgements name a document {row['corpus-id']!r} that is not in the corpus")
        questions[row["query-id"]].grades[row["corpus-id"]] = float(row["score"])
    return Dataset(folder.name, texts, {key: each for key, each in questions.items() if each.grades})


def read_chroma(folder: Path) -> list[Dataset]:
    """The sets in the layout of Chroma's report: one a text, since each question names the text it is about."""
    texts = {path.stem: path.read_text("utf-8") for path in sorted((folder / "corpora").glob("*.md"))}
    sets = {name: Dataset(f"{folder.name}/{name}", {name: text}, {}) for name, text in texts.items()}
    for number, row in enumerate(csv.DictReader((folder / "questions_df.csv").open(encoding="utf-8"))):
        wanted = [(each["start_index"], each["end_index"]) for each in json.loads(row["references"])]
        sets[row["corpus_id"]].questions[str(number)] = Question(row["question"], excerpts=wanted)
    return list(sets.values())


def read(folder: Path) -> list[Dataset]:
    if (folder / "corpus.jsonl").exists():
        return [read_beir(folder)]
    if (folder / "questions_df.csv").exists():
        return read_chroma(folder)
    sys.exit(f"{folder}: neither BEIR's layout (corpus.jsonl) nor that of Chroma's report (questions_df.csv)")


def own_ndcg(ranking: Sequence[str], grades: Mapping[str, float]) -> float:
    """nDCG@10 once more, written down from its definition alone."""
    gains = [grades.get(name, 0.0) / math.log2(place + 2) for place, name in enumerate(ranking) if place < 10]
    best = [grade / math.log2(place + 2) for place, grade in enumerate(sorted(grades.values())[::-1]) if place < 10]
    return sum(gains) / sum(best)


@dataclass
class Space:
    """A set's texts in a space, and what was found in it so far."""

    dataset: Dataset
    space: kbchat.KnowledgeSpace
    seconds: list[float] = field(default_factory=list)

    async def ask(self, question: str, *, top_k: int) -> list[kbchat.Reference]:
        if not question.strip():
            return []  # Sets have such questions; they count as not found.
        began = time.perf_counter()
        found = await self.space.retrieve(question, top_k=top_k)
        self.seconds.append(time.perf_counter() - began)
        return found


async def measure_ranking(space: Space, results: dict[str, list[float]]) -> None:
    """Documents in the order of their best chunk, from ten chunks, as whoever asks for ten gets them."""
    rankings, judged = {}, {key: each.grades for key, each in space.dataset.questions.items()}
    for key, question in space.dataset.questions.items():
        found = await space.ask(question.text, top_k=10)
        rankings[key] = list(dict.fromkeys(reference.name for reference in found))
        results.setdefault("kept", []).append(is_found(found))
    measured = evaluation.measure(rankings, judged, k=10)
    check = [own_ndcg(rankings[key], grades) for key, grades in judged.items()]
    assert math.isclose(statistics.fmean(check), statistics.fmean(measured["ndcg"]), abs_tol=1e-12)
    for name, values in measured.items():
        results[f"{name}@10"] = values


async def measure_excerpts(space: Space, results: dict[str, list[float]]) -> None:
    """Five chunks, and of these five those that are not far behind the best."""
    for question in space.dataset.questions.values():
        found = await space.ask(question.text, top_k=5)
        results.setdefault("kept", []).append(is_found(found))
        strong = [each for each in found if each.recall_score >= TAIL_CUT * found[0].recall_score]
        for label, shown in (("", found), (" (tail cut)", strong)):
            result = evaluation.excerpts([(each.start, each.end) for each in shown], question.excerpts)
            for name, value in result._asdict().items():
                results.setdefault(f"{name}@5{label}", []).append(value)


def is_found(found: Sequence[kbchat.Reference]) -> float:
    return float(bool(found) and found[0].recall_score >= FOUND)


async def rejected(space: Space, other: Dataset, *, limit: int = 200) -> float:
    """The share of another set's questions that the space says it cannot answer."""
    questions = [question.text for question in other.questions.values()][:limit]
    return statistics.fmean([1.0 - is_found(await space.ask(question, top_k=1)) for question in questions])


async def run(datasets: Sequence[Dataset], results: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        async with kbchat.KnowledgeBase(folder) as base:
            spaces = []
            for number, dataset in enumerate(datasets):
                space = await base.create_space(f"set-{number}")
                texts = [kbchat.TextDocument(name=name, text=text) for name, text in dataset.texts.items()]
                report = await space.ingest(texts)
                print(f"{dataset.name}: {report.added} documents, {report.chunks} chunks in {report.seconds:.1f} s")
                spaces.append(Space(dataset, space))
            for space in spaces:
                of_set = results.setdefault(space.dataset.name.partition("/")[0], {})
                excerpts = any(question.excerpts for question in space.dataset.questions.values())
                await (measure_excerpts if excerpts else measure_ranking)(space, of_set)
                of_set.setdefault("seconds", []).extend(space.seconds)
            return {
                space.dataset.name: {
                    other.name: await rejected(space, other) for other in datasets if other is not space.dataset
                }
                for space in spaces
            }


def show(results: Mapping[str, dict[str, list[float]]], foreign: Mapping[str, Mapping[str, float]]) -> None:
    for name, measures in results.items():
        print(f"\n{name}")
        seconds = sorted(measures.pop("seconds"))
        for label, values in measures.items():
            print(f"  {label:26} {evaluation.interval(values)}  ({len(values)} questions)")
        middle, late = seconds[len(seconds) // 2], seconds[int(len(seconds) * 0.99)]
        print(f"  {'seconds a question':26} p50 {middle * 1000:.1f} ms, p99 {late * 1000:.1f} ms")
    pairs = [share for shares in foreign.values() for share in shares.values()]
    if pairs:
        print(f"\nforeign questions rejected: mean {statistics.fmean(pairs):.3f}, worst {min(pairs):.3f}")
        for name, shares in foreign.items():
            print(f"  {name}: " + ", ".join(f"{other} {share:.2f}" for other, share in shares.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", type=Path, metavar="DATASET")
    parser.add_argument("--gate", action="append", default=[], metavar="MEASURE=VALUE", help="fail below this mean")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all means there")
    arguments = parser.parse_args()
    results: dict[str, dict[str, list[float]]] = {}
    datasets = [dataset for folder in arguments.datasets for dataset in read(folder)]
    foreign = asyncio.run(run(datasets, results))
    show(results, foreign)
    means = {name: {label: statistics.fmean(values) for label, values in of.items()} for name, of in results.items()}
    if arguments.json:
        arguments.json.write_text(json.dumps({"means": means, "rejected": foreign}, indent=2, ensure_ascii=False))
    for gate in arguments.gate:
        label, _, least = gate.partition("=")
        for name, of in means.items():
            if label in of and of[label] < float(least):
                sys.exit(f"{name}: {label} is {of[label]:.4f}, below {least}")


if __name__ == "__main__":
    main()
