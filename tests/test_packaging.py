"""What ships: the wheel, installed in an empty environment, answers a question without the source tree."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
UV = Path(sys.executable).with_name("uv")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

QUESTION = """
import asyncio, kbchat, kbchat_aiohttp
assert "site-packages" in kbchat.__file__, kbchat.__file__

async def main():
    async with kbchat.KnowledgeBase("kb-data") as kb:
        space = await kb.create_space("handbook")
        await space.ingest(kbchat.TextDocument(name="keys", text="Keys are rotated every 90 days."))
        answer = await space.chat("How often are keys rotated?")
        kbchat_aiohttp.create_app(kb)
        print(answer.text, answer.references[0].name)

asyncio.run(main())
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command that must succeed; returns its output. Nothing of this interpreter's environment reaches it."""
    hidden = ("KBCHAT_", "PYTHON", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    ran = subprocess.run([str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that was built from it and not from the repository."""
    folder = tmp_path_factory.mktemp("dist")
    run(UV, "build", "--python", sys.executable, "--out-dir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def bare(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an environment `env` that holds the wheel and what it depends on, in the locked versions."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder / "env", with_pip=False)
    (wheel,) = built.glob("*.whl")
    # The lock's versions without its hashes: they are of packages, the wheel at hand has none.
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    locked = [line.rstrip(" \\") for line in lines if line and not line.startswith((" ", "#"))]
    (folder / "versions.txt").write_text("\n".join(locked))
    python, versions = folder / "env" / "bin" / "python", folder / "versions.txt"
    run(UV, "pip", "install", "--python", python, "--constraint", versions, wheel, cwd=folder)
    return folder


def test_the_wheel_holds_both_packages_and_nothing_else(built: Path) -> None:
    """Code, types and the licence; no tests, no caches."""
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"kbchat", "kbchat_aiohttp", "kbchat-0.1.0.dist-info"}
    for needed in ("kbchat/py.typed", "kbchat_aiohttp/py.typed", "kbchat-0.1.0.dist-info/licenses/LICENSE"):
        assert needed in names
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc")] == []


def test_the_wheel_holds_every_file_of_the_source(built: Path) -> None:
    """Migrations and other data files as well: what is in the packages' folders is in the wheel."""
    (wheel,) = built.glob("*.whl")
    there = {name for name in zipfile.ZipFile(wheel).namelist() if not name.startswith("kbchat-")}
    source = {
        str(path.relative_to(top))
        for top in (ROOT / "src", ROOT / "adapters")
        for path in top.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and ".egg-info" not in str(path)
    }
    assert there == source


def test_the_source_distribution_is_complete(built: Path) -> None:
    """It holds what the wheel is built from."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "src/kbchat/__init__.py"} <= names


def test_a_bare_installation_answers(bare: Path) -> None:
    """In an empty environment, away from the source tree, a question is answered with its reference."""
    (bare / "question.py").write_text(QUESTION)
    answer = run(bare / "env" / "bin" / "python", "question.py", cwd=bare)
    assert "every 90 days" in answer
    assert answer.split()[-1] == "keys"


def test_a_bare_installation_has_the_command(bare: Path) -> None:
    """`kbchat` is there and works on the data that Python made."""
    (bare / "a.md").write_text("# Lunch\n\nLunch is served between noon and two.\n")
    kbchat = bare / "env" / "bin" / "kbchat"
    run(kbchat, "ingest", "canteen", "a.md", "--data-dir", "data", cwd=bare)
    assert "noon" in run(kbchat, "ask", "canteen", "When is lunch served?", "--data-dir", "data", cwd=bare)


def test_a_missing_extra_says_how_to_install_it(bare: Path) -> None:
    """A space in Milvus without that extra: exit code 2 and one line that names it."""
    kbchat = str(bare / "env" / "bin" / "kbchat")
    (bare / "b.md").write_text("# B\n\nBeta.\n")
    run(kbchat, "spaces", "create", "m", "--vector-type", "Milvus", "--data-dir", "data", cwd=bare)
    command = [kbchat, "ingest", "m", "b.md", "--data-dir", "data"]
    ran = subprocess.run(command, cwd=bare, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1), ran.stderr
    assert "pip install 'kbchat[milvus]'" in ran.stderr
