"""The conductor through real hosts: order, crashes, hangs, memory tiers, resume, cancel."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from worker.errors import Cancelled, EngineUnavailable, ExitCode, InputError, OutputError
from worker.hardware.machine import Machine
from worker.hardware.nvidia import Gpu
from worker.host.pool import HostPool
from worker.host.process import Limits
from worker.pipeline import folder as folders
from worker.pipeline.conductor import Conductor
from worker.pipeline.job import Job, Outcome
from worker.pipeline.pace import Pace
from worker.pipeline.plan import Plan
from worker.session.atomic import sha256_of
from worker.session.options import Options

MACHINE = Machine(cores=2, memory_mb=8000)
Still = Callable[..., Path]


class Runner:
    """Runs jobs with the fake plan and remembers the events."""

    def __init__(self, pool: HostPool, root: Path) -> None:
        from fake_plan import PLAN

        self.pool, self.root, self.events = pool, root, []
        self.plan: Plan = PLAN
        self.limits = Limits(silence_s=5.0, idle_s=5.0)
        self.accepted: frozenset[str] = frozenset()

    def conductor(self, source: Path, cancel: threading.Event | None = None, fresh: bool = False, **options: Any):
        self.events = []
        return Conductor(
            Job(source, Options(**options), self.root, fresh=fresh), self.pool, self.events.append, cancel,
            plan=self.plan, machine=MACHINE, accepted=self.accepted, limits=self.limits,
        )  # fmt: skip

    def __call__(self, source: Path, **options: Any) -> Outcome:
        return self.conductor(source, **options).run()


@pytest.fixture
def run(pool: HostPool, tmp_path: Path) -> Runner:
    return Runner(pool, tmp_path / "out")


def written(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "session.json").read_text("utf-8"))


def states(outcome: Outcome) -> dict[str, str]:
    return {name: record["state"] for name, record in written(outcome.folder)["stages"].items()}


def times(outcome: Outcome) -> dict[str, int]:
    return {str(p.relative_to(outcome.folder)): p.stat().st_mtime_ns for p in outcome.folder.rglob("out.txt")}


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


# --- failures -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("stage", "way"), [("plate", "sigkill"), ("plate", "exit:7"), ("scene", "sigsegv"), ("scene", "sigfpe")]
)
def test_a_crash_is_survived_by_a_retry(run: Runner, still: Still, way: str, stage: str) -> None:
    outcome = run(still(**{stage: [way, "ok"]}))
    assert set(states(outcome).values()) == {"done"}
    record = written(outcome.folder)["stages"][stage]
    assert record["attempts"] == 2
    assert [w["code"] for w in record["warnings"]] == ["stage.retried"]
    assert ("exit code 7" if way == "exit:7" else way.upper()) in record["warnings"][0]["en"]
    if stage == "scene":
        assert record["tier"] == "low", "the second attempt takes the safer memory tier"


def test_a_stage_that_crashes_twice_fails_alone(run: Runner, still: Still) -> None:
    outcome = run(still(geometry=["sigsegv"]))
    assert outcome.exit_code == ExitCode.PARTIAL
    assert states(outcome) == {
        "plate": "done", "geometry": "failed", "scene": "skipped", "lighting": "done", "report": "done",
    }  # fmt: skip
    stages = written(outcome.folder)["stages"]
    assert stages["geometry"]["error"]["code"] == "stage.crashed"
    assert "SIGSEGV" in stages["geometry"]["error"]["en"] and "SIGSEGV" in stages["geometry"]["error"]["zh"]
    assert "geometry" in stages["scene"]["warnings"][0]["en"]
    assert written(outcome.folder)["state"] == "partial"


@pytest.mark.parametrize(
    ("action", "code", "attempts"),
    [("raise", "stage.fault", 1), ("fail", "fake.bad", 1), ("sysexit", "stage.fault", 1),
     ("oom", "stage.out_of_memory", 2), ("enospc", "output.full", 1), ("ghost", "stage.output_missing", 1)],
)  # fmt: skip
def test_what_a_stage_raises_becomes_a_sentence(
    run: Runner, still: Still, action: str, code: str, attempts: int
) -> None:
    outcome = run(still(scene=[action]))
    record = written(outcome.folder)["stages"]["scene"]
    assert (record["state"], record["error"]["code"], record["attempts"]) == ("failed", code, attempts)
    assert "Traceback" not in record["error"]["en"]
    assert states(outcome)["report"] == "done"
    if action == "raise":
        assert "ZeroDivisionError" in (outcome.folder / "logs" / "scene.log").read_text("utf-8")


def test_odd_results_are_plain_or_fail_their_stage(run: Runner, still: Still) -> None:
    stages = written(run(still(lighting=["odd"])).folder)["stages"]
    assert stages["lighting"]["quality"] == {"psnr_db": None} and stages["lighting"]["details"] == {"closed": True}
    for action in ("unspeakable", "badscene"):
        outcome = run(still(lighting=[action]))
        record = written(outcome.folder)["stages"]["lighting"]
        assert (record["state"], record["attempts"], record["error"]["code"]) == ("failed", 1, "stage.fault"), action
        assert states(outcome)["report"] == "done"


def test_out_of_memory_goes_to_the_safer_tier_and_says_so(run: Runner, still: Still) -> None:
    record = written(run(still(scene=["oom", "ok"])).folder)["stages"]["scene"]
    assert (record["state"], record["tier"]) == ("done", "low")
    assert "low" in record["warnings"][0]["en"]


def with_engine(run: Runner, entry: str, **changes: Any) -> None:
    """The plan with one scene engine of three tiers."""
    from fake_plan import CARDS, card

    tiers = {"full": 300, "half": 200, "low": 100}
    engine = card("net", "scene", **{"entry": f"fake_engines:{entry}", "memory_mb": tiers, **changes})
    run.plan = Plan(run.plan.names, run.plan.package, [CARDS[0], engine])


@pytest.mark.parametrize(
    ("order", "state", "tier", "attempts"),
    [
        ("cuda_oom:full", "done", "half", 2), ("cuda_oom:full,half", "done", "low", 3),
        ("cuda_oom:full,half,low", "failed", "low", 3),
        ("nan:full", "done", "half", 2), ("nan:full,half", "failed", "half", 2),
        ("saw_nan:full", "done", "half", 2), ("saw_nan:full,half,low", "failed", "half", 2),
        ("gpu_fault:full", "done", "half", 2), ("gpu_fault:full,half", "failed", "half", 2),
        ("native:full", "done", "half", 2), ("native:full,half", "failed", "half", 2),
    ],
)  # fmt: skip
def test_an_engine_that_fails_goes_to_safer_tiers(
    run: Runner, still: Still, order: str, state: str, tier: str, attempts: int
) -> None:
    with_engine(run, "Faulty")
    outcome = run(still(scene=[order]))
    record = written(outcome.folder)["stages"]["scene"]
    assert (record["state"], record["tier"], record["attempts"]) == (state, tier, attempts)
    assert [w["code"] for w in record["warnings"]] == ["stage.retried"] * (attempts - 1)
    assert all("safer memory tier" in w["en"] for w in record["warnings"])
    assert states(outcome)["report"] == "done"
    if state == "failed":
        codes = {"cuda_oom": "stage.out_of_memory", "nan": "engine.not_finite", "saw_nan": "engine.not_finite",
                 "native": "stage.crashed", "gpu_fault": "stage.device_fault"}  # fmt: skip
        assert record["error"]["code"] == codes[order.partition(":")[0]]
    if order == "nan:full,half":
        assert "result.cloud[0].scale" in record["error"]["en"] and "NaN" in record["error"]["zh"]


def test_the_next_still_does_not_run_out_of_the_gpu_again(
    run: Runner, still: Still, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tier that held is kept, and said, and its engine stays warm."""
    gpus = (Gpu("A", 8000, "580"),)
    monkeypatch.setitem(globals(), "MACHINE", Machine(2, 8000, gpus))
    with_engine(run, "Faulty", devices=("cuda",))
    with HostPool(budget_mb=10**6, gpus=gpus) as run.pool:
        first = written(run(still("one.png", scene=["cuda_oom:full"])).folder)["stages"]["scene"]
        second = written(run(still("two.png", scene=["ok"])).folder)["stages"]["scene"]
    assert (first["tier"], first["attempts"], second["tier"], second["attempts"]) == ("half", 2, "half", 1)
    assert [warning["code"] for warning in second["warnings"]] == ["stage.tier_kept"]
    assert second["details"]["host"] == first["details"]["host"] and second["details"]["loads"] == 1


def test_numbers_that_are_none_have_no_second_try_without_a_safer_tier(run: Runner, still: Still) -> None:
    with_engine(run, "Faulty", memory_mb={"full": 100})
    record = written(run(still(scene=["nan:full"])).folder)["stages"]["scene"]
    assert (record["state"], record["attempts"]) == ("failed", 1)
    assert record["error"]["code"] == "engine.not_finite"


def test_a_networks_weights_stay_warm_and_its_draws_repeat(
    run: Runner, still: Still, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over two stills and, anew, in another host: the same seed, the same numbers."""
    pytest.importorskip("torch", reason="needs torch: python3 install/bootstrap.py gpu --device cpu")
    import fake_weights

    monkeypatch.setenv("ASSETIZE_WEIGHTS_DIR", str(tmp_path / "weights"))
    (tmp_path / "weights" / "net").mkdir(parents=True)
    (tmp_path / "weights" / "net" / fake_weights.NAME).write_bytes(fake_weights.DATA)
    net = fake_weights.net("https://nowhere.invalid/net.safetensors")
    net = replace(net, stage="geometry", entry="fake_engines:TinyNet", needs=("torch",))
    run.plan = Plan(run.plan.names, run.plan.package, [net])
    run.limits = Limits()  # importing torch takes its time
    run.plan.__dict__["specs"] = tuple(replace(spec, timeout_s=100.0) for spec in run.plan.specs)

    def text(outcome: Outcome) -> str:
        return (outcome.folder / "geometry" / "out.txt").read_text().split("engine ")[1]

    texts, hosts = [], []
    with HostPool() as own:
        run.pool = own
        for name in ("one.png", "two.png"):
            outcome = run(still(name, note=[name]))
            record = written(outcome.folder)["stages"]["geometry"]
            assert record["state"] == "done" and record["details"]["loads"] == 1, "the second still loads nothing"
            assert record["peak_gpu_memory_mb"] is None, "no CUDA device was used"
            texts.append(text(outcome))
            hosts.append(record["details"]["host"])
        assert hosts[0] == hosts[1]
    with HostPool() as own:
        run.pool = own
        texts.append(text(run(still("three.png", note=["3"]))))
        other = text(run(still("four.png"), seed=5))
    assert len(set(texts)) == 1 and texts[0] != other and "True" in texts[0]


def test_an_engine_may_have_a_time_limit_of_its_own(run: Runner, still: Still) -> None:
    with_engine(run, "Echo", timeout_s=1.5, memory_mb={"full": 100})
    record = written(run(still(scene=["spin"])).folder)["stages"]["scene"]
    assert record["state"] == "failed" and "more than 2 s" in record["error"]["en"] + str(record["warnings"])


@pytest.mark.parametrize(
    ("action", "why"), [("idle", "stood still"), ("sigstop", "stood still"), ("spin", "more than 6 s")]
)
def test_a_hang_is_ended(run: Runner, still: Still, action: str, why: str) -> None:
    run.limits = Limits(silence_s=30.0, idle_s=2.5)
    start = time.monotonic()
    outcome = run(still(scene=[action, "ok"]))
    record = written(outcome.folder)["stages"]["scene"]
    assert record["state"] == "done" and why in record["warnings"][0]["en"]
    assert time.monotonic() - start < 25


def test_a_silent_host_is_ended(run: Runner, still: Still) -> None:
    run.limits = Limits(silence_s=4.0, idle_s=60.0)
    record = written(run(still(scene=["sigstop", "ok"])).folder)["stages"]["scene"]
    assert record["state"] == "done" and "no sign of life" in record["warnings"][0]["en"]


def test_a_crash_takes_the_hosts_own_children_along(run: Runner, still: Still, tmp_path: Path) -> None:
    run(still(scene=["child:die", "ok"]))
    assert_gone(int((tmp_path / "scratch" / "grandchild").read_text()))


def assert_gone(pid: int, within: float = 1.0) -> None:
    end = time.monotonic() + within
    while time.monotonic() < end:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.02)
    raise AssertionError(f"process {pid} lives on")


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
