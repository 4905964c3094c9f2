"""How well citations are checked: true sentences that should pass, spoilt ones that should be caught.

    python benchmarks/citations.py DATA [--each 400] [--seed 1] [--show en:number] [--json FILE] [--plot FILE]

DATA is a folder with the evaluation sets (chroma-chunking, cranfield, fastapi-docs, dbgpt-docs, cmrc2018-trial). Each
case is one sentence citing one of five passages. True ones are extracts, and loose paraphrases written by hand or made
of a question and its known answer. Spoilt ones have one thing changed: a number, a name, a negation or the passage.
What spoils them (`citing/cases.py`) shares no code with what checks them. A line says whether its target was reached.
"""

import argparse
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from citing.cases import Case, make
from kbchat.citations import CitationChecker
from kbchat.models import Citation, Passage, Reference
from reporting import Spread, about, add_outputs, bars, canvas, draw, save

TARGETS = {"number": 0.90, "name": 0.90, "negation": 0.70, "extract": 0.05, "paraphrase": 0.15, "passage": 0.90}
"""Least share caught of what is spoilt, greatest share flagged of what is true."""
TRUE = {"extract", "paraphrase"}


Flags = dict[tuple[str, str, str], Counter[bool]]
"""How many sentences were flagged and how many not, by kind, language and origin; of all origins under ""."""


class Row(NamedTuple):
    kind: str
    language: str
    origin: str
    cases: int
    flagged: float
    target: float | None
    """None for a single origin, and for a kind that has none."""

    @property
    def reached(self) -> bool | None:
        if self.target is None:
            return None
        return self.flagged <= self.target if self.kind in TRUE else self.flagged >= self.target

    def __str__(self) -> str:
        verdict = ""
        if self.target is not None:
            sign = "<=" if self.kind in TRUE else ">="
            verdict = f"{sign} {self.target:.0%} {'reached' if self.reached else 'MISSED'}"
        of = f"{self.kind:18} {self.language} {self.origin:12} {self.cases:5} cases"
        return f"{of}  {self.flagged:6.1%} flagged  {verdict}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each", type=int, default=400, help="cases of each kind and language")
    parser.add_argument("--show", help="print the misjudged cases of a kind, such as en:number")
    add_outputs(parser)
    options = parser.parse_args()
    cases = list(make(options.data, options.each, random.Random(options.seed)))
    header = about(cases=len(cases), each=options.each, seed=options.seed)
    counts, milliseconds = judge(cases, options.show)
    rows = [
        Row(*key, count.total(), count[True] / count.total(), None if key[2] else TARGETS.get(key[0]))
        for key, count in sorted(counts.items())
    ]
    print(*rows, f"{milliseconds:.2f} ms a case", sep="\n")
    results = [{**row._asdict(), "reached": row.reached} for row in rows]
    save(options.json, header, {"flagged": results, "milliseconds a case": milliseconds})
    if options.plot:
        plot(rows, options.plot)
    sys.exit(any(row.reached is False for row in rows))


def judge(cases: Sequence[Case], show: str | None) -> tuple[Flags, Spread]:
    """What is flagged, and the milliseconds of each."""
    counts: Flags = defaultdict(Counter)
    taken = []
    for case in cases:
        began = time.perf_counter()
        citation = check(case)
        taken.append((time.perf_counter() - began) * 1e3)
        flagged = not citation.supported
        for origin in (case.origin, ""):
            counts[case.kind, case.language, origin][flagged] += 1
        if show == f"{case.language}:{case.kind}" and flagged == (case.kind in TRUE):
            print(f"{citation.support:.2f} {citation.unsupported} <{case.changed}> {case.sentence}")
    return counts, Spread.of(taken)


def plot(rows: Sequence[Row], path: Path) -> None:
    """The share that is flagged of each kind, with its target."""
    shown = [row for row in rows if not row.origin]
    languages = {
        language: {row.kind: Spread.of([row.flagged]) for row in shown if row.language == language}
        for language in dict.fromkeys(row.language for row in shown)
    }
    figure, (axes,) = canvas()
    bars(axes, languages, told=".1%")
    for place, kind in enumerate(dict.fromkeys(row.kind for row in shown)):
        side = "at most" if kind in TRUE else "at least"
        axes.plot([TARGETS[kind]] * 2, [place - 0.45, place + 0.45], color="black", linewidth=1.2)
        axes.text(TARGETS[kind], place - 0.45, f"{side} {TARGETS[kind]:.0%}", fontsize=6, ha="center", va="bottom")
    axes.set(xlabel="share flagged", xlim=(0, 1.15))
    draw(figure, path)


def check(case: Case) -> Citation:
    """What the checker says to a sentence that comes as a model's answer would."""
    reference = Reference(
        name="passage",
        document_id=1,
        chunk_id=1,
        content=case.passage,
        start=0,
        end=len(case.passage),
        recall_score=1.0,
    )
    passage = Passage(number=1, name="", content=case.passage, score=1.0, references=(reference,))
    checker = CitationChecker([passage])
    stop = case.sentence[-1] if case.sentence[-1] in ".!?。！？" else ""
    found = checker.feed(f"{case.sentence.removesuffix(stop)} [1]{stop}") + checker.flush()
    return min(found, key=lambda citation: citation.support)


if __name__ == "__main__":
    main()
