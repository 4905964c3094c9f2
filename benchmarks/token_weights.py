"""Fits the weights of `kbchat.text.splitting.estimate_tokens` to the encoding of GPT-4o, and says how far off they are.

    python benchmarks/token_weights.py FOLDER... [--json FILE]

FOLDERs hold texts (.md, .mdx, .txt, .py), each of one language or kind. Counts with the ranks inside
semantic-text-splitter, so no network is needed. Each folder counts the same.
"""

import argparse
import functools
import random
import statistics
from pathlib import Path

import numpy as np
from semantic_text_splitter import TextSplitter

from kbchat.text.splitting import _WEIGHTS, estimate_tokens
from reporting import about, add_outputs, save

SAMPLES = 120
"""Pieces of 200 to 900 characters taken of each folder."""
PRIOR = 2e-3
"""How strongly the weights in use hold on where the texts say little, as for scripts that none of them is in."""


@functools.cache
def splitter(tokens: int) -> TextSplitter:
    return TextSplitter.from_tiktoken_model("gpt-4o", tokens, trim=False)


def count(text: str) -> int:
    """The least size at which the text is one chunk: its number of tokens."""
    low, high = 1, 16
    while len(splitter(high).chunks(text)) > 1:
        low, high = high + 1, high * 2
    while low < high:
        middle = (low + high) // 2
        if len(splitter(middle).chunks(text)) > 1:
            low = middle + 1
        else:
            high = middle
    return low


def samples(folder: Path) -> list[str]:
    chance = random.Random(1)
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".md", ".mdx", ".txt", ".py"))
    texts = [text for path in paths if len(text := path.read_text("utf-8")) > 60]
    pieces = []
    for _ in range(SAMPLES):
        text, length = chance.choice(texts), chance.randint(200, 900)
        start = chance.randrange(max(1, len(text) - length))
        pieces.append(text[start : start + length].strip())
    return [piece for piece in pieces if len(piece) > 50]


def features(text: str) -> list[int]:
    """How many bytes fall under each weight; a later row of the table overrides an earlier one."""
    owner = [-1] * 256
    for number, (first, last, _) in enumerate(_WEIGHTS):
        owner[first : last + 1] = [number] * (last + 1 - first)
    found = [0] * len(_WEIGHTS)
    for byte in text.encode():
        if owner[byte] >= 0:
            found[owner[byte]] += 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    add_outputs(parser, plot=False)
    options = parser.parse_args()
    header = about("semantic-text-splitter", "numpy", folders=len(options.folders), samples=SAMPLES)
    rows, wanted, shares = [], [], {}
    for folder in options.folders:
        pieces = samples(folder)
        counts = [count(piece) for piece in pieces]
        ratios = [estimate_tokens(piece) / tokens for piece, tokens in zip(pieces, counts, strict=True)]
        spread = statistics.pstdev(ratios)
        shares[str(folder)] = {"mean": statistics.fmean(ratios), "off by": spread}
        print(f"{folder}: {statistics.fmean(ratios):.3f} of the real count on average, off by {spread:.3f}")
        # Errors are relative, and a folder's pieces count together for one.
        scale = [1.0 / tokens / len(pieces) ** 0.5 for tokens in counts]
        rows += [np.array(features(piece)) * factor for piece, factor in zip(pieces, scale, strict=True)]
        wanted += [tokens * factor for tokens, factor in zip(counts, scale, strict=True)]
    numbers, truth = np.array(rows), np.array(wanted)
    weights = np.array([weight / 100 for *_, weight in _WEIGHTS])
    bend, pull = numbers.T @ numbers + PRIOR * np.eye(len(weights)), numbers.T @ truth + PRIOR * weights
    for _ in range(2000):  # one weight after the other, none below nothing
        for number in range(len(weights)):
            step = (bend[number] @ weights - pull[number]) / bend[number, number]
            weights[number] = max(0.0, weights[number] - step)
    for (first, last, used), weight in zip(_WEIGHTS, weights, strict=True):
        print(f"    (0x{first:02X}, 0x{last:02X}, {min(255, round(100 * weight))}),  # in use: {used}")
    fitted = [
        {"first": first, "last": last, "weight": 100 * float(weight), "in use": used}
        for (first, last, used), weight in zip(_WEIGHTS, weights, strict=True)
    ]
    save(options.json, header, {"estimated over counted": shares, "weights": fitted})


if __name__ == "__main__":
    main()
