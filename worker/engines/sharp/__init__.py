"""SHARP: one picture to 1.18 million Gaussians in two layers (Mescheder et al. 2025, arXiv 2512.10685).

Written from the paper's architecture in plain torch; loads Apple's checkpoint by its own tensor names.
"""

from worker.engines.sharp.cards import CARDS

__all__ = ["CARDS"]
