"""Fits the constants of `kbchat.fusion.confidence`: how sure a question is that the space holds its answer.

    python benchmarks/calibrate.py --sets DATASET... --more FOLDER... [--evidence FILE] [--json FILE]

DATASETs are as for `quality.py`; FOLDERs hold documents without questions, which make small spaces large. Each set's
questions are put to its own space, to every other one, to the FOLDERs' and to two large spaces of all FOLDERs and some
of the sets. A set whose questions have one right document each also asks its halves for the documents of the other
half: the hardest, because everything about them is alike; and spaces of a few of its documents for all the others.
Single words that are rare in a space, or not in it, are asked as well, to see that they work. Prints the constants and
what they keep and reject. `--evidence` keeps what was asked for another fit.
"""

import argparse
import asyncio
import itertools
import pickle
import random
import re
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import kbchat
from kbchat import fusion
from kbchat.inputs import RetrievalOptions
from kbchat.tuning.sets import Dataset, Question, read
from reporting import about, add_outputs, save

KEPT = 0.975
KEPT_CHARACTERS = 0.985
"""The share of answerable questions that the weakest group must keep at 0.5: where a script does not separate words
that costs little, and spaces of a few documents keep less than the whole set does."""
SIZE = -0.3
"""How fast confidence falls with the logarithm of a space's size. Left free, it comes out at -0.7, which rejects all
that is foreign to large spaces and keeps 3 % less of their own; so that they keep as much as small ones, it is set."""
MOST = 300
"""Questions put to a space that is not their own."""
SINGLE = "single words"
FEW = (1, 2, 5, 15)
SPACES_OF_FEW = 6
"""Numbers of documents in a space of few, and how many spaces of each number there are."""
SHARES = {"half": 0.3, "few": 0.03}
"""What a half and a handful of a set count for in the fit, where other pairs of space and set count for 1."""
Floats = npt.NDArray[np.float64]


class Trial(NamedTuple):
    """One question to one space."""

    space: str
    asked: str
    """The group of sets that the question is from."""
    answerable: bool
    evidence: fusion.Evidence


class Space(NamedTuple):
    texts: dict[str, str]
    holds: Callable[[str, Question], bool]
    """Whether the space holds the answer to a set's question."""


def group_of(dataset: Dataset) -> str:
    return dataset.name.partition("/")[0]


def build(datasets: Sequence[Dataset], more: dict[str, dict[str, str]]) -> dict[str, Space]:
    """Every space that is asked, by name."""
    spaces = {name: Space(texts, lambda *_: False) for name, texts in more.items()}
    for dataset in datasets:
        spaces[dataset.name] = Space(dataset.texts, lambda asked, _, own=dataset.name: asked == own)
        if all(len(question.grades) == 1 for question in dataset.questions.values()):
            for name, texts in parts_of(dataset):
                spaces[name] = Space(
                    texts,
                    lambda asked, question, own=dataset.name, of=texts: (
                        asked == own and question.grades.keys() <= of.keys()
                    ),
                )
    groups = list(dict.fromkeys(group_of(dataset) for dataset in datasets))
    for left_out in groups[:1] + groups[2:]:  # two suffice, and each takes its time
        inside = [dataset for dataset in datasets if group_of(dataset) != left_out]
        texts = {
            name: text for part in (*more.values(), *(each.texts for each in inside)) for name, text in part.items()
        }
        names = {dataset.name for dataset in inside}
        spaces[f"large without {left_out}"] = Space(texts, lambda asked, _, own=names: asked in own)
    return spaces


def parts_of(dataset: Dataset) -> Iterable[tuple[str, dict[str, str]]]:
    """Its halves, and some handfuls of its documents."""
    for half in (0, 1):
        yield f"{dataset.name} half {half}", dict(itertools.islice(dataset.texts.items(), half, None, 2))
    chance = random.Random(5)
    for few in FEW:
        for number in range(SPACES_OF_FEW):
            chosen = chance.sample(list(dataset.texts), min(few, len(dataset.texts)))
            yield f"{dataset.name} few {few} ({number})", {name: dataset.texts[name] for name in chosen}


def kind_of(space: str) -> str:
    return next((kind for kind in ("large", "half", "few") if kind in space.split()), "others")


async def ask_all(datasets: Sequence[Dataset], spaces: dict[str, Space]) -> list[Trial]:
    trials: list[Trial] = []
    with tempfile.TemporaryDirectory() as folder:
        async with kbchat.KnowledgeBase(folder) as base:
            for name, space in spaces.items():
                made = await base.create_space(name)
                report = await made.ingest(
                    [kbchat.TextDocument(name=key, text=text) for key, text in space.texts.items()]
                )
                print(f"{name}: {report.chunks} chunks in {report.seconds:.0f} s", flush=True)
                for asked, text, answerable in questions_for(name, space, datasets):
                    evidence = await evidence_of(made, text)
                    if evidence is not None:
                        trials.append(Trial(name, asked, answerable, evidence))
    return trials


def questions_for(name: str, space: Space, datasets: Sequence[Dataset]) -> Iterable[tuple[str, str, bool]]:
    for dataset in datasets:
        answerable, foreign = [], []
        for question in dataset.questions.values():
            if question.text.strip():
                (answerable if space.holds(dataset.name, question) else foreign).append(question.text)
        if kind_of(name) in ("half", "few") and not name.startswith(dataset.name):
            continue
        for text in answerable:
            yield group_of(dataset), text, True
        for text in foreign[:: max(1, len(foreign) // MOST)]:
            yield group_of(dataset), text, False
    if name in {dataset.name for dataset in datasets}:
        yield from single_words(space, datasets)


def single_words(space: Space, datasets: Sequence[Dataset]) -> Iterable[tuple[str, str, bool]]:
    """Questions of one word: it stands in few places of the space, or nowhere in it."""
    chance = random.Random(7)
    here = re.findall(r"[a-z]{5,}", " ".join(space.texts.values()).lower())
    often = defaultdict(int)
    for word in here:
        often[word] += 1
    rare = sorted(word for word, count in often.items() if 2 <= count <= 6)
    there = {
        word
        for dataset in datasets
        for text in dataset.texts.values()
        for word in re.findall(r"[a-z]{5,}", text.lower())
    }
    stems = {word[:5] for word in often}
    absent = sorted(word for word in there if word[:5] not in stems)
    for words, answerable in ((rare, True), (absent, False)):
        for word in chance.sample(words, min(60, len(words))):
            yield SINGLE, word, answerable


async def evidence_of(space: kbchat.KnowledgeSpace, question: str) -> fusion.Evidence | None:
    parts, info = space._parts, await space.refresh()
    store = parts.store(info.vector_type)
    found = await parts.retriever.retrieve(
        info, question, RetrievalOptions(top_k=1), store=store, embedder=parts.embedder
    )
    return found.evidence


def fit(trials: Sequence[Trial], columns: Sequence[int], *, size: float = 0.0, kept: float = KEPT) -> Floats:
    """Logistic regression with the size's slope given. Each pair of space and group counts the same, and answerable
    and foreign ones alike in all."""
    numbers = np.array([[1.0, *(trial.evidence[column] for column in columns)] for trial in trials], dtype=np.float64)
    truth = np.array([trial.answerable for trial in trials], dtype=np.float64)
    pairs: defaultdict[tuple[str, str, bool], list[int]] = defaultdict(list)
    for row, trial in enumerate(trials):
        pairs[trial.space, trial.asked, trial.answerable].append(row)
    given = size * np.array([trial.evidence.size for trial in trials])
    weights = np.zeros(len(trials))
    for (space, _, answerable), rows in pairs.items():
        alike = sum(other[2] == answerable for other in pairs)
        weights[rows] = SHARES.get(kind_of(space), 1.0) * 1000 / len(rows) / alike
    found = np.zeros(numbers.shape[1])
    ridge = 1e-2 * np.eye(len(found))
    for _ in range(100):
        share = 1 / (1 + np.exp(-np.clip(numbers @ found + given, -30, 30)))
        slope = numbers.T @ (weights * (truth - share)) - ridge @ found
        bend = (numbers * (weights * share * (1 - share))[:, None]).T @ numbers + ridge
        found = found + np.linalg.solve(bend, slope)
    logits = numbers @ found + given
    # Moved until the group that keeps least keeps enough: averaged over its own small spaces, question by question.
    own = defaultdict(list)
    for trial, logit in zip(trials, logits, strict=True):
        if trial.answerable and kind_of(trial.space) == "others":
            own[trial.asked].append(logit)
    found[0] -= min(float(np.quantile(of, 1 - kept)) for of in own.values())
    return found


def constants(
    trials: Sequence[Trial], columns: Sequence[int], *, size: float = 0.0, kept: float = KEPT
) -> fusion.Constants:
    found = fit(trials, columns, size=size, kept=kept)
    by_column = {**dict(zip(columns, found[1:], strict=True)), len(fusion.Constants._fields) - 2: size}
    names = fusion.Constants._fields[1:]
    return fusion.Constants(
        *(round(float(x), 2) for x in (found[0], *(by_column.get(n, 0.0) for n in range(len(names)))))
    )


def show(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """What is kept and rejected at 0.5, by group and kind of space."""
    rows = []
    shares: defaultdict[tuple[bool, str, str], dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for trial in trials:
        kind = kind_of(trial.space)
        sure = fusion.confidence(trial.evidence) >= 0.5
        shares[trial.answerable, trial.asked, kind][trial.space].append(sure == trial.answerable)
    for (answerable, asked, kind), of in sorted(shares.items(), reverse=True):
        means = {space: statistics.fmean(hits) for space, hits in of.items()}
        worst = min(means, key=lambda space: means[space])
        every = statistics.fmean(itertools.chain.from_iterable(of.values()))
        what = "kept" if answerable else "rejected"
        print(f"  {what:8} {asked:18} {kind:7} {every:.3f}   worst {means[worst]:.3f} ({worst})")
        rows.append({"what": what, "asked": asked, "spaces": kind, "share": every, "worst": means[worst], "of": worst})
    pairs = [statistics.fmean(hits) for key, of in shares.items() if not key[0] for hits in of.values()]
    print(f"  rejected, mean over {len(pairs)} pairs: {statistics.fmean(pairs):.3f}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", type=Path, required=True, metavar="DATASET")
    parser.add_argument("--more", nargs="*", type=Path, default=[], metavar="FOLDER")
    parser.add_argument("--evidence", type=Path, metavar="FILE")
    add_outputs(parser, plot=False)
    arguments = parser.parse_args()
    header = about("numpy", "wordllama", sets=len(arguments.sets), folders=len(arguments.more))
    if arguments.evidence and arguments.evidence.exists():
        trials = [Trial(*row[:3], fusion.Evidence(*row[3])) for row in pickle.loads(arguments.evidence.read_bytes())]
    else:
        datasets = [dataset for folder in arguments.sets for dataset in read(folder)]
        if len({group_of(dataset) for dataset in datasets}) < 2:
            parser.error("--sets: name two sets at least, because each is judged by constants fitted without it")
        more = {
            folder.name: {
                str(path): path.read_text("utf-8") for path in sorted(folder.rglob("*.md*")) if path.stat().st_size > 2
            }
            for folder in arguments.more
        }
        trials = asyncio.run(ask_all(datasets, build(datasets, more)))
        if arguments.evidence:
            arguments.evidence.write_bytes(pickle.dumps([(*trial[:3], tuple(trial.evidence)) for trial in trials]))
    # Single words are looked at, not fitted: made questions would outweigh people's. So would the two or three English
    # words that are questions of a Chinese set, in each of its parts.
    words = [
        trial
        for trial in trials
        if not trial.evidence.by_characters and trial.asked != SINGLE and kind_of(trial.space) not in SHARES
    ]
    characters = [trial for trial in trials if trial.evidence.by_characters]
    if not words or not characters:
        parser.error("--sets: name sets of both kinds, with questions in words and in Chinese or Japanese characters")
    print("with the constants in use")
    results: dict[str, Any] = {"trials": len(trials), "in use": show(trials)}
    fusion.BY_WORDS = constants(words, range(5), size=SIZE)
    fusion.BY_CHARACTERS = constants(characters, (0, 1, 3), kept=KEPT_CHARACTERS)
    print(f"\nBY_WORDS = {fusion.BY_WORDS}\nBY_CHARACTERS = {fusion.BY_CHARACTERS}")
    fitted = {name: getattr(fusion, name)._asdict() for name in ("BY_WORDS", "BY_CHARACTERS")}
    results |= {"constants": fitted, "fitted": show(trials), "without": {}}
    groups = sorted({trial.asked for trial in words if trial.answerable})
    print("\nwords: each group by constants fitted without its questions and spaces")
    everything = fusion.BY_WORDS
    for group in groups:
        rest = [trial for trial in words if trial.asked != group and not trial.space.startswith(group)]
        fusion.BY_WORDS = constants(rest, range(5), size=SIZE)
        print(f" {group}: {fusion.BY_WORDS}")
        shares = show([trial for trial in words if trial.asked == group])
        results["without"][group] = {"BY_WORDS": fusion.BY_WORDS._asdict(), "shares": shares}
    fusion.BY_WORDS = everything
    save(arguments.json, header, results)


if __name__ == "__main__":
    main()
