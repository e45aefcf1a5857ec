"""What bounds an evaluation of TRELLIS' flows on a GPU, and what CUDA graphs make of it.

    python -m bench.gpu.trellis_graphs [--voxels 20000] [--tiny --device cpu]

Random weights of the official sizes, voxels on a shell, as in bench.gpu.trellis. For both flows: a plain and a guided
evaluation kernel by kernel and as a graph, beside the time of a matrix product of as much arithmetic; all steps both
ways, whether the bytes are equal, and the costliest kernels. Then a whole prop by tier both ways, ten props in a row,
and what is left of a process whose capture was refused. Writes trellis_graphs.json to $OUT.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import DeviceType

from bench.gpu.trellis import MB, Bench, OnShell
from bench.parity.trellis_cases import shell
from worker.engines.trellis import networks as parts
from worker.engines.trellis.networks import Networks
from worker.engines.trellis.tiers import TIERS
from worker.nn import cuda_graph
from worker.nn.flow import sample
from worker.nn.sizes import Sampling
from worker.nn.sparse import Voxels

Step = Callable[[Tensor, Tensor], Tensor]


class NoCapture:
    """Where there is no GPU, the script itself is tried with this."""

    def __init__(self, compute: Callable[..., Any], *given: Tensor, pool: Any = None) -> None:
        self.compute = compute

    def __call__(self, *given: Tensor) -> Any:
        return self.compute(*given)


class GraphBench(Bench):
    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__(args)
        self.graphs = False
        self.captured: Any = cuda_graph.Captured if self.cuda else NoCapture

    def generator(self, tier: str, voxels: int) -> OnShell:
        resident, limits = TIERS[tier]
        networks = Networks(self.config, self.files(), torch.device(self.device), resident)
        made = OnShell(networks, replace(limits, graphs=self.graphs), self.convolve)
        made.coords = shell(self.config.resolution, voxels)
        return made

    def flow(self, part: str, voxels: tuple[Voxels, ...], tflop: float) -> dict[str, Any]:
        size = self.config.structure_flow
        shape = (len(voxels[0]), self.config.latent_flow.latent) if voxels else (size.latent, *[size.grid] * 3)
        noise = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0)).to(self.device)
        _, context = self.flow_inputs(1)
        networks = Networks(self.config, self.files(), torch.device(self.device), True)
        found: dict[str, Any] = {"tflop": round(tflop, 2)}
        with networks.use(part) as network:
            prepared = network.prepare(context)

            def velocity(x: Tensor, t: Tensor, seeing: int) -> Tensor:
                return network(x, *voxels, t, prepared if seeing else None)

            steps: list[Step] = []  # plain, then guided: `sample` shows both
            sample(velocity, noise, Sampling(steps=0), faster=lambda step: steps.append(step) or step)
            now = torch.full((1,), 700.0, device=self.device)
            for step, name, batch in zip(steps, ("plain", "guided"), (1, 2), strict=True):
                found[name] = self.one(step, noise, now, tflop * batch)
            found["all_steps"] = self.all_steps(velocity, noise)
        return found

    def one(self, step: Step, x: Tensor, now: Tensor, tflop: float) -> dict[str, Any]:
        row = {"eager_ms": self.ms(lambda: step(x, now)), "start_ms": self.launch_ms(lambda: step(x, now))}
        row["kernels"], row["kernels_ms"] = self.profile(step, x, now)
        self.sync()
        start = time.perf_counter()
        captured = self.captured(step, x, now)
        self.sync()
        row["capture_ms"] = round(1e3 * (time.perf_counter() - start), 1)
        row["graph_ms"] = self.ms(lambda: captured(x, now))
        row["same_bytes"] = bool(torch.equal(step(x, now), captured(x, now)))
        other = x.flip(1)
        row["same_bytes_for_others"] = bool(torch.equal(step(other, now / 2), captured(other, now / 2)))
        if floor := self.results.get("floor", {}).get("tflops"):
            row["floor_ms"] = round(1e3 * tflop / floor, 2)
            row["eager_times_floor"], row["graph_times_floor"] = (
                round(row[key] / row["floor_ms"], 2) for key in ("eager_ms", "graph_ms")
            )
        return row

    def profile(self, step: Step, x: Tensor, now: Tensor) -> tuple[int, float]:
        """How many kernels, and milliseconds that they ran; prints the costliest."""
        kinds = [torch.profiler.ProfilerActivity.CPU]
        if self.cuda:
            kinds.append(torch.profiler.ProfilerActivity.CUDA)
        with torch.profiler.profile(activities=kinds) as profile:
            step(x, now)
            self.sync()
        events = profile.key_averages()
        if not self.cuda:
            return 0, 0.0
        kernels = [e for e in events if e.device_type == DeviceType.CUDA and e.self_device_time_total]
        total = sum(e.self_device_time_total for e in kernels)
        for event in sorted(kernels, key=lambda e: -e.self_device_time_total)[:12]:
            took = event.self_device_time_total
            print(f"  {took / 1e3:8.3f} ms {100 * took / total:5.1f} % {event.count:5d} x  {event.key[:100]}")
        return sum(e.count for e in kernels), round(total / 1e3, 2)

    def all_steps(self, velocity: Any, noise: Tensor) -> dict[str, Any]:
        """25 steps both ways, twice each: what a prop pays, captures included."""
        row: dict[str, Any] = {}
        answers = []
        for way in ("eager", "graph"):
            for turn in ("first", "second"):
                self.clear()
                start = time.perf_counter()
                pool = torch.cuda.graph_pool_handle() if self.cuda else None
                faster = (lambda step: step) if way == "eager" else (lambda step: cuda_graph.Replayed(step, pool))  # noqa: B023
                answer = sample(velocity, noise, self.config.structure_sampling, faster=faster)
                self.sync()
                row[f"{way}_{turn}_s"] = round(time.perf_counter() - start, 3)
            row |= {f"{way}_{key}": value for key, value in self.memory().items() if key.startswith("peak")}
            answers.append(answer)
        row["same_bytes"] = bool(torch.equal(*answers))
        row["refused"] = cuda_graph._refused
        return row

    def structure(self) -> dict[str, Any]:
        return self.flow(parts.STRUCTURE_FLOW, (), self._transformer_tflop(self.config.structure_flow.grid**3))

    def latents(self) -> dict[str, Any]:
        coords = shell(self.config.resolution, self.voxels).to(self.device)
        voxels = Voxels(coords, self.config.resolution, self.convolve)
        coarse = len(voxels.coarser.voxels)
        tflop = self._transformer_tflop(coarse) + self._convolution_tflop(len(voxels), coarse)
        return self.flow(parts.LATENT_FLOW, (voxels,), tflop)

    def props(self, tier: str) -> dict[str, Any]:
        """A whole prop without and with graphs: `prop`'s numbers, and whether the Gaussians are the same."""
        row: dict[str, Any] = {}
        clouds = []
        for graphs in (False, True):
            self.graphs = graphs
            row["graph" if graphs else "eager"] = self.prop(tier, self.voxels)
            made = self.generator(tier, self.voxels)
            times = []
            for _ in range(2):
                self.sync()
                start = time.perf_counter()
                shape = made.run(self.picture, 0, "shell", lambda _: None)
                self.sync()
                times.append(round(time.perf_counter() - start, 3))
            row[f"{'graph' if graphs else 'eager'}_s"] = times  # picture to raw numbers
            # off the device: `sdf` is a view that would keep all raw numbers there, and count in the other way's peak
            kept = (shape.gaussians.position, shape.gaussians.color, shape.mesh and shape.mesh.sdf)
            clouds.append([part if part is None else part.cpu() for part in kept])
            del shape, made
        row["same_bytes"] = [a is None or bool(torch.equal(a, b)) for a, b in zip(*clouds, strict=True)]
        return row

    def row_of_ten(self) -> dict[str, Any]:
        self.graphs = True
        return self.in_a_row()

    def refused(self) -> dict[str, Any]:
        """A step that asks the GPU something cannot be captured. What does that leave of the process?"""

        def asking(x: Tensor, now: Tensor) -> Tensor:
            return x * 2 if float((x @ x).sum()) > -1e30 else x

        x = torch.randn(1, 1024, 1024, device=self.device)
        now = torch.zeros(1, device=self.device)
        self.clear()
        before = torch.cuda.memory_reserved() if self.cuda else 0
        step = cuda_graph.Replayed(asking)
        answers = [step(x, now) for _ in range(3)]
        row: dict[str, Any] = {
            "told": cuda_graph._refused,
            "right": all(bool(torch.equal(answer, x * 2)) for answer in answers),
        }
        del answers
        if self.cuda:
            row["default_stream"] = torch.cuda.current_stream() == torch.cuda.default_stream()
            big = torch.empty(1 << 30, device=self.device)
            del big
            gc.collect()
            torch.cuda.empty_cache()
            row["memory_left_mb"] = (torch.cuda.memory_reserved() - before) // MB
        cuda_graph._refused = False
        again = cuda_graph.Replayed(lambda x, now: x @ x + now)
        expected = x @ x
        row["another_capture_works"] = all(bool(torch.equal(again(x, now), expected)) for _ in range(3))
        row["another_was_captured"] = again._captured is not None
        return row

    def single_kernels(self) -> dict[str, Any]:
        """Choices that a graph leaves open: which attention, and GELU within the product before it."""
        from torch.nn.attention import SDPBackend, sdpa_kernel

        c, heads = self.config.structure_flow.channels, self.config.structure_flow.heads
        dtype = torch.float16 if self.cuda else torch.float32
        tokens, seen = self.config.structure_flow.grid**3, self.config.image.tokens
        row: dict[str, Any] = {}
        for batch, keys in ((1, tokens), (2, tokens), (1, seen)):
            q = torch.randn(batch, heads, tokens, c // heads, device=self.device, dtype=dtype)
            k = torch.randn(batch, heads, keys, c // heads, device=self.device, dtype=dtype)
            for way in ("default", "FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION"):
                name = f"attention {batch}x{tokens}x{keys} {way}"
                try:
                    with contextlib.nullcontext() if way == "default" else sdpa_kernel(getattr(SDPBackend, way)):
                        row[name] = self.ms(lambda: F.scaled_dot_product_attention(q, k, k))  # noqa: B023
                except RuntimeError as fault:
                    row[name] = str(fault)[:60]
            x = torch.randn(batch * tokens, c, device=self.device, dtype=dtype)
            weight = torch.randn(4 * c, c, device=self.device, dtype=dtype) / c**0.5
            bias = torch.randn(4 * c, device=self.device, dtype=dtype)
            apart = lambda: F.gelu(F.linear(x, weight, bias), approximate="tanh")  # noqa: B023,E731
            within = lambda: torch._addmm_activation(bias, x, weight.t(), use_gelu=True)  # noqa: B023,E731
            row[f"gelu {batch}x{tokens} apart"], row[f"gelu {batch}x{tokens} within"] = self.ms(apart), self.ms(within)
            row[f"gelu {batch}x{tokens} gap"] = float((apart() - within()).abs().max())
        return row

    def run(self) -> None:
        if self.cuda:
            torch.zeros(1, device="cuda")
            free, total = torch.cuda.mem_get_info()
            self.results["driver_mb"] = (total - free - torch.cuda.memory_reserved()) // MB
        tiers = ("full", "sequential") if not self.args.tiny else ("full",)
        plan: dict[str, Callable[[], Any]] = {
            "floor": self.floor,
            "files": lambda: self.files() and None,
            "structure": self.structure,
            "latents": self.latents,
            **{f"tier {tier}": (lambda tier=tier: self.props(tier)) for tier in tiers},
            "ten in a row": self.row_of_ten,
            "single kernels": self.single_kernels,
            "refused": self.refused,  # near the end: what it leaves is what it asks
            "tier low": lambda: self.props("low"),
        }
        self.carry_out(plan, "trellis_graphs.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voxels", type=int, default=20_000)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", nargs="*", help="parts by name")
    parser.add_argument("--tiny", action="store_true")
    bench = GraphBench(parser.parse_args())
    try:
        bench.run()
    finally:
        shutil.rmtree(bench.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
