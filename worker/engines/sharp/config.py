"""The sizes of SHARP's network. The defaults are the official ones; tests make a small twin."""

from __future__ import annotations

from dataclasses import dataclass

LAYERS = 2  # Gaussians in front, and what they hide
STRIDE = 2  # pixels of the network's picture from one Gaussian to the next


@dataclass(frozen=True)
class SharpConfig:
    """`tile_tokens` must divide by 8: neighbouring tiles overlap by a quarter, half of which is cut from either."""

    patch: int = 16
    tile_tokens: int = 24
    dim: int = 1024
    depth: int = 24
    heads: int = 16
    latent_blocks: tuple[int, int] = (5, 11)  # whose raw outputs feed the two finest levels
    widths: tuple[int, int, int, int, int] = (256, 256, 512, 1024, 1024)  # of the encoder's levels, finest first
    depth_width: int = 256
    depth_head: int = 32
    gaussian_width: int = 128
    gaussian_head: int = 32
    classes: int = 21841  # of the ViTs' classifiers, which the official file carries and nothing uses

    @property
    def tile(self) -> int:
        """Side of a ViT's picture."""
        return self.tile_tokens * self.patch

    @property
    def side(self) -> int:
        """Side of the network's picture, always square."""
        return 4 * self.tile

    @property
    def grid(self) -> int:
        """Gaussians along a side of one layer."""
        return self.side // STRIDE
