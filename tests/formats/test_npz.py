"""Uncompressed .npz: byte for byte what numpy writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from worker.formats.npz import write_npz


def test_the_bytes_are_numpys(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "points": rng.normal(size=(401, 301, 3)).astype(np.float32),  # more than one chunk, and a rest
        "mask": rng.random((7, 5)) > 0.5,
        "normals": rng.normal(size=(4, 6, 3)).astype(np.float16)[:, ::-1],  # not in order
        "columns": np.asfortranarray(rng.normal(size=(3, 4))),
        "nothing": np.zeros((0, 3), np.float32),
        "number": np.array(3),
    }
    write_npz(tmp_path / "a.npz", arrays)
    np.savez(tmp_path / "b.npz", **{name: np.ascontiguousarray(a) if a.ndim else a for name, a in arrays.items()})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
