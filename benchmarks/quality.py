"""How good retrieval is on sets with judged answers, through the public face and the default settings.

    python benchmarks/quality.py DATASET... [--large FOLDER...] [--embedder NAME [--cache FILE]]
                                 [--gate MEASURE=VALUE] [--json FILE]

A DATASET is a folder in BEIR's layout (`corpus.jsonl`, `queries.jsonl`, `qrels.tsv`) or in that of Chroma's chunking
report (`questions_df.csv`, `corpora/*.md`). Prints each measure with its 95 % interval, how many questions are told to
be answerable by their own set and by the others, and how long a question takes. Where answers are known, how many of
them stand in the answer without a model. FOLDERs hold Markdown and Python that no question is about: with all of it and
all sets but one, for each one in turn, a large space is made, which that one's questions are foreign to. `--cache`
keeps an embedder's vectors for another run.
"""

import argparse
import asyncio
import math
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import kbchat
from kbchat import evaluation
from kbchat.chat import FOUND, is_found
from kbchat.embedders.cached import CachedEmbedder
from kbchat.errors import InvalidInputError
from kbchat.generators import extractive
from kbchat.prompting import TAIL_CUT
from kbchat.tuning.sets import Dataset, Question, read
from kbchat.tuning.trials import Asked, Spread, ranking
from reporting import about, add_outputs, quantile, save


def own_ndcg(ranking: Sequence[str], grades: Mapping[str, float]) -> float:
    """nDCG@10 once more, written down from its definition alone."""
    gains = [grades.get(name, 0.0) / math.log2(place + 2) for place, name in enumerate(ranking) if place < 10]
    best = [grade / math.log2(place + 2) for place, grade in enumerate(sorted(grades.values())[::-1]) if place < 10]
    return sum(gains) / sum(best)


class Space(NamedTuple):
    """A set's texts in a space, with what its questions took so far."""

    dataset: Dataset
    asked: Asked
    spread: Spread
    holds: frozenset[str]
    """The sets whose texts are in it."""


async def measure_ranking(space: Space, results: dict[str, list[float]]) -> None:
    """Documents in the order of their best chunk, from ten chunks, as whoever asks for ten gets them."""
    rankings, judged = {}, {key: each.grades for key, each in space.dataset.questions.items()}
    for key, question in space.dataset.questions.items():
        found = await space.asked.ask(question.text, top_k=10)
        rankings[key] = ranking(found)
        space.spread.add(found, [question.grades.get(it.name, 0) > 0 for it in found])
        results.setdefault("kept", []).append(float(is_found(found)))
    measured = evaluation.measure(rankings, judged, k=10)
    check = [own_ndcg(rankings[key], grades) for key, grades in judged.items()]
    assert math.isclose(statistics.fmean(check), statistics.fmean(measured["ndcg"]), abs_tol=1e-12)
    for name, values in measured.items():
        results[f"{name}@10"] = values


async def measure_answers(space: Space, results: dict[str, list[float]]) -> None:
    """Whether a known answer stands in the extract, of three sentences and of one, and in the beginning of the best
    chunk that is as long as the extract, which is what many show."""
    for most, label in ((3, "at most three sentences"), (1, "one sentence")):
        extractive.SENTENCES = most
        for question in space.dataset.questions.values():
            if not question.text.strip():
                results.setdefault(f"answer in {label}", []).append(0.0)
                continue
            answer = await space.asked.space.chat(question.text, model="extractive")
            results.setdefault(f"answer in {label}", []).append(float(holds(answer.text, question)))
            if most == 3:
                (best,) = await space.asked.space.retrieve(question.text, top_k=1)
                beginning = best.content[: len(answer.text)]
                results.setdefault("answer in as much of the best chunk's beginning", []).append(
                    float(holds(beginning, question))
                )
    extractive.SENTENCES = 3


def holds(text: str, question: Question) -> bool:
    plain = "".join(text.split())
    return any("".join(answer.split()) in plain for answer in question.answers)


async def measure_excerpts(space: Space, results: dict[str, list[float]]) -> None:
    """Five chunks, and of these five those that are not far behind the best."""
    for question in space.dataset.questions.values():
        found = await space.asked.ask(question.text, top_k=5)
        results.setdefault("kept", []).append(float(is_found(found)))
        wanted = question.excerpts
        space.spread.add(found, [any(a < it.end and it.start < b for a, b in wanted) for it in found])
        strong = [each for each in found if each.recall_score >= TAIL_CUT * found[0].recall_score]
        for label, shown in (("", found), (" (tail cut)", strong)):
            result = evaluation.excerpts([(each.start, each.end) for each in shown], question.excerpts)
            for name, value in result._asdict().items():
                results.setdefault(f"{name}@5{label}", []).append(value)


async def best_scores(space: Space, other: Dataset, *, limit: int = 200) -> list[float]:
    """Of the best hits for another set's questions."""
    questions = [question.text for question in other.questions.values()][:limit]
    found = [await space.asked.ask(question, top_k=1) for question in questions]
    return [each[0].recall_score if each else 0.0 for each in found]


async def use_cache(base: kbchat.KnowledgeBase, path: Path) -> None:
    parts = base._open
    cached = CachedEmbedder(parts.embedder, path, threads=parts.threads)
    await cached.open()
    parts.embedder = cached


def group_of(dataset: Dataset) -> str:
    return dataset.name.partition("/")[0]


def large(folders: Sequence[Path], datasets: Sequence[Dataset]) -> dict[str, tuple[Dataset, frozenset[str]]]:
    """Sets of everything but one group of sets each, by name, with the names of the sets inside."""
    texts = {
        str(path): text
        for folder in folders
        for pattern in ("*.md*", "*.py")
        for path in sorted(folder.rglob(pattern))
        if (text := path.read_text("utf-8")).strip()
    }
    made = {}
    for group in dict.fromkeys(map(group_of, datasets)) if folders else ():
        inside = [dataset for dataset in datasets if group_of(dataset) != group]
        every = texts | {name: text for dataset in inside for name, text in dataset.texts.items()}
        made[name] = Dataset(name := f"large without {group}", every, {}), frozenset(it.name for it in inside)
    return made


class Refusals(NamedTuple):
    """For each space the share of every other set's questions that it refuses, for large ones also that of the sets
    inside that are kept, and how its scores are spread."""

    shares: dict[str, dict[str, float]]
    kept: dict[str, dict[str, float]]
    spreads: dict[str, Spread]


async def run(
    datasets: Sequence[Dataset], results: dict[str, dict[str, list[float]]], options: argparse.Namespace
) -> Refusals:
    with tempfile.TemporaryDirectory() as folder:
        settings = kbchat.Settings(data_dir=Path(folder), embedder=options.embedder)
        async with kbchat.KnowledgeBase(settings=settings) as base:
            if options.cache:
                await use_cache(base, options.cache)
            spaces = []
            all_sets = {dataset.name: (dataset, frozenset([dataset.name])) for dataset in datasets}
            for number, (dataset, holds) in enumerate({**all_sets, **large(options.large, datasets)}.values()):
                space = await base.create_space(f"set-{number}")
                texts = [kbchat.TextDocument(name=name, text=text) for name, text in dataset.texts.items()]
                report = await space.ingest(texts)
                counts = f"{report.added} documents, {report.chunks} chunks in {report.seconds:.1f} s"
                print(f"{dataset.name}: {counts}", flush=True)
                spaces.append(Space(dataset, Asked(space), Spread(), holds))
            for space in spaces[: len(datasets)]:
                of_set = results.setdefault(group_of(space.dataset), {})
                excerpts = any(question.excerpts for question in space.dataset.questions.values())
                await (measure_excerpts if excerpts else measure_ranking)(space, of_set)
                of_set.setdefault("seconds", []).extend(space.asked.seconds)
                if any(question.answers for question in space.dataset.questions.values()):
                    await measure_answers(space, of_set)
            return await refusals(spaces, datasets)


async def refusals(spaces: Sequence[Space], datasets: Sequence[Dataset]) -> Refusals:
    found = Refusals({}, {}, {space.dataset.name: space.spread for space in spaces})
    for space in spaces:
        for other in datasets:
            if other is space.dataset:
                continue
            scores = await best_scores(space, other)
            inside = other.name in space.holds
            shares = (found.kept if inside else found.shares).setdefault(space.dataset.name, {})
            shares[other.name] = statistics.fmean([(score >= FOUND) == inside for score in scores])
            (space.spread.best if inside else space.spread.foreign).extend(scores)
    return found


def show(results: Mapping[str, dict[str, list[float]]], refusals: Refusals) -> dict[str, dict[str, Any]]:
    """The means with their intervals and how many questions each is of, and how long these took."""
    shown: dict[str, dict[str, Any]] = {}
    for name, measures in results.items():
        print(f"\n{name}")
        intervals = {}
        seconds = measures.pop("seconds")
        for label, values in measures.items():
            found = evaluation.interval(values)
            print(f"  {label:48} {found}  ({len(values)} questions)")
            intervals[label] = {**found._asdict(), "questions": len(values)}
        middle, late = (1000 * quantile(seconds, share) for share in (0.5, 0.99))
        print(f"  {'seconds a question':48} p50 {middle:.1f} ms, p99 {late:.1f} ms")
        shown[name] = {"intervals": intervals, "milliseconds": {"p50": middle, "p99": late}}
    for told, table in (("foreign questions rejected", refusals.shares), ("kept in large spaces", refusals.kept)):
        pairs = [share for shares in table.values() for share in shares.values()]
        if pairs:
            print(f"\n{told}: mean {statistics.fmean(pairs):.3f}, worst {min(pairs):.3f} of {len(pairs)}")
        for name, shares in table.items():
            print(f"  {name}: " + ", ".join(f"{other} {share:.3f}" for other, share in shares.items()))
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", type=Path, metavar="DATASET")
    parser.add_argument("--gate", action="append", default=[], metavar="MEASURE=VALUE", help="fail below this mean")
    parser.add_argument("--large", nargs="*", type=Path, default=[], metavar="FOLDER", help="documents of no question")
    parser.add_argument("--embedder", default="static", help="which one")
    parser.add_argument("--cache", type=Path, metavar="FILE", help="keep the embedder's vectors there")
    add_outputs(parser, plot=False)
    arguments = parser.parse_args()
    results: dict[str, dict[str, list[float]]] = {}
    try:
        datasets = [dataset for folder in arguments.datasets for dataset in read(folder)]
    except InvalidInputError as error:
        sys.exit(error.message)
    counts = {"sets": len(datasets), "questions": sum(len(it.questions) for it in datasets)}
    header = about("wordllama", "sentence-transformers", **counts, embedder=arguments.embedder)
    refused = asyncio.run(run(datasets, results, arguments))
    shown = show(results, refused)
    means = {name: {label: statistics.fmean(values) for label, values in of.items()} for name, of in results.items()}
    scores = {
        name: {kind: [round(score, 3) for score in of] for kind, of in asdict(spread).items()}
        for name, spread in refused.spreads.items()
    }
    made = {"means": means, "sets": shown, "rejected": refused.shares, "kept": refused.kept, "scores": scores}
    save(arguments.json, header, made)
    for gate in arguments.gate:
        label, _, least = gate.partition("=")
        for name, of in means.items():
            if label in of and of[label] < float(least):
                sys.exit(f"{name}: {label} is {of[label]:.4f}, below {least}")


if __name__ == "__main__":
    main()
