"""A twin of TRELLIS small enough for a CPU, with weights that mean nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fakes"))

from trellis_twin import TINY, twin_checkpoint

torch = pytest.importorskip("torch")

from worker.engines.trellis.generate import Generator, Limits  # noqa: E402
from worker.engines.trellis.networks import Networks  # noqa: E402


@pytest.fixture
def networks() -> Networks:
    return Networks(TINY, twin_checkpoint, torch.device("cpu"), resident=True)


@pytest.fixture
def generator(networks: Networks) -> Generator:
    return Generator(networks, Limits())
