"""Doing without root's rights, who may read and write everything: so that tests of closed folders run as root too."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


@contextmanager
def unprivileged(folder: Path) -> Iterator[None]:
    """Be nobody within the block, who may go through `folder` and the folders above it."""
    if os.geteuid() != 0:
        yield
        return
    closed = {above: above.stat().st_mode for above in (folder, *folder.parents) if not above.stat().st_mode & 0o001}
    for above, mode in closed.items():
        above.chmod(mode | 0o001)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        for above, mode in closed.items():
            above.chmod(mode)
