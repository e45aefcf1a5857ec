"""The conductor through real hosts: order, crashes, hangs, memory tiers, resume, cancel."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from job_runner import Runner, Still, assert_gone, states, times, written

from worker.errors import Cancelled, EngineUnavailable, ExitCode, InputError, OutputError
from worker.pipeline import folder as folders
from worker.pipeline.conductor import Conductor
from worker.pipeline.pace import Pace
from worker.pipeline.plan import Plan
from worker.session.atomic import sha256_of


# --- the ordinary way -----------------------------------------------------------------------------------------------
def test_a_still_becomes_a_session(run: Runner, still: Still) -> None:
    source = still("a film still.png")
    outcome = run(source)
    assert outcome.exit_code == ExitCode.OK
    assert outcome.folder == run.root / "a film still"
    session = written(outcome.folder)
    assert session["state"] == "done"
    assert session["input"]["sha256"] == sha256_of(source)
    assert session["input"]["format"] == "FAKE", "the plate stage's record replaces the provisional one"
    for name, record in session["stages"].items():
        assert record["state"] == "done"
        assert record["attempts"] == 1
        assert record["outputs"] == {f"{name}/out.txt": sha256_of(outcome.folder / name / "out.txt")}
        assert record["peak_memory_mb"] is None or record["peak_memory_mb"] >= 0
    scene = session["stages"]["scene"]
    assert (scene["engine"], scene["tier"], scene["device"], scene["seed"]) == ("embedded", "full", "cpu", 0)
    assert "giant (does not fit this machine)" in scene["engine_choice"]["en"]
    assert "absent (not installed)" in scene["engine_choice"]["en"]
    assert "closed (licence not accepted)" in scene["engine_choice"]["en"]
    assert sorted(p.name for p in run.root.iterdir()) == ["a film still"], "no staging folder left"
    assert not (outcome.folder / ".lock").exists()


def test_events_tell_the_whole_story_in_order(run: Runner, still: Still) -> None:
    run(still(lighting=["steps:8"]))
    kinds = [event["event"] for event in run.events]
    assert kinds[0] == "job.started" and kinds[-1] == "job.finished"
    assert kinds.index("session") < kinds.index("stage.started", kinds.index("session"))
    started = [event["stage"] for event in run.events if event["event"] == "stage.started"]
    assert started == ["plate", "geometry", "scene", "lighting", "report"]
    fractions = [event["fraction"] for event in run.events if event["event"] == "progress"]
    assert fractions == sorted(fractions), "a progress bar never goes back"
    assert all(0 <= f <= 1 for f in fractions)
    within = [e["fraction"] for e in run.events if e["event"] == "progress" and e["stage"] == "lighting"]
    assert len(within) >= 3 and 0.6 <= within[0] < within[-1] <= 0.8, "the fourth of five equal stages"


def test_the_bar_learns_this_machines_pace(run: Runner, still: Still) -> None:
    run(still("1.png", lighting=["steps:30"]))  # 1.5 seconds, where its SPEC says as long as the others
    run(still("2.png", lighting=["steps:30"]))
    weights = {stage["name"]: stage["weight"] for stage in run.events[0]["stages"]}
    assert weights["lighting"] > 1.4 and weights["lighting"] > 3 * weights["report"]
    lit = [e["fraction"] for e in run.events if e["event"] == "progress" and e["stage"] == "lighting"]
    assert lit[-1] - lit[0] > 0.5, "the long stage has the long part of the bar"


@pytest.mark.parametrize("text", ["", "[]", '{"a/-": "x", "b/-": -1, "c/-": NaN}', "\x00"])
def test_a_broken_pace_file_is_forgotten(tmp_path: Path, text: str) -> None:
    from fake_plan import PLAN

    (tmp_path / "pace.json").write_text(text)
    pace = Pace(tmp_path / "pace.json")
    assert pace.of(PLAN.specs[0], None) == PLAN.specs[0].weight
    pace.learn(PLAN.specs[0], None, 4.0)
    pace.learn(PLAN.specs[0], None, 8.0)
    pace.keep()
    assert 4.0 < Pace(tmp_path / "pace.json").of(PLAN.specs[0], None) < 8.0


def test_engines_share_a_warm_host_unless_named_otherwise(run: Runner, still: Still) -> None:
    first = written(run(still("one.png")).folder)["stages"]
    second = written(run(still("two.png", lighting=["warn"])).folder)["stages"]
    hosts = {record["details"]["host"] for record in [*first.values(), *second.values()]}
    assert len(hosts) == 1, "embedded stages share one process, from job to job"
    assert second["scene"]["details"]["loads"] == first["scene"]["details"]["loads"], "the engine stayed loaded"
    solo = written(run(still("three.png"), engines={"scene": "solo"}).folder)["stages"]
    assert solo["scene"]["details"]["host"] not in hosts
    assert solo["scene"]["engine_choice"]["code"] == "engine.named"


def test_prints_of_native_code_go_to_the_log(run: Runner, still: Still) -> None:
    outcome = run(still(scene=["noise"]))
    assert states(outcome)["scene"] == "done"
    log = (outcome.folder / "logs" / "scene.log").read_text("utf-8")
    for text in ("native noise", "python noise", "noise of a child"):
        assert text in log


def test_a_stages_warning_is_kept_and_told(run: Runner, still: Still) -> None:
    outcome = run(still(lighting=["warn"]))
    record = written(outcome.folder)["stages"]["lighting"]
    assert record["degraded"] and record["warnings"][0]["code"] == "fake.note"
    assert [e["notice"]["code"] for e in run.events if e["event"] == "warning"] == ["fake.note"]


def test_peak_memory_is_measured(run: Runner, still: Still) -> None:
    stages = written(run(still(lighting=["memory:300"])).folder)["stages"]
    assert stages["lighting"]["peak_memory_mb"] > 300


# --- inputs and outputs that cannot be used -------------------------------------------------------------------------
def test_bad_inputs_leave_nothing_behind(run: Runner, tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no picture")
    empty = tmp_path / "empty.png"
    empty.touch()
    codes = []
    for source in (tmp_path / "missing.png", tmp_path, empty, text, Path("nul\0.png")):
        with pytest.raises(InputError) as caught:
            run(source)
        codes.append(caught.value.code)
        assert not run.root.exists(), "the output root that this run made is gone again"
    assert codes[:4] == ["input.missing", "input.folder", "input.empty", "input.not_a_picture"]
    assert run.events[-1]["exit_code"] == 2


@pytest.mark.parametrize("action", ["sigkill", "raise", "oom", "fail"])
def test_a_still_that_breaks_the_reader_is_a_bad_input(run: Runner, still: Still, action: str) -> None:
    with pytest.raises(InputError) as caught:
        run(still(plate=[action]))
    assert caught.value.exit_code == ExitCode.BAD_INPUT
    assert "\n" not in caught.value.en
    assert not run.root.exists()


def test_an_output_root_that_stood_before_stays(run: Runner, tmp_path: Path) -> None:
    run.root.mkdir()
    (run.root / "mine.txt").write_text("keep")
    with pytest.raises(InputError):
        run(tmp_path / "missing.png")
    assert [p.name for p in run.root.iterdir()] == ["mine.txt"]


def test_an_unwritable_output_root_is_a_sentence(run: Runner, still: Still, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run.root = tmp_path / "file" / "below"
    with pytest.raises(OutputError) as caught:
        run(still())
    assert caught.value.code == "output.unwritable" and str(run.root) in caught.value.en


def test_too_little_space_is_told_before_anything_is_written(
    run: Runner, still: Still, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "NEEDED_BYTES", 2**60)
    monkeypatch.setattr(folders.check_space, "__defaults__", (2**60,))
    with pytest.raises(OutputError) as caught:
        run(still())
    assert caught.value.code == "output.full"
    assert not run.root.exists()


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [("nosuch", "engine.unknown", "not installed"), ("absent", "engine.not_installed", "pip install absent"),
     ("giant", "engine.does_not_fit", "1000000000 MB"), ("closed", "engine.licence", "must be accepted")],
)  # fmt: skip
def test_a_named_engine_is_never_replaced(run: Runner, still: Still, name: str, code: str, words: str) -> None:
    with pytest.raises(EngineUnavailable) as caught:
        run(still(), engines={"scene": name})
    assert caught.value.code == code and words in caught.value.en
    assert caught.value.exit_code == ExitCode.ENGINE_MISSING
    assert not run.root.exists()


def test_an_accepted_licence_opens_the_engine(run: Runner, still: Still) -> None:
    run.accepted = frozenset({"closed"})
    record = written(run(still()).folder)["stages"]["scene"]
    assert (record["engine"], record["commercial_use"], record["licence_weights"]) == ("closed", "no", "Research only")


def test_no_engine_for_a_stage_fails_that_stage_only(run: Runner, still: Still) -> None:
    run.plan = Plan(run.plan.names, run.plan.package, [c for c in run.plan.cards if c.name == "giant"])
    with pytest.raises(EngineUnavailable):
        run(still(), engines={"geometry": "embedded"})
    outcome = run(still())
    assert states(outcome)["geometry"] == "failed" and states(outcome)["report"] == "done"


def test_skips_are_told(run: Runner, still: Still) -> None:
    outcome = run(still(), skip_geometry=True)
    assert outcome.exit_code == ExitCode.OK
    stages = written(outcome.folder)["stages"]
    assert stages["geometry"]["state"] == stages["scene"]["state"] == "skipped"
    assert "--skip_geometry" in stages["geometry"]["warnings"][0]["en"]


# --- resume ---------------------------------------------------------------------------------------------------------
def test_the_same_command_keeps_what_is_done(run: Runner, still: Still) -> None:
    source = still()
    first = run(source)
    before = times(first)
    again = run(source)
    assert again.folder == first.folder and times(again) == before
    assert next(e["kept"] for e in run.events if e["event"] == "job.started") == list(run.plan.names)


def test_only_what_is_not_done_runs_again(run: Runner, still: Still) -> None:
    source = still(scene=["raise", "ok"])
    first = run(source)
    before = times(first)
    again = run(source)
    assert set(states(again).values()) == {"done"}
    after = times(again)
    for kept in ("plate", "geometry", "lighting"):
        assert after[f"{kept}/out.txt"] == before[f"{kept}/out.txt"]
    assert after["report/out.txt"] > before["report/out.txt"], "the report uses the scene, so it is made anew"


def test_a_lost_or_changed_output_is_made_again(run: Runner, still: Still) -> None:
    source = still()
    folder = run(source).folder
    original = (folder / "geometry" / "out.txt").read_bytes()
    (folder / "geometry" / "out.txt").write_text("tampered")
    (folder / "lighting" / "out.txt").unlink()
    outcome = run(source)
    assert (folder / "geometry" / "out.txt").read_bytes() == original
    started = [e["stage"] for e in run.events if e["event"] == "stage.started"]
    assert started == ["geometry", "scene", "lighting", "report"]
    assert outcome.exit_code == ExitCode.OK


def test_other_options_or_another_still_go_beside(run: Runner, still: Still) -> None:
    first = run(still())
    second = run(still(), seed=1)
    third = run(still(lighting=["warn"]))
    assert [o.folder.name for o in (first, second, third)] == ["still", "still-2", "still-3"]
    assert len({o.session.session_id for o in (first, second, third)}) == 3
    assert run(still(), seed=1).folder == second.folder


def test_a_folder_of_somebody_else_is_left_alone(run: Runner, still: Still) -> None:
    (run.root / "still").mkdir(parents=True)
    (run.root / "still" / "notes.txt").write_text("mine")
    assert run(still()).folder.name == "still-2"
    assert [p.name for p in (run.root / "still").iterdir()] == ["notes.txt"]


def test_fresh_does_everything_anew(run: Runner, still: Still) -> None:
    source = still()
    first = run(source)
    before = times(first)
    again = run(source, fresh=True)
    assert again.folder == first.folder
    assert all(times(again)[path] > stamp for path, stamp in before.items())


def test_outputs_of_a_stage_that_fails_now_do_not_stay(run: Runner, still: Still) -> None:
    source = still(lighting=["ok", "raise"])
    folder = run(source).folder
    assert (folder / "lighting" / "out.txt").exists()
    outcome = run(source, fresh=True)
    assert states(outcome)["lighting"] == "failed"
    assert not (folder / "lighting" / "out.txt").exists()


def test_two_runs_never_write_one_session(run: Runner, still: Still) -> None:
    source = still()
    folder = run(source).folder
    parent = psutil.Process(os.getppid())
    (folder / ".lock").write_text(json.dumps({"pid": parent.pid, "create_time": parent.create_time()}))
    with pytest.raises(OutputError) as caught:
        run(source)
    assert caught.value.code == "session.busy" and str(parent.pid) in caught.value.en
    (folder / ".lock").write_text(json.dumps({"pid": parent.pid, "create_time": parent.create_time() - 99}))
    assert run(source).exit_code == ExitCode.OK, "the process id was used again: the old owner is dead"


# --- cancel ---------------------------------------------------------------------------------------------------------
def cancel_at(run: Runner, stage: str, conductor: Conductor, wait: float = 0.3) -> list[float]:
    """Cancel when `stage` runs; returns the moment."""
    moments: list[float] = []
    listener = conductor._on_event

    def watch(event: dict[str, Any]) -> None:
        listener(event)
        if event["event"] == "stage.started" and event["stage"] == stage:
            threading.Timer(wait, lambda: (moments.append(time.monotonic()), conductor.cancel.set())).start()

    conductor._on_event = watch
    return moments


def test_cancel_is_done_within_a_second_and_resumes(run: Runner, still: Still, tmp_path: Path) -> None:
    source = still(scene=["child", "ok"])
    conductor = run.conductor(source)
    moments = cancel_at(run, "scene", conductor, 0.6)
    outcome = conductor.run()
    assert time.monotonic() - moments[0] < 1.0
    assert outcome.exit_code == ExitCode.CANCELLED
    assert written(outcome.folder)["state"] == "cancelled"
    assert states(outcome)["scene"] == "pending" and states(outcome)["geometry"] == "done"
    assert_gone(int((tmp_path / "scratch" / "grandchild").read_text()))
    assert_gone(int((tmp_path / "scratch" / "scene.attempt-0").read_text()))
    assert not list(outcome.folder.glob(".part-*")), "no half file stays"
    before = times(outcome)
    again = run(source)
    assert again.folder == outcome.folder and set(states(again).values()) == {"done"}
    assert times(again).items() >= before.items()


def test_cancel_before_the_still_is_read_leaves_nothing(run: Runner, still: Still) -> None:
    conductor = run.conductor(still(plate=["idle"]))
    cancel_at(run, "plate", conductor)
    with pytest.raises(Cancelled):
        conductor.run()
    assert not run.root.exists()
    assert run.events[-1]["state"] == "cancelled" and run.events[-1]["exit_code"] == 4
