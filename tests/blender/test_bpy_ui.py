"""ui: operators, properties and the package, in background Blender. What needs a window is in tests/window."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import time
from pathlib import Path

import bpy
import pytest

import blender_addon
from blender_addon.core import engines as core_engines
from blender_addon.core import far_disk
from blender_addon.core.client import Worker
from blender_addon.core.errors import AddonError
from blender_addon.core.jobs import Job
from blender_addon.core.worker import WorkerCommand
from blender_addon.scene import sets
from blender_addon.ui import engines, jobs, operators, panels, preferences, rois, settings, thumbnail, translations

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def addon():
    bpy.ops.wm.read_factory_settings(use_empty=True)
    blender_addon.register()
    yield bpy.context.scene
    blender_addon.unregister()


@pytest.fixture
def imported(addon, session_folder):
    assert bpy.ops.assetize.import_session(directory=str(session_folder)) == {"FINISHED"}
    return bpy.data.objects["crate prop_01"]


def select(item):
    for other in bpy.context.selected_objects:
        other.select_set(False)
    bpy.context.view_layer.objects.active = item
    item.select_set(True)


def test_register_and_unregister_leave_nothing():
    before = set(dir(bpy.types)) | set(dir(bpy.ops.assetize))
    for _ in range(2):
        blender_addon.register()
        assert "ASSETIZE_OT_image" in dir(bpy.types) and hasattr(bpy.types.Scene, "assetize")
        blender_addon.unregister()
    assert set(dir(bpy.types)) | set(dir(bpy.ops.assetize)) == before and not hasattr(bpy.types.Scene, "assetize")


def test_live_controls_act_on_the_set(imported, addon):
    chosen = addon.assetize
    assert (chosen.display, chosen.splat_level) == ("PROXY", "AUTO")
    assert math.degrees(chosen.hfov) == pytest.approx(58.1, abs=0.1)
    chosen.display, chosen.splat_level, chosen.hfov = "SPLATS", "DRAFT", math.radians(40)
    assert not bpy.data.objects["set splats"].hide_render and bpy.data.objects["set background"].hide_render
    assert (chosen.display, chosen.splat_level) == ("SPLATS", "DRAFT")
    assert math.degrees(bpy.data.objects["set camera"].data.angle_x) == pytest.approx(40, abs=1e-3)
    chosen.display = "PLATE"
    assert addon.render.film_transparent and not bpy.data.objects["set shadow catcher"].hide_render


def test_what_to_import_is_chosen(addon, session_folder):
    addon.assetize.import_splats = addon.assetize.import_props = False
    bpy.ops.assetize.import_session(directory=str(session_folder))
    assert "set splats" not in bpy.data.objects and "crate prop_01" not in bpy.data.objects
    assert "set background" in bpy.data.objects


def test_errors_are_sentences(addon, tmp_path):
    for call, part in ((lambda: bpy.ops.assetize.import_session(directory=str(tmp_path)), "no session folder"),
                       (lambda: bpy.ops.assetize.image(filepath=str(tmp_path / "no.png")), "does not exist"),
                       (lambda: bpy.ops.assetize.image(), "No picture is chosen"),
                       (lambda: bpy.ops.assetize.open_report(), "no report"),
                       (lambda: bpy.ops.assetize.cancel(job_id="none"), "no such job")):  # fmt: skip
        with pytest.raises(RuntimeError, match=part):
            call()


def test_operators_on_props(imported, addon, tmp_path):
    select(imported)
    addon.assetize.known_length = 1.4
    assert bpy.ops.assetize.known_length() == {"FINISHED"}
    bpy.context.view_layer.update()
    assert imported.dimensions.z == pytest.approx(1.4, rel=1e-4)
    assert bpy.ops.assetize.collide(hull_mesh=True) == {"FINISHED"}
    assert (imported.rigid_body.type, imported.rigid_body.collision_shape) == ("PASSIVE", "CONVEX_HULL")
    assert bpy.ops.assetize.mark_assets() == {"FINISHED"} and imported.asset_data.license
    assert bpy.ops.assetize.prop_splats(splats=True) == {"FINISHED"} and imported.hide_render
    target = tmp_path / "record.json"
    assert bpy.ops.assetize.export_record(filepath=str(target)) == {"FINISHED"}
    record = json.loads(target.read_text(encoding="utf-8"))
    assert record["delivery"]["AIGC"]["Label"] == "1" and record["properties"]["label"] == "crate"


def test_the_record_travels_in_gltf_extras(imported, tmp_path):
    if not hasattr(bpy.ops.export_scene, "gltf"):
        pytest.skip("no glTF exporter here")
    select(imported)
    path = tmp_path / "crate.glb"
    bpy.ops.export_scene.gltf(filepath=str(path), use_selection=True, export_extras=True, export_apply=False)
    data = path.read_bytes()
    document = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    extras = next(node["extras"] for node in document["nodes"] if node["name"] == "crate prop_01")
    assert extras["assetize_label"] == "crate" and json.loads(extras["assetize_record"])["role"] == "prop"


def test_import_is_one_undo_step(addon, session_folder):
    bpy.ops.ed.undo_push(message="before")
    bpy.ops.assetize.import_session("EXEC_DEFAULT", True, directory=str(session_folder))
    assert "set camera" in bpy.data.objects
    bpy.ops.ed.undo()
    assert not any(item.name.startswith("set") for item in bpy.data.objects)
    bpy.ops.ed.redo()
    assert "set camera" in bpy.data.objects


def test_options_carry_what_the_panel_says(addon):
    chosen = addon.assetize
    box = chosen.rois.add()
    box.x, box.y, box.width, box.height, box.image = 10, 20, 30, 40, "still.png"
    chosen.use_lens, chosen.lens_mm = True, 50.0
    made = settings.options(chosen, {"producer": "P"}, "zh_HANS", "still.png")
    assert made["rois"] == [[10, 20, 30, 40]] and made["lens_mm"] == 50.0 and made["language"] == "zh"
    assert made["engines"] == {} and made["no_blend"] and made["studio"] == {"producer": "P"}
    assert settings.options(chosen, {}, "en_US", "other.png")["rois"] == []


ENGINES = [
    {"name": "embedded", "stage": "geometry", "title": "Embedded", "ready": True, "commercial_use": "yes",
     "licence_code": "GPL-3.0-or-later", "licence_weights": "Apache-2.0", "why_not": None, "device": "cpu",
     "tier": "full", "memory_mb": {"full": 2048}},
    {"name": "finer", "stage": "geometry", "title": "Finer", "ready": False, "commercial_use": "no",
     "licence_code": "CC-BY-NC-4.0", "licence_weights": None, "device": None, "memory_mb": {"full": 9000},
     "why_not": {"code": "engine.licence", "en": "Accept first.", "zh": "须先接受。", "fix": "assetize engines install x"}},  # noqa: E501
]  # fmt: skip


def test_an_engine_is_kept_by_name_whatever_the_list(addon, monkeypatch):
    """The list comes from the worker and changes; a choice must not turn into another engine by its place in it."""
    monkeypatch.setattr(jobs.board(), "engines", ENGINES)
    chosen = addon.assetize
    assert chosen.pick_geometry == "auto" and settings.options(chosen, {}, "en", "a")["engines"] == {}
    chosen.pick_geometry = "finer"
    assert chosen.engine_geometry == "finer"
    for listed in ([], ENGINES[1:], ENGINES):
        monkeypatch.setattr(jobs.board(), "engines", listed)
        assert chosen.pick_geometry == "finer"
        assert settings.options(chosen, {}, "en", "a")["engines"] == {"geometry": "finer"}
    monkeypatch.setattr(preferences._Defaults, "engine_scene", "from_preferences", raising=False)
    assert settings.options(chosen, {}, "en", "a")["engines"] == {"geometry": "finer", "scene": "from_preferences"}
    chosen.pick_scene = "auto"
    assert settings.options(chosen, {}, "en", "a")["engines"] == {"geometry": "finer"}


def test_engines_tell_their_licence_and_why_not(addon, monkeypatch):
    monkeypatch.setattr(jobs.board(), "engines", ENGINES)
    told = {entry[0]: entry[1] for entry in engines.entries("geometry")}
    assert told["embedded"] == "Embedded (commercial use)"
    assert told["finer"] == "Finer (non-commercial) - licence not accepted"
    first, second = ENGINES
    assert core_engines.licence(first) == "GPL-3.0-or-later / Apache-2.0" and core_engines.place(first) == "cpu, 2.0 GB"
    assert core_engines.why_not(second, "zh_HANS") == "须先接受。"
    assert core_engines.mends(second) == "assetize engines install x"
    assert core_engines.chosen(ENGINES, "geometry", "auto") == first
    assert core_engines.chosen(ENGINES[1:], "geometry", "auto") is None


class Layout:
    """Writes down what a panel draws; every part of a layout is the same one."""

    def __init__(self):
        self.props = []

    def prop(self, owner, name, **how):
        self.props.append(name)

    def __getattr__(self, name):
        return lambda *args, **how: self


def test_tiles_are_offered_where_the_engine_looks_through_them(addon, monkeypatch):
    chosen = addon.assetize
    tiled = {**ENGINES[1], "heeds": ["geometry_tiles", "an option of tomorrow"]}
    monkeypatch.setattr(jobs.board(), "engines", [tiled, ENGINES[0]])

    def shown(owner):
        layout = Layout()
        engines.draw(layout, owner, "en", lambda *said: None, lambda text: [text])
        return [name for name in layout.props if not name.startswith("pick_")]

    chosen.geometry_tiles = True
    for engine, offered in (("embedded", False), ("finer", True), ("auto", False)):
        chosen.pick_geometry = engine
        assert shown(chosen) == ["geometry_tiles"] * offered
        assert settings.options(chosen, {}, "en", "a")["geometry_tiles"] is offered, "a hidden switch does nothing"
    monkeypatch.setattr(jobs.board(), "engines", [])
    assert settings.options(chosen, {}, "en", "a")["geometry_tiles"], "before the worker has told of its engines"
    chosen.geometry_tiles = False
    assert not settings.options(chosen, {}, "en", "a")["geometry_tiles"]


def test_a_command_is_copied_as_it_is_typed(tmp_path):
    command = "assetize engines install x"
    assert operators.as_typed(command, ROOT, False) == "python3 install/bootstrap.py engines install x"
    assert operators.as_typed(command, ROOT, True) == "py install\\bootstrap.py engines install x"
    assert operators.as_typed(command, tmp_path) == operators.as_typed(command, None) == command
    assert operators.as_typed("huggingface-cli login", ROOT) == "huggingface-cli login"


def test_the_lights_are_switched(imported, addon):
    chosen, sun = addon.assetize, bpy.data.objects["set key light"]
    assert not chosen.key_light and chosen.probe_strength == 1.0
    chosen.key_light, chosen.probe_strength = True, 0.0
    assert not sun.hide_render and not sun.hide_viewport and chosen.probe_strength == 0.0
    background = next(node for node in addon.world.node_tree.nodes if node.bl_idname == "ShaderNodeBackground")
    assert background.inputs["Strength"].default_value == 0.0
    chosen.key_light = False
    assert sun.hide_render and sun.hide_viewport


def job_of(folder, job_id="a" * 32, **said):
    return Job(job_id, "set.png", "done", 1.0, folder=str(folder), **said)


@pytest.fixture
def own_worker(addon, monkeypatch):
    """A board that thinks it talks to a worker of this machine; nothing is sent."""
    board = jobs.board()
    monkeypatch.setattr(board, "worker", Worker("127.0.0.1", 9, "t", 4711))
    monkeypatch.setattr(board, "tick", lambda: False)
    return board


def test_a_finished_job_comes_into_the_file_it_was_sent_from(own_worker, session_folder, tmp_path):
    job = job_of(session_folder)
    own_worker.jobs, own_worker.finished = [job], [job]
    own_worker.mine[job.id] = jobs.origin()
    jobs.tick()
    assert "set camera" in bpy.data.objects and job.id not in own_worker.mine and jobs.slowest_import_s > 0


def test_and_is_offered_in_any_other(own_worker, session_folder, tmp_path):
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    job = job_of(session_folder)
    own_worker.mine[job.id] = jobs.origin()
    bpy.ops.wm.read_homefile(use_empty=True)
    own_worker.jobs, own_worker.finished = [job], [job]
    jobs.tick()
    assert "set camera" not in bpy.data.objects and jobs.offered() == [job]
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    jobs.tick()
    assert "set camera" in bpy.data.objects and jobs.offered() == []


def test_an_import_waits_while_a_mesh_is_edited(own_worker, session_folder):
    bpy.ops.mesh.primitive_cube_add()
    bpy.ops.object.mode_set(mode="EDIT")
    job = job_of(session_folder)
    own_worker.jobs, own_worker.finished = [job], [job]
    own_worker.mine[job.id] = jobs.origin()
    jobs.tick()
    assert "set camera" not in bpy.data.objects and own_worker.finished == [job]
    bpy.ops.object.mode_set(mode="OBJECT")
    jobs.tick()
    assert "set camera" in bpy.data.objects


def test_another_machines_job_is_fetched_before_it_is_imported(own_worker, session_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(own_worker, "worker", Worker("farm", 80, "t"))
    monkeypatch.setattr(jobs, "output_root", lambda: tmp_path)
    asked = []
    monkeypatch.setattr(own_worker, "bring", lambda job, place, then: asked.append((place, then)))
    job = job_of("/no/such/folder/set")
    own_worker.jobs = [job]
    assert bpy.ops.assetize.import_job(job_id=job.id) == {"FINISHED"}
    (place, then), = asked
    assert place == tmp_path / "farm-80" and "set camera" not in bpy.data.objects
    job.here = session_folder
    then(job)
    jobs.tick()
    assert "set camera" in bpy.data.objects


def test_edits_are_exported_where_they_belong(imported, tmp_path):
    assert imported["assetize_note"] == ""
    imported["assetize_label"], imported["assetize_note"] = "tea chest", "hero prop"
    select(imported)
    target = tmp_path / "record.json"
    bpy.ops.assetize.export_record(filepath=str(target))
    record = json.loads(target.read_text(encoding="utf-8"))
    assert record["placement"]["label"] == "tea chest" and record["note"] == "hero prop"
    assert record["edited"] == ["label", "note"] and record["stages"]["props"]["engine"] == "embedded"


def test_every_word_of_the_panel_is_in_chinese():
    """Names, descriptions and list entries of everything that is registered."""
    words = set()
    blender_addon.register()
    try:
        from blender_addon.ui import _MODULES

        for cls in [cls for module in _MODULES for cls in module.CLASSES]:
            words |= {getattr(cls, "bl_label", ""), cls.__doc__ or "" if issubclass(cls, bpy.types.Operator) else ""}
            for prop in cls.bl_rna.properties:
                if prop.identifier in getattr(cls, "__annotations__", {}):
                    words |= {prop.name, prop.description}
                    if prop.type == "ENUM":
                        for item in prop.enum_items_static:
                            words |= {item.name, item.description}
    finally:
        blender_addon.unregister()
    known = set(translations._ZH) | translations.SAME
    assert sorted(words - known - {""}) == []
    said = set(core_engines.COMMERCIAL.values()) | set(core_engines.OBSTACLES.values())
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "blender_addon/ui").glob("*.py"))
    said |= set(re.findall(r'(?:\b_|pgettext_\w+)\("([^"]+)"', source)) | set(re.findall(r'text="(\w[^"]+)"', source))
    assert sorted(said - known) == []
    assert all(key.count("%") == value.count("%") for key, value in translations._ZH.items())


def test_boxes_are_counted_from_the_upper_left():
    assert rois.pixel_box((0.25, 1.0), (0.5, 0.5), 400, 200) == (100, 0, 100, 100)
    assert rois.pixel_box((0.5, 0.5), (0.25, 2.0), 400, 200) == (100, 0, 100, 100)
    assert rois.pixel_box((0.5, 0.5), (0.5, 0.5), 400, 200) is None


def test_lines_fit_in_both_languages():
    text = "The worker was started but did not come up."
    assert panels.wrapped(text, 20) == ["The worker was", "started but did not", "come up."]
    chinese = "geometry 阶段的引擎“mast3r”尚未安装（缺少 model.safetensors）。请用“assetize engines install”安装。"
    for width in range(8, 60):
        lines = panels.wrapped(chinese, width)
        assert "".join(lines).replace(" ", "") == chinese.replace(" ", "")
        assert not any(line[0] in "。，）”" for line in lines), lines
    assert all(len(line) <= 10 for line in panels.wrapped("已启动工作进程，但其未能就绪。原因见其日志。", 20))


def test_pictures_without_a_file_are_written_out(addon, tmp_path):
    image = bpy.data.images.new("made up", 8, 4)
    image.pixels.foreach_set([0.5] * (8 * 4 * 4))
    path = operators.image_file(image, tmp_path)
    assert path.suffix == ".png" and path.read_bytes().startswith(b"\x89PNG")
    loaded = bpy.data.images.load(str(path))
    assert operators.image_file(loaded, tmp_path) == path


def test_the_active_picture_is_found(imported, addon):
    assert operators.reference_image(bpy.context).name == "set still"  # the camera's background
    picture = bpy.data.images.new("painting", 8, 8)
    empty = bpy.data.objects.new("painting", None)
    empty.empty_display_type = "IMAGE"
    empty.data = picture
    addon.collection.objects.link(empty)
    select(empty)
    assert operators.reference_image(bpy.context) == picture


def test_image_runs_to_the_end_in_background(addon, session_folder, tmp_path, monkeypatch):
    """A worker that answers with a finished session: the operator imports it."""
    script = tmp_path / "python_fake.py"
    line = json.dumps({"event": "job.finished", "folder": str(session_folder), "exit_code": 0, "error": None})
    script.write_text(f"import sys\nopen({str(tmp_path / 'argv')!r}, 'w').write(' '.join(sys.argv))\nprint({line!r})\n")
    command = WorkerCommand((sys.executable, str(script)))
    monkeypatch.setattr(jobs, "find_worker", lambda: command)
    monkeypatch.setattr(operators.jobs, "output_root", lambda: tmp_path / "out")
    still = session_folder / "plate/still.png"
    addon.assetize.geometry_tiles = True
    assert bpy.ops.assetize.image(filepath=str(still)) == {"FINISHED"}
    assert "set camera" in bpy.data.objects
    said = (tmp_path / "argv").read_text()
    assert f"--input {still}" in said and "--geometry_tiles" in said and "--skip_scene" not in said


def test_a_worker_that_is_killed_is_told_and_nothing_is_imported(addon, tmp_path, monkeypatch):
    script = tmp_path / "python_fake.py"
    script.write_text("import os\nprint('{\"event\": \"session\", \"folder\": \"/f\"}', flush=True)\nos._exit(137)\n")
    command = WorkerCommand((sys.executable, str(script)))
    monkeypatch.setattr(jobs, "find_worker", lambda: command)
    still = tmp_path / "still.png"
    still.write_bytes(b"x")
    with pytest.raises(RuntimeError, match=r"ended before its time \(exit code 137\).*finished stages are kept"):
        bpy.ops.assetize.image(filepath=str(still))
    assert len(bpy.data.objects) == 0


def test_the_package_passes_blenders_validator(tmp_path):
    scripts = Path(bpy.utils.system_resource("SCRIPTS"))
    builder = scripts / "addons_core" / "bl_pkg" / "cli" / "blender_ext.py"
    source = ROOT / "blender_addon"
    for line in (["build", "--source-dir", str(source), "--output-dir", str(tmp_path)],
                 ["validate", str(tmp_path / "assetize-0.1.0.zip")]):  # fmt: skip
        done = subprocess.run([sys.executable, str(builder), *line], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_thumbnail_is_looked_for_and_forgotten(addon, session_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(thumbnail, "NEAR_S", 5.0)  # a loaded machine starts a thread late
    assert thumbnail.icon_of(tmp_path / "none.png") == 0
    still = session_folder / "plate/still.png"
    assert thumbnail.icon_of(still) == thumbnail.icon_of(still)  # icons have numbers in a window only
    assert len(thumbnail._previews[0]) == 1
    thumbnail.forget()
    assert not thumbnail._previews and not thumbnail._looked


def test_no_button_stands_still_for_a_share_that_is_off(imported, addon, dead, monkeypatch):
    monkeypatch.setattr(far_disk, "PATIENCE_S", 0.1)
    share = dead.root
    select(imported)
    monkeypatch.setattr(preferences._Defaults, "output_root", str(share / "out"))
    for item in (imported, sets.set_of(imported)):
        item["assetize_folder"] = str(share / "set")
    for call in (lambda: bpy.ops.assetize.import_session(directory=str(share / "set")),
                 lambda: bpy.ops.assetize.image(filepath=str(share / "still.png")),
                 lambda: bpy.ops.assetize.open_report(directory=str(share / "set")),
                 lambda: bpy.ops.assetize.show_still(),
                 lambda: bpy.ops.assetize.mark_assets(),
                 lambda: bpy.ops.assetize.export_record(filepath=str(share / "record.json")),
                 lambda: bpy.ops.assetize.worker_start()):  # fmt: skip
        started = time.monotonic()
        with pytest.raises(RuntimeError, match="does not answer"):
            call()
        assert time.monotonic() - started < 2.0
    monkeypatch.setattr(preferences._Defaults, "worker", str(share / "assetize"))
    with pytest.raises(AddonError, match="does not answer"):
        jobs.find_worker()
    assert dead.asked >= 8


def test_a_panel_is_drawn_though_the_stills_disk_is_off(addon, dead):
    still = dead.root / "still.png"
    started = time.monotonic()
    assert all(thumbnail.icon_of(still) == 0 for _ in range(50))
    assert time.monotonic() - started < 1.0 and dead.asked == 1, "one look, however often it is drawn"
    thumbnail.forget()
