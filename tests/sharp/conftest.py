from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small layers gain nothing from threads, and lose everything to them where the machine is busy."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
