"""How commands end as processes: Ctrl-C wherever they wait, and output that cannot be written."""

import asyncio
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio
import pytest

from kbchat.agents.mcp import _lines
from kbchat.cli import interrupts, main
from kbchat.cli.exits import Exit

# Each test starts interpreters, which a busy machine makes slow.
pytestmark = pytest.mark.timeout(200)


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
        assert asking.wait(timeout=60) == Exit.INTERRUPTED
    os.close(ours)
    assert main(["spaces", "show", "handbook"]) == Exit.DONE


@pytest.mark.parametrize("answer", ["y", "n"])
def test_a_question_is_answered(folder: Path, answer: str) -> None:
    """By yes the space goes, by no it stays."""
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    with started(folder, "spaces", "delete", "handbook", stdin=theirs) as asking:
        os.close(theirs)
        out, err = asking.communicate(timeout=120)
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
        assert serving.wait(timeout=60) == Exit.INTERRUPTED
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


def test_a_full_disk_is_told(folder: Path) -> None:
    """Output that nothing takes is one line and the code 3, whoever wrote it: a table, JSON or an answer."""
    for line in ("spaces list", "spaces list --json", 'ask handbook "How often are keys rotated?"'):
        ran = shell(folder, f"kbchat {line} > /dev/full")
        assert (ran.returncode, ran.stderr) == (
            Exit.FAILED,
            "kbchat: the output cannot be written: No space left on device\n",
        )


def test_closed_streams_are_as_good_as_none(folder: Path) -> None:
    """What nobody is to see is not said, also not on the other stream."""
    ran = shell(folder, "kbchat spaces list --json >&-")
    assert (ran.returncode, ran.stdout, ran.stderr) == (Exit.DONE, "", "")
    ran = shell(folder, "kbchat search handbook zebra --score-threshold 1 2>&-")
    assert (ran.returncode, ran.stdout, ran.stderr) == (Exit.DONE, "", "")
    ran = shell(folder, "kbchat spaces delete handbook <&-")
    assert (ran.returncode, ran.stdout, ran.stderr) == (Exit.DONE, "removed 'handbook'\n", "")


def test_ctrl_c_in_a_first_ingest_leaves_no_space(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A space that only this command made is not kept when nothing came into it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        monkeypatch.setenv("KBCHAT_EMBEDDER", "openai:m")
        monkeypatch.setenv("KBCHAT_EMBEDDER_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/v1")
        with started(folder, "ingest", "new", "a.md", stdin=subprocess.DEVNULL) as ingesting:
            connection, _ = silent.accept()
            with connection:
                ingesting.send_signal(signal.SIGINT)
                out, err = ingesting.communicate(timeout=120)
    assert (ingesting.returncode, out, err) == (Exit.INTERRUPTED, "", "kbchat: interrupted\n")
    assert main(["spaces", "show", "new"]) == Exit.MISTAKE


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """It does what it does in a terminal, whatever started these tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_waits_for_a_step_of_the_event_loop(caplog: pytest.LogCaptureFixture) -> None:
    """A callback that it comes in the midst of still does all it does; asyncio alone would let it fail."""
    done: list[str] = []

    async def action() -> None:
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def step() -> None:
            assert not answered.done()
            signal.raise_signal(signal.SIGINT)
            answered.set_result(None)
            done.append("the step")

        asyncio.get_running_loop().call_soon(step)
        try:
            await answered
            await anyio.sleep_forever()
        finally:
            done.append("the action")

    with pytest.raises(KeyboardInterrupt):
        interrupts.run(action)
    assert (done, caplog.messages) == (["the step", "the action"], [])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("ctrl_c")
def test_a_second_ctrl_c_is_raised_at_once() -> None:
    """It ends what the first did not reach, such as a call that blocks the event loop."""

    async def blocked() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second one passed by")

    with pytest.raises(KeyboardInterrupt):
        interrupts.run(blocked)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("ctrl_c")
def test_a_second_ctrl_c_leaves_things_as_they_were() -> None:
    """Also where it comes while the event loop waits, with an action that goes on after the first one."""
    waits = threading.Event()

    def twice() -> None:
        for _ in range(2):
            waits.wait()
            waits.clear()
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGINT)

    async def stubborn() -> None:
        for _ in range(2):
            with suppress(asyncio.CancelledError):
                waits.set()
                await anyio.sleep(60)

    sending = threading.Thread(target=twice)
    sending.start()
    with pytest.raises(KeyboardInterrupt):
        interrupts.run(stubborn)
    sending.join()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("failing", [False, True])
def test_ctrl_c_in_the_last_step_is_one(failing: bool) -> None:
    """Whatever the action ends with, and what it has begun to use: a name that is looked up begins a thread."""

    async def action() -> None:
        await asyncio.get_running_loop().getaddrinfo("localhost", 80)
        signal.raise_signal(signal.SIGINT)
        if failing:
            raise ValueError("a failure of its own")

    with pytest.raises(KeyboardInterrupt):
        interrupts.run(action)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("ctrl_c")
def test_an_ignored_ctrl_c_stays_ignored() -> None:
    """As the shell has it for what runs in the background."""

    async def action() -> str:
        signal.raise_signal(signal.SIGINT)
        await anyio.sleep(0)
        return "done"

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert interrupts.run(action) == "done"
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_sigterm_leaves_no_folder_of_a_bench(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The indexes of its trials go with it."""
    (folder / "set").mkdir()
    (folder / "temporary").mkdir()
    (folder / "set/corpus.jsonl").write_text('{"_id": "d", "text": "Keys are rotated."}')
    (folder / "set/queries.jsonl").write_text('{"_id": "q", "text": "Keys?"}')
    (folder / "set/qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    monkeypatch.setenv("TMPDIR", str(folder / "temporary"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        monkeypatch.setenv("KBCHAT_EMBEDDER_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/v1")
        with started(folder, "bench", "set", "--embedder", "openai:m", stdin=subprocess.DEVNULL) as benching:
            connection, _ = silent.accept()
            with connection:
                assert [it.name for it in (folder / "temporary").iterdir() if it.name.startswith("kbchat-bench-")]
                benching.send_signal(signal.SIGTERM)
                out, err = benching.communicate(timeout=120)
    assert (benching.returncode, out, err) == (Exit.INTERRUPTED, "", "kbchat: interrupted\n")
    assert [it.name for it in (folder / "temporary").iterdir() if it.name.startswith("kbchat-bench-")] == []


def test_a_narrow_terminal_shows_the_words(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a table in ten columns nothing is lost; the terminal wraps its lines."""
    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "10")
    command = [sys.executable, "-m", "kbchat", "documents", "list", "handbook"]
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=theirs) as listing:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # How Linux says that the other side is closed.
            while piece := os.read(ours, 65536):
                shown += piece
        assert listing.wait(timeout=120) == Exit.DONE
    os.close(ours)
    assert b"a.md" in shown
