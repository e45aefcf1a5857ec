"""A twin of TRELLIS small enough for a CPU, with weights that mean nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fakes"))

from trellis_twin import TINY, twin_checkpoint

torch = pytest.importorskip("torch")

from worker.engines.trellis.generate import Generator, Limits  # noqa: E402
from worker.engines.trellis.networks import Networks  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The twin's matrices are so small that threads only wait for each other; hosts inherit it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def networks() -> Networks:
    return Networks(TINY, twin_checkpoint, torch.device("cpu"), resident=True)


@pytest.fixture
def generator(networks: Networks) -> Generator:
    return Generator(networks, Limits())
