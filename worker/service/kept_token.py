"""A token that outlives the service, in a file that only its user can read: for workers that are addressed by hand."""

from __future__ import annotations

import getpass
import os
import secrets
import stat
import subprocess
from pathlib import Path

import platformdirs

from worker.errors import InputError, OutputError
from worker.service.announce import make_private

_WINDOWS = os.name == "nt"
_SHORTEST, _LONGEST = 24, 512  # characters; what is made here has 43


def default_file() -> Path:
    """In the settings folder: Linux ~/.config/assetize, macOS ~/Library/Application Support/assetize, Windows
    %LOCALAPPDATA%\\assetize."""
    return platformdirs.user_config_path("assetize", appauthor=False) / "service_token"


def kept(path: Path) -> str:
    """The token in this file, which is made where there is none.

    Raises InputError where others may read it or it holds no token, OutputError where it cannot be made or read.
    """
    try:
        if not path.exists():
            _make(path)
        _refuse_open(path)
        text = path.read_bytes()[: _LONGEST + 2].decode("ascii", "replace").strip()
    except OSError as fault:
        why = fault.strerror or str(fault)
        raise OutputError(
            "token.file",
            f"The token's file {path} cannot be made or read ({why}). Name another with --token_file.",
            f"无法创建或读取令牌文件 {path}（{why}）。请用 --token_file 指定其他文件。",
        ) from None
    if not _SHORTEST <= len(text) <= _LONGEST or not all("!" <= letter <= "~" for letter in text):
        raise InputError(
            "token.unusable",
            f"{path} holds no usable token: one line of {_SHORTEST} to {_LONGEST} letters, digits and signs, without "
            "spaces. Delete the file and the next start makes a good one.",
            f"{path} 中没有可用的令牌：应为一行 {_SHORTEST} 至 {_LONGEST} 个字母、数字或符号，不含空格。"
            "删除该文件后，下次启动会生成新令牌。",
        )
    return text


def _make(path: Path) -> None:
    if path == default_file():
        make_private(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        try:
            _close_on_windows(path)  # before anything is in it
            stream.write(secrets.token_urlsafe(32) + "\n")
        except BaseException:
            stream.close()
            path.unlink()
            raise


def _close_on_windows(path: Path) -> None:
    """Take the rights that the folder hands down, and give them to this user alone. Raises OSError."""
    if not _WINDOWS:
        return
    user = "\\".join(part for part in (os.environ.get("USERDOMAIN", ""), getpass.getuser()) if part)
    done = subprocess.run(
        ["icacls", str(path), "/inheritance:r", "/grant:r", f"{user}:F"], capture_output=True, timeout=20,
        stdin=subprocess.DEVNULL, creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )  # fmt: skip
    if done.returncode:
        raise OSError(0, "icacls could not make it this user's alone")


def _refuse_open(path: Path) -> None:
    """On Windows a file of the user's own is closed anew instead: what its list of rights says is not for reading."""
    if _WINDOWS:
        _close_on_windows(path)
    elif path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputError(
            "token.open",
            f"Others on this machine may read {path}, so its token is no secret. Close it (chmod 600 {path}), and "
            "better delete it: the next start makes a new one.",
            f"本机其他用户可读取 {path}，其中的令牌已不再保密。请收回权限（chmod 600 {path}），"
            "最好删除该文件：下次启动会生成新令牌。",
        )
