"""A session that copies the truth gets full marks; one that is wrong by a known amount loses what it should."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
import trimesh
from PIL import Image
from plyfile import PlyData, PlyElement

from bench import judge, light, report
from bench.truth import Truth
from worker.session.frames import PROP_FROM_GLB, level_from_camera

DATA = Path(__file__).resolve().parents[1] / "data"


@pytest.fixture
def truth() -> Truth:
    record = json.loads((DATA / "tiny_interior.json").read_text(encoding="utf-8"))
    return Truth(
        "tiny", DATA / "tiny_interior.png", record, DATA / "tiny_interior_ids.png", DATA / "tiny_interior.npz", None
    )


@pytest.fixture
def session(truth: Truth, tmp_path: Path) -> Path:
    """A session as the pipeline would leave it, were it perfect (boxes for props: their extent is what is judged)."""
    r = truth.record
    h, w = truth.ids.shape
    K = np.array(r["intrinsics"])
    for name in ("plate", "dust3r", "props", "props_3d", "lighting"):
        (tmp_path / name).mkdir()
    Image.open(truth.still).save(tmp_path / "plate" / "still.png")
    z = np.where(np.isfinite(truth.depth), truth.depth, 50.0)
    u, v = np.meshgrid(np.arange(w) + 0.5, np.arange(h) + 0.5)
    points = np.stack([(u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z, z], -1).astype(np.float32)
    np.savez(tmp_path / "dust3r" / "pointmap.npz", points=points, mask=np.isfinite(truth.depth))
    props, placed = [], []
    for k, thing in enumerate(o for o in truth.objects if o.is_prop):
        key = f"prop-{k}"
        Image.fromarray(truth.mask(thing).astype(np.uint8) * 255).save(tmp_path / "props" / f"{key}_mask.png")
        box = trimesh.creation.box(bounds=[thing.low, thing.high])
        box.apply_transform(np.linalg.inv(PROP_FROM_GLB))
        box.export(tmp_path / "props_3d" / f"{key}.glb")
        props.append({"id": key, "mask": f"props/{key}_mask.png"})
        placed.append(
            {
                "id": key,
                "glb": f"props_3d/{key}.glb",
                "camera_from_prop": thing.camera_from_object.tolist(),
                "camera_from_glb": (thing.camera_from_object @ PROP_FROM_GLB).tolist(),
            }
        )
    (tmp_path / "props" / "harvest_manifest.json").write_text(json.dumps({"props": props}))
    _write(
        tmp_path,
        {
            "state": "done",
            "stages": {"geometry": {"state": "done", "seconds": 1.5, "peak_memory_mb": 300}},
            "input": {"crop": [0, 0, w, h]},
            "scene": {
                "width": w,
                "height": h,
                "intrinsics": r["intrinsics"],
                "hfov_deg": r["hfov_degrees"],
                "unit": "metre",
                "gravity": r["gravity"],
                "props": placed,
                "light": {
                    "probe": "lighting/probe.exr",
                    "level_from_camera": level_from_camera(r["gravity"]).tolist(),
                    "key": {"direction": r["key_light"]["direction_to_light"]},
                },
            },
        },
    )
    return tmp_path


def _read(session: Path) -> dict:
    return json.loads((session / "session.json").read_text())


def _write(session: Path, record: dict) -> None:
    (session / "session.json").write_text(json.dumps(record))


def test_the_truth_itself_is_perfect(truth: Truth, session: Path) -> None:
    result = judge.judge(truth, session)
    f = result["figures"]
    for name in ("hfov error, deg", "AbsRel (scale+shift)", "AbsRel (scale)", "AbsRel (as given)"):
        assert f[name] == pytest.approx(0, abs=1e-5), name
    for name in ("gravity error, deg", "key light error, deg"):  # the truth's own six decimals
        assert f[name] == pytest.approx(0, abs=1e-3), name
    for name in (
        "ordinal accuracy",
        "depth edge F1",
        "harvest recall",
        "harvest precision",
        "harvest IoU",
        "harvest boundary F",
        "prop bbox IoU",
    ):
        assert f[name] == pytest.approx(1, abs=1e-4), name
    assert 0.03 < f["AbsRel of rows alone"] < 0.5
    assert f["people taken"] == 0 and f["props found"] == f["props wanted"] >= 4
    assert f["prop penetration"] < 0.01 and f["prop ground gap"] < 0.01
    assert f["prop silhouette IoU"] > 0.4  # boxes are fatter than what is in them


def test_a_relative_scene_is_brought_to_metres_by_one_factor(truth: Truth, session: Path) -> None:
    with np.load(session / "dust3r" / "pointmap.npz") as data:
        points, mask = data["points"], data["mask"]
    np.savez(session / "dust3r" / "pointmap.npz", points=points / 5, mask=mask)
    record = _read(session)
    record["scene"]["unit"] = "relative"
    shrink = np.diag([0.2, 0.2, 0.2, 1])
    for p in record["scene"]["props"]:
        p["camera_from_glb"] = (shrink @ np.array(p["camera_from_glb"])).tolist()
        p["camera_from_prop"] = (shrink @ np.array(p["camera_from_prop"])).tolist()
    _write(session, record)
    f = judge.judge(truth, session)["figures"]
    assert f["AbsRel (scale)"] == pytest.approx(0, abs=1e-5) and f["AbsRel (as given)"] is None
    assert f["prop bbox IoU"] == pytest.approx(1, abs=1e-4)


def test_errors_are_counted_as_what_they_are(truth: Truth, session: Path) -> None:
    record = _read(session)
    record["scene"]["hfov_deg"] += 7
    record["scene"]["light"]["key"]["direction"] = [-x for x in record["scene"]["light"]["key"]["direction"]]
    up = truth.up
    for p in record["scene"]["props"]:
        for name in ("camera_from_prop", "camera_from_glb"):
            pose = np.array(p[name])
            pose[:3, 3] += 0.1 * up
            p[name] = pose.tolist()
    _write(session, record)
    manifest = json.loads((session / "props" / "harvest_manifest.json").read_text())
    dropped = manifest["props"].pop()
    wall = next(o for o in truth.objects if o.label == "wall")
    Image.fromarray(truth.mask(wall).astype(np.uint8) * 255).save(session / "props" / "wall_mask.png")
    manifest["props"].append({"id": "wall", "mask": "props/wall_mask.png"})
    (session / "props" / "harvest_manifest.json").write_text(json.dumps(manifest))
    result = judge.judge(truth, session)
    f, n = result["figures"], len(manifest["props"])
    assert f["hfov error, deg"] == pytest.approx(7, abs=1e-3)
    assert f["key light error, deg"] == pytest.approx(180, abs=1e-3)
    assert f["harvest recall"] == pytest.approx((n - 1) / n) and f["harvest precision"] == pytest.approx((n - 1) / n)
    assert dropped["id"] not in [p["id"] for p in result["props"]]
    for p in result["props"]:
        thing = next(o for o in truth.objects if o.label == p["label"] and o.is_prop)
        assert p["ground gap"] == pytest.approx(0.1 / (thing.high - thing.low)[2], rel=0.15) or p["label"] in (
            "vase",
            "books",
        )  # two of each: the first of the name is looked up
        assert p["penetration"] == 0 and p["bbox IoU"] < 0.95


def test_a_cropped_plate_is_laid_back_into_the_still(truth: Truth, session: Path) -> None:
    h, w = truth.ids.shape
    small = np.arange(12.0).reshape(3, 4)
    laid = judge.in_still(small, [0, 20, w, h - 40], (h, w), np.nan)
    assert np.isnan(laid[:20]).all() and np.isnan(laid[-20:]).all()
    assert laid[20, 0] == 0 and laid[h - 21, w - 1] == 11


def test_splats_are_read_into_one_frame(session: Path) -> None:
    (session / "scene_visual").mkdir()
    names = [
        "x",
        "y",
        "z",
        "f_dc_0",
        "f_dc_1",
        "f_dc_2",
        "opacity",
        "scale_0",
        "scale_1",
        "scale_2",
        "rot_0",
        "rot_1",
        "rot_2",
        "rot_3",
    ]
    row = np.array([(1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0)], dtype=[(n, "f4") for n in names])
    for path in ("scene_visual/scene.ply", "props_3d/p.ply"):
        PlyData([PlyElement.describe(row, "vertex")]).write(session / path)
    quarter = np.array([[0, -1, 0, 5], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    quarter[:3, :3] *= 2
    cloud = judge.read_clouds(session, {"props": [{"ply": "props_3d/p.ply", "camera_from_prop": quarter.tolist()}]})
    np.testing.assert_allclose(cloud["position"], [[1, 2, 3], [5 - 4, 2, 6]])
    np.testing.assert_allclose(cloud["scale"], [[1, 1, 1], [2, 2, 2]], rtol=1e-6)
    np.testing.assert_allclose(np.abs(cloud["rotation"][1]), [np.sqrt(0.5), 0, 0, np.sqrt(0.5)], atol=1e-6)
    np.testing.assert_allclose(cloud["opacity"], 0.5)
    np.testing.assert_allclose(cloud["color"], 0.5)


def test_symmetry_is_seen() -> None:
    rng = np.random.default_rng(0)
    n = 3000
    t, z = rng.uniform(0, 2 * np.pi, n), rng.uniform(0, 1, n)
    post = np.stack([np.cos(t), np.sin(t), z], 1)
    assert judge.symmetry(post, 2.5) == 0
    square = rng.uniform(-1, 1, (n, 3))
    square[np.arange(n), rng.integers(0, 2, n)] = rng.choice([-1, 1], n)
    assert judge.symmetry(square, 3.5) == 4
    assert judge.symmetry(square * [3, 1, 1], 6.6) == 2
    chair = np.concatenate([square * [1, 1, 0.1], square[: n // 2] * [1, 0.05, 1] + [0, 1, 1]])
    assert judge.symmetry(chair, 3.5) == 1


def test_table_page_and_json(truth: Truth, session: Path, tmp_path: Path) -> None:
    result = {"name": "tiny <1>", "wall_seconds": 1.0, "error": None, **judge.judge(truth, session)}
    failed = {
        "name": "lost",
        "state": "no session",
        "error": "exit 2: broken",
        "figures": {},
        "props": [],
        "stages": {},
    }
    out = tmp_path / "out"
    out.mkdir()
    text = report.write(out, [result, failed], {"split": "test"})
    assert "harvest recall" in text and "not measured" in text
    document = json.loads((out / "results.json").read_text())
    assert document["summary"]["harvest recall"] == {"mean": 1, "median": 1, "stills": 1}
    assert document["stages"]["geometry"] == {"seconds": 1.5, "peak MB": 300, "ran": 1, "failed": 0}
    page = (out / "report.html").read_text()
    assert "tiny &lt;1&gt;" in page and "exit 2: broken" in page and "3D-RE-GEN" in page


def test_probe_and_balls(truth: Truth, session: Path, tmp_path: Path) -> None:
    """With a scene folder's true probe: the same light, laid out level, is the same light."""
    folder = tmp_path / "scene"
    folder.mkdir()
    rng = np.random.default_rng(0)
    level = np.repeat(np.repeat(rng.random((8, 16, 3)), 8, 0), 8, 1).astype(np.float32)
    turn = np.array(_read(session)["scene"]["light"]["level_from_camera"])
    for path, picture in (
        (session / "lighting" / "probe.exr", level),
        (folder / "probe.exr", light.camera_equirect(level, turn).astype(np.float32)),
    ):
        OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION}, {"RGB": picture}).write(str(path))
    truth.folder = folder
    truth.record["probe"] = {"dominant_to_light": [0, -1, 0]}
    f = judge.light_figures(truth, session, _read(session)["scene"]["light"])
    assert 0 < f["grey ball, even light"] < 0.3  # soft random light is nearly even
    assert f["mirror ball si-RMSE"] == pytest.approx(0, abs=1e-6)
    assert f["grey ball si-RMSE"] == pytest.approx(0, abs=1e-6)
