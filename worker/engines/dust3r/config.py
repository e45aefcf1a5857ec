"""The network's sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PATCH = 16


@dataclass(frozen=True)
class Dust3rConfig:
    """The official values (ViT-Large encoder, base decoder, DPT head at 512)."""

    enc_dim: int = 1024
    enc_depth: int = 24
    enc_heads: int = 16
    dec_dim: int = 768
    dec_depth: int = 12
    dec_heads: int = 12
    rope_base: float = 100.0
    head: Literal["dpt", "linear"] = "dpt"
    head_channels: tuple[int, int, int, int] = (96, 192, 384, 768)
    head_features: int = 256

    @property
    def hooks(self) -> tuple[int, int, int, int]:
        """Which of [encoder, after decoder layer 1, ...] the DPT head reads."""
        return 0, self.dec_depth // 2, self.dec_depth * 3 // 4, self.dec_depth
