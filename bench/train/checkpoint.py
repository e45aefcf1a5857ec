"""A checkpoint is a folder of small files (each can travel alone): the weights in half precision and the step count."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

PARTS = {"encoder": True, "heads": False}


def save(net: nn.Module, folder: Path, steps: int) -> None:
    """Each file replaces the last one whole, so that a run cut short leaves a usable checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.half().cpu() if v.is_floating_point() else v.cpu() for k, v in net.state_dict().items()}
    for name, wanted in PARTS.items():
        part = {k: v.contiguous() for k, v in state.items() if k.startswith("encoder") == wanted}
        torch.save({"net": part, "steps": steps}, folder / f"weights_{name}.tmp")
        (folder / f"weights_{name}.tmp").replace(folder / f"weights_{name}.pt")


def load(net: nn.Module, folder: Path, fresh: tuple[str, ...] = ()) -> int:
    """Returns the steps the checkpoint has behind it; raises ValueError where weights are missing.

    `fresh`: heads that may be missing and then start as they are.
    """
    missing, steps = set(net.state_dict()), 0
    for name in PARTS:
        state = torch.load(folder / f"weights_{name}.pt", map_location="cpu")
        net.load_state_dict(
            {k: v.float() if v.is_floating_point() else v for k, v in state["net"].items()}, strict=False
        )
        missing -= set(state["net"])
        steps = state["steps"]
    missing = {name for name in missing if not name.startswith(fresh)}
    if missing:
        raise ValueError(f"The checkpoint in {folder} lacks {sorted(missing)[:3]}.")
    return steps
