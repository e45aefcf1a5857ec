"""Results are searched for numbers that are none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from worker.engines.finite import first_not_finite


@dataclass
class Inner:
    scale: Any


@dataclass
class Result:
    cloud: Inner | None
    masks: list[Any] = field(default_factory=list)
    measured: dict[str, Any] = field(default_factory=dict)
    label: str = "nan"


GOOD = np.ones((3, 2), np.float32)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, np.float16(np.inf), np.array([1.0, np.nan], np.float16)])
def test_the_place_is_named(bad: Any) -> None:
    assert first_not_finite(Result(Inner(bad))) == "result.cloud.scale"
    assert first_not_finite(Result(None, [GOOD, (GOOD, bad)])) == "result.masks[1][1]"
    assert first_not_finite(Result(None, measured={"psnr": bad})) == "result.measured.psnr"


def test_what_is_no_float_is_left_alone() -> None:
    good = Result(Inner(GOOD), [np.ones(2, bool), np.arange(3), "nan", None], {"n": 3, "psnr": 1.5})
    assert first_not_finite(good) is None
    assert first_not_finite(None) is None and first_not_finite(np.empty(0)) is None
