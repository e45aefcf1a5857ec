"""A twin of TRELLIS small enough for a CPU, with weights that mean nothing.

PyTorch is imported only where a test asks for the twin: without it, the tests that need none still run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from worker.engines.trellis.generate import Generator
    from worker.engines.trellis.networks import Networks

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fakes"))


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The twin's matrices are so small that threads only wait for each other; hosts inherit it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    if (torch := sys.modules.get("torch")) is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def networks() -> Networks:
    import torch
    from trellis_twin import TINY, twin_checkpoint

    from worker.engines.trellis.networks import Networks

    return Networks(TINY, twin_checkpoint, torch.device("cpu"), resident=True)


@pytest.fixture
def generator(networks: Networks) -> Generator:
    from worker.engines.trellis.generate import Generator, Limits

    return Generator(networks, Limits())
