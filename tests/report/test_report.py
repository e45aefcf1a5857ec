from __future__ import annotations

import base64
import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from worker.engines.registry import all_cards
from worker.formats.glb import write_glb
from worker.formats.image import write_png
from worker.formats.mesh import TexturedMesh
from worker.formats.pointmap import Pointmap, intrinsics_from_hfov, pixel_rays, write_pointmap
from worker.pipeline.order import STAGES
from worker.report import embed, gather
from worker.report.page import HERE, both, render
from worker.session.atomic import write_json
from worker.session.harvest import Candidate, HarvestedProp, HarvestManifest
from worker.session.layout import SessionFolder
from worker.session.model import (
    Dimensions,
    InputRecord,
    KeyLight,
    LightRecord,
    Notice,
    PlacedProp,
    SceneRecord,
    Session,
    StageRecord,
)
from worker.session.options import Options
from worker.stages import report
from worker.stages.base import StageContext

W, H = 160, 90
HOSTILE = '"><script>alert(1)</script><img src=http://evil.example/x.png>.png'
WHY = Notice(code="harvest.person", en="It is a <b>person</b>.", zh="这是人物。")
NAMES = ("plate", "geometry", "harvest", "clean_plate", "scene", "lighting", "props", "placement", "relight",
         "package", "blend", "report")


def cube(size: float = 0.4) -> TexturedMesh:
    """A cube standing at the prop frame's origin."""
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32)
    faces = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6],
                      [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]], np.int32)
    vertices = (corners - (0.5, 0.5, 0)) * size
    texture = np.full((8, 8, 3), (200, 60, 40), np.uint8)
    return TexturedMesh(vertices.astype(np.float32), faces, corners[:, :2].copy(), texture)


def session_of(**stages: StageRecord) -> Session:
    record = InputRecord(name=HOSTILE, sha256="ab" * 32, bytes=1234, format="PNG", width=W, height=H, mode="RGB",
                         bit_depth=8, color_space="sRGB", crop=(0, 0, W, H), aigc_label='{"Label":"1"}')
    all_stages = {name: stages.get(name, StageRecord()) for name in NAMES}
    return Session(tool_version="0.1.0", session_id="5e55", created="2026-01-01T00:00:00Z",
                   updated="2026-01-01T00:00:00Z", input=record, options={}, stages=all_stages)


@pytest.fixture
def whole(tmp_path: Path) -> tuple[SessionFolder, Session]:
    """A session in which every stage did its part."""
    folder = SessionFolder(tmp_path)
    rng = np.random.default_rng(0)
    still = rng.integers(100, 140, (H, W, 3), dtype=np.uint8)
    for path in (folder.still, folder.clean, folder.depth_preview, folder.scene_preview, folder.blend_preview,
                 folder.probe_preview, folder.relight_balls, folder.prop_relit("prop_01")):
        write_png(path, still)
    write_png(folder.removed_mask, still[..., 0] > 120)
    write_png(folder.prop_mask("prop_01"), still[..., 0] > 120)
    write_png(folder.prop_crop("prop_01"), np.dstack([still[:40, :40], still[:40, :40, 0]]))
    K = intrinsics_from_hfov(W, H, 60)
    points = pixel_rays(H, W, K) * 3
    full = np.ones((H, W), bool)
    write_pointmap(folder.pointmap, Pointmap(points, full, full.astype(np.float32), K, ~full))
    folder.prop_glb("prop_01").parent.mkdir()
    write_glb(folder.prop_glb("prop_01"), cube(), "prop_01")
    polygon = [(60, 30), (100, 30), (100, 70), (60, 70)]
    manifest = HarvestManifest(
        width=W, height=H, depth_used=True,
        props=[HarvestedProp(id="prop_01", label="red prop", label_zh="红色道具", source="tile", score=0.83,
                             bbox=(60, 30, 40, 40), area=0.11, outline=[polygon], mask="props/prop_01_mask.png",
                             crop="props/prop_01.png", crop_box=(56, 26, 48, 48))],
        rejected=[Candidate(label="tall prop", label_zh="高道具", source="saliency", score=0.4, bbox=(5, 5, 20, 60),
                            area=0.05, outline=[polygon], reasons=[WHY])],
    )
    write_json(folder.harvest_manifest, manifest.model_dump(mode="json", by_alias=True))
    done = StageRecord(state="done", seconds=1.5, peak_memory_mb=300, engine="embedded", engine_version="0.1.0",
                       licence_code="GPL-3.0-or-later", commercial_use="yes", outputs={"plate/still.png": "cd" * 32})
    stages = {name: done.model_copy(deep=True) for name in NAMES[:-1]}
    stages["scene"].quality = {"psnr_db": 31.42}
    stages["blend"].quality = {"psnr_db": 24.18}
    stages["geometry"].degraded = True
    stages["geometry"].warnings = [Notice(code="a", en="Only a preview.", zh="仅为预览。")]
    stages["props"].commercial_use = "terms"
    session = session_of(**stages)
    # The prop frame is Z-up: its z goes to the camera's -y, its y (away from its front) to the camera's z.
    pose = ((1, 0, 0, 0), (0, 0, -1, 0.3), (0, 1, 0, 3), (0, 0, 0, 1))
    session.scene = SceneRecord(
        width=W, height=H, intrinsics=K.astype(float).tolist(), hfov_deg=60, hfov_source="user", unit="metre",
        median_depth=3, scale_basis="measured", gravity=(0, 1, 0), gravity_source="engine",
        props=[PlacedProp(id="prop_01", label="red prop", mask="", crop="", camera_from_prop=pose,
                          camera_from_glb=pose, dimensions=Dimensions(width=0.4, depth=0.4, height=0.4),
                          silhouette_iou=0.87, pose_confidence=0.7, grounded=True)],
        light=LightRecord(probe="lighting/probe.exr", level_from_camera=((1, 0, 0), (0, 0, 1), (0, -1, 0)),
                          key=KeyLight(direction=(-0.6, -0.6, 0.529), color=(1, 0.9, 0.7), intensity=3,
                                       angular_size_deg=5, confidence=0.6), coverage=0.035),
    )
    return folder, session


def html_of(folder: SessionFolder, session: Session, language: str = "en") -> str:
    return render(gather.gather(folder, session, language))


def blocks_of(html: str) -> dict:
    return json.loads(re.search(r'id="blocks">(.*?)</script>', html, re.S).group(1))


def unpacked(block: dict) -> np.ndarray:
    steps = np.frombuffer(base64.b64decode(block["position"]), "<u2").reshape(-1, 3)
    return np.array(block["low"]) + np.array(block["span"]) * steps / 65_535


def test_the_gpus_memory_stands_beside_the_main_memory(whole) -> None:
    folder, session = whole
    assert "<small>GPU" not in html_of(folder, session), "no GPU was used"
    session.stages["scene"].peak_gpu_memory_mb = 4567.4
    assert html_of(folder, session).count("<small>GPU 4567 MB") == 2, "the stage's row and the total"


def test_each_prop_tells_who_made_it_and_what_it_took(whole) -> None:
    folder, session = whole
    stage = session.stages["props"]
    stage.engine, stage.licence_code, stage.licence_weights = "trellis", "MIT", "MIT (Microsoft)"
    stage.details = {"props": {"prop_01": {"seconds": 12.34, "memory_mb": 2345.6, "gpu_mb": 7890.1,
                                           "measured": {"crop_score": 0.83, "voxels": 21400.0}}}}
    html = html_of(folder, session)
    article = html[html.index('<article class="prop"') : html.index("</article>")]
    assert "trellis" in article and "MIT (Microsoft)" in article and "commercial use: under terms" in article
    assert "12.3 s" in article and "2346 MB" in article and "7890 MB GPU" in article
    assert "crop quality" in article and "0.83" in article and "21,400" in article
    assert 'class="turntable"><img src="data:image/webp;base64,' in article
    manifest = HarvestManifest.model_validate_json(folder.harvest_manifest.read_text("utf-8"))
    assert "cut by the frame" not in article
    manifest.props[0].truncated = manifest.props[0].occluded = True
    write_json(folder.harvest_manifest, manifest.model_dump(mode="json", by_alias=True))
    assert "cut by the frame" in html_of(folder, session) and "部分被遮挡" in html_of(folder, session)


@pytest.mark.parametrize("card", all_cards(), ids=lambda card: card.entry)
def test_what_a_licence_says_of_results_is_in_the_page(whole, card) -> None:
    folder, session = whole
    session.stages[card.stage] = StageRecord(
        state="done", engine=card.name, licence_code=card.licence.code, licence_weights=card.licence.weights,
        commercial_use=card.licence.commercial,
    )  # fmt: skip
    page = html.unescape(html_of(folder, session))
    for text in (card.licence.code, card.licence.weights, card.licence.output, card.licence.note, card.licence.url):
        assert not text or text in page


def test_one_of_two_alike_shows_the_others_model(whole) -> None:
    folder, session = whole
    manifest = HarvestManifest.model_validate_json(folder.harvest_manifest.read_text("utf-8"))
    manifest.props.append(manifest.props[0].model_copy(update={"id": "prop_02"}))
    write_json(folder.harvest_manifest, manifest.model_dump(mode="json", by_alias=True))
    first = session.scene.props[0]
    first.glb = "props_3d/prop_01.glb"
    session.scene.props.append(first.model_copy(update={"id": "prop_02", "instance_of": "prop_01"}))
    html = html_of(folder, session)
    article = html[html.index('id="prop_02"') :]
    assert 'data-mesh="prop_01"' in article and '<a href="#prop_01">prop_01</a>' in article
    assert article.count('class="turntable"') == 1
    assert html.count("Same model as") == 1


def test_hostile_names_and_engine_words_stay_text(whole) -> None:
    html = html_of(*whole)
    assert "<script>alert" not in html and "<b>person" not in html
    assert html.count("<script") == 2  # the blocks and our own
    assert "&lt;script&gt;alert(1)" in html


def test_nothing_is_fetched_from_anywhere(whole) -> None:
    html = html_of(*whole)
    for attribute in re.findall(r'(?:src|href)="([^"]*)"', html):
        assert attribute.startswith(("data:", "#")), attribute[:60]
    assert "@import" not in html and "url(" not in html and "fetch(" not in html
    assert "default-src 'none'" in html


def test_numbers_are_those_of_the_session(whole) -> None:
    html = html_of(*whole)
    for text in ("31.4 dB", "24.2 dB", "0.87", "3.5 %", "16.5 s", "ab" * 32, "GPL-3.0-or-later", "60.0°"):
        assert text in html, text
    # (-0.6, -0.6, 0.529) towards the light: left of ahead by atan(0.6 / 0.529) = 48.6°, up by asin(0.6) = 36.9°
    assert re.search(r"<dd>49° <span lang=\"en\">left</span>", html) and "37°" in html
    assert "Only a preview." in html and "仅为预览。" in html
    assert "commercial-" not in html and "Not every engine used here" in html


def test_both_languages_say_the_same_number_of_things(whole) -> None:
    html = html_of(*whole)
    assert html.count('<span lang="en">') == html.count('<span lang="zh-CN">') > 80
    assert 'data-lang="zh"' in html_of(*whole, language="zh")


def test_points_and_meshes_survive_packing(whole) -> None:
    blocks = blocks_of(html_of(*whole))
    points = unpacked(blocks["points"])
    assert len(points) == blocks["points"]["count"] == W * H
    K = intrinsics_from_hfov(W, H, 60)
    assert np.allclose(points, (pixel_rays(H, W, K) * 3).reshape(-1, 3), atol=1e-3)
    mesh = blocks["meshes"]["prop_01"]
    assert mesh["triangles"] == 12 and mesh["count"] == 36
    assert np.allclose(unpacked(mesh).max(axis=0), (0.2, 0.2, 0.4), atol=1e-3)


def test_big_clouds_and_meshes_are_thinned() -> None:
    points = np.random.default_rng(0).normal(size=(400, 700, 3)).astype(np.float32)
    block = embed.points_block(points, np.zeros((400, 700, 3), np.uint8), np.ones((400, 700), bool))
    assert 20_000 < block["count"] <= embed.POINTS * 1.05
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=5)
    mesh = TexturedMesh(ball.vertices.astype(np.float32), ball.faces.astype(np.int32),
                        np.zeros((len(ball.vertices), 2), np.float32), np.zeros((4, 4, 3), np.uint8))
    block = embed.mesh_block(mesh, 2000)
    assert block["triangles"] <= 2000 < block["of"] == len(ball.faces)
    assert np.abs(np.linalg.norm(unpacked(block), axis=1) - 1).max() < 0.1  # still a ball


def test_silhouette_shows_the_model_where_it_stands(whole) -> None:
    folder, session = whole
    view = gather.gather(folder, session, "en").view["props"][0]
    assert view["has_built"]
    from io import BytesIO

    from PIL import Image

    picture = np.asarray(Image.open(BytesIO(base64.b64decode(view["silhouette"].split(",")[1])))).astype(int)
    magenta = (picture[..., 0] > 180) & (picture[..., 1] < 90) & (picture[..., 2] > 130)
    # The cube is 0.4 at depth 3, its middle at y = 0.1: 18.5 px wide around x = 80, y = 49.6 of the still.
    scale = embed.CROP_SIDE / 64  # the crop of 48 px and 8 px around it
    rows, columns = np.nonzero(magenta)
    assert columns.min() / scale + 48 == pytest.approx(80 - 9.9, abs=1.5)
    assert columns.max() / scale + 48 == pytest.approx(80 + 9.9, abs=1.5)
    assert (rows.min() + rows.max()) / 2 / scale + 18 == pytest.approx(49.6, abs=1.5)


def test_a_session_that_failed_at_once_gets_a_true_page(tmp_path: Path) -> None:
    error = Notice(code="plate.x", en="It broke <here>.", zh="出错了。")
    session = session_of(plate=StageRecord(state="failed", error=error, seconds=0.1))
    session.state = "failed"
    html = html_of(SessionFolder(tmp_path), session)
    assert "It broke &lt;here&gt;." in html and "badge failed" in html
    assert "No light was estimated." in html and "No rendering was made" in html
    assert blocks_of(html) == {"meshes": {}}


def test_a_failed_stage_is_not_called_complete(whole) -> None:
    folder, session = whole
    assert "Complete but for this page" in html_of(folder, session)
    session.stages["blend"] = StageRecord(state="failed", error=WHY)
    assert "Partial: a stage failed" in html_of(folder, session)


def test_leftovers_of_undone_stages_are_not_shown(whole) -> None:
    folder, session = whole
    session.stages["scene"] = StageRecord(state="failed", error=WHY)
    session.stages["harvest"] = StageRecord(state="skipped")
    html = html_of(folder, session)
    assert "31.4 dB" not in html and "24.2 dB" in html
    assert 'id="prop_01"' not in html


def test_every_sentence_has_two_languages_and_every_stage_a_name() -> None:
    strings = json.loads((HERE / "strings.json").read_text("utf-8"))
    for key, pair in strings.items():
        assert len(pair) == 2 and all(pair), key
        assert re.search(r"[\u4e00-\u9fff]", pair[1]) or key == "title" or pair[0] == pair[1], key
    assert {f"name.{stage}" for stage in STAGES} <= set(strings)
    used = set(re.findall(r't\("([\w.]+)"\)', (HERE / "template.html.j2").read_text("utf-8")))
    assert used <= set(strings)


def test_both_escapes() -> None:
    assert both("<a>", "<b>") == '<span lang="en">&lt;a&gt;</span><span lang="zh-CN">&lt;b&gt;</span>'


def test_stage_writes_one_small_file(whole) -> None:
    folder, session = whole
    ctx = StageContext(folder, session, Options(), folder.root, lambda f, n: None, report.NOTICES)
    result = report.run(ctx)
    assert result.outputs == [folder.report]
    first = folder.report.read_bytes()
    assert len(first) < report.LARGE and not ctx.warnings
    report.run(ctx)
    assert folder.report.read_bytes() == first


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs a browser")
def test_the_page_runs_in_a_browser(whole, tmp_path: Path) -> None:
    folder, session = whole
    folder.report.write_text(html_of(folder, session), "utf-8")
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
         f"--user-data-dir={tmp_path / 'chromium'}", "--enable-logging=stderr", "--virtual-time-budget=6000",
         "--run-all-compositor-stages-before-draw",
         "--window-size=390,9000", "--dump-dom", folder.report.as_uri() + "?lang=zh"],
        capture_output=True, text=True, timeout=120, check=False,
    )
    assert 'data-lang="zh"' in done.stdout[:300]
    assert done.stdout.count('data-drawn="yes"') == 2, "the point cloud and the one mesh"
    assert "Uncaught" not in done.stderr and "Refused" not in done.stderr, done.stderr
