"""DUSt3R on a GPU with meaningless weights: ours beside upstream's, speed, memory, precision, a whole still.

    python -m bench.gpu.dust3r [--upstream .gpu/dust3r] [--out FOLDER] [--tiny]

Prints a table and writes dust3r.json to --out (default: $OUT, else here). Takes about two minutes on an H100; every
part is tried on its own, a failure prints its traceback and the next goes on. `--tiny` tries it all on a processor.
Upstream's folder is that of bench/parity/dust3r.py, `einops` may lie in it as well.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import os
import platform
import pstats
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.parity import dust3r as parity
from worker.engines.dust3r.config import Dust3rConfig
from worker.engines.dust3r.network import Dust3r
from worker.engines.dust3r.runner import Runner, load_network

RUNS = 20
RESULT: dict[str, Any] = {}


class Bench:
    def __init__(self, upstream: Path, tiny: bool) -> None:
        self.tiny, self.upstream = tiny, upstream
        self.config = parity.GOLDEN_CONFIG if tiny else Dust3rConfig()
        self.device = "cpu" if tiny else "cuda"
        self.size = (96, 160) if tiny else (288, 512)
        self.runs = 2 if tiny else RUNS
        self.image = parity.picture(*self.size).to(self.device)
        self.folder = Path(tempfile.mkdtemp())
        self.state = self._draw()

    def _draw(self) -> dict[str, Tensor]:
        """Drawn on the device by name order: only equal within this run, which is all that is compared here."""
        with torch.device("meta"):
            places = Dust3r(self.config).state_dict()
        generator = torch.Generator(self.device).manual_seed(0)
        state = {}
        for name, place in sorted(places.items()):
            value = torch.randn(place.shape, generator=generator, device=self.device)
            if value.dim() > 1:
                gain = parity.HEAD_GAIN if name.endswith(parity.LAST) else 1.0
                value *= gain / max(1, value[0].numel()) ** 0.5
            else:
                value = value * 0.02 + (1 if name.endswith("weight") else 0)
            state[name] = value
        state["downstream_head1.dpt.head.4.bias"][2] += 4  # most points before the camera, as a real picture's are
        return state

    def ours(self, kind: torch.dtype) -> Dust3r:
        with torch.device("meta"):
            network = Dust3r(self.config)
        network.load_state_dict(self.state, assign=True)
        network.keep_first_view()
        network.requires_grad_(False).eval()
        if kind != torch.float32:  # copies, so that the drawn ones stay as they are
            network.trunk_to(kind)
        return network

    def time(self, work: Callable[[], Any]) -> dict[str, float]:
        """Warm milliseconds: median and best; peak megabytes of tensors while it ran."""
        for _ in range(3):
            work()
        self.sync()
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = []
        for _ in range(self.runs):
            start = time.perf_counter()
            work()
            self.sync()
            seconds.append(time.perf_counter() - start)
        peak = torch.cuda.max_memory_allocated() / 2**20 if self.device == "cuda" else 0.0
        return {"ms": 1000 * statistics.median(seconds), "best ms": 1000 * min(seconds), "peak MB": peak}

    def sync(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    # --- parts ------------------------------------------------------------------------------------------------------
    def parity_fp32(self) -> None:
        with tf32(False), torch.inference_mode():
            theirs = self.their_network()
            want = parity.ask_upstream(theirs, self.image)
            RESULT["fp32 ours against upstream"] = parity.difference(self.ours(torch.float32)(self.image), want)

    def upstream_speed(self) -> None:
        theirs = self.their_network()
        with tf32(True), torch.inference_mode():
            RESULT["upstream, one edge, TF32"] = self.time(partial(parity.ask_upstream, theirs, self.image))
        with tf32(False), torch.inference_mode():
            RESULT["upstream, one edge, fp32"] = self.time(partial(parity.ask_upstream, theirs, self.image))
        with tf32(True), torch.inference_mode(), torch.autocast(self.device, torch.bfloat16):
            RESULT["upstream, one edge, bf16 autocast"] = self.time(partial(parity.ask_upstream, theirs, self.image))

    def their_network(self) -> torch.nn.Module:
        theirs = parity.upstream(self.upstream, self.config).eval().requires_grad_(False)
        theirs.load_state_dict(self.state, strict=False, assign=True)
        return theirs

    def our_speed(self) -> None:
        image = self.image[0].cpu().numpy()
        for kind in (torch.float32, torch.bfloat16, torch.float16):
            name = f"ours, {str(kind).removeprefix('torch.')} trunk"
            network = self.ours(kind)
            eager = Runner(network, self.device, graphs=False)
            RESULT[f"{name}, eager"] = self.time(partial(eager, image))
            if self.device == "cuda":
                RESULT[f"{name}, graph"] = self.time(partial(Runner(network, self.device, graphs=True), image))
        if self.device == "cuda":
            runner = Runner(network, self.device, graphs=True)  # forbids TF32; the next line allows it
            with tf32(True):
                RESULT[f"{name}, graph, TF32 head"] = self.time(partial(runner, image))
            network.downstream_head1.to(memory_format=torch.channels_last)
            RESULT[f"{name}, graph, channels last"] = self.time(partial(Runner(network, self.device, True), image))
            with tf32(True):
                runner = Runner(network, self.device, graphs=True)
                torch.backends.cudnn.allow_tf32 = True  # the runner forbids it
                RESULT[f"{name}, graph, TF32 head, channels last"] = self.time(partial(runner, image))
            network.downstream_head1.to(memory_format=torch.contiguous_format)

    def parts(self) -> None:
        """Where the time goes: trunk and head alone, as graphs, and the costliest kernels."""
        if self.device != "cuda":
            return
        network = self.ours(torch.float16)
        Runner(network, self.device, True)  # sets the flags
        with torch.inference_mode():
            rows, columns = self.size[0] // 16, self.size[1] // 16
            with torch.autocast("cuda", torch.float16, cache_enabled=False):
                network._rope.place(rows, columns, torch.device(self.device), torch.float16)
                tokens = [t.float() for t in network._trunk(self.image)]
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                network.downstream_head1(tokens, rows, columns)
            RESULT["ours, head alone, graph"] = self.time(graph.replay)
            kinds = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
            with torch.profiler.profile(activities=kinds) as profile:
                network(self.image)
                torch.cuda.synchronize()
            print(profile.key_averages().table(sort_by="self_cuda_time_total", row_limit=14, max_name_column_width=70))

    def precision(self) -> None:
        with tf32(False), torch.inference_mode():
            want = self.ours(torch.float32)(self.image)
            for kind in (torch.bfloat16, torch.float16):
                name = str(kind).removeprefix("torch.")
                RESULT[f"{name} trunk against fp32"] = parity.difference(self.ours(kind)(self.image), want)

    def repeats(self) -> None:
        image = self.image[0].cpu().numpy()
        network = self.ours(torch.float16)
        eager = Runner(network, self.device, False)(image)
        again = Runner(network, self.device, self.device == "cuda")
        answers = [again(image) for _ in range(3)]
        same = [all(a.tobytes() == b.tobytes() for a, b in zip(eager, answer, strict=True)) for answer in answers]
        RESULT["graph gives eager's bytes, three times"] = same

    def tiers(self) -> None:
        """From an official-sized file: seconds to load, memory the process takes, by tier."""
        path = self.weights_file()
        for tier in ("full", "low") if self.device == "cuda" else ("fp32",):
            gc.collect()
            if self.device == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated() if self.device == "cuda" else 0
            start = time.perf_counter()
            runner = Runner(load_network(path, self.config, self.device, tier), self.device, tier == "full")
            self.sync()
            row = {"load s": time.perf_counter() - start}
            row |= self.time(partial(runner, self.image[0].cpu().numpy()))
            if self.device == "cuda":
                row["load peak MB"] = (torch.cuda.max_memory_allocated() - held) / 2**20
                row["reserved MB"] = torch.cuda.memory_reserved() / 2**20 - held / 2**20
                row["peak MB"] -= held / 2**20
            RESULT[f"tier {tier}, from a file"] = row
            del runner

    def weights_file(self) -> Path:
        from safetensors.torch import save_file

        path = self.folder / "dust3r" / "model.safetensors"
        if not path.exists():
            path.parent.mkdir(parents=True)
            save_file({name: value.cpu() for name, value in self.state.items()}, path)
        return path

    def whole_engine(self) -> None:
        """The engine itself: still in, pointmap of the still's size out."""
        self.weights_file()
        os.environ["ASSETIZE_WEIGHTS_DIR"] = str(self.folder)
        from worker.engines.contract import GeometryRequest
        from worker.engines.dust3r.engine import Dust3rEngine

        config = self.config

        class Sized(Dust3rEngine):
            pass

        Sized.config = config
        engine = Sized()
        engine.load(self.device, "full" if self.device == "cuda" else "fp32")
        sizes = ((72, 128, False),) if self.tiny else ((720, 1280, False), (1080, 1920, False), (1716, 4096, True))
        for height, width, tiled in sizes:
            request = GeometryRequest(still(height, width), None, tiled=tiled)
            times, asked = [], []
            network = engine.network

            def watched(image: np.ndarray, network: Any = network, asked: list[float] = asked) -> Any:
                start = time.perf_counter()
                answer = network(image)
                asked.append(time.perf_counter() - start)
                return answer

            engine.network = watched
            for _ in range(2 if tiled else 4):
                start = time.perf_counter()
                result = engine.run(request, lambda fraction: None)
                times.append(time.perf_counter() - start)
            passes = len(asked) // len(times)
            RESULT[f"engine, {width}x{height}{' tiled' if tiled else ''}"] = {
                "first s": times[0], "warm s": statistics.median(times[1:]), "of it network s": sum(asked[-passes:]),
                "passes": passes, "tiles used": result.tiles, "trusted": float(result.mask.mean()),
            }  # fmt: skip
            engine.network = network
        with cProfile.Profile() as profile:
            engine.run(GeometryRequest(still(*sizes[-2 if len(sizes) > 1 else 0][:2]), None), lambda fraction: None)
        pstats.Stats(profile).sort_stats("tottime").print_stats(14)
        for shape in ((500, 500), (1920, 1080)):
            engine.run(
                GeometryRequest(still(*(n // 8 if self.tiny else n for n in shape)), None), lambda fraction: None
            )
        if self.device == "cuda":
            RESULT["engine, three shapes"] = {"reserved MB": torch.cuda.memory_reserved() / 2**20}


def still(height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 20, (height, width, 3))
    return np.clip(np.linspace(30, 220, width)[None, :, None] + noise, 0, 255).astype(np.uint8)


@contextmanager
def tf32(on: bool) -> Iterator[None]:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = on
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream", type=Path, default=Path(".gpu/dust3r"))
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", ".")))
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.upstream.resolve()))
    start = time.perf_counter()
    bench = Bench(arguments.upstream.resolve(), arguments.tiny)
    RESULT["machine"] = {
        "device": "cpu" if arguments.tiny else torch.cuda.get_device_name(), "torch": torch.__version__,
        "python": platform.python_version(), "size": f"{bench.size[1]}x{bench.size[0]}", "runs": bench.runs,
        "weights": "random",
    }  # fmt: skip
    parts = (bench.our_speed, bench.upstream_speed, bench.parity_fp32, bench.precision, bench.repeats, bench.tiers,
             bench.parts, bench.whole_engine)  # fmt: skip
    for part in parts:
        try:
            part()
        except Exception:
            traceback.print_exc()
            RESULT.setdefault("failed", []).append(part.__name__)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        (arguments.out / "dust3r.json").write_text(json.dumps(RESULT, indent=1) + "\n")
        print(f"[{time.perf_counter() - start:6.1f} s] {part.__name__}", flush=True)
    print()
    for name, row in RESULT.items():
        values = row if not isinstance(row, dict) else "  ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
        )  # fmt: skip
        print(f"{name:44} {values}")


if __name__ == "__main__":
    main()
