"""What each memory tier of TRELLIS keeps and does, best first; `cards` tells what it takes."""

from __future__ import annotations

from worker.engines.trellis.generate import Limits

_GB = 1 << 30

# (all networks stay on the device, limits). Voxels beyond `mesh_voxels` would not fit the tier with their mesh.
TIERS: dict[str, tuple[bool, Limits]] = {
    "full": (True, Limits()),
    "sequential": (False, Limits()),
    "low": (False, Limits(together=False, raw_bytes=_GB // 4)),
    "gaussians": (False, Limits(together=False, mesh=False)),
    "cpu": (False, Limits(together=False)),
}
