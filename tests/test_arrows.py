"""Arrows point down: docs/architecture.md, held against every import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What engines share; of all their room a stage knows only this.
SHARED = tuple(f"worker.engines.{name}" for name in ("card", "contract", "finite", "faults", "gpu_memory", "meter"))
# Bottom up: a room uses only those before it.
FLOORS = (
    "worker", "worker.errors", "worker.arrays", "worker.hardware", "worker.session", "worker.nn", "worker.formats",
    "worker.pointmaps", *SHARED, "worker.weights", "worker.baking", "worker.engines", "worker.metadata",
    "worker.harvest", "worker.placement", "worker.report", "worker.stages", "worker.host", "worker.pipeline",
    "worker.service", "worker.cli", "worker.__main__",
)  # fmt: skip


def floor_of(module: str) -> str:
    return max((floor for floor in FLOORS if f"{module}.".startswith(f"{floor}.")), key=len)


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_arrows_point_down() -> None:
    wrong = []
    for path in sorted((ROOT / "worker").rglob("*.py")):
        mine = floor_of(module_of(path))
        for module in imports(path):
            if not module.startswith("worker."):
                continue
            theirs = floor_of(module)
            up = FLOORS.index(theirs) > FLOORS.index(mine)
            by_name = mine == "worker.stages" and theirs.startswith("worker.engines") and theirs not in SHARED
            if up or by_name:
                wrong.append(f"{path.relative_to(ROOT)} uses {module}")
    assert not wrong


def test_blender_and_the_worker_meet_only_over_http_and_folders() -> None:
    for home, other in (("worker", "bpy"), ("worker", "blender_addon"), ("blender_addon", "worker")):
        for path in (ROOT / home).rglob("*.py"):
            assert other not in {module.partition(".")[0] for module in imports(path)}, path
