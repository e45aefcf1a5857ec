"""No path of a client is trusted: each is resolved, symbolic links too, and must end inside an allowed folder."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from worker.errors import AssetizeError, InputError
from worker.pipeline.folder import folder_name


class NotFound(AssetizeError):
    http_status = 404


class Forbidden(AssetizeError):
    http_status = 403


def allowed(text: str, roots: Sequence[Path]) -> Path:
    """`text` as an absolute path inside one of `roots`. Raises Forbidden otherwise."""
    try:
        path = Path(text).resolve()
    except (OSError, ValueError, RuntimeError):
        path = None
    if path is None or not Path(text).is_absolute() or not any(path.is_relative_to(root.resolve()) for root in roots):
        raise Forbidden(
            "service.path",
            "This path is outside the folders that the service was allowed to use (assetize serve --allow FOLDER).",
            "该路径不在服务允许使用的文件夹内（assetize serve --allow FOLDER）。",
        )
    return path


def inside(folder: Path, text: str) -> Path:
    """A file of a session. Raises NotFound for what is not there, and alike for what lies outside."""
    missing = NotFound("service.no_file", "There is no such file in this session.", "会话中没有此文件。")
    parts = PurePosixPath(text).parts
    if "\0" in text or "\\" in text or not parts or any(part.startswith(".") for part in parts):
        raise missing
    try:
        path = (folder / Path(*parts)).resolve()
        if not path.is_relative_to(folder.resolve()) or not path.is_file():
            raise missing
    except (OSError, ValueError, RuntimeError):
        raise missing from None
    return path


def files(folder: Path) -> list[tuple[str, int]]:
    """(path, bytes) of every file that `inside` would give, sorted."""
    found = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if not any(part.startswith(".") for part in relative.parts):
            with contextlib.suppress(OSError, NotFound):
                found.append((relative.as_posix(), inside(folder, relative.as_posix()).stat().st_size))
    return found


def upload_name(client_name: str | None) -> str:
    """A plain file name for an upload: no folders, no tricks, its suffix kept. Raises InputError without a name."""
    base = PureWindowsPath(PurePosixPath((client_name or "").encode("utf-8", "replace").decode()).name).name
    if not base:
        raise InputError("service.no_name", "The uploaded still has no file name.", "上传的图片没有文件名。")
    suffix = "".join(c for c in Path(base).suffix if c.isascii() and (c.isalnum() or c == "."))[:8]
    return folder_name(base) + suffix
