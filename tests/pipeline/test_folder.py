"""Names and locks of session folders."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import OutputError
from worker.pipeline import folder as folders


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("shot.png", "shot"),
        ("a b.c.d.tif", "a b.c.d"),
        ("-x.png", "_x"),
        ("..hidden.png", "_.hidden"),
        (".png", "_png"),
        ("剧照 01.jpg", "剧照 01"),
        ("cafe\u0301.png", "caf\u00e9"),
        ("CON.png", "_CON"),
        ("lpt1.backup.png", "_lpt1.backup"),
        ('a<b>:"c|?*.png', "a_b___c___"),
        ("trailing. .png", "trailing"),
        ("\u202egnp.exe", "gnp"),
        ("", "still"),
        ("x" * 300 + ".png", "x" * 120),
    ],
)
def test_names_that_trouble_file_systems(image: str, name: str) -> None:
    assert folders.folder_name(image) == name


@given(st.text(max_size=200))
def test_every_name_is_a_plain_folder(image: str) -> None:
    name = folders.folder_name(image.replace("\0", ""))
    assert name == unicodedata.normalize("NFC", name)
    assert name and not set(name) & set('<>:"/\\|?*') and name[0] not in "-. ~" and name[-1] not in ". "
    assert len(name.encode("utf-8")) <= 121
    assert Path(name).name == name and name not in {".", ".."}


def test_a_lock_of_a_dead_process_is_taken(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text(json.dumps({"pid": 2**22 + 5, "create_time": 1.0}))
    folders.lock(tmp_path)
    assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    with pytest.raises(OutputError):
        folders.lock(tmp_path)
    folders.unlock(tmp_path)
    folders.lock(tmp_path)


def test_a_garbled_lock_is_taken(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("[]")
    folders.lock(tmp_path)
    assert json.loads((tmp_path / ".lock").read_text())["create_time"] == psutil.Process().create_time()


def test_staging_of_a_killed_run_is_swept(tmp_path: Path) -> None:
    dead = tmp_path / f"{folders.STAGING_PREFIX}dead"
    dead.mkdir()
    (dead / ".lock").write_text(json.dumps({"pid": 2**22 + 5, "create_time": 1.0}))
    living = tmp_path / f"{folders.STAGING_PREFIX}living"
    living.mkdir()
    folders.lock(living)
    with folders.staging(tmp_path):
        assert not dead.exists() and living.exists()


def test_only_folders_made_here_go_again(tmp_path: Path) -> None:
    with folders.output_root(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert not (tmp_path / "a").exists()
    with folders.output_root(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "session").mkdir()
    assert (tmp_path / "a" / "b" / "session").is_dir()
