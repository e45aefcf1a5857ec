from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fakes"))

from spine_fixtures import fakes, pool, still

__all__ = ["fakes", "pool", "still"]
