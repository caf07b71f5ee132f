"""Memory that is freed stays for the next tensor, where the C library can be told so."""

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from voxpick.allocation import keep_freed_memory
kept = keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(2**24, dtype=np.float32)
before = faults()
for _ in range(10):
    np.ones(2**24, dtype=np.float32)
print(int(kept), faults() - before)
"""


def run(**variables):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")} | variables
    done = subprocess.run([sys.executable, "-c", FAULTS], env=environment, capture_output=True, text=True, check=True)
    kept, faults = done.stdout.split()
    return bool(int(kept)), int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_the_next_array_costs_no_page_faults():
    kept, faults = run()
    if not kept:
        pytest.skip("this C library has no mallopt")
    switched_off, many = run(VOXPICK_KEEP_MEMORY="0")
    assert not switched_off
    assert faults < 1000 and faults < 0.2 * many


def test_settings_of_the_environment_are_left_alone():
    kept, _ = run(MALLOC_TRIM_THRESHOLD_="1000000")
    assert not kept


OWN_PAGES = """
import torch
from voxpick import allocation
from voxpick.detect.memory import resident_bytes
allocation.keep_freed_memory()
small = allocation.own_pages(10, torch.int32)
before = resident_bytes()
large = allocation.own_pages(allocation.LARGE_BYTES, torch.int16).fill_(7)
held = resident_bytes() - before
exact = len(small) == 10 and small.dtype == torch.int32 and int(large[-1]) == 7
del large
print(int(exact), held, resident_bytes() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory held is read from /proc")
def test_a_large_buffer_goes_back_to_the_system_when_it_is_freed():
    done = subprocess.run([sys.executable, "-c", OWN_PAGES], capture_output=True, text=True, check=True)
    exact, held, left = (int(field) for field in done.stdout.split())
    assert exact
    assert held > 2**29 * 0.95
    assert left < 2**24


FOR_A_WHILE = """
import torch
from voxpick import allocation
from voxpick.detect.memory import resident_bytes
allocation.keep_freed_memory()
torch.ones(10)
with allocation.large_blocks_given_back():
    before = resident_bytes()
    for size in range(20, 26):
        gone = torch.ones(2**size)
    del gone
    meanwhile = resident_bytes() - before
before = resident_bytes()
kept = torch.ones(2**25)
del kept
print(meanwhile, resident_bytes() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory held is read from /proc")
def test_large_blocks_go_back_for_a_while_and_are_kept_again_afterwards():
    if not run()[0]:
        pytest.skip("this C library has no mallopt")
    done = subprocess.run([sys.executable, "-c", FOR_A_WHILE], capture_output=True, text=True, check=True)
    meanwhile, after = (int(field) for field in done.stdout.split())
    assert meanwhile < 2**22 and after > 2**26
