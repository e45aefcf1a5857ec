"""The loaded network on its device: numpy in, numpy out, the same bytes every time."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from worker.arrays import F32
from worker.engines.dust3r.config import Dust3rConfig
from worker.engines.dust3r.network import Dust3r
from worker.nn.checkpoint import load_into, open_checkpoint
from worker.nn.cuda_graph import Captured

# Second names of tied tensors, which only some files carry, and MASt3R's heads of local features.
NOT_NEEDED = (
    r"downstream_head[12]\.dpt\.scratch\.layer_rn\.[0-3]\.weight",
    r"downstream_head[12]\.head_local_features\..*",
)
GRAPHS = 2  # shapes whose CUDA graphs are kept, the whole still's and its tiles'; each holds its activations' memory

log = logging.getLogger("assetize.dust3r")


def load_network(path: Path, config: Dust3rConfig, device: str, tier: str) -> Dust3r:
    """Raises WeightsError where the file is not this network's."""
    with torch.device("meta"):
        network = Dust3r(config)
    if tier != "fp32":
        network.trunk_to(torch.float16)
    load_into(network, open_checkpoint(path), ignore=NOT_NEEDED, device=device)
    network.keep_first_view()
    return network


class Runner:
    """`graphs`: replay a captured CUDA graph for each shape. The network is some 1,500 small kernels at 512x288, and
    starting them one by one takes longer than they run.

    A half-precision trunk is float16, whose error is an eighth of bfloat16's (bench/parity/dust3r.py). Should it ever
    overflow, which shows as numbers that are not finite, the trunk becomes bfloat16 and the picture is done again.
    """

    def __init__(self, network: Dust3r, device: str, graphs: bool) -> None:
        self._network, self._device, self._use_graphs = network, torch.device(device), graphs
        self._graphs: dict[tuple[int, ...], Captured[tuple[Tensor, Tensor]]] = {}
        # TensorFloat-32 would round the head's fp32 to 10 bits; searching for kernels would make runs differ.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True

    def __call__(self, image: F32) -> tuple[F32, F32]:
        """(3, h, w) in -1..1 -> points (h, w, 3) and raw confidence (h, w)."""
        with torch.inference_mode():
            given = torch.from_numpy(np.ascontiguousarray(image))[None]
            points, conf = self._run(given)
            if self._network.trunk_dtype == torch.float16 and not points.isfinite().all():
                log.warning("float16 overflowed; going on in bfloat16")
                self._graphs.clear()
                self._network.trunk_to(torch.bfloat16)
                points, conf = self._run(given)
            return points[0].cpu().numpy(), conf[0].cpu().numpy()

    def _run(self, image: Tensor) -> tuple[Tensor, Tensor]:
        if self._use_graphs:
            return self._replayed(image)
        points, conf = self._network(image.to(self._device))
        return points, conf

    def _replayed(self, image: Tensor) -> tuple[Tensor, Tensor]:
        shape = tuple(image.shape)
        found = self._graphs.pop(shape, None) or self._capture(image.to(self._device))
        self._graphs[shape] = found  # last used, last in
        return found(image)

    def _capture(self, image: Tensor) -> Captured[tuple[Tensor, Tensor]]:
        while len(self._graphs) >= GRAPHS:
            self._graphs.pop(next(iter(self._graphs)))
        self._network(image)
        log.info("capturing a graph for %s", tuple(image.shape))
        return Captured(self._network, image)
