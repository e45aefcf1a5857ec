"""The product's own stages under fire: a host killed at every stage, the conductor killed at every stage."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from worker.pipeline.order import STAGES
from worker.session.atomic import sha256_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, repo_root: Path) -> Path:
    """An example at a third of its size: every stage runs, in seconds."""
    path = tmp_path_factory.mktemp("small") / "tabletop.png"
    with Image.open(repo_root / "examples" / "tabletop.png") as still:
        still.convert("RGB").resize((still.width // 3, still.height // 3), Image.Resampling.LANCZOS).save(path)
    return path


def run(still: Path, root: Path, on_event: Callable[[subprocess.Popen[str], dict[str, Any]], None]) -> int:
    words = [sys.executable, "-m", "worker", "run", "--json", "--input", str(still), "--output_root", str(root)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            on_event(process, json.loads(line))
    return process.returncode


def session(root: Path) -> dict[str, Any]:
    return json.loads((root / "tabletop" / "session.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def quiet(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbs, to compare with."""
    root = tmp_path_factory.mktemp("quiet")
    run(small, root, lambda process, event: None)
    return root


def settled(root: Path) -> dict[str, str]:
    """Hashes of all outputs but Blender's own file and what tells times."""
    outputs = {path: sha for record in session(root)["stages"].values() for path, sha in record["outputs"].items()}
    varies = ("scene.blend", "logs/", "report.html", "metadata.json", "props_3d/")
    return {path: sha for path, sha in outputs.items() if not path.startswith(varies)}


def test_a_host_killed_at_every_stage_costs_one_retry_each(small: Path, quiet: Path, tmp_path: Path) -> None:
    killed = []

    def kill_host(process: subprocess.Popen[str], event: dict[str, Any]) -> None:
        if event["event"] == "stage.started" and event["attempt"] == 1:
            for host in psutil.Process(process.pid).children():
                host.kill()
                killed.append(event["stage"])

    run(small, tmp_path, kill_host)
    stages = session(tmp_path)["stages"]
    assert {name: record["state"] for name, record in stages.items()} == {
        name: record["state"] for name, record in session(quiet)["stages"].items()
    }
    for name in set(killed) - {STAGES[0]}:
        assert stages[name]["attempts"] == 2 and "SIGKILL" in stages[name]["warnings"][0]["en"], name
    # The second attempt takes a safer memory tier, so other bytes are in order; other files are not.
    assert settled(tmp_path).keys() == settled(quiet).keys()


def killer_at(stage: str, orphans: list[psutil.Process]) -> Callable[[subprocess.Popen[str], dict[str, Any]], None]:
    def kill(process: subprocess.Popen[str], event: dict[str, Any]) -> None:
        if event["event"] == "stage.started" and event["stage"] == stage:
            orphans.extend(psutil.Process(process.pid).children(recursive=True))
            process.kill()

    return kill


def test_a_conductor_killed_at_every_stage_resumes_to_the_same_bytes(small: Path, quiet: Path, tmp_path: Path) -> None:
    root = tmp_path / "out"
    for stage in STAGES:
        orphans: list[psutil.Process] = []

        run(small, root, killer_at(stage, orphans))
        _, alive = psutil.wait_procs(orphans, timeout=10)
        assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE], f"hosts outlive their conductor at {stage}"
        if stage != STAGES[0]:
            done = [r["outputs"] for r in session(root)["stages"].values() if r["state"] == "done"]
            kept = {path: sha for outputs in done for path, sha in outputs.items()}
            assert all(sha256_of(root / "tabletop" / path) == sha for path, sha in kept.items())
    run(small, root, lambda process, event: None)
    assert settled(root) == settled(quiet)
    assert [path.name for path in root.iterdir()] == ["tabletop"]
