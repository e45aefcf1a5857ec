"""What tests of bringing weights share: where things lie, and the type of the `install` fixture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fake_weights import NAME

PATH = f"/files/{NAME}"
MEG = 1 << 20
HUB = f"/owner/repo/resolve/v1/sub/{NAME}"
Install = Callable[..., tuple[int, str]]


def part_of(place: Path) -> Path:
    return place.parent / ".partial" / place.name


def nothing_in_place(place: Path) -> bool:
    return not place.exists()
