"""SHARP on a GPU, random weights: ours beside Apple's own code in one run. Speed by step, memory by tier, parity.

    python -m bench.gpu.sharp --extra FOLDER [--quick] [--tiny] [--out FOLDER]

FOLDER (default .gpu/sharp, which git ignores) holds Apple's `sharp` package and the wheels it needs (timm, plyfile);
without it only ours is measured. --tiny tries every step on a CPU with a small twin. The part `stage` needs the
worker's own dependencies. Each part stands alone: one that fails prints why, and the next goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import hashlib
import importlib.util
import json
import os
import pstats
import sys
import tempfile
import time
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

FOCAL = 1527.4  # px at 1920: what upstream assumes
RUNS = 5
RESULT: dict[str, Any] = {}


@contextlib.contextmanager
def part(name: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    except Exception:
        print(f"--- {name} FAILED\n{traceback.format_exc()}", flush=True)
        RESULT.setdefault("failed", []).append(name)
    print(f"[{name}: {time.perf_counter() - start:.1f} s]", flush=True)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def stand_ins() -> None:
    """Libraries that only other parts of the modules need, where this machine lacks them."""
    for name in ("cv2", "platformdirs"):
        if importlib.util.find_spec(name) is None:
            print(f"no {name} here: stood in for")
            sys.modules[name] = types.ModuleType(name)


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def clock(work: Callable[[], Any], runs: int = RUNS, warm: int = 2) -> tuple[float, Any]:
    """Median seconds of `runs`, after `warm` unmeasured ones; the last result."""
    seconds, found = [], None
    for index in range(warm + runs):
        del found
        synchronize()
        start = time.perf_counter()
        found = work()
        synchronize()
        if index >= warm:
            seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)), found


@contextlib.contextmanager
def peak(into: dict[str, Any]) -> Iterator[None]:
    """GPU memory in GiB: most allocated, and most held from the driver."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    yield
    if torch.cuda.is_available():
        into["allocated_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 3)
        into["reserved_gib"] = round(torch.cuda.max_memory_reserved() / 2**30, 3)


def upstream_part(words: argparse.Namespace, weights: dict[str, torch.Tensor], image: np.ndarray) -> dict[str, Any]:
    """Apple's path; returns its clouds by precision."""
    from bench.parity.sharp import Upstream, theirs_as_dict

    out: dict[str, Any] = {}
    start = time.perf_counter()
    upstream = Upstream(words.extra, sorted(words.extra.glob("*.whl")), weights, words.device)
    times: dict[str, Any] = {"build_and_load": time.perf_counter() - start}
    clouds = {}
    for name, tf32, dtype in (("fp32", False, None), ("tf32", True, None), ("bf16", False, torch.bfloat16)):
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        scope = torch.autocast("cuda", dtype) if dtype else contextlib.nullcontext()
        memory: dict[str, Any] = {}
        with scope, peak(memory):
            seconds, ndc = clock(lambda: upstream.forward(image, FOCAL))
        times[name] = {"forward": seconds, **memory}
        clouds[name] = ndc
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    times["unproject"], found = clock(lambda: upstream.unproject(clouds["fp32"], image, FOCAL), 2, 1)
    from sharp.utils.gaussians import save_ply

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "upstream.ply"
        times["save"], _ = clock(lambda: save_ply(found, FOCAL, image.shape[:2], path), 2, 0)
    times["total"] = times["fp32"]["forward"] + times["unproject"] + times["save"]
    out["times"] = times
    out["cloud"] = theirs_as_dict(found)
    out["low"] = theirs_as_dict(upstream.unproject(clouds["bf16"], image, FOCAL))
    return out


def request_for(image: np.ndarray, K: np.ndarray) -> Any:
    from worker.engines.contract import SceneRequest
    from worker.formats.pointmap import pixel_rays

    height, width = image.shape[:2]
    everywhere = np.ones((height, width), bool)
    points = (pixel_rays(height, width, K) * 4).astype(np.float32)
    confidence = np.ones((height, width), np.float32)
    down = np.array([0, 1, 0], np.float32)
    return SceneRequest(image, None, None, points, everywhere, confidence, ~everywhere, K, down)


def ours_part(
    name: str, execution: Any, config: Any, path: Path, device: str, image: np.ndarray, tf32: bool, runs: int
) -> tuple[dict[str, Any], dict[str, torch.Tensor], Any]:
    """Load, run by step, run whole; the cloud in the network's own metres, and as the engine returns it."""
    from bench.parity.sharp import as_dict
    from worker.engines.sharp import engine as module
    from worker.engines.sharp.session_frame import camera_from_network, to_cloud, unprojected
    from worker.formats.gaussians import write_gaussians

    height, width = image.shape[:2]
    K = np.array([[FOCAL, 0, width / 2], [0, FOCAL, height / 2], [0, 0, 1]], np.float32)
    engine = type("Engine", (module.Sharp,), {"config": config})()
    times: dict[str, Any] = {}
    start = time.perf_counter()
    engine.load_from(path, device, execution)
    synchronize()
    times["load"] = time.perf_counter() - start
    torch.backends.cuda.matmul.allow_tf32 = tf32
    if tf32:  # for comparison only: the engine itself asks for none
        torch.backends.cudnn.allow_tf32 = True
    request = request_for(image, K)
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        ply = Path(folder) / "scene.ply"
        start = time.perf_counter()
        engine.run(request, lambda share: None)
        times["first_run"] = time.perf_counter() - start
        memory: dict[str, Any] = {}
        with peak(memory):
            times["run"], result = clock(lambda: engine.run(request, lambda share: None), runs)
        times |= memory
        times["write"], _ = clock(lambda: write_gaussians(ply, result.gaussians), runs)

        def still_to_ply() -> None:
            write_gaussians(ply, engine.run(request, lambda share: None).gaussians)

        times["still_to_ply"], _ = clock(still_to_ply, runs)
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32):
            times["picture"], picture = clock(lambda: engine._picture(image), runs)
            times["network"], found = clock(lambda: engine.network(picture, FOCAL / width), runs)
            monodepth = engine.network.monodepth_model.monodepth_predictor
            with engine.network._autocast(engine.device.type):
                laid = engine.network._laid_out(2 * picture - 1)
                times["encoder"], levels = clock(
                    lambda: monodepth.encoder(laid, execution.tiles_at_once, lambda share: None), runs
                )
                times["depth"], _ = clock(lambda: monodepth.disparity(levels, execution.stripes), runs)
                features = engine.network._laid_out(torch.cat([picture, picture[:, :2]], dim=1))
                model = engine.network.feature_model
                times["gaussians"], _ = clock(lambda: model(list(levels), features), runs)
            times["axes"], parts = clock(lambda: unprojected(found, camera_from_network(K, width, height)), runs)
            times["transfer"], _ = clock(lambda: to_cloud(*parts, found, 1.0), runs)
        first = digest(engine.run(request, lambda share: None).gaussians)
        times["repeats_itself"] = first == digest(engine.run(request, lambda share: None).gaussians)
        cloud = as_dict(*parts, found.color, found.opacity)
    return times, cloud, result.gaussians


def stage_part(config: Any, path: Path, device: str, image: np.ndarray) -> None:
    """A second still through the whole scene stage: files read, network, files written, checked and hashed."""
    from worker.engines.sharp import CARDS
    from worker.engines.sharp import engine as module
    from worker.formats.image import write_png
    from worker.formats.pointmap import Pointmap, write_pointmap
    from worker.metadata.labels import label_outputs
    from worker.session.atomic import sha256_of
    from worker.session.layout import SessionFolder
    from worker.session.model import InputRecord, SceneRecord, Session, StageRecord, StageState
    from worker.session.options import Options
    from worker.stages import scene
    from worker.stages.base import StageContext

    height, width = image.shape[:2]
    K = np.array([[FOCAL, 0, width / 2], [0, FOCAL, height / 2], [0, 0, 1]], np.float32)
    engine = type("Engine", (module.Sharp,), {"config": config})()
    engine.load_from(path, device, module.TIERS["full" if device == "cuda" else "cpu"])
    removed = np.zeros((height, width), bool)
    removed[height // 2 : height * 3 // 4, width // 3 : width // 2] = True
    request = request_for(image, K)
    for hole in (False, True):
        with tempfile.TemporaryDirectory() as place:
            folder = SessionFolder(Path(place))
            write_png(folder.still, image)
            write_png(folder.clean, image)
            write_png(folder.removed_mask, removed & hole)
            everything = (request.points, request.mask, request.confidence, K, request.sky)
            write_pointmap(folder.pointmap, Pointmap(*everything))
            record = SceneRecord(
                width=width, height=height, intrinsics=K.tolist(), hfov_deg=64.3, hfov_source="user",
                unit="relative", median_depth=4.0, scale_basis="drawn", gravity=(0, 1, 0), gravity_source="assumed",
            )  # fmt: skip
            still = InputRecord(
                name="still.png", sha256="0" * 64, bytes=1, format="PNG", width=width, height=height, mode="RGB",
                bit_depth=8, color_space="sRGB", crop=(0, 0, width, height),
            )  # fmt: skip
            session = Session(
                tool_version="0", session_id="00000000-0000-4000-8000-000000000000",
                created="2026-01-01T00:00:00Z", updated="2026-01-01T00:00:00Z",
                input=still, options={}, scene=record,
                stages={name: StageRecord(state=StageState.DONE) for name in ("plate", "geometry", "clean_plate")},
            )  # fmt: skip
            context = StageContext(
                folder, session, Options(), folder.still, lambda f, note: None, scene.NOTICES, engine, CARDS[0]
            )
            spans: dict[str, float] = {}

            def whole(context: Any = context, spans: dict[str, float] = spans) -> None:
                marks = [time.perf_counter()]
                result = scene.run(context)
                marks.append(time.perf_counter())
                labelled = label_outputs(context.session, context.folder, context.card, result.outputs)
                marks.append(time.perf_counter())
                for output in result.outputs:
                    if output in labelled or output not in result.sha256:
                        sha256_of(output)
                marks.append(time.perf_counter())
                spans |= dict(zip(("stage", "label", "hash"), np.diff(marks).tolist(), strict=True))

            total, _ = clock(whole, 3, 1)
            profile = cProfile.Profile()
            profile.runcall(whole)
            name = "stage_with_hole" if hole else "stage"
            RESULT[name] = {"total": total, **spans}
            print(name, RESULT[name])
            pstats.Stats(profile).sort_stats("cumulative").print_stats(32)


def digest(cloud: Any) -> str:
    arrays = (cloud.position, cloud.scale, cloud.rotation, cloud.opacity, cloud.color)
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def rendered(cloud: dict[str, torch.Tensor], K: np.ndarray, size: tuple[int, int], aside: float) -> np.ndarray:
    """The cloud seen from its camera, or from `aside` times the median depth to the right."""
    from worker.formats.gaussians import GaussianCloud
    from worker.formats.rasteriser import render

    arrays = {name: tensor.numpy() for name, tensor in cloud.items()}
    gaussians = GaussianCloud(**arrays)
    pose = np.eye(4)
    pose[0, 3] = -aside * float(np.median(gaussians.position[:, 2]))
    return render(gaussians, pose, K, size).color


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extra", type=Path, default=Path(".gpu/sharp"))
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--quick", action="store_true", help="ours alone, three precisions, no rendered views")
    parser.add_argument("--out", type=Path, default=os.environ.get("OUT"))
    words = parser.parse_args()
    words.out = Path(words.out) if words.out else None
    words.extra = words.extra if words.extra.is_dir() else None
    words.device = "cpu" if words.tiny or not torch.cuda.is_available() else "cuda"
    stand_ins()
    if words.extra:
        sys.path += [str(path) for path in words.extra.glob("platformdirs*.whl")]
    from bench.parity.sharp import differences, machine, picture, state
    from worker.engines.sharp.config import SharpConfig
    from worker.engines.sharp.engine import TIERS
    from worker.engines.sharp.network import Execution
    from worker.formats.rasteriser import psnr_db

    torch.set_grad_enabled(False)
    config, runs = SharpConfig(), RUNS
    image = picture()
    if words.tiny:
        config = SharpConfig(
            tile_tokens=8, dim=32, depth=12, heads=2, widths=(16, 16, 24, 32, 32), depth_width=16, depth_head=8,
            gaussian_width=16, gaussian_head=8, classes=10,
        )  # fmt: skip
        runs, image = 1, picture((108, 192))
    RESULT["machine"] = machine()
    print(RESULT["machine"], flush=True)
    theirs: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pt"
        with part("weights"):
            weights = dict(state(config))
            torch.save(weights, path)
        if words.extra and not words.tiny and not words.quick:
            with part("upstream"):
                theirs = upstream_part(words, weights, image)
                RESULT["upstream"] = theirs["times"]
        del weights
        clouds: dict[str, Any] = {}
        ways = {
            "fp32": (Execution(), False),
            "tf32": (Execution(), True),
            "bf16": (Execution(torch.bfloat16), False),
            "fp16": (Execution(torch.float16), False),
            "full": (TIERS["full"], False),
            "low": (TIERS["low"], False),
        }
        if words.tiny:  # half floats take a CPU minutes
            ways = {name: ways[name] for name in ("fp32",)}
        elif words.quick:
            ways = {name: ways[name] for name in ("fp32", "full", "low")}
        for name, (execution, tf32) in ways.items():
            with part(name):
                times, clouds[name], _ = ours_part(name, execution, config, path, words.device, image, tf32, runs)
                RESULT[name] = times
        with part("stage"):
            stage_part(config, path, words.device, image)
    with part("parity"):
        if theirs:
            RESULT["parity_fp32"] = differences(clouds["fp32"], theirs["cloud"])
            RESULT["upstream_bf16_error"] = differences(theirs["low"], theirs["cloud"])
        for name in set(clouds) - {"fp32"}:
            RESULT[f"error_{name}"] = differences(clouds[name], clouds["fp32"])
    with part("views"):
        size = (image.shape[0] // 2, image.shape[1] // 2)
        K = np.array([[FOCAL / 2, 0, size[1] / 2], [0, FOCAL / 2, size[0] / 2], [0, 0, 1]], np.float32)
        for aside in () if words.quick else (0.0, 0.08):
            reference = rendered(clouds["fp32"], K, size, aside)
            for name in set(clouds) - {"fp32"}:
                RESULT[f"psnr_{name}_{aside}"] = psnr_db(rendered(clouds[name], K, size, aside), reference)
            if theirs:
                RESULT[f"psnr_upstream_{aside}"] = psnr_db(rendered(theirs["cloud"], K, size, aside), reference)
    if words.out:
        words.out.mkdir(parents=True, exist_ok=True)
        (words.out / "sharp.json").write_text(json.dumps(RESULT, indent=1) + "\n", "utf-8")
    table()


def table() -> None:
    print(f"\n{RESULT['machine']}")
    steps = ("load", "first_run", "picture", "encoder", "depth", "gaussians", "network", "axes", "transfer", "run",
             "write", "still_to_ply", "allocated_gib", "reserved_gib", "repeats_itself")  # fmt: skip
    names = [name for name in ("fp32", "tf32", "bf16", "fp16", "full", "low") if name in RESULT]
    print(f"{'seconds':16s}" + "".join(f"{name:>10s}" for name in names))
    for step in steps:
        values = [RESULT[name].get(step) for name in names]
        print(f"{step:16s}" + "".join(f"{v:10.4f}" if isinstance(v, float) else f"{v!s:>10s}" for v in values))
    if "upstream" in RESULT:
        print("upstream", json.dumps(RESULT["upstream"]))
    for name, value in RESULT.items():
        if name.startswith(("parity", "error", "upstream_bf16")):
            print(f"{name:22s}" + " ".join(f"{k}={v:.1e}" for k, v in value.items() if not k.endswith("_p999")))
        if name.startswith("stage"):
            print(f"{name:22s}" + " ".join(f"{k}={v:.3f} s" for k, v in value.items()))
        if name.startswith("psnr"):
            print(f"{name:22s}{value:.2f} dB")
    print("failed:", RESULT.get("failed", "nothing"))


if __name__ == "__main__":
    main()
