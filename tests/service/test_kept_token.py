"""A token that is kept over restarts: made once, closed to others, refused where it is none."""

from __future__ import annotations

import getpass
import os
import stat
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from worker.errors import InputError, OutputError
from worker.service import kept_token

posix = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX'")


def test_it_is_made_once_and_for_its_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "token"
    first = kept_token.kept(path)
    assert len(first) >= 43 and kept_token.kept(path) == first and path.read_text().strip() == first
    assert kept_token.kept(tmp_path / "other") != first
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_one_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token"
    token = kept_token.kept(path)
    path.chmod(mode)
    with pytest.raises(InputError, match="Others on this machine") as told:
        kept_token.kept(path)
    assert token not in told.value.en + told.value.zh and "chmod 600" in told.value.zh


@pytest.mark.parametrize("text", ["", "short", "x" * 600, "two words that are long enough", "中" * 30, "\x00" * 30])
def test_what_is_no_token_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    path = tmp_path / "token"
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    with pytest.raises(InputError, match="no usable token") as told:
        kept_token.kept(path)
    assert not text or text not in told.value.en


def test_a_token_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("my-own-token-with-enough-letters\r\n")
    path.chmod(0o600)
    assert kept_token.kept(path) == "my-own-token-with-enough-letters"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "token", tmp_path):
        with pytest.raises((OutputError, InputError)) as told:
            kept_token.kept(path)
        assert told.value.code in ("token.file", "token.open")


def test_on_windows_its_rights_are_taken_from_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """icacls is stood in for: what is looked at is that it is asked before anything is in the file, and heeded."""
    path = tmp_path / "token"
    asked: list[tuple[list[str], int]] = []
    answer = [1]

    def run(line: list[str], **how: object) -> SimpleNamespace:
        asked.append((line, path.stat().st_size))
        return SimpleNamespace(returncode=answer[0])

    monkeypatch.setattr(kept_token, "_WINDOWS", True)
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(getpass, "getuser", lambda: "Lena")
    monkeypatch.setenv("USERDOMAIN", "FILM")
    with pytest.raises(OutputError, match="icacls"):
        kept_token.kept(path)
    assert not path.exists(), "an open file with a token in it is never left"
    assert asked == [(["icacls", str(path), "/inheritance:r", "/grant:r", "FILM\\Lena:F"], 0)]
    answer[0] = 0
    assert kept_token.kept(path) == kept_token.kept(path)
    answer[0] = 1
    with pytest.raises(OutputError, match="icacls"):
        kept_token.kept(path)
