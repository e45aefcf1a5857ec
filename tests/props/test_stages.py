"""Both stages on a session folder, as the conductor runs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh

from tests.props.conftest import Shot, bottle, l_shape, shoot
from worker.engines.contract import PropRequest, PropResult
from worker.engines.embedded.props import EmbeddedProps
from worker.errors import StageError
from worker.formats.gaussians import read_gaussians
from worker.formats.glb import read_glb
from worker.formats.image import write_png
from worker.formats.mesh import TexturedMesh
from worker.formats.pointmap import Pointmap, write_pointmap
from worker.formats.silhouette import iou, rasterise
from worker.session.atomic import write_json
from worker.session.harvest import HarvestedProp, HarvestManifest
from worker.session.layout import SessionFolder
from worker.session.model import GroundPlane, InputRecord, SceneRecord, Session, StageRecord, StageState
from worker.session.options import Options
from worker.stages import placement, props
from worker.stages.base import StageContext

Run = Callable[..., tuple[StageContext, Session]]


class Unposed:
    """A generator that knows no pose: the true solid in a frame and size of its own."""

    def __init__(self, solid: trimesh.Trimesh) -> None:
        self.mesh = TexturedMesh(
            (solid.vertices[:, [1, 0, 2]] * [-0.3, 0.3, 0.3] + [0.1, 0.2, 3.0]).astype(np.float32),
            solid.faces.astype(np.int32), np.zeros((len(solid.vertices), 2), np.float32),
            np.full((4, 4, 3), 128, np.uint8),
        )  # fmt: skip

    def run(self, request: PropRequest, progress) -> PropResult:
        return PropResult(self.mesh, None, None, False)


class Fragile(EmbeddedProps):
    """Refuses every second prop."""

    def run(self, request: PropRequest, progress) -> PropResult:
        if request.label == "bad":
            raise ValueError("its surface folds over itself")
        return super().run(request, progress)


def embedded() -> EmbeddedProps:
    engine = EmbeddedProps()
    engine.load("cpu", "full")
    return engine


@pytest.fixture
def session(tmp_path: Path):
    """`session(shot, labels)` -> folder and session with plate, geometry and harvest done."""

    def build(shot: Shot, labels: tuple[str, ...] = ("thing",),
              degraded: bool = False) -> tuple[SessionFolder, Session]:
        folder = SessionFolder(tmp_path / "session")
        height, width = shot.alpha.shape
        write_png(folder.still, shot.image)
        every = np.ones((height, width), bool)
        write_pointmap(folder.pointmap, Pointmap(shot.points, every, every.astype(np.float32), shot.intrinsics, ~every))
        found = []
        for number, label in enumerate(labels, 1):
            name = f"prop_{number:02d}"
            write_png(folder.prop_crop(name), shot.crop)
            write_png(folder.prop_mask(name), shot.alpha)
            found.append(HarvestedProp(
                label=label, label_zh="物", source="test", score=0.9, bbox=shot.box, area=0.1, id=name,
                mask=folder.relative(folder.prop_mask(name)), crop=folder.relative(folder.prop_crop(name)),
                crop_box=shot.box,
            ))  # fmt: skip
        manifest = HarvestManifest(width=width, height=height, depth_used=True, props=found)
        write_json(folder.harvest_manifest, manifest.model_dump(mode="json", by_alias=True))
        scene = SceneRecord(
            width=width, height=height, intrinsics=shot.intrinsics.tolist(), hfov_deg=40, hfov_source="user",
            unit="metre", median_depth=4, scale_basis="known", gravity=shot.gravity.tolist(), gravity_source="engine",
            ground_plane=GroundPlane(normal=shot.plane[0].tolist(), offset=shot.plane[1], confidence=1),
        )  # fmt: skip
        record = InputRecord(name="s.png", sha256="0" * 64, bytes=1, format="PNG", width=width, height=height,
                             mode="RGB", bit_depth=8, color_space="sRGB", crop=(0, 0, width, height))
        done = {name: StageRecord(state=StageState.DONE) for name in ("plate", "geometry", "harvest")}
        done["geometry"].degraded = degraded
        return folder, Session(tool_version="0", session_id="0", created="", updated="", input=record, options={},
                               stages=done, scene=scene)

    return build


def both(folder: SessionFolder, session: Session, engine) -> tuple[StageContext, StageContext, SceneRecord]:
    first = StageContext(folder, session, Options(), folder.still, lambda f, n: None, props.NOTICES, engine)
    built = props.run(first)
    session.stages["props"] = StageRecord(state=StageState.DONE, details=built.details)
    second = StageContext(folder, session, Options(), folder.still, lambda f, n: None, placement.NOTICES)
    result = placement.run(second)
    assert result.scene is not None
    return first, second, result.scene


def silhouette(folder: SessionFolder, scene: SceneRecord, shape: tuple[int, int]) -> np.ndarray:
    """The GLB as any glTF reader has it, through `camera_from_glb`."""
    prop = scene.props[0]
    loaded = trimesh.load(folder.root / prop.glb, force="mesh")
    camera = trimesh.transform_points(loaded.vertices, np.array(prop.camera_from_glb))
    return rasterise(camera, loaded.faces, np.array(scene.intrinsics), *shape).mask


@pytest.mark.parametrize("degraded", [False, True])
def test_embedded_prop_stands_in_its_place(session, degraded) -> None:
    shot = shoot(bottle(), 15)
    folder, record = session(shot, degraded=degraded)
    first, second, scene = both(folder, record, embedded())
    prop = scene.props[0]
    assert iou(silhouette(folder, scene, shot.alpha.shape), shot.alpha >= 128) > 0.95
    assert prop.silhouette_iou > 0.95 and prop.grounded and prop.pose_confidence > (0.55 if degraded else 0.85)
    assert [n.code for n in first.warnings] == (["props.guessed_depth"] if degraded else [])
    assert not second.warnings
    size = prop.dimensions
    np.testing.assert_allclose([size.width, size.depth, size.height], [0.6, 0.6, 1.5], rtol=0.2)
    cloud = read_gaussians(folder.root / prop.ply)
    mesh = read_glb(folder.root / prop.glb)
    np.testing.assert_allclose(cloud.position.min(axis=0), mesh.vertices.min(axis=0), atol=0.02)
    pose = np.array(prop.camera_from_prop)
    foot = (mesh.vertices @ pose[:3, :3].T + pose[:3, 3]) @ -shot.gravity
    assert foot.min() == pytest.approx(-shot.plane[1], abs=0.02 * 1.5)


def test_mesh_without_a_pose_finds_its_place(session) -> None:
    shot = shoot(l_shape(), 20, 35)
    folder, record = session(shot)
    _, _, scene = both(folder, record, Unposed(l_shape()))
    prop = scene.props[0]
    assert prop.silhouette_iou > 0.9 and prop.grounded and prop.ply is None
    assert abs(prop.quality["ground_gap"]) < 0.02 * prop.dimensions.height
    np.testing.assert_allclose(sorted([prop.dimensions.width, prop.dimensions.depth]),
                               sorted(l_shape().extents[:2]), rtol=0.06)
    assert prop.dimensions.height == pytest.approx(l_shape().extents[2], rel=0.06)
    origin = np.array(prop.camera_from_prop) @ [0, 0, 0, 1]
    assert origin[:3] @ -shot.gravity == pytest.approx(-shot.plane[1], abs=0.03)  # the origin is the ground contact


def test_one_bad_prop_does_not_stop_the_others(session) -> None:
    folder, record = session(shoot(bottle(), 15), ("bad", "good"))
    engine = Fragile()
    engine.load("cpu", "full")
    first, _, scene = both(folder, record, engine)
    assert [p.label for p in scene.props] == ["good"]
    assert first.degraded and "folds over itself" in first.warnings[0].en
    assert not folder.prop_glb("prop_01").exists()


@pytest.mark.parametrize("damage", [b"", b"no mesh at all"])
def test_a_damaged_mesh_leaves_the_others_standing(session, damage: bytes) -> None:
    folder, record = session(shoot(bottle(), 15), ("first", "second"))
    first = StageContext(folder, record, Options(), folder.still, lambda f, n: None, props.NOTICES, embedded())
    record.stages["props"] = StageRecord(state=StageState.DONE, details=props.run(first).details)
    folder.prop_glb("prop_01").write_bytes(damage)
    second = StageContext(folder, record, Options(), folder.still, lambda f, n: None, placement.NOTICES)
    result = placement.run(second)
    assert [prop.label for prop in result.scene.props] == ["second"]
    assert [notice.code for notice in second.warnings] == ["placement.unplaced"] and second.degraded


def test_nothing_built_is_a_sentence(session) -> None:
    folder, record = session(shoot(bottle(), 15), ("bad",))
    engine = Fragile()
    engine.load("cpu", "full")
    with pytest.raises(StageError, match="folds over itself"):
        both(folder, record, engine)


def test_no_props_no_complaint(session) -> None:
    folder, record = session(shoot(bottle(), 15), ())
    first, second, scene = both(folder, record, embedded())
    assert scene.props == [] and not first.warnings and not second.warnings


def test_same_session_same_bytes(session) -> None:
    folder, record = session(shoot(bottle(), 15))
    _, _, before = both(folder, record, embedded())
    files = [folder.prop_glb("prop_01"), folder.prop_ply("prop_01")]
    first = [f.read_bytes() for f in files]
    _, _, after = both(folder, record, embedded())
    assert [f.read_bytes() for f in files] == first and before == after


def test_every_notice_has_both_languages() -> None:
    for en, zh in [*props.NOTICES.values(), *placement.NOTICES.values()]:
        assert en.strip() and any("\u4e00" <= c <= "\u9fff" for c in zh)
