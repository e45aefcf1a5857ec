"""A tiny engine with weights to bring, and its manifest."""

from __future__ import annotations

import numpy as np
from fake_plan import CLOSED, OPEN, card
from safetensors.numpy import save

from worker.engines.card import EngineCard, WeightFile
from worker.nn.checkpoint import TensorSpec
from worker.pipeline.plan import Plan

TENSORS = {"a.weight": np.arange(600_000, dtype=np.float32).reshape(600, 1000), "a.bias": np.ones(600, np.float16)}
DATA = save(TENSORS)
NAME = "net.safetensors"


def manifest() -> dict[str, TensorSpec]:
    return {name: TensorSpec(array.shape, str(array.dtype)) for name, array in TENSORS.items()}


def net(source: str, closed: bool = False, **changes: object) -> EngineCard:
    """An engine whose one file comes from `source`; `closed`: its licence must be accepted first."""
    values: dict = {"bytes": len(DATA), "sha256": None, "manifest": "fake_weights:manifest"} | changes
    file = WeightFile(name=NAME, source=source, **values)
    return card("net", "scene", licence=CLOSED if closed else OPEN, weights=(file,))


def plan(*cards: EngineCard) -> Plan:
    return Plan(("plate",), "fake_stages", cards)
