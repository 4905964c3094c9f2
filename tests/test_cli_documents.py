"""`kbchat documents`, and whose spaces are taken into."""

from collections.abc import Callable
from pathlib import Path

import pytest

from commands import Ran, check_mistake, ran
from kbchat.cli.exits import Exit

Run = Callable[[str], Ran]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `kbchat` in this process, in a folder with two documents."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys.md").write_text("Keys are rotated every 90 days.")
    (tmp_path / "lunch.md").write_text("Lunch is served between noon and two.")
    return lambda line: ran(line, capsys)


def test_documents_are_listed_and_removed_one_by_one(run: Run, tmp_path: Path) -> None:
    """By name and by id, as a table and as JSON, without their texts; what is removed is found no more."""
    assert run("ingest handbook keys.md lunch.md").code == Exit.DONE
    assert "lunch.md" in run("documents list handbook").out
    keys, lunch = run("documents list handbook --json").json
    assert (keys["name"], keys["status"], "text" in keys) == ("keys.md", "FINISHED", False)
    assert run("documents delete handbook keys.md").out == "removed 'keys.md'\n"
    assert run(f"documents delete handbook {lunch['id']} --json").json["name"] == "lunch.md"
    assert run("documents list handbook --json").json == []
    empty = run("documents list handbook")
    assert (empty.code, empty.out) == (Exit.DONE, "")
    assert "kbchat ingest SPACE PATH" in empty.err
    assert (tmp_path / "keys.md").exists()


def test_a_document_that_is_not_there_is_told(run: Run) -> None:
    """With the command that lists those that are."""
    assert run("ingest handbook keys.md").code == Exit.DONE
    told = "there is no document 'key.md'; `kbchat documents list SPACE` names those there are"
    check_mistake(run("documents delete handbook key.md"), told)


def test_spaces_of_several_owners_are_told_apart(run: Run) -> None:
    """`ingest --owner` makes a space for its owner, and means that one where another owner has one of its name."""
    assert run("ingest notes keys.md --owner alice").code == Exit.DONE
    assert run("ingest notes lunch.md --owner bob").code == Exit.DONE
    assert run("ingest notes keys.md --owner alice --json").json["unchanged"] == 1
    spaces = {it["owner"]: it["document_count"] for it in run("spaces list --json").json}
    assert spaces == {"alice": 1, "bob": 1}
    check_mistake(run("ingest notes keys.md"), "notes")
