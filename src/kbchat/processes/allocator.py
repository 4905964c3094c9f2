"""How glibc's allocator is told to keep less. Elsewhere nothing is done."""

import ctypes
import sys

_ARENA_MAX = -8
HEAPS = 2


def share_heaps() -> None:
    """Have all threads allocate from two heaps. To be called before other threads run.

    Left to itself, glibc makes a heap for each thread, up to eight a core, and keeps what is freed in each: a third of
    an ingest's memory. Nothing is gained by that where one lock lets one thread run at a time. For processes that are
    ours alone, so not for programs that have a knowledge base within.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # Another C library.
        return
    mallopt(_ARENA_MAX, HEAPS)
