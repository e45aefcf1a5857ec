"""Engines of the fake stages: they say who they are and how often they were loaded."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np

from worker.engines.finite import NotFinite


class Echo:
    loads = 0

    def load(self, device: str, tier: str) -> None:
        Echo.loads += 1
        self.tier = tier

    def run(self, request: Any, progress: Any) -> dict[str, Any]:
        return {"text": f"echo for {request['name']}", "loads": Echo.loads, "tier": self.tier}


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


class Faulty(Echo):
    """Fails as the request asks, at the tiers that its value names ("nan:full,half")."""

    def run(self, request: Any, progress: Any) -> dict[str, Any]:
        answer = super().run(request, progress)
        if self.tier in request["value"].split(","):
            if request["action"] == "nan":
                return {**answer, "cloud": [{"scale": np.array([1.0, np.nan])}]}
            if request["action"] == "saw_nan":
                raise NotFinite("the network's depth")
            if request["action"] == "cuda_oom":
                raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            if request["action"] == "gpu_fault":
                raise RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with ...")
            if request["action"] == "native":
                os.kill(os.getpid(), signal.SIGSEGV)
        return answer


class TinyNet:
    """A torch engine as real ones are: weights from the store, loaded once, draws by torch's own generator."""

    loads = 0

    def load(self, device: str, tier: str) -> None:
        import fake_weights
        import torch

        from worker.nn.checkpoint import load_into, open_checkpoint
        from worker.weights import store

        card = fake_weights.net("https://nowhere.invalid/net.safetensors")
        with torch.device("meta"):
            module = torch.nn.ModuleDict({"a": torch.nn.Linear(1000, 600)})
        load_into(module, open_checkpoint(store.path_of("net", card.weights[0])), device=device)
        self.module, TinyNet.loads = module, TinyNet.loads + 1

    def run(self, request: Any, progress: Any) -> dict[str, Any]:
        import torch

        with torch.inference_mode():
            total = float(self.module["a"](torch.randn(4, 1000)).sum())
        certain = torch.are_deterministic_algorithms_enabled()
        return {"text": f"{total:.6f} {certain}", "loads": TinyNet.loads, "tier": "full"}
