"""Uncompressed .npz files: the bytes of numpy's savez without its copies of every array."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from worker.session.atomic import replacing

_CHUNK = 1 << 20  # summed and written while in the cache


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Like `np.savez(path, **arrays)`. Zip entries are stamped 1980, so equal arrays give equal bytes."""
    with replacing(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, values in arrays.items():
            array = np.asarray(values, order="C")
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                npy.write_array_header_1_0(entry, npy.header_data_from_array_1_0(array))  # type: ignore[arg-type]
                data = array.reshape(-1).view(np.uint8).data
                for start in range(0, len(data), _CHUNK):
                    entry.write(data[start : start + _CHUNK])
