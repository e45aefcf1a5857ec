"""TRELLIS (Xiang et al., 2024) in plain torch: one picture of a thing to Gaussians and a textured mesh."""

from worker.engines.trellis.cards import CARDS

__all__ = ["CARDS"]
