"""Which of several configurations to use, and how sure that is. Pure but for numpy, which it loads when called.

Of many configurations one always looks best on the questions that chose it. So each is held against the present one by
a test that allows for how many were tried, and the choice is made again on halves of the questions and looked at on the
other halves.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from kbchat import evaluation
from kbchat.errors import InvalidInputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

LUCK = 0.05
"""A difference that chance makes as often as this is not told from luck."""
SURE = 0.01
RESAMPLES = 4000
HALVES = 400

Verdict = Literal["better", "sure", "none"]
"""`sure` is better with p below 0.01; `none`: no difference beyond luck."""


class Advice(NamedTuple):
    """What to use, by its number among those tried."""

    best: int
    recommended: int
    verdict: Verdict
    gain: evaluation.Interval
    """Of the recommended one over the present one, question by question."""
    p: float
    """How often chance alone would make one of so many look so much better: the recommended one, or the best where the
    present one is to be kept."""
    others_half: float
    """What choosing on one half of the questions gains on the other half, on average."""
    alike: tuple[int, ...]
    """Those that cannot be told from the best, itself included."""
    against_present: tuple[float, ...]
    """For each, how often chance makes a difference as large in any of those tried."""


def advise(values: Sequence[Sequence[float]], costs: Sequence[float], *, present: int = 0, seed: int = 0) -> Advice:
    """Choose. `values` has a row a configuration and a column a question; of equals the one with the least cost wins.

    The present one is left only for one that is better beyond luck. Of those, and that cannot be told from the best,
    the cheapest is recommended. Raises `InvalidInputError` where values are missing or not finite.
    """
    import numpy as np

    table = np.array(values, dtype=np.float64)
    if table.ndim != 2 or not table.size or not np.isfinite(table).all() or len(costs) != len(table):
        raise InvalidInputError("values", "there are none, or some are not finite")
    means = table.mean(axis=1)
    order = sorted(range(len(table)), key=lambda each: (-round(means[each], 12), costs[each], each != present, each))
    best = order[0]
    chance = np.random.default_rng(seed)
    signs = chance.choice(np.array([-1.0, 1.0]), size=(RESAMPLES, table.shape[1]))
    luck = _luck(table - table[present], signs)
    behind = _luck(table - table[best], signs)
    alike = tuple(each for each in range(len(table)) if behind[each] >= LUCK)
    better = [each for each in range(len(table)) if means[each] > means[present] and luck[each] < LUCK]
    fitting = [each for each in better if each in alike]
    # Where the best itself is no better beyond luck, nothing else is to be trusted more.
    chosen = min(fitting, key=lambda each: (costs[each], -means[each])) if luck[best] < LUCK and fitting else present
    verdict: Verdict = "none" if chosen == present else "sure" if luck[chosen] < SURE else "better"
    gain = evaluation.interval((table[chosen] - table[present]).tolist())
    others_half = _others_half(table, present, chance)
    return Advice(
        best,
        chosen,
        verdict,
        gain,
        float(luck[best if chosen == present else chosen]),
        others_half,
        alike,
        tuple(map(float, luck)),
    )


def _luck(differences: "Floats", signs: "Floats") -> "Floats":
    """For each row how often random signs make the largest of all rows' statistics as large as its own.

    Each row is scaled by its own length, which signs do not change, so that a noisy row does not drown the others.
    """
    import numpy as np

    lengths = np.sqrt((differences**2).sum(axis=1))
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    seen = np.abs(differences.sum(axis=1)) * scale
    largest = (np.abs(signs @ differences.T) * scale).max(axis=1)
    shares: Floats = ((largest[:, None] >= seen - 1e-12).sum(axis=0) + 1) / (len(signs) + 1)
    return shares


def _others_half(table: "Floats", present: int, chance: "np.random.Generator") -> float:
    """The mean gain over the present one on half of the questions, of what the other half chose."""
    number = table.shape[1]
    if number < 2:
        return 0.0
    gains = []
    for _ in range(HALVES):
        mixed = chance.permutation(number)
        one, other = mixed[: number // 2], mixed[number // 2 :]
        chosen = int(table[:, one].mean(axis=1).argmax())
        gains.append(float((table[chosen, other] - table[present, other]).mean()))
    return sum(gains) / len(gains)
