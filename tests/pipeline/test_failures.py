"""Stages that crash, hang, run out of memory, raise: what the conductor makes of it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from job_runner import Runner, Still, assert_gone, states, written

from worker.errors import ExitCode
from worker.hardware.machine import Machine
from worker.hardware.nvidia import Gpu
from worker.host.pool import HostPool
from worker.host.process import Limits
from worker.pipeline.job import Outcome
from worker.pipeline.plan import Plan


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


def test_the_next_still_does_not_run_out_of_the_gpu_again(run: Runner, still: Still) -> None:
    """The tier that held is kept, and said, and its engine stays warm."""
    gpus = (Gpu("A", 8000, "580"),)
    run.machine = Machine(2, 8000, gpus)
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
