"""The whole pipeline with its native engines under random weights: files, frames and seconds, not pictures.

    python -m bench.gpu.pipeline [--engine geometry=dust3r --engine scene=sharp --engine props=trellis]
                                 [--json FILE] [--seconds 600] [STILL ...]

Weights are drawn once into a scratch folder, under the official names and shapes; the stills then go through the front
door as one batch, so that the second one finds its engines warm. Nothing is downloaded and no result means anything.
Noise shatters TRELLIS' meshes, and tidying those is most of the props' time. `--engine geometry=embedded` takes a depth
that is no noise, so that what was built is placed in a real room.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from worker.engines import registry
from worker.engines.card import EngineCard, WeightFile
from worker.engines.trellis.config import TrellisConfig
from worker.nn.checkpoint import TensorSpec
from worker.session import atomic
from worker.session.model import Session, StageState
from worker.weights.install import manifest_of
from worker.weights.store import SHIPPED, Receipt, path_of, receipt_path, receipt_text

ROOT = Path(__file__).resolve().parents[2]
NATIVE = ("geometry=dust3r", "scene=sharp", "props=trellis")
# Names of tensors, and what random numbers need so that a network says something at all: depth that is finite, a
# structure of some thousand voxels instead of half the grid.
BIASES = {
    "sharp": {r"head\.4\.bias$": 0.3},
    "trellis": {r"^out_layer\.2\.bias$": -1.0},
}
LAST_OF_DUST3R = "downstream_head1.dpt.head.4."  # x, y, z, confidence

NOTHING = dict.fromkeys(("state", "engine", "tier", "seconds", "peak_gpu_memory_mb"))

_RELEASED = TrellisConfig()
_SAMPLER = {"name": "FlowEulerGuidanceIntervalSampler", "params": {"steps": 25, "cfg_strength": 5.0}}
SETTINGS = {  # files that hold no tensors
    "pipeline.json": {
        "args": {
            "sparse_structure_sampler": _SAMPLER,
            "slat_sampler": _SAMPLER,
            "slat_normalization": {"mean": _RELEASED.mean, "std": _RELEASED.std},
        }
    }
}


def draw(spec: TensorSpec, device: str) -> torch.Tensor:
    """Matrices with std 1 / sqrt(fan-in); vectors near zero. Cheap, and finite after any number of layers."""
    shape, fan_in = spec.shape, 1
    for side in spec.shape[1:]:
        fan_in *= side
    std = fan_in**-0.5 if len(shape) > 1 else 0.02
    return (torch.randn(shape, device=device) * std).to(getattr(torch, spec.dtype)).cpu()


def write_weights(card: EngineCard, file: WeightFile, device: str) -> None:
    tensors: dict[str, torch.Tensor] = {}
    path = path_of(card.name, file)
    path.parent.mkdir(parents=True, exist_ok=True)
    manifest = manifest_of(file)
    if manifest is None:
        assert file.name in SETTINGS, f"{file.name} has no manifest"
        path.write_text(json.dumps(SETTINGS[file.name]), encoding="utf-8")
        return
    for name, spec in manifest.items():
        tensors[name] = draw(spec, device)
        if len(spec.shape) == 1 and name.endswith(("weight", "gamma")):
            tensors[name] += 1
        for pattern, value in BIASES.get(card.name, {}).items():
            if re.search(pattern, name):
                tensors[name] = torch.full_like(tensors[name], value)
    last = LAST_OF_DUST3R
    if f"{last}weight" in tensors:  # else it is luck how much of a still lies before the camera
        tensors[f"{last}weight"] *= 0.2
        tensors[f"{last}bias"] = torch.tensor([0.0, 0.0, 2.0, 0.0])
    if file.name.startswith("slat_dec_mesh"):  # every voxel solid: noise would cross each of the million cubes
        tensors["out_layer.weight"][:8] = 0.0
        tensors["out_layer.bias"][:8] = -0.3
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    # its size is its own, not the official file's
    receipt_path(path).write_text(receipt_text(Receipt(path.stat().st_size, "0" * 64, "drawn")), encoding="utf-8")


def run_batch(
    stills: list[Path], engines: list[str], out: Path, extra: list[str], limit_s: float
) -> tuple[int | None, float]:
    """(exit code, seconds); no code where it took too long, and what is there by then is told."""
    line = [sys.executable, "-m", "worker", "batch", *map(str, stills), "--output_root", str(out), "--no_blend"]
    for engine in engines:
        line += ["--engine", engine]
    start = time.perf_counter()
    try:
        code = subprocess.run([*line, *extra], cwd=ROOT, timeout=limit_s).returncode
    except subprocess.TimeoutExpired:
        code = None
    return code, time.perf_counter() - start


def judge(folder: Path) -> dict[str, Any]:
    """What one session says of its stages, and what is wrong with it: its schema, files missing or changed."""
    try:
        text = (folder / "session.json").read_text(encoding="utf-8")
    except OSError as fault:
        return {"props": 0, "stages": {}, "wrong": [str(fault)]}
    session = json.loads(text)
    keep = ("state", "engine", "device", "tier", "attempts", "seconds", "peak_memory_mb", "peak_gpu_memory_mb",
            "quality")  # fmt: skip
    stages = {name: {key: stage.get(key) for key in keep} for name, stage in session["stages"].items()}
    for name, stage in session["stages"].items():
        stages[name]["warnings"] = [warning["en"] for warning in stage["warnings"]]
        stages[name]["error"] = (stage["error"] or {}).get("en")
    props = (session.get("scene") or {}).get("props", [])
    return {"props": len(props), "stages": stages, "wrong": faults(folder, text)}


def faults(folder: Path, text: str) -> list[str]:
    try:
        session = Session.model_validate_json(text)
    except ValueError as fault:
        return [str(fault)]
    ended = (StageState.DONE, StageState.SKIPPED)
    wrong = [f"{name}: {stage.state.value}" for name, stage in session.stages.items() if stage.state not in ended]
    for stage in session.stages.values():
        for name, sha256 in stage.outputs.items():
            if not (folder / name).is_file() or atomic.sha256_of(folder / name) != sha256:
                wrong.append(f"{name} is not what its stage wrote")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stills", nargs="*", type=Path, default=sorted((ROOT / "examples").glob("*.png"))[:2])
    parser.add_argument("--engine", action="append", dest="engines")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--scratch", type=Path, help="where weights and sessions go (default: a temporary folder)")
    parser.add_argument("--seconds", type=float, default=600, help="for the stills")
    arguments, extra = parser.parse_known_args()
    engines = arguments.engines or list(NATIVE)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as temporary:
        scratch = arguments.scratch or Path(temporary)
        os.environ["ASSETIZE_WEIGHTS_DIR"] = str(scratch / "weights")
        os.environ["XDG_CONFIG_HOME"] = str(scratch / "config")
        names = {engine.partition("=")[2] for engine in engines}
        consent = registry.consent_file()
        consent.parent.mkdir(parents=True, exist_ok=True)
        consent.write_text(json.dumps(sorted(names)), encoding="utf-8")
        for card in registry.all_cards():
            brought = [file for file in card.weights if file.source != SHIPPED]
            for file in brought if card.name in names else ():
                start = time.perf_counter()
                write_weights(card, file, device)
                print(f"drew {card.name}/{file.name} in {time.perf_counter() - start:.1f} s", flush=True)
        code, seconds = run_batch(arguments.stills, engines, scratch / "out", extra, arguments.seconds)
        found = {still.stem: judge(scratch / "out" / still.stem) for still in arguments.stills}
    print(f"\nexit code {code}, {seconds:.1f} s for {len(found)} stills on {device}\n")
    names_of_stages = list(dict.fromkeys(name for session in found.values() for name in session["stages"]))
    print(f"{'stage':12} {'engine':10} {'tier':6}" + "".join(f"{still:>24}" for still in found))
    for name in names_of_stages:
        row = [session["stages"].get(name, NOTHING) for session in found.values()]
        cells = [f"{s['state']} {s['seconds'] or 0:.2f} s {s['peak_gpu_memory_mb'] or 0:.0f} MB" for s in row]
        head = f"{name:12} {row[0]['engine'] or '':10} {row[0]['tier'] or '':6}"
        print(head + "".join(f"{cell:>24}" for cell in cells))
    for still, session in found.items():
        print(f"{still}: {session['props']} props; wrong: {session['wrong'] or 'nothing'}")
        for name, stage in session["stages"].items():
            for text in filter(None, [stage["error"], *stage["warnings"]]):
                print(f"{still}/{name}: {text}")
    if arguments.json:
        gpu = torch.cuda.get_device_name() if device == "cuda" else None
        record = {"machine": gpu or "CPU", "exit_code": code, "seconds": seconds, "stills": found}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
