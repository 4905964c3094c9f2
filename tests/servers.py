"""Real servers for tests: started as processes of their own, on free ports of the loopback, and killed at the end."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import pytest

HOST = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


def cannot_start(reason: str) -> None:
    """Skip what needs a server that cannot be had here. Where all is tested, that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


class Server:
    """A server process with a data folder. `start` after `kill` goes on with the same data on the same port."""

    def __init__(
        self, command: Sequence[str], *, healthy: str, log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self._command = list(command)
        self._healthy = healthy
        self._log = log
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, timeout: float = 60.0) -> None:
        """Return when the server says that it is healthy."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, env=self._env
            )
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(self._healthy, timeout=2) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        self.kill()
        tail = self._log.read_text(errors="replace")[-2000:]
        cannot_start(f"{self._command[0]} did not start: {tail}")

    def kill(self) -> None:
        """End the process and its children at once, without a chance to tidy up."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Keep the connections and answer nothing."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


class ChromaServer(Server):
    """`chroma run` of the installed package."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.url = f"http://{HOST}:{port}"
        super().__init__(
            [
                str(Path(sys.executable).parent / "chroma"),
                "run",
                "--path",
                str(folder / "data"),
                "--host",
                HOST,
                "--port",
                str(port),
            ],
            healthy=f"{self.url}/api/v2/heartbeat",
            log=folder / "log",
            env={**os.environ, "ANONYMIZED_TELEMETRY": "false"},
        )
