"""How many heaps the C library keeps for many threads. Only glibc has several."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from director_wsgi.runtime.heaps import HEAPS

THREADS = 12

HOLD = f"""
import ctypes, sys, threading
from director_wsgi.runtime.heaps import keep_few_heaps
keep_few_heaps()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
all_hold, may_end = threading.Barrier({THREADS} + 1), threading.Barrier({THREADS} + 1)
def hold():
    libc.malloc(1000)
    all_hold.wait()
    may_end.wait()
threads = [threading.Thread(target=hold) for _ in range({THREADS})]
for thread in threads:
    thread.start()
all_hold.wait()
told = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, told)
libc.fclose(told)
may_end.wait()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has one heap, or its own idea of them")
@pytest.mark.parametrize(
    ("environ", "heaps"),
    [({}, HEAPS), ({"MALLOC_ARENA_MAX": "5"}, 5), ({"GLIBC_TUNABLES": "glibc.malloc.arena_max=3"}, 3)],
)
def test_threads_share_few_heaps_unless_the_operator_says_how_many(
    tmp_path: Path, environ: dict[str, str], heaps: int
) -> None:
    told = tmp_path / "told.xml"
    others = {name: value for name, value in os.environ.items() if name not in {"MALLOC_ARENA_MAX", "GLIBC_TUNABLES"}}
    subprocess.run([sys.executable, "-c", HOLD, str(told)], env=others | environ, check=True, timeout=30)
    assert told.read_text().count("<heap nr=") == heaps
