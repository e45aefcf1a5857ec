"""Where weights lie: one folder a user, one folder an engine in it.

`ASSETIZE_WEIGHTS_DIR` moves it, to another disk or a share. Beside each file that was brought stands
`<name>.json` with what was found at first use: bytes and sha256, checked from then on.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import platformdirs

from worker.engines.card import WeightFile

SHIPPED = "shipped"
_ENGINES = Path(__file__).parents[1] / "engines"


@dataclass(frozen=True)
class Receipt:
    """What was put in place: measured here, not what somebody promised."""

    bytes: int
    sha256: str
    source: str


def root() -> Path:
    if chosen := os.environ.get("ASSETIZE_WEIGHTS_DIR"):
        return Path(chosen).expanduser()
    return platformdirs.user_data_path("assetize", appauthor=False) / "weights"


def path_of(engine_name: str, file: WeightFile) -> Path:
    """Where a weight file of an engine lies, or would."""
    name = PurePosixPath(file.name)
    if name.is_absolute() or ".." in name.parts or "\\" in file.name:
        raise ValueError(f"{file.name} is no file name")
    if file.source == SHIPPED:
        return _ENGINES / engine_name / "weights" / name
    return root() / engine_name / name


def receipt_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def receipt_of(path: Path) -> Receipt | None:
    """None where the file was put there by hand, or its receipt cannot be read."""
    try:
        return Receipt(**json.loads(receipt_path(path).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def receipt_text(receipt: Receipt) -> str:
    return json.dumps(asdict(receipt), indent=1) + "\n"


def is_there(engine_name: str, file: WeightFile) -> bool:
    """Whether the whole file lies in its place, by its size; the hash is `engines check`'s business."""
    path = path_of(engine_name, file)
    try:
        size = path.stat().st_size
    except OSError:
        return False
    if receipt := receipt_of(path):
        return size == receipt.bytes
    return size > 0 and (not file.bytes_exact or size == file.bytes)
