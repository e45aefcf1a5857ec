"""Whether a stage is tried once more after it failed, and in which memory tier."""

from __future__ import annotations

from collections.abc import Sequence

ATTEMPTS = 2  # where more of the same kind would only take more time


class Tries:
    """The attempts at one stage. `tiers`: those it may take, best first; each attempt takes the next safer one, the
    last one again where there is none."""

    def __init__(self, tiers: Sequence[str]) -> None:
        self._tiers = list(tiers)
        self._gave_no_numbers = False
        self.attempt = 0
        self.tier = ""

    def begin(self) -> None:
        self.attempt += 1
        self.tier = self._tiers.pop(0) if self._tiers else self.tier

    @property
    def safer(self) -> str | None:
        """The tier of the next attempt, where it is a safer one."""
        return self._tiers[0] if self._tiers else None

    @property
    def numbers_may_come(self) -> bool:
        """Whether a safer tier would be tried if this attempt gave numbers that are none. Once: what a second tier
        does not mend, a third will not."""
        return self.safer is not None and not self._gave_no_numbers

    def again(self, kind: str) -> bool:
        """Whether to try once more after this attempt ended by `kind`: "Ended" (the host crashed or hung), or what
        the host says of an exception. Memory that ran out goes down all tiers there are."""
        if kind == "NotFinite":
            again, self._gave_no_numbers = self.numbers_may_come, True
            return again
        if kind == "OutOfMemory" and self.safer is not None:
            return True
        return kind in ("Ended", "OutOfMemory", "DeviceFault") and self.attempt < ATTEMPTS
