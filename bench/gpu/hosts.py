"""Engine hosts on a real GPU: warmth, budget, real out-of-memory, a kernel that fails, NaN, SIGSEGV, repeatability.

    python -m bench.gpu.hosts [--tiny] [--json FILE]

A network that means nothing runs through the conductor with the tests' stages (`tests/fakes`). Each line says what was
expected and what came. --tiny tries it all on a processor, where the GPU's own faults are raised by hand.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FAKES = ROOT / "tests" / "fakes"
TINY = "ASSETIZE_BENCH_TINY"
ROWS: list[dict[str, Any]] = []


class Network:
    """Convolution, attention, scattered sums and draws: what engines are made of, and where GPUs like to differ."""

    loads = 0

    def load(self, device: str, tier: str) -> None:
        import torch

        self.device, self.tier, Network.loads = device, tier, Network.loads + 1
        self.size = 64 if os.environ.get(TINY) else {"full": 1024, "half": 512, "low": 256}[tier]
        generator = torch.Generator().manual_seed(1)
        self.kernel = torch.randn(64, 3, 7, 7, generator=generator).to(device)
        self.ballast = torch.zeros(self.size * self.size * 256, device=device)  # 1 GiB at the full tier

    def run(self, request: dict[str, Any], progress: Any) -> dict[str, Any]:
        import torch

        wanted = self.tier in request["value"].split(",")
        if wanted:
            self._fail(request["action"])
        with torch.inference_mode():
            picture = torch.randn(1, 3, self.size, self.size, device=self.device)
            found = torch.nn.functional.conv2d(picture, self.kernel, padding=3, stride=4)
            tokens = found.flatten(2).transpose(1, 2)[:, None, :4096]
            found = torch.nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)[0, 0]
            where = torch.randint(0, 97, (found.shape[0],), device=self.device)
            sums = torch.zeros(97, 64, device=self.device).index_add_(0, where, found).cumsum(0)
            numbers = sums.cpu().numpy()
        answer = {"text": hashlib.sha256(numbers.tobytes()).hexdigest()[:16], "loads": Network.loads, "tier": self.tier}
        return {**answer, "numbers": numbers * (float("nan") if wanted and request["action"] == "nan" else 1.0)}

    def _fail(self, action: str) -> None:
        import torch

        if action == "cuda_oom":
            if self.device == "cpu":
                raise RuntimeError("CUDA out of memory. By hand.")
            blocks = []
            while True:  # until the GPU really has no more
                blocks.append(torch.ones(2**30, device=self.device))
        if action == "gpu_fault":
            if self.device == "cpu":
                raise RuntimeError("CUDA error: device-side assert triggered. By hand.")
            torch.zeros(4, device=self.device)[torch.tensor([99], device=self.device)].sum().item()
        if action == "native":
            os.kill(os.getpid(), signal.SIGSEGV)


def check(name: str, good: bool, said: object) -> None:
    ROWS.append({"check": name, "ok": bool(good), "said": said})
    print(f"{'ok  ' if good else 'FAIL'} {name}: {said}", flush=True)


@contextlib.contextmanager
def part(name: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    except Exception:
        traceback.print_exc()
        check(name, False, traceback.format_exc().splitlines()[-1])
    print(f"[{name}: {time.perf_counter() - start:.1f} s]", flush=True)


class Bench:
    def __init__(self, scratch: Path, device: str) -> None:
        from fake_plan import CARDS, card

        self.scratch, self.device, self._count = scratch, device, 0
        self._embedded, self._card = CARDS[0], card

    def card(self, name: str = "net", **changes: Any) -> Any:
        values = {"entry": "bench.gpu.hosts:Network", "devices": (self.device,),
                  "memory_mb": {"full": 3000, "half": 2000, "low": 1000}, **changes}  # fmt: skip
        return self._card(name, "scene", **values)

    def run(self, pool: Any, order: str = "ok", card: Any = None, seed: int = 0) -> tuple[dict[str, Any], str, float]:
        """(the scene stage's record, what the engine said, seconds of the stage) for one new still."""
        from dataclasses import replace

        from worker.hardware.machine import this_machine
        from worker.host.process import Limits
        from worker.pipeline.conductor import Conductor
        from worker.pipeline.job import Job
        from worker.pipeline.plan import Plan
        from worker.session.options import Options

        self._count += 1
        still = self.scratch / f"{self._count}.png"
        folder = self.scratch / f"marks-{self._count}"
        folder.mkdir()
        still.write_text(json.dumps({"scratch": str(folder), "scene": [order], "note": self._count}), "utf-8")
        plan = Plan(("plate", "geometry", "scene"), "fake_stages", [self._embedded, card or self.card()])
        plan.__dict__["specs"] = tuple(replace(spec, timeout_s=120.0) for spec in plan.specs)
        conductor = Conductor(Job(still, Options(seed=seed), self.scratch / "out"), pool, plan=plan,
                              machine=this_machine(), accepted=frozenset(), limits=Limits())  # fmt: skip
        outcome = conductor.run()
        record = outcome.session.stages["scene"].model_dump(mode="json")
        file = outcome.folder / "scene" / "out.txt"
        text = file.read_text("utf-8").split("engine ")[1].strip() if file.exists() else ""
        return record, text, record["seconds"] or 0.0


def warm_and_repeatable(bench: Bench) -> None:
    from worker.host.pool import HostPool

    with HostPool() as pool:
        _, text, cold = bench.run(pool)
        second, again, warm = bench.run(pool)
        check("the second still loads nothing", second["details"]["loads"] == 1, f"{cold:.2f} s, then {warm:.2f} s")
        check("the same seed repeats in a warm host", text == again and text, [text, again])
        check("another seed differs", bench.run(pool, seed=3)[1] != text, "")
        if bench.device == "cuda":
            peak = second["peak_gpu_memory_mb"]
            check("the GPU's peak is recorded", peak is not None and peak > 1024, f"{peak} MB, ballast alone 1024")
    with HostPool() as pool:
        fresh = bench.run(pool)[1]
        check("the same seed repeats in a fresh host", fresh == text, [text, fresh])


def failures(bench: Bench) -> None:
    from worker.host.pool import HostPool

    for order, tier, attempts in (
        ("cuda_oom:full", "half", 2), ("cuda_oom:full,half", "low", 3), ("gpu_fault:full", "half", 2),
        ("nan:full", "half", 2), ("native:full", "half", 2),
    ):  # fmt: skip
        with part(order), HostPool() as pool:  # a pool of its own: one keeps in mind which tier a GPU had no room for
            record, _, seconds = bench.run(pool, order)
            got = (record["state"], record["tier"], record["attempts"])
            said = [warning["en"] for warning in record["warnings"]]
            check(order, got == ("done", tier, attempts), [*got, f"{seconds:.1f} s", *said])
    with part("the best tier still works"), HostPool() as pool:
        record, _, _ = bench.run(pool)
        check("after all that the best tier works", (record["state"], record["tier"]) == ("done", "full"), "")


def budget(bench: Bench) -> None:
    from worker.hardware.machine import this_machine
    from worker.host.pool import HostPool

    machine = this_machine()
    most = int(machine.memory_of(bench.device) * 0.6)
    cards = [bench.card(name, memory_mb={"full": most}) for name in ("one", "two", "three")]
    room = 1 if bench.device == "cpu" else max(1, len(machine.gpus))
    with HostPool(budget_mb=None if bench.device == "cpu" else 10**6) as pool:
        for card in cards:
            record, _, _ = bench.run(pool, card=card)
            check(f"“{card.name}” runs", record["state"] == "done", record["error"])
        warm = sorted(set(pool.pids()) - {"embedded"})
        expected = sorted(card.name for card in cards[-min(room, 3) :])
        check(f"{room} place(s): only the latest stay", warm == expected, warm)


def machine(device: str) -> dict[str, Any]:
    from worker.hardware.machine import this_machine

    sys.path.insert(0, str(ROOT / "install"))
    import torch_build

    here, gpu = this_machine(), torch_build.nvidia()
    print(here, gpu, sep="\n")
    if device == "cuda":
        check("torch can use the GPU by its version file", here.torch_runs_on("cuda"), str(here.torch))
        build = torch_build.choose("auto", gpu=gpu)
        check("bootstrap would take a CUDA build", build.device == "cuda", build.title)
    return {"gpus": [gpu.name for gpu in here.gpus], "torch": str(here.torch), "memory_mb": here.memory_mb}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    device = "cpu" if given.tiny else "cuda"
    sys.path.insert(0, str(FAKES))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(FAKES), str(ROOT), os.environ.get("PYTHONPATH", "")])
    if given.tiny:
        os.environ[TINY] = "1"
    about: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = os.environ["XDG_STATE_HOME"] = scratch
        bench = Bench(Path(scratch), device)
        with part("machine"):
            about = machine(device)
        for work in (warm_and_repeatable, failures, budget):
            with part(work.__name__):
                work(bench)
    bad = [row["check"] for row in ROWS if not row["ok"]]
    print(f"{len(ROWS) - len(bad)} of {len(ROWS)} as expected; not: {bad or 'none'}")
    if given.json:
        given.json.write_text(json.dumps({"machine": about, "checks": ROWS}, indent=1) + "\n", "utf-8")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
