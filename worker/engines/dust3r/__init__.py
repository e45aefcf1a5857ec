"""DUSt3R and MASt3R: a pointmap from one still. Research weights, no commercial use; see the cards."""

from worker.engines.dust3r.cards import CARDS

__all__ = ["CARDS"]
