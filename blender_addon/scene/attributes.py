# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing numpy arrays into mesh and point cloud attributes.

The typed table follows the idea of databpy's attribute map: the attribute type alone decides the field that
foreach_set wants, the dtype and the width. Contiguous arrays of the exact dtype are copied whole; others one by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

COLOR = "Color"  # not "color": Cycles gives black for that name (4.2 to 5.2)

# type -> (foreach field, dtype, values an element)
_LAYOUT: dict[str, tuple[str, type[np.generic], int]] = {
    "FLOAT": ("value", np.float32, 1),
    "INT": ("value", np.int32, 1),
    "BOOLEAN": ("value", np.bool_, 1),
    "FLOAT2": ("vector", np.float32, 2),
    "FLOAT_VECTOR": ("vector", np.float32, 3),
    "FLOAT_COLOR": ("color", np.float32, 4),
    "FLOAT4": ("value", np.float32, 4),
    "QUATERNION": ("value", np.float32, 4),  # w x y z
}


def write(geometry: Any, name: str, kind: str, values: NDArray[Any], domain: str = "POINT") -> None:
    """Create or overwrite attribute `name` of a Mesh or PointCloud.

    Raises:
        ValueError: the array's shape does not fit the domain's size and the type's width.
    """
    field, dtype, width = _LAYOUT[kind]
    attribute = geometry.attributes.get(name)
    if attribute is None:
        attribute = geometry.attributes.new(name, kind, domain)
    if values.size != len(attribute.data) * width:
        raise ValueError(f"{name}: {values.shape} does not fill {len(attribute.data)} x {width}")
    attribute.data.foreach_set(field, np.ascontiguousarray(values, dtype=dtype).reshape(-1))


def read(geometry: Any, name: str) -> NDArray[Any]:
    """The values of an attribute, (count, width) or (count,)."""
    attribute = geometry.attributes[name]
    field, dtype, width = _LAYOUT[attribute.data_type]
    values = np.empty(len(attribute.data) * width, dtype)
    attribute.data.foreach_get(field, values)
    return values.reshape(-1, width) if width > 1 else values
