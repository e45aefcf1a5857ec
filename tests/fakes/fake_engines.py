"""Engines of the fake stages: they say who they are and how often they were loaded."""

from __future__ import annotations

from typing import Any


class Echo:
    loads = 0

    def load(self, device: str, tier: str) -> None:
        Echo.loads += 1
        self.tier = tier

    def run(self, request: Any, progress: Any) -> dict[str, Any]:
        return {"text": f"echo for {request['name']}", "loads": Echo.loads, "tier": self.tier}
