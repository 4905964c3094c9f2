"""Doing without root's rights, who may read and write everything: so that tests of closed folders run as root too."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


@contextmanager
def unprivileged(folder: Path) -> Iterator[None]:
    """Be nobody within the block, who may list `folder` and go through the folders above it."""
    if os.geteuid() != 0:
        yield
        return
    modes = {path: path.stat().st_mode for path in (folder, *folder.parents)}
    closed = {path: mode for path, mode in modes.items() if mode & 0o011 != 0o011}
    for path, mode in closed.items():
        path.chmod(mode | (0o055 if path == folder else 0o011))  # Nobody is still of the group of root.
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        for path, mode in closed.items():
            path.chmod(mode)
