"""`kbchat serve` as users start it: a process of its own, on a free port."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KBCHAT = Path(sys.executable).with_name("kbchat")
START_SECONDS = 60.0


@contextmanager
def kbchat_serve(folder: Path, **variables: str) -> Iterator[int]:
    """Serve a data folder; gives the port. The process must end well on SIGTERM, and have logged no failure."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KBCHAT_")}
    command = [KBCHAT, "serve", "--port", "0", "--data-dir", folder]
    with tempfile.NamedTemporaryFile("w+") as log:
        process = subprocess.Popen(command, env={**environment, **variables}, stderr=log)
        try:
            yield _port(process, Path(log.name))
        finally:
            process.terminate()
            process.wait(timeout=20)
        said = Path(log.name).read_text()
    assert process.returncode == 0, said
    assert "Traceback" not in said, said


def _port(process: "subprocess.Popen[bytes]", log: Path) -> int:
    deadline = time.monotonic() + START_SECONDS
    while (listening := re.search(r"listening at http://[^:]+:(\d+)", log.read_text())) is None:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
    return int(listening[1])
