"""A stage's files on threads: all there when the block ends, hashed, and their faults the stage's own."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from worker.formats.image import write_png
from worker.session.atomic import sha256_of, write_bytes
from worker.stages.files import Files


def test_every_file_is_there_and_hashed(tmp_path: Path) -> None:
    with Files() as files:
        files.put(tmp_path / "a.png", write_png, np.zeros((4, 4, 3), np.uint8))
        files.put(tmp_path / "b.bin", write_bytes, b"b" * 100)
    assert files.outputs == [tmp_path / "a.png", tmp_path / "b.bin"]
    assert files.sha256 == {path: sha256_of(path) for path in files.outputs}


def test_a_writers_own_hash_is_taken(tmp_path: Path) -> None:
    with Files() as files:
        files.put(tmp_path / "a", lambda path: "0" * 64)
    assert files.sha256 == {tmp_path / "a": "0" * 64}


def test_what_a_file_raises_the_stage_raises(tmp_path: Path) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"), Files() as files:
        files.put(tmp_path / "a.bin", full)
        files.put(tmp_path / "b.bin", write_bytes, b"b")
    assert (tmp_path / "b.bin").read_bytes() == b"b"


def test_a_stage_that_fails_leaves_no_half_files(tmp_path: Path) -> None:
    begun = threading.Event()

    def slow(path: Path) -> None:
        begun.set()
        write_bytes(path, b"whole")

    with pytest.raises(ValueError, match="the stage's own"), Files() as files:
        files.put(tmp_path / "a.bin", slow)
        begun.wait(5)
        raise ValueError("the stage's own")
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
    assert files.sha256 == {}
