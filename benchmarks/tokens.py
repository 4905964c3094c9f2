"""Fits the weights of `kbchat.text.tokens.estimate` to o200k_base, and says how far off the estimate in use is.

    python -c "import tiktoken; tiktoken.get_encoding('o200k_base')"     # once, with a network
    python benchmarks/tokens.py FOLDER... [--json FILE]

FOLDERs hold texts, each of one language or kind. The weights in use were fitted to FastAPI's documentation in 13
languages, DB-GPT's, Cranfield's abstracts, CMRC 2018's paragraphs, Chroma's five chunking corpora and aiohttp's source.
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tiktoken

from kbchat.text.tokens import _KINDS, _WIDE, estimate
from reporting import about, add_outputs, save

CHUNK = 1200
CHUNKS = 200
"""At most, of each folder."""
NAMES = ("word", "letter", "number", "digit", "signs", "break", "gap", *(pattern.pattern for pattern, _ in _WIDE))
Matrix = npt.NDArray[np.float64]


def features(text: str) -> list[int]:
    count = (b" " + text.encode("ascii", "ignore").translate(_KINDS)).count
    return [
        count(b" a") + count(b".a") + count(b"0a") + count(b"\na"),
        count(b"a"),
        count(b" 0") + count(b".0") + count(b"a0") + count(b"\n0"),
        count(b"0"),
        count(b".") - count(b".."),
        count(b"\n") - count(b"\n\n"),
        count(b"  "),
        *(len(pattern.findall(text)) for pattern, _ in _WIDE),
    ]


def fit(rows: Matrix, counts: Matrix) -> Matrix:
    """Least squares of the relative error, no weight below 0, by projected gradients."""
    scaled = rows / counts[:, None]
    step = 1.0 / np.linalg.norm(scaled.T @ scaled, 2)
    weights: Matrix = np.full(rows.shape[1], 0.3)
    for _ in range(40_000):
        weights = np.maximum(0.0, weights - step * (scaled.T @ (scaled @ weights - 1.0)))
    return weights


def chunks(folder: Path) -> list[str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else [folder]
    text = "".join(path.read_text("utf-8", errors="replace") for path in files)
    return [text[at : at + CHUNK] for at in range(0, len(text), CHUNK)][:CHUNKS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    add_outputs(parser, plot=False)
    options = parser.parse_args()
    header = about("tiktoken", "numpy", folders=len(options.folders), chunks_of_each=CHUNKS)
    encoding = tiktoken.get_encoding("o200k_base")
    rows, counts, shares = [], [], {}
    print(f"{'folder':<44} {'estimate / o200k_base':>22} {'1 % below':>10} {'1 % above':>10}")
    for folder in options.folders:
        texts = chunks(folder)
        counted = [len(encoding.encode_ordinary(text)) for text in texts]
        estimated = [estimate(text) for text in texts]
        ratios = np.array(estimated) / np.array(counted)
        low, high = np.quantile(ratios, [0.01, 0.99])
        share = sum(estimated) / sum(counted)
        shares[str(folder)] = {"all": share, "1 % below": float(low), "1 % above": float(high)}
        print(f"{str(folder)[-44:]:<44} {share:>22.2f} {low:>10.2f} {high:>10.2f}")
        rows += [features(text) for text in texts]
        counts += counted
    weights = fit(np.array(rows, dtype=np.float64), np.array(counts, dtype=np.float64))
    for name, weight in zip(NAMES, weights, strict=True):
        print(f"{name:<44} {weight:>22.3f}")
    fitted = {name: float(weight) for name, weight in zip(NAMES, weights, strict=True)}
    save(options.json, header, {"estimated over counted": shares, "weights": fitted})


if __name__ == "__main__":
    main()
