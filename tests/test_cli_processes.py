"""The command line as a process: terminals, signals, pipes, encodings."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol
from urllib.request import urlopen

import pytest

from kbchat.cli import main
from kbchat.cli.exits import Exit

# Each test starts several interpreters, which a busy machine makes slow.
pytestmark = pytest.mark.timeout(200)


Prepare = Callable[..., None]


class Start(Protocol):
    def __call__(
        self, *arguments: str, env: Mapping[str, str] = {}, stdout: int = -1, stderr: int = -1
    ) -> subprocess.Popen[str]: ...


@pytest.fixture
def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Prepare:
    """Run a command line that must succeed, in this process, which is quicker."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> None:
        assert main(arguments) == Exit.DONE

    return run


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start command lines in an empty working folder, each in a process that does not outlive the test."""
    started: list[subprocess.Popen[str]] = []

    def run(
        *arguments: str,
        env: Mapping[str, str] = {},
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "kbchat", *arguments],
            cwd=tmp_path,
            env={**os.environ, **env},
            stdout=stdout,
            stderr=stderr,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        with process:  # Closes its pipes and waits for it.
            pass


def test_wide_characters_survive_a_narrow_encoding(start: Start) -> None:
    """Chinese on an ASCII stream is escaped, not a crash; in UTF-8 it is itself."""
    made = start("spaces", "create", "手册", env={"PYTHONIOENCODING": "ascii"})
    out, err = made.communicate()
    assert (made.returncode, err) == (Exit.DONE, "")
    assert r"\u624b\u518c" in out
    listed = start("spaces", "list", env={"PYTHONIOENCODING": "utf-8"})
    assert "手册" in listed.communicate()[0]


def test_a_watched_folder_is_followed_until_ctrl_c(start: Start, tmp_path: Path) -> None:
    """A report for what is there, and one for each change."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.md").write_text("# A\n\nAlpha.\n")
    watching = start("ingest", "s", "docs", "--watch", "--json")
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["added"] == 1
    (tmp_path / "docs/b.md").write_text("# B\n\nBeta.\n")
    assert json.loads(watching.stdout.readline())["added"] == 1
    (tmp_path / "docs/a.md").unlink()
    assert json.loads(watching.stdout.readline())["removed"] == 1
    watching.send_signal(signal.SIGINT)
    assert watching.wait() == Exit.INTERRUPTED


def test_progress_is_shown_on_a_terminal_only(start: Start, tmp_path: Path) -> None:
    """With stderr on a terminal a bar with a rate is drawn there; stdout stays the report."""
    (tmp_path / "a.md").write_text("# A\n\nAlpha.\n")
    ours, theirs = pty.openpty()
    ingest = start("ingest", "s", "a.md", env={"TERM": "xterm", "COLUMNS": "100"}, stderr=theirs)
    os.close(theirs)
    drawn = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # How Linux says that the other side is closed.
            break
        if not piece:
            break
        drawn += piece
    os.close(ours)
    out, _ = ingest.communicate()
    assert ingest.returncode == Exit.DONE
    assert out.startswith("s: 1 added")
    assert b"1/1" in drawn
    assert b"a.md" in drawn
    assert re.search(rb"\d\.\d/s", drawn)
    assert b"0:00:00" in drawn


def test_ctrl_c_ends_quietly(start: Start, prepare: Prepare, tmp_path: Path) -> None:
    """Interrupted while a model server is silent: exit code 130, one line, no traceback."""
    (tmp_path / "a.md").write_text("# Keys\n\nKeys are rotated every 90 days.\n")
    prepare("ingest", "s", "a.md")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        env = {"KBCHAT_LLM_BASE_URL": url, "KBCHAT_LLM_MODEL": "silent"}
        asking = start("ask", "s", "How often are keys rotated?", env=env)
        silent.settimeout(60)
        connection, _ = silent.accept()
        with connection:
            asking.send_signal(signal.SIGINT)
            out, err = asking.communicate()
    assert (asking.returncode, out, err) == (Exit.INTERRUPTED, "", "kbchat: interrupted\n")


def test_a_closed_pipe_is_quiet(start: Start, prepare: Prepare) -> None:
    """Nobody reads the output: exit code 141 and not a word."""
    prepare("spaces", "create", "s")
    ours, theirs = os.pipe()
    os.close(ours)
    listing = start("spaces", "list", stdout=theirs)
    os.close(theirs)
    _, err = listing.communicate()
    assert (listing.returncode, err) == (Exit.PIPE, "")


def test_serve_listens_until_sigterm(start: Start) -> None:
    """It says where it listens, answers there, and SIGTERM ends it with exit code 0."""
    serving = start("serve", "--port", "0")
    assert serving.stderr is not None
    said = serving.stderr.readline()
    url = re.search(r"http://127\.0\.0\.1:\d+", said)
    assert url, said
    with urlopen(f"{url[0]}/healthz", timeout=10) as answer:
        assert answer.status == 200
    serving.send_signal(signal.SIGTERM)
    _, err = serving.communicate()
    assert (serving.returncode, err) == (Exit.DONE, "")
