"""Finds numbers that are no numbers in an engine's result, before a stage builds on them."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


class NotFinite(Exception):
    """An engine gave NaN or infinity where a safer memory tier may yet give numbers; the text names the field."""


def first_not_finite(value: Any, name: str = "result") -> str | None:
    """The first float in `value` that is NaN or infinite, as "result.gaussians.scale"; None where all are finite.

    Looks into dataclasses, dicts, lists and tuples; other objects are left alone.
    """
    if isinstance(value, np.ndarray | np.floating | float):
        return None if np.asarray(value).dtype.kind not in "fc" or np.isfinite(value).all() else name
    if is_dataclass(value):
        parts = [(f"{name}.{field.name}", getattr(value, field.name)) for field in fields(value)]
    elif isinstance(value, dict):
        parts = [(f"{name}.{key}", inner) for key, inner in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(f"{name}[{index}]", inner) for index, inner in enumerate(value)]
    else:
        return None
    return next((found for place, inner in parts if (found := first_not_finite(inner, place))), None)
