"""What `kbchat search --explain` prints: a retrieval's way, as tables."""

from typing import TYPE_CHECKING

from rich.text import Text

from kbchat.cli import screen
from kbchat.models import FOUND

if TYPE_CHECKING:
    from kbchat.retrieval.explaining import Candidate, Place, Trace

UNSCORED = 20
"""Number of candidates without a score, at most, that are shown; `--json` has them all."""
REASONS = {
    "top_k": ("top_k", "others scored more, as many as were asked for"),
    "score_threshold": ("score_threshold", "its score is below it"),
    "not_read": ("not read", "it promised less than those that were read, which were enough"),
    "not_live": ("not live", "its document was removed or has newer content"),
    "alike": ("alike", "it is too like better ones for the diversity asked for"),
    "shown": ("shown", "the text shown around a better one holds it"),
    "quoted": ("quoted", "a prompt quotes it"),
    "shortened": ("shortened", "a prompt has room for its beginning"),
    "tail": ("tail", "it is too far behind the best one for a prompt"),
    "budget": ("no room", "a prompt has no room left for it"),
    "not_found": ("not found", "the best score says that the answer is not here, so nothing is quoted"),
}
"""Why something was cut, or what a prompt makes of it: in a word, and in words."""
NUMBERS = ("lexical", "cosine", "sentence", "fused", "lifted", "rerank", "score")


def print_trace(trace: "Trace") -> None:
    """The candidates with their scores and, after `#`, their rank at each stage; then why it is sure, and the time."""
    out = screen.console()
    scored = [it for it in trace.candidates if it.lifted is not None]
    others = [it for it in trace.candidates if it.lifted is None]
    if trace.candidates:
        shown = [*scored, *others[:UNSCORED]]
        # A column for the reranker only where one was asked.
        numbers = [name for name in NUMBERS if name != "rerank" or trace.reranker]
        rows = [_row(it, place if it.lifted else None, numbers) for place, it in enumerate(shown, 1)]
        screen.print_table(("#", "passage", *numbers, "outcome"), rows, numeric=("#", *numbers))
        for word, reason in dict.fromkeys(REASONS[outcome] for it in shown if (outcome := it.cut or it.prompt)):
            out.print(f"{word}: {reason}")
    else:
        out.print("No search brought anything.")
    if len(others) > UNSCORED:
        out.print(f"{len(others) - UNSCORED} more that were not scored; --json shows them all.")
    for line in (*_totals(trace), "", _confidence(trace)):
        out.print(Text(line))
    if trace.clues:
        clues = [(it.name, f"{it.value:.3f}", f"{it.weight:.2f}", f"{it.part:+.2f}") for it in trace.clues]
        rows_of_clues = [("offset", "", "", f"{trace.offset:+.2f}"), *clues]
        screen.print_table(("evidence", "value", "weight", "part"), rows_of_clues, numeric=("value", "weight", "part"))
    out.print()
    spent = [(name, f"{seconds * 1000:.2f}") for name, seconds in trace.timings.model_dump().items() if seconds]
    screen.print_table(("stage", "ms"), spent, numeric=("ms",))


def _row(it: "Candidate", place: int | None, numbers: list[str]) -> tuple[str, ...]:
    shown = {
        "lexical": _number(it.lexical, it.lexical_search),
        "cosine": _number(it.dense, it.dense_search),
        "sentence": _number(it.sentence),
        "fused": _number(None, it.fused),
        "lifted": _number(it.lifted.score if it.lifted else None),
        "rerank": _number(it.rerank.score if it.rerank else None),
        "score": _number(it.recall_score),
    }
    return (
        "" if place is None else str(place),
        f"chunk {it.chunk_id}" if it.name is None else f"{it.name} {it.start}-{it.end}",
        *(shown[name] for name in numbers),
        REASONS[outcome][0] if (outcome := it.cut or it.prompt) else "",
    )


def _number(value: float | None, place: "Place | None" = None) -> str:
    """A score, and its rank where a stage gave one; a search's own where the stage after it did not come to it."""
    if value is None and place is not None:
        value = place.score
    return "" if value is None else f"{value:.2f}" + (f" #{place.rank}" if place else "")


def _totals(trace: "Trace") -> list[str]:
    lines = [f"searched for: {' '.join(trace.question.split())}", f"strategy: {trace.strategy}"]
    if trace.prompt is not None:
        lines.append(f"a prompt takes {trace.prompt.tokens:,} of the {trace.prompt.budget:,} tokens that it may have")
    if trace.reranker:
        lines.append(f"reranked by {trace.reranker}")
    if trace.diversity:
        lines.append(f"diversity {trace.diversity:g}")
    if trace.weighing is not None:
        weighing = trace.weighing
        lines.append(
            f"fused = {weighing.lexical:g} lexical + {weighing.dense:g} cosine + {weighing.sentence:g} sentence; "
            f"lifted by {weighing.lift:g} of the gap to a better neighbour"
        )
    if trace.rounds:
        rounds = "1 round" if trace.rounds == 1 else f"{trace.rounds} rounds"
        lines.append(f"{trace.depth} hits of each search are candidates, in {rounds} of searching")
    if (chosen := trace.selected) is not None:
        how = "each of their chunks is a candidate" if chosen.one_by_one else "the searches looked among these"
        lines.append(f"the filter selects {chosen.documents} documents, {chosen.share:.1%} of the chunks; {how}")
    return lines


def _confidence(trace: "Trace") -> str:
    if not trace.clues:
        return "nothing was found"
    side = "the answer is here" if trace.confidence >= FOUND else "the answer is not here"
    return f"confidence {trace.confidence:.3f}: {side} ({FOUND} is the line)"
