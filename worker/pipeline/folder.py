"""The session folder's life: its name, its lock, and the hidden staging folder that it grows up in."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import psutil
from pydantic import ValidationError

from worker.errors import OutputError
from worker.session import atomic
from worker.session.layout import SessionFolder
from worker.session.model import Session

STAGING_PREFIX = ".assetize-"
LOCK_NAME = ".lock"
NEEDED_BYTES = 300 * 2**20  # what a session of a large still takes, with room for files written beside

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
_LONGEST_BYTES = 120  # of the 255 that file systems allow: room for "-2" and for long Windows paths


def folder_name(image_name: str) -> str:
    """A folder name for a still that every file system and every shell takes. Never empty; Unicode is kept (NFC)."""
    stem = Path(image_name).stem if image_name else ""
    text = "".join(c for c in stem if unicodedata.category(c)[0] != "C")  # controls, surrogates, direction marks
    text = unicodedata.normalize("NFC", text)
    text = _FORBIDDEN.sub("_", text)
    text = text.encode("utf-8")[:_LONGEST_BYTES].decode("utf-8", "ignore").rstrip(". ").lstrip(" ")
    if text[:1] in {"-", ".", "~"}:  # an option, a hidden file, a home folder
        text = "_" + text[1:]
    if _RESERVED.fullmatch(text):
        text = "_" + text
    return text or "still"


def read_session(root: Path) -> Session | None:
    """The session standing in a folder; None where there is none that this version reads."""
    try:
        return Session.model_validate_json(SessionFolder(root).manifest.read_bytes())
    except (OSError, ValidationError):
        return None


def find_session(output_root: Path, image_name: str, session_id: str) -> tuple[Path, Path | None]:
    """(where a new session would go, where this very session stands already, if it does)."""
    base = folder_name(image_name)
    number = 1
    while True:
        root = output_root / (base if number == 1 else f"{base}-{number}")
        if not root.exists():
            return root, None
        session = read_session(root)
        if session is not None and session.session_id == session_id:
            return root, root
        number += 1


# --- lock -----------------------------------------------------------------------------------------------------------
def _owner_lives(lock: Path) -> int | None:
    """Process id of the living owner of a lock; None where it is free or its owner is gone."""
    try:
        owner = json.loads(lock.read_text("utf-8"))
        process = psutil.Process(owner["pid"])
        # Process ids are used again; one that started at another time is somebody else.
        return process.pid if abs(process.create_time() - owner["create_time"]) < 1.0 else None
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None


def lock(root: Path) -> None:
    """Claim a session for this process. Raises OutputError where another living run has it."""
    path = root / LOCK_NAME
    me = psutil.Process()
    text = json.dumps({"pid": me.pid, "create_time": me.create_time()})
    for _ in range(3):
        try:
            with path.open("x", encoding="utf-8") as stream:
                stream.write(text)
            return
        except FileExistsError:
            if (owner := _owner_lives(path)) is not None:
                raise OutputError(
                    "session.busy",
                    f"Another run (process {owner}) is writing {root}. Wait for it, or cancel it, and run again.",
                    f"另一个任务（进程 {owner}）正在写入 {root}。请等待其完成或取消后重试。",
                ) from None
            path.unlink(missing_ok=True)
    raise OutputError("session.busy", f"{root} cannot be locked.", f"无法锁定 {root}。")


def unlock(root: Path) -> None:
    with contextlib.suppress(OSError):
        (root / LOCK_NAME).unlink()


# --- output root ----------------------------------------------------------------------------------------------------
def unwritable(root: Path, fault: OSError) -> OutputError:
    """The sentence for an OSError met while writing under `root`."""
    reason = fault.strerror or str(fault)
    return OutputError(
        "output.unwritable",
        f"Nothing can be written to {root} ({reason}). Name another folder with --output_root.",
        f"无法写入 {root}（{reason}）。请用 --output_root 指定其他文件夹。",
    )


def existing_folder(path: Path) -> Path:
    """The path itself or its nearest parent that is there; on a drive that is not there, the drive's root."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def check_space(root: Path, needed: int = NEEDED_BYTES) -> None:
    """Raises OutputError where the disk under `root` (which need not exist yet) has too little room."""
    try:
        free = shutil.disk_usage(existing_folder(root)).free
    except OSError as fault:
        raise unwritable(root, fault) from None
    if free < needed:
        raise OutputError(
            "output.full",
            f"The disk of {root} has {free / 2**20:.0f} MB left; a session needs about {needed / 2**20:.0f} MB. "
            "Make room, or name another folder with --output_root.",
            f"{root} 所在磁盘仅剩 {free / 2**20:.0f} MB，一次处理约需 {needed / 2**20:.0f} MB。"
            "请清理空间或用 --output_root 指定其他文件夹。",
        )


@contextlib.contextmanager
def output_root(root: Path) -> Iterator[None]:
    """Make the output root for as long as it takes; folders made here and still empty at the end go again."""
    made = []
    place = root
    while not place.exists() and place != place.parent:
        made.append(place)
        place = place.parent
    try:
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise unwritable(root, fault) from None
        yield
    finally:
        for place in made:
            try:
                place.rmdir()
            except OSError:
                break


# --- staging --------------------------------------------------------------------------------------------------------
@contextlib.contextmanager
def staging(root: Path) -> Iterator[Path]:
    """A locked hidden folder in the output root; removed at the end unless `settle` moved it."""
    _sweep(root)
    try:
        place = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=root))
        if os.name == "posix":  # mkdtemp makes it private; a session is ordinary shared work
            umask = os.umask(0)
            os.umask(umask)
            place.chmod(0o777 & ~umask)
        lock(place)
    except OSError as fault:
        raise unwritable(root, fault) from None
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def settle(place: Path, root: Path, image_name: str, session_id: str) -> Path:
    """Give a staged session its name. Another run may take the same name at the same time: then the next one."""
    while True:
        target, same = find_session(root, image_name, session_id)
        if same is not None:
            lock(same)  # raises while its run lives; otherwise a fresh result takes the place of the old one
            shutil.rmtree(same)
            target = same
        try:
            place.rename(target)
        except OSError:
            if target.exists():
                continue
            raise
        return target


def _sweep(root: Path) -> None:
    """Remove staging folders whose run was killed."""
    for old in root.glob(f"{STAGING_PREFIX}*"):
        if (old / LOCK_NAME).exists() and _owner_lives(old / LOCK_NAME) is None:
            shutil.rmtree(old, ignore_errors=True)


def remove_parts(root: Path) -> None:
    """Remove half-written files that a killed stage left beside their final names."""
    for part in root.rglob(".part-*"):
        with contextlib.suppress(OSError):
            part.unlink()


def stands(root: Path, outputs: dict[str, str]) -> bool:
    """Whether every output is there with the bytes it had."""
    try:
        return all(atomic.sha256_of(root / path) == sha256 for path, sha256 in outputs.items())
    except OSError:
        return False
