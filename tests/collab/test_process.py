from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from collab.process import importing

FAULTS = """
import resource, sys
from collab.process import keep_freed_memory
if sys.argv[1] == "kept" and not keep_freed_memory():
    print(-1)
    raise SystemExit
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
import numpy
def take():
    numpy.ones(64 << 20, numpy.uint8)
take()
before = faults()
for _ in range(5):
    take()
print(faults() - before)
"""


def page_faults(mode: str, **environment: str) -> int:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | environment
    command = [sys.executable, "-c", FAULTS, mode]
    return int(subprocess.run(command, env=kept, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the GNU C library is Linux's")
def test_freed_memory_is_used_again_without_the_system():
    kept = page_faults("kept")
    if kept < 0:
        pytest.skip("this C library does not keep blocks of such a size")
    assert page_faults("default") > 5 * (kept + 1)


HOLES = """
from pathlib import Path
from collab.process import give_back_memory
def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
pieces = [bytearray(b"x" * 60_000) for _ in range(2000)]
del pieces[::2], pieces[-500]  # what is left keeps the heap from shrinking
before = resident_mb()
give_back_memory()
print(round(before - resident_mb()))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the GNU C library is Linux's")
def test_freed_memory_is_given_back():
    from collab.process import give_back_memory

    if not give_back_memory() and os.confstr("CS_GNU_LIBC_VERSION") is None:
        pytest.skip("another C library")
    freed_mb = int(subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True).stdout)
    assert freed_mb > 30  # of 60


def test_what_the_user_set_stays(monkeypatch):
    from collab.process import keep_freed_memory

    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert not keep_freed_memory()


def test_importing_leaves_the_collector_on(monkeypatch):
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")  # leave this process as it is
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    with pytest.raises(ImportError), importing():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    gc.unfreeze()
