"""When a stage is tried once more, and in which tier."""

from __future__ import annotations

import pytest

from worker.pipeline.tries import Tries


@pytest.mark.parametrize(("tiers", "ends", "taken"), [
    (["a"], ["Ended", "Ended"], "aa"),
    (["a", "b", "c"], ["Ended", "Ended"], "ab"),  # a crash is tried once more, whatever else there is
    (["a", "b", "c"], ["OutOfMemory"] * 3, "abc"),
    (["a"], ["OutOfMemory"] * 2, "aa"),  # others gave way meanwhile
    (["a", "b", "c"], ["NotFinite"] * 2, "ab"),
    (["a"], ["NotFinite"], "a"),  # the same tier gives the same numbers
    (["a", "b", "c"], ["OutOfMemory", "NotFinite", "OutOfMemory"], "abc"),
    (["a", "b"], ["DeviceFault"] * 2, "ab"),
    (["a", "b"], ["StageError"], "a"),
])  # fmt: skip
def test_every_way_to_end(tiers: list[str], ends: list[str], taken: str) -> None:
    tries, seen = Tries(tiers), []
    for number, end in enumerate(ends):
        tries.begin()
        seen.append(tries.tier)
        assert tries.again(end) == (number + 1 < len(ends))
    assert "".join(seen) == taken and tries.attempt == len(ends)


def test_what_comes_next_is_told() -> None:
    tries = Tries(["a", "b"])
    tries.begin()
    assert tries.safer == "b" and tries.numbers_may_come
    assert tries.again("NotFinite") and not tries.numbers_may_come
    tries.begin()
    assert tries.safer is None
