"""`kbchat serve` as users start it: a process of its own, on a free port."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KBCHAT = Path(sys.executable).with_name("kbchat")


@contextmanager
def kbchat_serve(folder: Path, **variables: str) -> Iterator[int]:
    """Serve a data folder; gives the port. The process must end well on SIGTERM."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("KBCHAT_")},
        **variables,
    }
    command = [KBCHAT, "serve", "--port", "0", "--data-dir", folder]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert "listening at http://" in line, line + process.stderr.read()
        yield int(line.rpartition(":")[2])
    finally:
        process.terminate()
        _, said = process.communicate(timeout=10)
    assert process.returncode == 0, said
