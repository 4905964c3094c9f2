"""The neighbours' interfaces, each tested in an environment of its own: their libraries are many and not ours."""

import importlib
import os
import subprocess
from pathlib import Path

import pytest
from environments import FOLDER, NEIGHBOURS, neighbour

import kbchat

INTEGRATIONS = sorted({*NEIGHBOURS} - {"sentence-transformers"})
HERE = Path(__file__).parents[1] / "neighbours"


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", sorted(NEIGHBOURS))
def test_neighbour(name: str, tmp_path: Path) -> None:
    """A retriever passes the neighbour's own suite where it has one, and works in what the neighbour builds of it; a
    model of the neighbour's works in kbchat."""
    if not (FOLDER / f"neighbour-{name}").exists() and "CI" not in os.environ:
        pytest.skip(f"the environment of {name} is missing; `make clients` makes it")
    options = ["--rootdir", HERE, "-c", HERE / "pytest.ini", "-q", HERE / f"test_{name.replace('-', '_')}.py"]
    env = {key: value for key, value in os.environ.items() if not key.startswith(("KBCHAT_", "PYTEST_"))}
    ran = subprocess.run(
        [neighbour(name), "-m", "pytest", *options],
        cwd=tmp_path,
        env=env | {"HAYSTACK_TELEMETRY_ENABLED": "False"},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]


@pytest.mark.parametrize("name", INTEGRATIONS)
def test_without_the_library(name: str) -> None:
    """Where the neighbour is not installed, the module says which extra is missing."""
    with pytest.raises(kbchat.errors.MissingExtraError, match=rf"kbchat\[{name}\]"):
        importlib.import_module(f"kbchat.integrations.{name}")
