from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fakes"))

import fake_weights
import pytest
from fake_weights import DATA, NAME
from installing import HUB, PATH, Install
from spine_fixtures import fakes, pool, still
from weight_server import WeightServer, weight_server

from worker.cli.main import main
from worker.weights import download

__all__ = ["fakes", "pool", "still"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WeightServer]:
    monkeypatch.setattr(download, "PAUSE_S", 0.01)
    monkeypatch.setattr(download, "TIMEOUT_S", (1.0, 0.3))
    for name in ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    with weight_server() as running:
        running.files = {PATH: DATA, HUB: DATA}
        yield running


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSETIZE_WEIGHTS_DIR", str(tmp_path / "weights"))
    return tmp_path / "weights" / "net" / NAME


@pytest.fixture
def install(server: WeightServer, place: Path, capsys: pytest.CaptureFixture[str]) -> Install:
    """install(*flags, card=...): exit code and what was said."""

    def run(*flags: str, card: object = None, action: str = "install") -> tuple[int, str]:
        engine = card or fake_weights.net(server.url + PATH)
        code = main(["engines", action, "net", *flags], plan=fake_weights.plan(engine))  # type: ignore[arg-type]
        out = capsys.readouterr()
        assert "Traceback" not in out.err
        return code, out.out + out.err

    return run
