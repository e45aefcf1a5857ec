"""Read the truth of one still: a folder made by bench.scenes, or an example still with its examples/truth files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.metrics import Array, Mask


@dataclass
class TrueObject:
    """One object of the table; `camera_from_object` 4x4, box in the object's own Z-up frame, metres."""

    id: int
    label: str
    kind: str
    is_prop: bool
    camera_from_object: Array | None
    low: Array | None
    high: Array | None


@dataclass
class Truth:
    """Everything known of one still. Arrays are loaded when asked for."""

    name: str
    still: Path
    record: dict[str, Any]
    ids_path: Path
    depth_path: Path
    folder: Path | None  # of bench.scenes: meshes, probe, views
    meshes: Path | None = None

    @cached_property
    def ids(self) -> Array:
        return np.asarray(Image.open(self.ids_path))

    @cached_property
    def depth(self) -> Array:
        """(h, w) float64 metres at every `stride`-th pixel from (0, 0); inf is the sky."""
        with np.load(self.depth_path) as data:
            return data["depth"].astype(np.float64)

    @property
    def stride(self) -> int:
        return int(self.record["depth_stride"])

    @property
    def up(self) -> Array:
        return np.array(self.record["ground_plane"]["normal"])

    @cached_property
    def objects(self) -> list[TrueObject]:
        def array(entry: dict[str, Any], key: str) -> Array | None:
            return np.array(entry[key]) if key in entry else None

        return [TrueObject(o["id"], o["label"], o["kind"], o["is_prop"], array(o, "camera_from_object"),
                           array(o, "bbox_min"), array(o, "bbox_max")) for o in self.record["objects"]]

    def mask(self, thing: TrueObject) -> Mask:
        return self.ids == thing.id

    def mesh(self, thing: TrueObject) -> tuple[Array, Array] | None:
        """Vertices in the object's own frame and triangles; None where no meshes were kept (the examples' are not)."""
        if self.meshes is None or not self.meshes.exists():
            return None
        with np.load(self.meshes) as data:
            return data[f"o{thing.id}_vertices"].astype(float), data[f"o{thing.id}_triangles"]


def read_scene(folder: Path) -> Truth:
    """A scene folder of bench.scenes; FileNotFoundError where it is unfinished."""
    record = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    return Truth(folder.name, folder / "still.png", record, folder / "ids.png", folder / "depth.npz", folder,
                 folder / "meshes.npz")


def read_example(root: Path, name: str, meshes: Path | None = None) -> Truth:
    """An example still: depth, masks, poses and key light, but no probe or other views.

    `meshes`: where bench.example_meshes put the props' meshes, if it did.
    """
    base = root / "truth" / name
    record = json.loads(base.with_suffix(".json").read_text(encoding="utf-8"))
    return Truth(name, root / f"{name}.png", record, base.with_name(f"{name}_ids.png"), base.with_suffix(".npz"), None,
                 None if meshes is None else meshes / f"{name}_meshes.npz")
