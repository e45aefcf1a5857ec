from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny twin's weights in the store's layout; returns the store's root."""
    pytest.importorskip("torch")
    from twin import write_weights

    from worker.engines.sharp.cards import NAME, WEIGHTS

    root = tmp_path_factory.mktemp("weights")
    write_weights(root / NAME / WEIGHTS.name)
    return root
