"""The documentation is true: its Python runs, its commands parse, its tables are those of the code."""

import ast
import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import anyio.to_thread
import pytest
import typer

import kbchat
from kbchat.cli.app import app
from kbchat.cli.exits import Exit

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
NOT_RUN = re.compile(r"<!-- not run: \S.* -->\s*$")
"""Stands above a block that cannot be run here, with the reason."""


class Block(NamedTuple):
    line: int
    language: str
    text: str
    above: str


def blocks(page: Path, language: str) -> Iterator[Block]:
    """The fenced blocks of a page in one language."""
    text = page.read_text()
    for found in re.finditer(r"^```(\w+)[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if found[1] == language:
            yield Block(text.count("\n", 0, found.start()) + 1, found[1], found[2], text[: found.start()])


def runnable(page: Path) -> list[Block]:
    return [block for block in blocks(page, "python") if not NOT_RUN.search(block.above)]


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reader's working folder: nothing but some documents."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.timeout(200)
@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page)], ids=lambda page: page.name)
async def test_python_runs(page: Path, reader: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every Python block of a page runs, one after the other, as a reader would run them."""
    names: dict[str, object] = {"__name__": "__main__"}
    for block in runnable(page):
        # Padded, so that a traceback shows the page's own line.
        code = compile("\n" * block.line + block.text, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if code.co_flags & inspect.CO_COROUTINE:
            await eval(code, names)
        else:
            await anyio.to_thread.run_sync(exec, code, names)  # It may start a loop of its own.


@pytest.mark.timeout(200)
def test_the_ten_lines_work_as_printed(reader: Path) -> None:
    """README's first program, copied to a file, prints an answer and where it comes from; a second run as well."""
    program = next(blocks(ROOT / "README.md", "python")).text
    assert len([line for line in program.splitlines() if line.strip()]) <= 11
    (reader / "first.py").write_text(program)
    for _ in range(2):
        ran = subprocess.run([sys.executable, "first.py"], capture_output=True, text=True, timeout=180, check=False)
        assert ran.returncode == 0, ran.stderr
        assert "90 days" in ran.stdout
        assert "('keys', 0, 54)" in ran.stdout


def commands() -> Iterator[tuple[str, list[str]]]:
    for page, name in zip(PAGES, NAMES, strict=True):
        for block in blocks(page, "console"):
            for line in block.text.splitlines():
                if line.startswith("$ "):
                    yield f"{name}:{block.line}", shlex.split(line[2:], comments=True)


@pytest.mark.parametrize(("where", "command"), list(commands()))
def test_commands_parse(where: str, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A command shown is one that there is, with options and arguments that it takes."""
    monkeypatch.chdir(ROOT)
    match command:
        case ["kbchat", *arguments]:
            resolved = typer.main.get_command(app)
            while hasattr(resolved, "commands"):
                resolved = resolved.commands[arguments.pop(0)]
            resolved.make_context("kbchat", arguments).close()
        case ["make", *targets]:
            rules = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert set(targets) <= set(rules)
        case ["export", setting]:
            name, _, _ = setting.removeprefix("KBCHAT_").lower().partition("=")
            assert name in kbchat.Settings.model_fields
        case ["curl", *arguments]:
            for option, value in pairwise(arguments):
                if option in ("-d", "--data"):
                    json.loads(value)
        case ["python", "-m", "pytest", program, *_] | ["python", program, *_]:
            assert (ROOT / program).exists()
        case ["pip", "install", target]:
            assert target.partition("[")[0] == "kbchat"
        case _:
            raise AssertionError(f"{where}: what is {command}?")


def texts() -> Iterator[tuple[str, str]]:
    """Every text of the sources, `NAME` where an f-string has a value, and every page; and where each is."""
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "adapters").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Constant(value=str(text)):
                    yield f"{path.name}:{node.lineno}", text
                case ast.JoinedStr(values=parts):
                    told = [str(part.value) if isinstance(part, ast.Constant) else "NAME" for part in parts]
                    yield f"{path.name}:{node.lineno}", "".join(told)
    yield from zip(NAMES, (page.read_text() for page in PAGES), strict=True)


def wrong_with(mention: str, *, quoted: bool) -> str:
    """What is not there of a command that a text names: a command, its subcommand or an option; "" if all is."""
    program: Any = typer.main.get_command(app)
    command, words = program, mention.split()
    while words and hasattr(command, "commands") and not words[0].startswith("--"):
        word = words.pop(0)
        if word not in command.commands:
            is_prose = command is program and not quoted  # "kbchat works with"
            return "" if is_prose else f"{word!r} is no command"
        command = command.commands[word]
    options = {option for it in command.params for option in it.opts}
    unknown = [word for word in words if word.startswith("--") and word not in {*options, "--help"}]
    return f"no option {unknown}" if unknown else ""


def test_every_command_that_is_named_is_there() -> None:
    """Whoever copies a command from a message, a docstring or a sentence of the documentation can run it."""
    wrong, seen = [], 0
    for where, text in texts():
        for found in re.finditer(r"(`?)\bkbchat((?: (?!-->)[^\s`,;()]+)+)", text):
            told = found[2].removesuffix(".")
            seen += 1
            if what := wrong_with(told, quoted=bool(found[1])):
                wrong.append(f"{where}: kbchat{told}: {what}")
    assert wrong == []
    assert seen > 100


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    """Every link within the project leads to a file that is there."""
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    broken = [it for it in targets if "://" not in it and not (page.parent / it).exists()]
    assert broken == []


def table_rows(text: str) -> list[list[str]]:
    """The cells of every table row."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_every_setting_is_documented() -> None:
    """The tables of settings name every setting with its variable and its default, and no other."""

    def shown(default: object) -> str:
        return "unset" if default is None else str(default)

    page = (ROOT / "docs" / "settings.md").read_text()
    documented = {row[0].strip("`"): (row[1], row[2].strip("`")) for row in table_rows(page) if row[0].startswith("`")}
    fields = kbchat.Settings.model_fields
    assert documented == {
        name: (f"`KBCHAT_{name.upper()}`", shown(field.get_default(call_default_factory=True)))
        for name, field in fields.items()
    }


def test_the_settings_file_shown_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The `kbchat.toml` of the settings page is read as it stands."""
    shown = next(blocks(ROOT / "docs" / "settings.md", "toml")).text
    (tmp_path / "kbchat.toml").write_text(shown)
    monkeypatch.chdir(tmp_path)
    assert list(kbchat.Settings().models) == list(tomllib.loads(shown)["models"])


def test_every_command_is_documented() -> None:
    """The page of the command line has each command with each of its options, and no other."""

    def options(command: object) -> set[str]:
        parameters = command.params  # type: ignore[attr-defined]
        return {max(it.opts, key=len) for it in parameters if it.param_type_name == "option" and it.name != "help"}

    documented = {}
    for section in re.split(r"^## ", (ROOT / "docs" / "cli.md").read_text(), flags=re.MULTILINE):
        title, _, body = section.partition("\n")
        if title.startswith("kbchat "):
            documented[title.removeprefix("kbchat ")] = {row[0].strip("`") for row in table_rows(body)[1:]}
    there = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        for sub_name, sub in getattr(command, "commands", {"": command}).items():
            there[f"{name} {sub_name}".strip()] = options(sub)
    assert documented == there


def test_every_exit_code_is_documented() -> None:
    """The table of exit codes is that of the code."""
    _, _, section = (ROOT / "docs" / "cli.md").read_text().partition("## Exit codes")
    assert [int(row[0]) for row in table_rows(section)[1:]] == [code.value for code in Exit]


def test_every_extra_is_documented() -> None:
    """README's table of extras is that of the package."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"^\| `kbchat\[(\S+)\]`", (ROOT / "README.md").read_text(), re.MULTILINE)) == set(extras)


def test_every_extra_that_is_named_is_there() -> None:
    """Whoever copies `kbchat[…]` from the documentation or from a message gets what it says."""
    there = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"].keys()
    named: dict[str, str] = {}
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.py")]
    for path in [*files, *(ROOT / "adapters").rglob("*.py")]:
        for extras in re.findall(r"kbchat\[([a-z][a-z0-9,-]*)\]", path.read_text()):
            named |= dict.fromkeys(extras.split(","), str(path.relative_to(ROOT)))
        for extra in re.findall(r'MissingExtraError\([^)]*"([a-z0-9-]+)"\)', path.read_text()):
            named[extra] = str(path.relative_to(ROOT))
    assert {extra: path for extra, path in named.items() if extra not in there} == {}
    assert len(named) > 5
