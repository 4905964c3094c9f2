"""`kbchat tune --make-questions` by a model: what fails costs little, and mistakes are told before it is asked."""

import json
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from commands import Ran, check_mistake, ran
from kbchat.cli.exits import Exit
from kbchat.errors import GeneratorError
from kbchat.testing.model_server import ModelServer, Script
from kbchat.tuning import making

TEXTS = {
    f"{n:02}.md": f"The machine number {n} stands in hall {n % 7} beside the window of the northern wall."
    for n in range(20)
}
Run = Callable[[str], Ran]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `kbchat` in this process, in a folder with the space `halls`."""
    monkeypatch.chdir(tmp_path)
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text, "utf-8")
    assert ran(f"ingest halls {' '.join(TEXTS)}", capsys).code == Exit.DONE
    return lambda line: ran(line, capsys)


def served(run: Run, line: str, scripts: list[Script], monkeypatch: pytest.MonkeyPatch) -> tuple[Ran, int]:
    """What a command does beside a model server, and how many requests that got."""

    async def with_server() -> tuple[Ran, int]:
        async with ModelServer() as server:
            server.script(*scripts)
            monkeypatch.setenv("KBCHAT_LLM_BASE_URL", server.base_url)
            monkeypatch.setenv("KBCHAT_LLM_MODEL", "test")
            done = await anyio.to_thread.run_sync(run, line)
            return done, len(server.requests)

    return anyio.run(with_server)


def test_a_failed_call_costs_its_own_passage(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The others' questions are written; the number, the reason and the code 1 say what is missing."""
    scripts = [Script(texts=(f"Where is number {n}?",)) for n in range(6)]
    scripts[2] = Script(status=400, body='{"error": {"message": "not this one"}}')
    made, _ = served(run, "tune halls --make-questions made.jsonl --count 6", scripts, monkeypatch)
    assert made.code == Exit.INCOMPLETE, made.err
    assert made.out == "5 synthetic questions, made by the model test, are in made.jsonl\n"
    assert "of 1 passages there is no question, because the model failed: " in made.err
    assert "Traceback" not in made.err
    assert len([json.loads(line) for line in (tmp_path / "made.jsonl").read_text().splitlines()]) == 5


def test_a_model_that_always_fails_is_given_up(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One line with its error and the code 3, no file, and not as many calls as there are passages."""
    failing = [Script(status=401, body='{"error": {"message": "no such key"}}')]
    made, requests = served(run, "tune halls --make-questions made.jsonl --count 20", failing, monkeypatch)
    assert (made.code, made.out) == (Exit.FAILED, "")
    assert made.err.count("\n") == 1
    assert not (tmp_path / "made.jsonl").exists()
    assert requests <= making.GIVEN_UP + making.AT_ONCE


async def test_what_was_made_before_a_model_broke_is_kept() -> None:
    """The passages that it was asked about in vain, and those that it was asked about no more, are counted."""
    asked = 0

    async def ask(prompt: str) -> str:
        nonlocal asked
        asked += 1
        if asked > 3:
            raise GeneratorError("m", f"failure {asked}")
        return f"Question {asked}?"

    made = await making.by_model(TEXTS, 20, model="m", ask=ask)
    assert (len(made.questions), made.failed, made.reason is not None) == (3, 17, True)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--make-questions made.jsonl --model nosuch", "there is no model 'nosuch'; configured are: test, extractive"),
        ("--make-questions nowhere/made.jsonl", "make_questions: nowhere/made.jsonl cannot be written"),
        ("--questions made.jsonl --cache nowhere/kept.sqlite", "cache: nowhere/kept.sqlite cannot be written"),
    ],
)
def test_a_mistake_is_told_before_the_model_is_asked(
    run: Run, monkeypatch: pytest.MonkeyPatch, options: str, told: str
) -> None:
    """One line, and not one request."""
    made, requests = served(run, f"tune halls {options}", [Script(texts=("Who?",))], monkeypatch)
    check_mistake(made, told)
    assert requests == 0


def test_another_model_may_stand_in(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the settings say so the default one does, and the mark names it."""
    monkeypatch.setenv("KBCHAT_UNKNOWN_MODEL", "default")
    line = "tune halls --make-questions made.jsonl --count 1 --model nosuch"
    made, _ = served(run, line, [Script(texts=("Who?",))], monkeypatch)
    assert made.code == Exit.DONE, made.err
    assert json.loads((tmp_path / "made.jsonl").read_text())["synthetic"] == "model test"
