"""The announce file: how Blender finds the service of this user, and the token that only this user can read."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import platformdirs

from worker import __version__
from worker.service.models import API_VERSION, SERVICE_NAME

FILE_NAME = "service.json"


def default_state_dir() -> Path:
    """Linux ~/.local/state/assetize, macOS ~/Library/Application Support/assetize, Windows %LOCALAPPDATA%\\assetize."""
    return platformdirs.user_state_path("assetize", appauthor=False)


def make_private(folder: Path) -> None:
    """Make a folder that only this user may enter (on Windows the profile folder is that already)."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.name == "posix":
        folder.chmod(0o700)


def announce(state_dir: Path, host: str, port: int, token: str) -> Path:
    """Write the file, readable by its owner only from its first byte on."""
    path = state_dir / FILE_NAME
    part = state_dir / f".{FILE_NAME}.{os.getpid()}"
    part.unlink(missing_ok=True)
    record = {
        "name": SERVICE_NAME, "version": __version__, "api": API_VERSION, "pid": os.getpid(),
        "host": host, "port": port, "token": token,
    }  # fmt: skip
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(record, stream, indent=2)
    part.replace(path)
    return path


def withdraw(state_dir: Path) -> None:
    """Remove the file, unless another service has written its own since."""
    path = state_dir / FILE_NAME
    with contextlib.suppress(OSError, ValueError):
        if json.loads(path.read_text("utf-8"))["pid"] == os.getpid():
            path.unlink()
