"""Real servers for tests: started as processes of their own, on free ports of the loopback, and killed at the end."""

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from kbchat.stores.chroma import ChromaStore
from kbchat.stores.milvus import MilvusStore
from kbchat.threads import Threads

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
    """A server process with a data folder. `start` after `kill` goes on with the same data at the same address."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        healthy: Callable[[], bool],
        log: Path,
        env: Mapping[str, str] | None = None,
        timeout: float = 90.0,
    ) -> None:
        self._command = list(command)
        self._healthy = healthy
        self._log = log
        self._env = env
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when the server says that it is healthy."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, env=self._env
            )
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._healthy():
                return
            time.sleep(0.05)
        self.kill()
        tail = self._log.read_text(errors="replace")[-2000:]
        cannot_start(f"{' '.join(self._command)} did not start: {tail}")

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

    def __enter__(self) -> Self:
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
        options = ["--path", str(folder / "data"), "--host", HOST, "--port", str(port)]
        super().__init__(
            [str(Path(sys.executable).parent / "chroma"), "run", *options],
            healthy=self._answers,
            log=folder / "log",
            env={**os.environ, "ANONYMIZED_TELEMETRY": "false"},
        )

    def open(self, *, timeout: float = 10.0) -> ChromaStore:
        return ChromaStore(url=self.url, threads=Threads(), timeout=timeout)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/api/v2/heartbeat", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class _AtSocket(Server):
    """At a Unix socket of its own, which is there once the server is."""

    def __init__(self, command: Callable[[Path], Sequence[str]], folder: Path, env: Mapping[str, str] | None = None):
        # Paths of sockets are short.
        self._socket = Path(tempfile.mkdtemp(prefix="kb-")) / "milvus"
        self.uri = f"unix:{self._socket}"
        super().__init__(command(self._socket), healthy=self._socket.exists, log=folder / "log", env=env)

    def ask_to_stop(self) -> None:
        """Let it begin to stop in its own way, which it takes its time for."""
        import psutil

        assert self._process is not None
        for process in psutil.Process(self._process.pid).children(recursive=True):
            if process.name() == "milvus":
                process.terminate()

    def kill(self) -> None:
        super().kill()
        self._socket.unlink(missing_ok=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        shutil.rmtree(self._socket.parent, ignore_errors=True)


class MilvusServer(_AtSocket):
    """A standalone server of the package `milvus`; by itself in a network namespace where it can."""

    token = "root:Milvus"

    def __init__(self, folder: Path) -> None:
        if importlib.util.find_spec("milvus") is None:
            cannot_start("the package milvus is not installed (it runs on Linux x86-64 only)")
        script = str(Path(__file__).parent / "milvus_server.py")
        command = [*_own_network(), sys.executable, script, str(folder / "data")]
        super().__init__(lambda socket: [*command, str(socket)], folder)

    def open(self, *, timeout: float = 10.0) -> MilvusStore:
        return MilvusStore(uri=self.uri, token=self.token, threads=Threads(), timeout=timeout)


class MilvusEngineServer(_AtSocket):
    """The server in the package `milvus-lite` 2.5, from an environment of its own.

    It is Milvus's engine of 2.5 in C++, that which a server's query nodes search with, in one small process over one
    file. It is no standalone server: it has no users, nothing to load or to wait for, and of the indexes of dense
    vectors only `FLAT` and `IVF_FLAT`. Milvus Lite from 3.0 on, which kbchat uses, is another one, in Python.
    """

    def __init__(self, folder: Path) -> None:
        environment = Path(sys.prefix) / "clients" / "milvus-engine"
        found = [*environment.glob("lib/python*/site-packages/milvus_lite/lib/milvus")]
        if not found:
            cannot_start("there is no milvus-lite 2.5; `make clients` makes its environment (not for Windows)")
        program = found[0]
        super().__init__(
            lambda socket: [str(program), str(folder / "milvus.db"), f"unix:{socket}", "ERROR"],
            folder,
            {**os.environ, "LD_LIBRARY_PATH": str(program.parent)},
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Of a knowledge base whose Milvus it is."""
        return {"milvus_uri": self.uri, "milvus_index_type": "FLAT", "store_timeout": 30}


def _own_network() -> list[str]:
    for command in (["unshare", "-n"], ["unshare", "-rn"]):
        with contextlib.suppress(OSError):
            if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
                return command
    return []


class Proxy:
    """A way to a server that can be slow, broken off or asked for a token. Runs in the test's event loop.

    `target` is a port of the loopback or the path of a Unix socket. `delay` is how many seconds each piece from the
    server waits. With a `token`, a connection whose first piece does not hold it is answered 401. With `tls` it is
    spoken to over TLS, and speaks to the server without.
    """

    def __init__(self, target: int | Path, *, token: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._target = target
        self._token = token
        self._tls = tls
        self._writers: set[asyncio.StreamWriter] = set()
        self.delay = 0.0
        self.port = free_port()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, self.port, ssl=self._tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.break_off()

    def break_off(self) -> None:
        """Break every connection off, in the middle of whatever it carries."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(65536)
        if self._token is not None and self._token.encode() not in first:
            writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 12\r\nConnection: close\r\n\r\nUnauthorized")
            writer.close()
            return
        if isinstance(self._target, int):
            there_reader, there_writer = await asyncio.open_connection(HOST, self._target)
        else:
            there_reader, there_writer = await asyncio.open_unix_connection(self._target)
        self._writers |= {writer, there_writer}
        there_writer.write(first)
        # The connection's own task: nobody is above it to be told that the test was over first.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(
                self._copy(reader, there_writer, slow=False), self._copy(there_reader, writer, slow=True)
            )
        self._writers -= {writer, there_writer}

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slow: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if slow and self.delay:
                    await asyncio.sleep(self.delay)
                writer.write(data)
                await writer.drain()
        writer.close()
