"""Fixtures of the pipeline, CLI and service tests."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

FAKES = Path(__file__).resolve().parent


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Fake stages and engines are importable here and in the hosts; nothing of the user's home is touched."""
    monkeypatch.syspath_prepend(str(FAKES))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAKES), str(FAKES.parents[1])]))
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home" / name))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def still(tmp_path: Path) -> Callable[..., Path]:
    """still(scene=["sigkill", "ok"]): a picture that tells the fake stages what to do."""

    def make(name: str = "still.png", **actions: list[str]) -> Path:
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        path = tmp_path / name
        path.write_text(json.dumps({"scratch": str(scratch), **actions}), "utf-8")
        return path

    return make


@pytest.fixture(scope="module")
def pool() -> Iterator[object]:
    """One pool for a whole module: hosts stay warm, as they do in the service."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(FAKES), str(FAKES.parents[1])])
    sys.path.insert(0, str(FAKES))
    from worker.host.pool import HostPool

    with HostPool() as hosts:
        yield hosts
    sys.path.remove(str(FAKES))
