"""`assetize` as a user starts it: a process of its own, exit codes, signals, what lies on the disk afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from worker.cli.batch import find_stills
from worker.cli.main import main, plain_flags
from worker.session.atomic import sha256_of

Still = Callable[..., Path]


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "fake_plan", *map(str, words)]


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def assetize(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    running: list[subprocess.Popen[str]] = []

    def begin(*words: object) -> subprocess.Popen[str]:
        running.append(
            subprocess.Popen(command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def wait_for(what: Callable[[], Any], seconds: float = 15.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := what():
            return value
        time.sleep(0.02)
    raise AssertionError("waited in vain")


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def attempt_pid(tmp_path: Path, stage: str, number: int = 0) -> int:
    path = tmp_path / "scratch" / f"{stage}.attempt-{number}"
    return wait_for(lambda: path.exists() and int(path.read_text() or 0))


# --- run ------------------------------------------------------------------------------------------------------------
def test_run_says_where_the_session_is(still: Still, tmp_path: Path) -> None:
    done = assetize("run", "--input", still("a.png"), "--output_root", "out")
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0)
    assert str(tmp_path / "out" / "a") in done.stdout
    assert (tmp_path / "out" / "a" / "session.json").is_file()


def test_json_is_one_event_a_line(still: Still) -> None:
    done = assetize("run", "--input", still(lighting=["raise"]), "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert events[0]["event"] == "job.started" and events[-1]["event"] == "job.finished"
    assert events[-1] | {"seconds": 0} == {
        "event": "job.finished", "state": "partial", "exit_code": 1, "error": None, "seconds": 0,
        "folder": str(Path.cwd() / "outputs" / "pipeline_demo" / "still"),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["-x.png", "--input", "剧照 1.png", "a.b.c.png", "[x].png", "sp ace.png"])
def test_odd_names_work(still: Still, tmp_path: Path, name: str) -> None:
    still(name)
    joined = assetize("run", f"--input={name}", "--output-root=-out")
    assert joined.returncode == 0, joined.stderr
    parted = assetize("run", "--input", name, "--output_root", "-out")
    assert parted.returncode == 0, parted.stderr
    assert len([p for p in (tmp_path / "-out").iterdir() if p.is_dir()]) == 1


def test_a_name_that_is_no_unicode_works(still: Still, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    try:
        still("x.png").rename(tmp_path / name)
    except OSError:
        pytest.skip("this file system takes only Unicode names")
    done = assetize("run", "--input", name, "--json")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["run"], 2),
        (["run", "--input"], 2),
        (["nonsense"], 2),
        ([], 2),
        (["run", "--input", "missing.png"], 2),
        (["run", "--input", "."], 2),
        (["run", "--input", "s.png", "--roi", "1,2,3"], 2),
        (["run", "--input", "s.png", "--roi", "1,2,0,4"], 2),
        (["run", "--input", "s.png", "--fov", "50", "--lens_mm", "35"], 2),
        (["run", "--input", "s.png", "--fov", "500"], 2),
        (["run", "--input", "s.png", "--fov", "nan"], 2),
        (["run", "--input", "s.png", "--max_props", "-1"], 2),
        (["run", "--input", "s.png", "--seed", "x"], 2),
        (["run", "--input", "s.png", "--engine", "nothing=x"], 2),
        (["run", "--input", "s.png", "--engine", "scene"], 2),
        (["run", "--input", "s.png", "--blend", ".", "--json"], 2),
        (["run", "--input", "s.png", "--blend", "x.blend", "--no_blend"], 2),
        (["run", "--input", "s.png", "--output_root", "s.png/below"], 2),
        (["run", "--input", "s.png", "--engine", "scene=nosuch"], 3),
        (["run", "--input", "s.png", "--engine", "scene=absent"], 3),
    ],
)
def test_what_cannot_work_is_one_sentence_and_a_code(
    still: Still, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int
) -> None:
    from fake_plan import PLAN

    still("s.png")
    before = sorted(tmp_path.iterdir())
    try:
        answer = main(words, PLAN)
    except SystemExit as end:  # argparse's way
        answer = int(end.code or 0)
    told = capsys.readouterr().err
    assert answer == code, told
    assert "Traceback" not in told and 1 <= len(told.strip().splitlines()) <= 2
    assert [p for p in sorted(tmp_path.iterdir()) if p.name != "home"] == before, "nothing was written"


def test_trellis_is_refused_with_what_to_do(still: Still, tmp_path: Path) -> None:
    for backend in ("trellis", "sam3d_objects"):
        real = [sys.executable, "-m", "worker", "run", "--input", still(), "--asset_gen_backend", backend]
        done = subprocess.run(list(map(str, real)), capture_output=True, text=True, timeout=60)
        assert done.returncode == 3
        assert backend in done.stderr and "not installed" in done.stderr and not (tmp_path / "outputs").exists()


def test_blend_is_copied_or_its_lack_is_told(still: Still, tmp_path: Path) -> None:
    source = still()
    done = assetize("run", "--input", source, "--blend", tmp_path / "deep" / "my.blend")
    assert done.returncode == 1 and "no scene.blend" in done.stderr
    folder = tmp_path / "outputs" / "pipeline_demo" / "still"
    (folder / "scene.blend").write_bytes(b"BLENDER")
    assert assetize("run", "--input", source, "--blend", tmp_path / "deep" / "my.blend").returncode == 0
    assert (tmp_path / "deep" / "my.blend").read_bytes() == b"BLENDER"


def test_the_users_language(still: Still) -> None:
    done = assetize("run", "--input", "missing.png", "--language", "zh")
    assert "找不到文件" in done.stderr


# --- signals and kills ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [n for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)])
def test_a_signal_cancels_cleanly(start: Any, still: Still, tmp_path: Path, name: str) -> None:
    process = start("run", "--input", still(scene=["idle", "ok"]))
    host = attempt_pid(tmp_path, "scene")
    moment = time.monotonic()
    process.send_signal(getattr(signal, name))
    assert process.wait(timeout=5) == 4
    assert time.monotonic() - moment < 1.5
    assert not lives(host)
    folder = tmp_path / "outputs" / "pipeline_demo" / "still"
    assert json.loads((folder / "session.json").read_text())["state"] == "cancelled"
    assert assetize("run", "--input", tmp_path / "still.png").returncode == 0


def test_killed_conductor_leaves_no_host_and_resumes_with_the_same_bytes(
    start: Any, still: Still, tmp_path: Path
) -> None:
    source = still(scene=["child", "ok"])
    process = start("run", "--input", source)
    host = attempt_pid(tmp_path, "scene")
    grandchild = tmp_path / "scratch" / "grandchild"
    wait_for(lambda: grandchild.exists() and grandchild.read_text())
    process.kill()
    process.wait()
    wait_for(lambda: not lives(host), 3.0)
    wait_for(lambda: not lives(int(grandchild.read_text())), 3.0)
    folder = tmp_path / "outputs" / "pipeline_demo" / "still"
    finished = {p: (sha256_of(p), p.stat().st_mtime_ns) for p in folder.rglob("out.txt")}
    assert {p.parent.name for p in finished} == {"plate", "geometry"}
    (folder / "plate" / ".part-left.png").touch()
    assert assetize("run", "--input", source).returncode == 0
    assert {p: (sha256_of(p), p.stat().st_mtime_ns) for p in finished} == finished
    assert not (folder / "plate" / ".part-left.png").exists()
    states = json.loads((folder / "session.json").read_text())["stages"]
    assert {record["state"] for record in states.values()} == {"done"}


def test_killed_while_reading_the_still_is_swept_next_time(start: Any, still: Still, tmp_path: Path) -> None:
    source = still(plate=["idle", "ok"])
    process = start("run", "--input", source)
    host = attempt_pid(tmp_path, "plate")
    process.kill()
    process.wait()
    wait_for(lambda: not lives(host), 3.0)
    root = tmp_path / "outputs" / "pipeline_demo"
    assert [p.name[:10] for p in root.iterdir()] == [".assetize-"]
    assert assetize("run", "--input", source).returncode == 0
    assert [p.name for p in root.iterdir()] == ["still"]


def test_a_host_killed_from_outside_is_replaced(start: Any, still: Still, tmp_path: Path) -> None:
    process = start("run", "--input", still(geometry=["idle", "ok"]))
    os.kill(attempt_pid(tmp_path, "geometry"), signal.SIGKILL)
    assert process.wait(timeout=20) == 0


def test_a_reader_that_goes_away_is_no_traceback(still: Still) -> None:
    words = command("run", "--input", still(lighting=["steps:10"]), "--json")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
        assert process.wait(timeout=20) == 0


# --- batch ----------------------------------------------------------------------------------------------------------
def test_one_bad_file_never_stops_a_batch(still: Still, tmp_path: Path) -> None:
    stills = tmp_path / "stills"
    stills.mkdir()
    for name, actions in {"a": {}, "c": {"scene": ["sigkill"]}, "d": {}}.items():
        still(f"stills/{name}.png", **actions)
    (stills / "b.png").write_text("no picture")
    (stills / "notes.txt").write_text("not taken")
    done = assetize("batch", "stills", "--output_root", "out")
    assert done.returncode == 1
    summary = json.loads((tmp_path / "out" / "batch_summary.json").read_text("utf-8"))
    assert [(Path(r["file"]).name, r["state"]) for r in summary["files"]] == [
        ("a.png", "done"), ("b.png", "failed"), ("c.png", "partial"), ("d.png", "done"),
    ]  # fmt: skip
    assert summary["files"][1]["error"]["code"] == "input.not_a_picture"
    assert summary["files"][2]["failed_stages"] == ["scene"]
    assert (summary["wanted"], summary["done"], summary["exit_code"]) == (4, 2, 1)
    assert "b.png is no picture" in done.stdout.replace("\n", " ") or "picture" in done.stdout
    assert not (tmp_path / "out" / "b").exists()


def test_batch_takes_patterns_itself(still: Still, tmp_path: Path) -> None:
    (tmp_path / "s" / "deep").mkdir(parents=True)
    for name in ("s/a1.png", "s/a2.png", "s/b1.png", "s/deep/a3.png"):
        still(name)
    done = assetize("batch", "s/**/a*.png", "--json", "--output_root", "out")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert [Path(row["file"]).name for row in events[-1]["files"]] == ["a1.png", "a2.png", "a3.png"]
    assert {event["file"] for event in events[:-1]} == {row["file"] for row in events[-1]["files"]}


def test_batch_without_pictures_or_engine(still: Still, tmp_path: Path) -> None:
    still("s.png")
    assert assetize("batch", "*.jpg").returncode == 2
    assert assetize("batch").returncode == 2
    assert assetize("batch", "*.png", "--engine", "scene=absent").returncode == 3
    assert not (tmp_path / "outputs").exists()


def test_brackets_in_names_are_no_pattern_where_the_file_exists(tmp_path: Path) -> None:
    (tmp_path / "[a].png").touch()
    assert find_stills(["[a].png", "[b].png", "[a].png"]) == [Path("[a].png")]


def test_cancelled_batch_keeps_its_summary(start: Any, still: Still, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    still("s/a.png")
    still("s/b.png", scene=["idle"])
    still("s/c.png")
    process = start("batch", "s")
    attempt_pid(tmp_path, "scene", 1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=5) == 4
    summary = json.loads((tmp_path / "outputs" / "pipeline_demo" / "batch_summary.json").read_text("utf-8"))
    assert [row["state"] for row in summary["files"]] == ["done", "cancelled"] and summary["wanted"] == 3


# --- the rest -------------------------------------------------------------------------------------------------------
def test_flags_in_both_spellings() -> None:
    assert plain_flags(["run", "--output-root=a-b", "--skip-scene", "--lens-mm", "35", "--input", "-a-b"]) == [
        "run", "--output_root=a-b", "--skip_scene", "--lens_mm", "35", "--input=-a-b",
    ]  # fmt: skip


def test_engines_tell_licence_and_fit() -> None:
    done = assetize("engines", "--json")
    rows = {(row["stage"], row["name"]): row for row in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 0
    assert rows["scene", "embedded"]["ready"] and rows["scene", "embedded"]["commercial_use"] == "yes"
    assert not rows["scene", "giant"]["fits"] and rows["scene", "giant"]["installed"]
    assert rows["scene", "absent"]["why_not"]["fix"] == "pip install absent"
    assert not rows["scene", "closed"]["licence_accepted"]
    table = assetize("engines").stdout
    assert ("embedded" in table and "Research only" in table.replace("\n", " ")) or "Research" in table


def test_doctor_names_what_is_missing_and_how_to_mend_it() -> None:
    done = assetize("doctor", "--json")
    checks = {check["name"]: check for check in map(json.loads, done.stdout.splitlines())}
    assert checks["Packages"]["state"] == "ok" and checks["Disk"]["state"] in {"ok", "missing"}
    assert checks["Engine scene/embedded"]["state"] == "ok"
    assert checks["Engine scene/absent"] | {"text": ""} == {
        "name": "Engine scene/absent", "state": "note", "text": "", "fix": "pip install absent",
    }  # fmt: skip
    assert done.returncode == (1 if any(check["state"] == "missing" for check in checks.values()) else 0)
    assert "Processor" in assetize("doctor").stdout
