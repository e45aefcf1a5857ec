"""The example stills' committed truth agrees with itself: depth, ids, ground, object poses, light, lens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
STILLS = {
    "interior": (ROOT / "examples/interior.png", ROOT / "examples/truth/interior"),
    "street": (ROOT / "examples/street.png", ROOT / "examples/truth/street"),
    "tabletop": (ROOT / "examples/tabletop.png", ROOT / "examples/truth/tabletop"),
    "tiny_interior": (ROOT / "tests/data/tiny_interior.png", ROOT / "tests/data/tiny_interior"),
}


@dataclass
class Truth:
    record: dict
    ids: np.ndarray
    depth: np.ndarray
    still: np.ndarray

    @property
    def points(self) -> np.ndarray:
        """(h, w, 3) camera-frame points at the stride's pixels."""
        stride = self.record["depth_stride"]
        K = np.array(self.record["intrinsics"])
        h, w = self.depth.shape
        u, v = np.meshgrid(np.arange(w) * stride + 0.5, np.arange(h) * stride + 0.5)
        z = self.depth.astype(np.float64)
        return np.stack([(u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z, z], -1)

    @property
    def ids_at_depth(self) -> np.ndarray:
        stride = self.record["depth_stride"]
        return self.ids[::stride, ::stride]


@pytest.fixture(scope="module", params=sorted(STILLS))
def truth(request: pytest.FixtureRequest) -> Truth:
    still, base = STILLS[request.param]
    return Truth(json.loads(base.with_suffix(".json").read_text(encoding="utf-8")),
                 np.asarray(Image.open(base.with_name(base.name + "_ids.png"))),
                 np.load(base.with_suffix(".npz"))["depth"], np.asarray(Image.open(still)))


def test_sizes_agree(truth: Truth) -> None:
    size = (truth.record["height"], truth.record["width"])
    stride = truth.record["depth_stride"]
    assert truth.still.shape == (*size, 3) and truth.still.dtype == np.uint8
    assert truth.ids.shape == size and truth.ids.dtype == np.uint8
    assert truth.depth.shape == (-(-size[0] // stride), -(-size[1] // stride))


def test_lens(truth: Truth) -> None:
    K = np.array(truth.record["intrinsics"])
    w, h = truth.record["width"], truth.record["height"]
    assert np.degrees(2 * np.arctan(w / 2 / K[0, 0])) == pytest.approx(truth.record["hfov_degrees"], abs=1e-4)
    assert 38 < truth.record["hfov_degrees"] < 66  # 28 to 50 mm on a 36 mm wide frame
    assert K[0, 0] == K[1, 1] and (K[0, 2], K[1, 2]) == (w / 2, h / 2)


def test_depth_is_there_wherever_an_object_is(truth: Truth) -> None:
    thing = truth.ids_at_depth > 0
    assert np.isfinite(truth.depth[thing]).all() and (truth.depth[thing] > 0.1).all()
    assert not np.isfinite(truth.depth[~thing]).any()


def test_ids_are_those_of_the_table(truth: Truth) -> None:
    counts = np.bincount(truth.ids.ravel(), minlength=256)
    table = {o["id"]: o["pixels"] for o in truth.record["objects"]}
    assert set(np.flatnonzero(counts)) <= {0, *table}
    assert {k: int(counts[k]) for k in table} == table


def test_ground_lies_in_its_plane(truth: Truth) -> None:
    normal, offset = np.array(truth.record["ground_plane"]["normal"]), truth.record["ground_plane"]["offset"]
    ids = [o["id"] for o in truth.record["objects"] if o["label"] == truth.record["ground_label"]]
    p = truth.points[np.isin(truth.ids_at_depth, ids)]
    height = np.abs(p @ normal + offset)
    assert len(p) > 200
    # float16 keeps 11 bits: half a step is 1/4096 of the depth.
    assert np.quantile(height / p[:, 2], 0.99) < 4e-4 and np.median(height / p[:, 2]) < 2e-4
    assert np.dot(normal, truth.record["gravity"]) == pytest.approx(-1, abs=1e-5)
    assert normal[1] < -0.7  # up is up in the picture


def test_points_lie_in_their_objects_boxes(truth: Truth) -> None:
    checked = 0
    for o in truth.record["objects"]:
        p = truth.points[truth.ids_at_depth == o["id"]]
        if o["kind"] == "stuff" or len(p) < 20:
            continue
        pose = np.array(o["camera_from_object"])
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-5)
        local = (p - pose[:3, 3]) @ pose[:3, :3]
        slack = 1e-3 * p[:, 2].max()
        assert (local >= np.array(o["bbox_min"]) - slack).all(), o["label"]
        assert (local <= np.array(o["bbox_max"]) + slack).all(), o["label"]
        np.testing.assert_allclose(np.subtract(o["bbox_max"], o["bbox_min"]), o["dims"], atol=2e-6)
        # Seen from one side only, the points of a thing that nothing hides still span most of its height.
        if o["visible_fraction"] > 0.93:
            assert np.ptp(local[:, 2]) > 0.75 * o["dims"][2], o["label"]
        checked += 1
    assert checked >= 5


def test_boxes_and_shares(truth: Truth) -> None:
    for o in truth.record["objects"]:
        if o["kind"] == "stuff" or not o["pixels"]:
            continue
        rows, columns = np.nonzero(truth.ids == o["id"])
        x, y, w, h = o["bbox_xywh"]
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (x, y, x + w, y + h)
        assert o["area_fraction"] == pytest.approx(len(rows) / truth.ids.size, abs=1e-5)
        assert 0 < o["visible_fraction"] <= 1


def test_props_stand_on_something(truth: Truth) -> None:
    """A prop's origin is at a surface: no prop floats or sinks, heights are 0, a table top or another prop's top."""
    up, offset = np.array(truth.record["ground_plane"]["normal"]), truth.record["ground_plane"]["offset"]
    tops = [0.0, 0.012, 0.12]  # ground, rug, pavement
    for o in truth.record["objects"]:
        if o["kind"] == "prop":
            tops.append(np.array(o["camera_from_object"])[:3, 3] @ up + offset + o["bbox_max"][2])
    for o in truth.record["objects"]:
        if o["kind"] == "prop":
            foot = np.array(o["camera_from_object"])[:3, 3] @ up + offset + o["bbox_min"][2]
            assert min(abs(foot - t) for t in tops) < 0.004, (o["label"], foot)


def test_there_is_something_to_harvest(truth: Truth) -> None:
    props = [o for o in truth.record["objects"] if o["is_prop"]]
    assert len(props) >= 4
    assert sum(o["area_fraction"] >= 0.013 for o in props) >= 4
    assert sum(o["area_fraction"] >= 0.02 for o in props) >= 2
    for o in props:
        seen = truth.ids == o["id"]
        assert not (seen[:2].any() or seen[-2:].any() or seen[:, :2].any() or seen[:, -2:].any())
        ring = _grow(seen, 3) & ~_grow(seen, 1)
        # Something to tell it by: colour inside against colour just outside, 8-bit levels.
        gap = np.abs(truth.still[seen].mean(0) - truth.still[ring].mean(0)).max()
        assert gap > 8, (o["label"], gap)


def test_key_light(truth: Truth) -> None:
    way = np.array(truth.record["key_light"]["direction_to_light"])
    assert np.linalg.norm(way) == pytest.approx(1, abs=1e-5)
    assert way @ np.array(truth.record["gravity"]) < -0.1  # from above


def test_committed_size() -> None:
    total = sum(p.stat().st_size for p in (ROOT / "examples").rglob("*") if p.is_file() and p.suffix != ".pyc")
    assert total < 6_000_000


def _grow(mask: np.ndarray, by: int) -> np.ndarray:
    out = mask.copy()
    for _ in range(by):
        padded = np.pad(out, 1)
        out = padded[1:-1, 1:-1] | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return out
