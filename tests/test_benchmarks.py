"""The benchmarks keep one standard: each says where it was run, and writes what it measured."""

import argparse
import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.append(str(BENCHMARKS))

from reporting import Spread, about, add_outputs, save  # noqa: E402

PROGRAMS = sorted(
    path
    for path in BENCHMARKS.glob("*.py")
    if path.name != "plots.py" and 'if __name__ == "__main__":' in path.read_text()
)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_each_reports(program: Path) -> None:
    """Each program says what it runs on, takes `--json`, writes it, and draws where it takes `--plot`."""
    calls = [node for node in ast.walk(ast.parse(program.read_text())) if isinstance(node, ast.Call)]
    named = {call.func.id: call for call in calls if isinstance(call.func, ast.Name)}
    assert {"about", "add_outputs", "save"} <= named.keys()
    draws = all(it.arg != "plot" for it in named["add_outputs"].keywords)
    assert draws == ("draw" in named)


@pytest.mark.parametrize(
    ("values", "expected", "told"),
    [
        ([3.0], (3.0, 3.0, 3.0), "3.0"),
        ([1.0, 2.0], (1.0, 1.5, 2.0), "1.5 [1.0, 2.0]"),
        ([3.0, 1.0, 2.0], (1.0, 2.0, 3.0), "2.0 [1.0, 3.0]"),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], (2.0, 4.0, 6.0), "4.0 [2.0, 6.0]"),
    ],
)
def test_spread(values: list[float], expected: tuple[float, float, float], told: str) -> None:
    """A spread is the median and the quartiles, of few values the least and the greatest, of one that one."""
    spread = Spread.of(values)
    assert (spread.low, spread.median, spread.high) == expected
    assert spread.count == len(values)
    assert f"{spread:.1f}" == told


def test_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was measured is written beside machine, versions and counts, which are printed; spreads as their numbers.
    A package that is not installed has no version."""
    header = about("numpy", "no-such-package", rounds=3)
    assert "rounds 3" in capsys.readouterr().out
    save(tmp_path / "new" / "found.json", header, {"took": {64: Spread.of([1.0, 2.0])}})
    saved = json.loads((tmp_path / "new" / "found.json").read_text())
    assert saved.keys() == {"machine", "versions", "counts", "results"}
    assert saved["versions"].keys() == {"kbchat", "numpy"}
    assert saved["results"] == {"took": {"64": {"low": 1.0, "median": 1.5, "high": 2.0, "count": 2}}}


def test_no_picture(capsys: pytest.CaptureFixture[str]) -> None:
    """A file that cannot be drawn is refused before anything is measured."""
    parser = argparse.ArgumentParser()
    add_outputs(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--plot", "found.xyz"])
    assert "found.xyz is no kind of picture" in capsys.readouterr().err


def test_plots_need_the_extra() -> None:
    """Without matplotlib a plot is refused by the name of the extra, and everything else works."""
    program = """
import argparse, sys
sys.modules["matplotlib"] = None
from reporting import add_outputs
parser = argparse.ArgumentParser()
add_outputs(parser)
assert parser.parse_args(["--json", "found.json"]).plot is None
parser.parse_args(["--plot", "found.png"])
"""
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 2
    assert "pip install 'kbchat[bench]'" in ran.stderr
