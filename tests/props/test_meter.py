"""The memory meter sees a spike, and that of children."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np

from worker.engines.meter import MemoryMeter


def test_a_spike_is_seen_after_it_is_gone():
    with MemoryMeter() as before:
        pass
    with MemoryMeter() as meter:
        block = np.ones(200 * 2**20, np.uint8)
        time.sleep(0.2)
        del block
    assert 150 < meter.memory_mb - before.memory_mb < 400
    assert meter.gpu_mb is None


def test_children_count():
    with MemoryMeter() as before:
        pass
    with MemoryMeter() as meter:
        hold = "import sys; block = bytearray(b'1') * (200 * 2**20); print('held', flush=True); sys.stdin.read()"
        child = subprocess.Popen([sys.executable, "-S", "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        child.stdout.readline()
        time.sleep(0.9)
        child.communicate()
    assert meter.memory_mb - before.memory_mb > 150
