"""What each stage of retrieval brings: every one is left out in turn, on the same indexes and questions.

    python benchmarks/ablation.py DATASET... [--weights COSINE/SENTENCE...] [--embedder NAME [--cache FILE]]
                                  [--json FILE] [--plot FILE]

DATASETs are as for `quality.py`. Measured is nDCG@10 where documents are judged and recall of five chunks where
passages are. Each difference to the whole is paired by question; its interval is 95 %, `p` allows for how many are
tried on a set. With `--weights` other weights of the cosine and of the best sentence are tried instead, and then the
choice is made on halves: the pair that is best on one half of all questions, and what it brings on the other.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kbchat
from kbchat import evaluation, fusion
from kbchat.tuning.advice import advise
from kbchat.tuning.sets import Dataset, read
from kbchat.tuning.trials import Asked, ranking
from quality import use_cache
from reporting import about, add_outputs, bars, canvas, draw, save

Change = dict[str, Any]
"""Names of `kbchat.fusion` and what they are in the meantime."""


def weighed(cosine: float, sentence: float, **others: float) -> Change:
    weights = fusion.Weights(cosine, sentence, **others)
    return {"STATIC": weights, "MODEL": weights}


def stages(weights: fusion.Weights) -> dict[str, Change]:
    """What is done without, by name."""
    fields = fusion.FIELD_WEIGHTS
    return {
        "the cosine of the chunk": weighed(0.0, weights.sentence),
        "the best sentence": weighed(weights.cosine, 0.0),
        "both cosines: words alone": weighed(0.0, 0.0),
        "words: the cosine alone": weighed(1.0, 0.0, lexical=0.0),
        "pairs of stems": {"FIELD_WEIGHTS": {**fields, "bigrams": 0.0}},
        "single characters": {"FIELD_WEIGHTS": {**fields, "characters": 0.0}},
        "rare terms' extra weight (idf^1)": {"IDF_POWER": 1.0},
        "the lift by neighbours": weighed(weights.cosine, weights.sentence, lift=0.0),
    }


@contextmanager
def changed(change: Change) -> Iterator[None]:
    before = {name: getattr(fusion, name) for name in change}
    for name, value in change.items():
        setattr(fusion, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(fusion, name, value)


async def measured(asked: Asked, dataset: Dataset) -> list[float]:
    values = []
    for question in dataset.questions.values():
        found = await asked.ask(question.text, top_k=5 if question.excerpts else 10)
        if question.excerpts:
            values.append(evaluation.excerpts([(it.start, it.end) for it in found], question.excerpts).recall)
        else:
            values.append(evaluation.ndcg(ranking(found), question.grades, 10))
    return values


Values = dict[str, dict[str, list[float]]]
"""By group of sets, then by what was changed."""


async def run(
    datasets: Sequence[Dataset], changes: Callable[[fusion.Weights], dict[str, Change]], options: argparse.Namespace
) -> Values:
    values: Values = {}
    with tempfile.TemporaryDirectory() as folder:
        settings = kbchat.Settings(data_dir=Path(folder), embedder=options.embedder)
        async with kbchat.KnowledgeBase(settings=settings) as base:
            if options.cache:
                await use_cache(base, options.cache)
            used = fusion.STATIC if options.embedder == "static" else fusion.MODEL
            for number, dataset in enumerate(datasets):
                space = await base.create_space(f"set-{number}")
                texts = [kbchat.TextDocument(name=name, text=text) for name, text in dataset.texts.items()]
                await space.ingest(texts)
                of_group = values.setdefault(dataset.name.partition("/")[0], {})
                for name, change in {"whole": {}, **changes(used)}.items():
                    with changed(change):
                        of_group.setdefault(name, []).extend(await measured(Asked(space), dataset))
    return values


Table = dict[str, dict[str, dict[str, Any]]]
"""By group of sets, then by what was changed."""


def show(values: Values) -> Table:
    table: Table = {}
    for group, of in values.items():
        whole = evaluation.interval(of["whole"])
        print(f"\n{group}: {whole}\n  {'without':36} {'mean':>6} {'differs by':>10}  {'95 % interval':18} p")
        luck = advise(list(of.values()), [1.0] * len(of)).against_present
        rows = table[group] = {"whole": whole._asdict()}
        for (name, each), p in list(zip(of.items(), luck, strict=True))[1:]:
            pairs = zip(each, of["whole"], strict=True)
            differs = evaluation.interval([one - other for one, other in pairs])
            rows[name] = {"mean": statistics.fmean(each), "differs": differs._asdict(), "p": p}
            limits = f"{differs.low:+.4f} {differs.high:+.4f}"
            print(f"  {name:36} {rows[name]['mean']:6.4f} {differs.mean:+10.4f}  {limits:18} {p:.3f}")
    return table


def plot(table: Table, path: Path) -> None:
    """How far each change differs from the whole, by group of sets."""
    groups = {
        group: {name: evaluation.Interval(**row["differs"]) for name, row in rows.items() if name != "whole"}
        for group, rows in table.items()
    }
    figure, (axes,) = canvas(height=1 + 0.2 * sum(map(len, groups.values())))
    bars(axes, groups, told="+.3f")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(xlabel="difference from the whole (mean, 95 % interval)")
    draw(figure, path)


def halves(values: Values, *, times: int = 200) -> None:
    """Weights chosen on half of each set's questions, every set alike, looked at on the other half."""
    chance = random.Random(0)
    gains: list[float] = []
    chosen: dict[str, int] = {}
    for _ in range(times):
        ones, others = {}, {}
        for group, of in values.items():
            mixed = chance.sample(range(len(of["whole"])), len(of["whole"]))
            ones[group], others[group] = mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]

        def mean(name: str, part: dict[str, list[int]]) -> float:
            return statistics.fmean(statistics.fmean(values[group][name][at] for at in part[group]) for group in values)

        best = max(next(iter(values.values())), key=lambda name: mean(name, ones))
        chosen[best] = chosen.get(best, 0) + 1
        gains.append(mean(best, others) - mean("whole", others))
    print(f"\nchosen on half of the questions, {times} times: {chosen}")
    print(f"gain over the weights in use on the other half, mean over the sets: {statistics.fmean(gains):+.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", type=Path, metavar="DATASET")
    parser.add_argument("--weights", nargs="*", metavar="COSINE/SENTENCE", default=[])
    parser.add_argument("--embedder", default="static")
    parser.add_argument("--cache", type=Path, metavar="FILE")
    add_outputs(parser)
    options = parser.parse_args()
    datasets = [dataset for folder in options.datasets for dataset in read(folder)]
    header = about("wordllama", sets=len(datasets), questions=sum(len(it.questions) for it in datasets))
    pairs = {each: tuple(map(float, each.split("/"))) for each in options.weights}
    changes = (lambda _: {name: weighed(*pair) for name, pair in pairs.items()}) if pairs else stages
    values = asyncio.run(run(datasets, changes, options))
    table = show(values)
    if pairs:
        halves(values)
    save(options.json, header, table)
    if options.plot:
        plot(table, options.plot)


if __name__ == "__main__":
    main()
