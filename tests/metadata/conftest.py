"""A session folder with real files of every kind, made on the spot."""

from __future__ import annotations

import numpy as np
import pytest

from worker.engines.card import EngineCard, Licence
from worker.formats.exr import write_exr
from worker.formats.gaussians import GaussianCloud, write_gaussians
from worker.formats.glb import write_glb
from worker.formats.image import write_png
from worker.formats.mesh import TexturedMesh
from worker.formats.points import write_points
from worker.metadata import labels
from worker.session.atomic import sha256_of, write_json
from worker.session.layout import SessionFolder
from worker.session.model import InputRecord, Session, StageRecord, StageState
from worker.session.options import Options

SESSION_ID = "7a1f4c52-3c0e-5a55-9a39-0d6d0a3b1c11"
NETWORK = EngineCard(
    name="net", stage="props", version="2.1", title="A network", entry="x:Y",
    licence=Licence(code="MIT", weights="CC-BY-NC-4.0", commercial="no", output="None."),
)  # fmt: skip


def tetrahedron() -> TexturedMesh:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]], np.int32)
    return TexturedMesh(vertices, faces, vertices[:, :2].copy(), np.full((8, 8, 3), 90, np.uint8))


def cloud() -> GaussianCloud:
    one = np.ones((5, 3), np.float32)
    turn = np.tile(np.array([1, 0, 0, 0], np.float32), (5, 1))
    return GaussianCloud(one * 2, one * 0.1, turn, np.full(5, 0.5, np.float32), one * 0.5)


def make_session(root, label=None, **studio):
    """Folder and session as they stand before the package stage; files labelled as a host labels them."""
    folder = SessionFolder(root)
    image = np.full((48, 64, 3), 100, np.uint8)
    record = InputRecord(
        name="剧照 1.png", sha256="ab" * 32, bytes=1234, format="PNG", width=64, height=48, mode="RGB", bit_depth=8,
        color_space="sRGB", crop=(0, 0, 64, 48), aigc_label=label,
    )  # fmt: skip
    session = Session(
        tool_version="0.1.0", session_id=SESSION_ID, created="2026-03-04T05:06:07Z", updated="2026-03-04T05:06:09Z",
        input=record, options=Options(studio=studio).model_dump(mode="json"), stages={},
    )  # fmt: skip

    def finish(stage, outputs, card=None):
        labels.label_outputs(session, folder, card, outputs)
        session.stages[stage] = StageRecord(
            state=StageState.DONE,
            outputs={folder.relative(path): sha256_of(path) for path in outputs},
            engine=card and card.name, engine_version=card and card.version, seed=card and 7,
            licence_code=card and card.licence.code, licence_weights=card and card.licence.weights,
            commercial_use=card and card.licence.commercial,
        )  # fmt: skip

    write_png(folder.still, image)
    write_exr(folder.linear, image / np.float32(255))
    finish("plate", [folder.still, folder.linear])
    write_points(folder.points, np.ones((3, 3), np.float32), np.zeros((3, 3), np.uint8), ["frame: camera"])
    finish("geometry", [folder.points])
    write_png(folder.prop_crop("prop_01"), np.zeros((9, 9, 4), np.uint8))
    write_png(folder.prop_mask("prop_01"), image[..., 0])
    prop = {
        "id": "prop_01", "label": "lamp", "label_zh": "台灯", "source": "tile", "score": 0.9, "bbox": (1, 2, 9, 9),
        "area": 0.02, "mask": "props/prop_01_mask.png", "crop": "props/prop_01.png", "crop_box": (0, 1, 11, 11),
    }  # fmt: skip
    manifest = {"schema": "assetize.harvest/1", "width": 64, "height": 48, "depth_used": False, "props": [prop]}
    write_json(folder.harvest_manifest, manifest)
    finish("harvest", [folder.prop_crop("prop_01"), folder.prop_mask("prop_01"), folder.harvest_manifest])
    write_png(folder.clean, image)
    finish("clean_plate", [folder.clean])
    write_gaussians(folder.scene_ply, cloud())
    finish("scene", [folder.scene_ply])
    write_glb(folder.prop_glb("prop_01"), tetrahedron(), "prop_01", {"label": "lamp"})
    write_gaussians(folder.prop_ply("prop_01"), cloud())
    finish("props", [folder.prop_glb("prop_01"), folder.prop_ply("prop_01")], NETWORK)
    return folder, session


@pytest.fixture
def stand(tmp_path):
    return make_session(tmp_path / "out")
