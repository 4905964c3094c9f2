"""Memory that is freed goes back to the system: how glibc's allocator is told. Elsewhere nothing is done.

Left to itself, glibc has a heap for each of up to eight threads a core, and keeps what is freed in each: of an ingest's
memory that was a third. For processes that are ours alone, so not for programs that have a knowledge base within.
"""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
ARENAS = 2
LARGE_BYTES = 4 * 1024 * 1024
"""What is as large is asked of the system by itself, and given back when it is freed."""
KEPT_BYTES = 8 * 1024 * 1024
"""What a heap may keep at its end."""


def give_back() -> None:
    """To be called before other threads run."""
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # Another C library.
        return
    for parameter, value in ((_ARENA_MAX, ARENAS), (_MMAP_THRESHOLD, LARGE_BYTES), (_TRIM_THRESHOLD, KEPT_BYTES)):
        mallopt(parameter, value)
