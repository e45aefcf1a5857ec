"""The embedded engines: no GPU, no download of weights; what ships is what runs."""

from worker.engines.embedded.cards import CARDS

__all__ = ["CARDS"]
