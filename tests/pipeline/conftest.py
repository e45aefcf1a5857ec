from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fakes"))

import pytest
from job_runner import Runner
from spine_fixtures import fakes, pool, still

from worker.host.pool import HostPool

__all__ = ["fakes", "pool", "still"]


@pytest.fixture
def run(pool: HostPool, tmp_path: Path) -> Runner:
    return Runner(pool, tmp_path / "out")
