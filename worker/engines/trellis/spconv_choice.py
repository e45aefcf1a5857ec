"""Whether an installed spconv may compute the convolutions: asked of a child process, because its builds can die of
SIGFPE at the first convolution, which no exception handler sees.

`python -m worker.engines.trellis.spconv_choice DEVICE` is that child.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

log = logging.getLogger("assetize.spconv")
_SECONDS = 180.0  # the first call may tune its kernels
_TOLERANCE = 2e-2  # of the root mean square: rounding to 16 bits
_ADVANTAGE = 1.2  # worth a package that nobody maintains any more
_INT_BYTES = 2**31 - 1


@dataclass(frozen=True)
class Verdict:
    """`detail` is for the log."""

    state: Literal["absent", "died", "wrong", "slower", "right"]
    detail: str = ""


@cache
def judge(device: str) -> Verdict:
    """Compare the installed spconv with our own convolution on `device`, in a process that may die of it."""
    if importlib.util.find_spec("spconv") is None:
        return Verdict("absent")
    command = [sys.executable, "-m", "worker.engines.trellis.spconv_choice", device]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.SubprocessError) as fault:
        return Verdict("died", str(fault))
    if done.returncode != 0:
        return Verdict("died", f"exit {done.returncode}: {done.stderr[-500:]}")
    try:
        found = json.loads(done.stdout.splitlines()[-1])
        gap, ours, theirs = found["gap"], found["ours_s"], found["theirs_s"]
    except (ValueError, LookupError, TypeError):
        return Verdict("died", f"it said “{done.stdout[-200:]}”")
    if not gap < _TOLERANCE:
        return Verdict("wrong", f"off by {gap} of the root mean square")
    if ours < theirs * _ADVANTAGE:
        return Verdict("slower", f"{theirs * 1e3:.2f} ms, our own {ours * 1e3:.2f} ms")
    return Verdict("right", f"{theirs * 1e3:.2f} ms, our own {ours * 1e3:.2f} ms")


def convolution(device: str) -> Any:
    """The convolution to use on `device`: spconv's where it is right and faster, else the fastest of ours."""
    ours = own_convolution(device)
    if device == "cpu":
        return ours
    verdict = judge(device)
    log.info("spconv: %s %s", verdict.state, verdict.detail)
    return Spconv(ours) if verdict.state == "right" else ours


def own_convolution(device: str) -> Any:
    from worker.nn.sparse import gather_convolve
    from worker.nn.sparse_triton import triton_convolve, works_on

    return triton_convolve if works_on(device) else gather_convolve


class Spconv:
    """spconv's SubMConv3d on our voxels. What exceeds its 32-bit sizes goes to `otherwise`."""

    def __init__(self, otherwise: Any) -> None:
        import spconv.pytorch as spconv

        self._spconv, self._otherwise = spconv, otherwise

    def __call__(self, x: Any, voxels: Any, weight: Any, bias: Any, source: Any) -> Any:
        import torch

        widest = len(voxels) * max(x.shape[1], len(weight)) * x.element_size()
        if widest > _INT_BYTES:
            return self._otherwise(x, voxels, weight, bias, source)
        x = x if source is None else x[source]
        with torch.device("meta"):
            layer = self._spconv.SubMConv3d(x.shape[1], len(weight), 3, bias=True, indice_key="k3")
        layer.weight, layer.bias = torch.nn.Parameter(weight, False), torch.nn.Parameter(bias, False)
        zero = torch.zeros_like(voxels.coords[:, :1])
        table = voxels.__dict__.setdefault("_spconv_tables", {})  # spconv keeps its neighbour tables there
        tensor = self._spconv.SparseConvTensor(x, torch.cat([zero, voxels.coords], 1), [voxels.size] * 3, 1)
        tensor.indice_dict = table
        return layer(tensor).features


def _probe(device: str) -> dict[str, float]:
    """One k3 convolution of 20,000 voxels on a GPU, of 300 on a CPU, both ways."""
    import torch

    from worker.nn.sparse import Voxels

    random = torch.Generator().manual_seed(0)
    large = device != "cpu"
    size, count, width = (64, 20_000, 128) if large else (16, 300, 32)
    dtype = torch.float16 if large else torch.float32
    places = torch.randperm(size**3, generator=random)[:count]
    coords = torch.stack([places // size**2, places // size % size, places % size], 1).int().to(device)
    voxels = Voxels(coords, size)
    x = torch.randn(count, width, generator=random).to(device, dtype)
    weight = (torch.randn(width, 3, 3, 3, width, generator=random) / width**0.5).to(device, dtype)
    bias = torch.randn(width, generator=random).to(device, dtype)
    ours = own_convolution(device)
    theirs = Spconv(ours)

    def timed(way: Any) -> tuple[Any, float]:
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            found = way(x, voxels, weight, bias, None)
            if large:
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - start)
        return found.float(), best

    expected, ours_s = timed(ours)
    found, theirs_s = timed(theirs)
    gap = float((found - expected).abs().max() / expected.square().mean().sqrt())
    return {"gap": gap, "ours_s": ours_s, "theirs_s": theirs_s}


if __name__ == "__main__":
    print(json.dumps(_probe(sys.argv[1])))
