"""What glibc is told about memory."""

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys, threading
from kbchat.processes.allocator import share_heaps
if sys.argv[1] == "told": share_heaps()
both = threading.Barrier(8)
def work():
    both.wait()
    kept = [bytes(700) for _ in range(2000)]
    both.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
[it.start() for it in threads]
[it.join() for it in threads]
libc = ctypes.CDLL(None)
stream = ctypes.c_void_p.in_dll(libc, "stdout")
libc.malloc_info(0, stream)
libc.fflush(stream)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is told anything")
def test_threads_share_few_heaps() -> None:
    """Whatever their number; left to itself there would be one for each."""
    heaps = {}
    for how in ("told", "untold"):
        done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
        heaps[how] = done.stdout.count("<heap nr=")
    assert 1 <= heaps["told"] <= 2 < heaps["untold"]
