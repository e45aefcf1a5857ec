"""A cloud of 3D Gaussians in memory, and the standard 3DGS PLY it is stored as."""

from __future__ import annotations

from dataclasses import dataclass

from worker.arrays import F32


@dataclass
class GaussianCloud:
    """N Gaussians. `color` is what 3DGS files hold: sRGB-encoded 0..1, i.e. 0.5 + 0.28209479 * f_dc."""

    position: F32  # (N, 3)
    scale: F32  # (N, 3) linear standard deviations
    rotation: F32  # (N, 4) unit quaternion w x y z
    opacity: F32  # (N,) 0..1
    color: F32  # (N, 3)

    def __len__(self) -> int:
        return len(self.position)
