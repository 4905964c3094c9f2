"""How commands end as processes: Ctrl-C wherever they wait, and output that cannot be written."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kbchat.agents.mcp import _lines
from kbchat.cli import main
from kbchat.cli.exits import Exit

# Each test starts interpreters, which a busy machine makes slow.
pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A working folder with the space `handbook`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.md").write_text("# Keys\n\nKeys are rotated every 90 days.\n")
    assert main(["ingest", "handbook", "a.md"]) == Exit.DONE
    capsys.readouterr()
    return tmp_path


@contextmanager
def started(
    folder: Path, *arguments: str, stdin: int, stderr: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    """A command in a process that does not outlive the block."""
    command = [sys.executable, "-m", "kbchat", *arguments]
    with subprocess.Popen(
        command, cwd=folder, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def shell(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """A line of the shell, in which `kbchat` is ours."""
    command = ["sh", "-c", f'kbchat() {{ "{sys.executable}" -m kbchat "$@"; }}\n{line}']
    return subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def test_ctrl_c_at_a_question_ends_the_command(folder: Path) -> None:
    """Once is enough while it asks whether a space is to be removed, and nothing is removed."""
    ours, theirs = pty.openpty()
    with started(folder, "spaces", "delete", "handbook", stdin=theirs, stderr=theirs) as asking:
        os.close(theirs)
        said = b""
        while b"[y/N]" not in said:
            said += os.read(ours, 1024)
        asking.send_signal(signal.SIGINT)
        assert asking.wait(timeout=20) == Exit.INTERRUPTED
    os.close(ours)
    assert main(["spaces", "show", "handbook"]) == Exit.DONE


@pytest.mark.parametrize("answer", ["y", "n"])
def test_a_question_is_answered(folder: Path, answer: str) -> None:
    """By yes the space goes, by no it stays."""
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    with started(folder, "spaces", "delete", "handbook", stdin=theirs) as asking:
        os.close(theirs)
        out, err = asking.communicate(timeout=60)
    os.close(ours)
    assert "Remove 'handbook' with its 1 documents?" in err
    if answer == "y":
        assert (asking.returncode, out.strip()) == (Exit.DONE, "removed 'handbook'")
    else:
        assert (asking.returncode, out.strip()) == (Exit.MISTAKE, "")
    assert main(["spaces", "show", "handbook"]) == (Exit.MISTAKE if answer == "y" else Exit.DONE)


def test_ctrl_c_ends_what_serves_an_agent(folder: Path) -> None:
    """Once is enough, also while the agent keeps standard input open."""
    hello = (
        '{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18", '
        '"capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}}\n'
    )
    with started(folder, "mcp", stdin=subprocess.PIPE) as serving:
        assert serving.stdin is not None
        assert serving.stdout is not None
        assert serving.stderr is not None
        serving.stdin.write(hello)
        serving.stdin.flush()
        assert '"serverInfo"' in serving.stdout.readline()
        serving.send_signal(signal.SIGINT)
        assert serving.wait(timeout=20) == Exit.INTERRUPTED
        assert serving.stderr.read() == "kbchat: interrupted\n"


@pytest.mark.parametrize("kind", ["pipe", "file"])
async def test_an_agents_lines(tmp_path: Path, kind: str) -> None:
    """From a pipe as from a file: whole, however they come, the last one also without its end."""
    text = "one\nzw\u00f6lf\n" + "x" * 200_000 + "\nlast"
    (tmp_path / "lines").write_text(text)
    if kind == "file":
        descriptor = os.open(tmp_path / "lines", os.O_RDONLY)
        lines = [line async for line in _lines(descriptor)]
        os.close(descriptor)
    else:
        with subprocess.Popen(["cat", tmp_path / "lines"], stdout=subprocess.PIPE) as cat:
            assert cat.stdout is not None
            lines = [line async for line in _lines(cat.stdout.fileno())]
    assert lines == text.split("\n")
