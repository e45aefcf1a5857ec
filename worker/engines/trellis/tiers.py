"""What each memory tier of TRELLIS keeps and does, best first; `cards` tells what it takes."""

from __future__ import annotations

from worker.engines.trellis.generate import Limits

_GB = 1 << 30

# (all networks stay on the device, limits). Voxels beyond `mesh_voxels` would not fit the tier with their mesh. Graphs
# where a GPU has shown them to be quicker, with the same bytes and within the tier's memory
# (bench/gpu/trellis_graphs.py); `gaussians`, the last resort of small cards, was not run with them.
TIERS: dict[str, tuple[bool, Limits]] = {
    "full": (True, Limits(graphs=True)),
    "sequential": (False, Limits(graphs=True)),
    "low": (False, Limits(together=False, graphs=True, raw_bytes=_GB // 4)),
    "gaussians": (False, Limits(together=False, mesh=False)),
    "cpu": (False, Limits(together=False)),
}
