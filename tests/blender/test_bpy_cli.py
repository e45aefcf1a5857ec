"""cli: sessions and stills built without a window, in background Blender."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from blender_addon import cli

ROOT = Path(__file__).resolve().parents[2]


def test_cli_takes_a_folder_of_stills(session_folder, tmp_path, monkeypatch, capsys):
    for name in ("b.png", "a.JPG", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    asked = []
    monkeypatch.setattr(cli, "_run_still", lambda still, *rest: (asked.append(Path(still).name), (2, None))[1])
    assert cli.main(["--input", str(tmp_path)]) == 2 and asked == ["a.JPG", "b.png"]
    (tmp_path / "empty").mkdir()
    assert cli.main(["--input", str(tmp_path / "empty")]) == 2 and "no still" in capsys.readouterr().err


def test_cli_builds_saves_and_measures(session_folder, tmp_path, capsys):
    blend, stats = tmp_path / "a.blend", tmp_path / "s.json"
    answer = cli.main(["--session", str(session_folder), "--blend", str(blend), "--render", str(tmp_path / "r.png"),
                       "--samples", "8", "--render_width", "160", "--stats", str(stats)])  # fmt: skip
    assert answer == 0 and blend.stat().st_size > 100_000 and list(tmp_path.glob(".part*")) == []
    told = json.loads(stats.read_text(encoding="utf-8"))
    assert told["psnr_db"] > 32 and "set camera" in told["objects"] and told["problems"] == []


@pytest.mark.parametrize(
    "arguments, code",
    [
        ([], 2),
        (["--session", "/nowhere"], 2),
        (["--session", "a", "--session", "b", "--blend", "c.blend"], 2),
        (["--session", "a", "--unknown"], 2),
        (["--help"], 0),
    ],
)
def test_cli_exit_codes(arguments, code, capsys):
    assert cli.main(arguments) == code


def test_cli_tells_parts_that_were_left_out(session_folder, tmp_path):
    folder = Path(shutil.copytree(session_folder, tmp_path / "broken"))
    (folder / "props_3d/prop_01.glb").write_bytes(b"x")
    assert cli.main(["--session", str(folder), "--blend", str(tmp_path / "b.blend"), "--skip", "splats"]) == 1
    assert (tmp_path / "b.blend").is_file()
