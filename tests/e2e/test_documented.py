"""The commands and examples of the published API documentation, run as they stand against `kbchat serve`.

The files in `documented/` are theirs. Only the port and what they leave to the reader is filled in: `{YOUR_SPACE_NAME}`
and the like.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from environments import python
from live import KBCHAT, kbchat_serve

import kbchat

HERE = Path(__file__).parent
AWEL = """# AWEL

AWEL, the Agentic Workflow Expression Language, describes the workflows of agents. It has three layers: operators, a
layer for agents and a layer for the language itself.

## Operators

An operator is the smallest part of a workflow. Operators are connected with the sign `>>`.
"""

pytestmark = [pytest.mark.server, pytest.mark.timeout(200)]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("documented")
    (folder / "awel.md").write_text(AWEL, "utf-8")
    subprocess.run(
        [KBCHAT, "ingest", "awel", folder / "awel.md", "--data-dir", folder / "data"], check=True, capture_output=True
    )
    with kbchat_serve(folder / "data") as port:
        yield port


def curl(name: str, port: int, **placeholders: str) -> Any:
    """What a documented command prints, read as JSON."""
    script = (HERE / "documented" / f"{name}.sh").read_text("utf-8").replace(":5670/", f":{port}/")
    for old, new in placeholders.items():
        script = script.replace(f"{{{old}}}", new)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=100)
    return json.loads(done.stdout)


def example(name: str, port: int, **placeholders: str) -> str:
    """What a documented Python example prints, or what it got."""
    replaced = [part for old, new in placeholders.items() for part in (f"{{{old}}}", new)]
    done = subprocess.run(
        [
            python("dbgpt-0.6.3"),
            HERE / "run_example.py",
            HERE / "documented" / f"{name}.py.txt",
            *replaced,
        ],
        env={"PATH": os.environ["PATH"], "DBGPT_API_BASE": f"http://localhost:{port}/api/v2"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_documented_commands_work(port: int) -> None:
    """Each curl command, from making a space to deleting it."""
    made = curl("create_space", port)
    assert made["success"] is True
    assert made["data"]["name"] == "test_space_2"
    assert curl("create_space", port)["err_code"] == "E4091"
    space_id = str(made["data"]["id"])
    assert curl("get_space", port, YOUR_SPACE_ID=space_id)["data"] == made["data"]
    assert made["data"] in curl("list_spaces", port)["data"]["items"]
    assert curl("delete_space", port, YOUR_SPACE_ID=space_id)["data"] == made["data"]
    assert curl("get_space", port, YOUR_SPACE_ID=space_id)["err_code"] == "E4042"


def test_the_documented_question_is_answered(port: int) -> None:
    """The JSON of the documentation, key for key."""
    body = curl("chat", port, YOUR_SPACE_NAME="awel")
    assert list(body) == ["id", "object", "created", "model", "choices", "usage"]
    assert body["object"] == "chat.completion"
    assert body["model"] == "chatgpt_proxyllm"
    assert body["choices"][0]["message"]["role"] == "assistant"
    assert set(body["usage"]) == {"prompt_tokens", "completion_tokens", "total_tokens"}


async def test_the_documented_update_works(tmp_path: Path) -> None:
    """It names the space 49."""
    async with kbchat.KnowledgeBase(tmp_path) as kb:
        for number in range(1, 50):
            await kb.create_space(f"space {number}")
    with kbchat_serve(tmp_path) as port:
        body = curl("update_space", port)
        assert body["success"] is True
        assert body["data"]["id"] == 49
        assert body["data"]["desc"] == "for client space desc v2"
        assert body["data"]["name"] == "test_space_2"


def test_the_documented_python_calls_work(port: int) -> None:
    """With the published client: make, change, show, list and delete a space."""
    made = json.loads(example("create_space", port))
    assert made["name"] == "test_space"
    space_id = str(made["id"])
    changed = json.loads(example("update_space", port))
    assert (changed["id"], changed["desc"]) == (made["id"], "for client space update")
    assert json.loads(example("get_space", port, your_space_id=space_id)) == changed
    assert changed in json.loads(example("list_spaces", port))
    assert json.loads(example("delete_space", port, your_space_id=space_id)) == changed


def test_the_documented_python_question_is_answered(port: int) -> None:
    """The published client reads the whole stream, and the references are in its last piece of text."""
    said = example("chat", port, YOUR_SPACE_NAME="awel")
    assert "Agentic Workflow Expression Language" in said
    assert said.count("<references title=") == 1
    assert "awel.md" in said
