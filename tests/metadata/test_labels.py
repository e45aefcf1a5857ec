"""Labels are read back by other people's readers, and nothing but the label changed."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pygltflib
import pytest
import trimesh
from PIL import Image
from plyfile import PlyData

from tests.metadata.conftest import NETWORK, SESSION_ID, cloud, make_session, tetrahedron
from worker.formats import still
from worker.formats.gaussians import read_gaussians, write_gaussians
from worker.formats.glb import read_glb, write_glb
from worker.formats.image import write_png
from worker.metadata import containers, labels
from worker.metadata.identifiers import asset_uuid

KEYS = ["Label", "ContentProducer", "ProduceID", "ReservedCode1", "ContentPropagator", "PropagateID", "ReservedCode2"]
IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
SOURCE = '{"Label":"1","ContentProducer":"别的工作室"}'


def label(**changes):
    fields = {
        "identifier": asset_uuid(SESSION_ID, "x"),
        "producer": '工作室 & <Söhne> "A"',
        "source_type": "compositeSynthetic",
    }
    return labels.Label(**{**fields, **changes})


def test_implicit_label_is_the_standards():
    aigc = label().aigc
    assert list(aigc) == KEYS and all(isinstance(value, str) for value in aigc.values())
    assert aigc["Label"] == "1" and aigc["ProduceID"] == asset_uuid(SESSION_ID, "x")


def test_png_keeps_its_pixels_and_tells(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 4), dtype=np.uint8)
    write_png(tmp_path / "a.png", pixels)
    containers.put_xmp_into_png(tmp_path / "a.png", label(source=SOURCE).xmp())
    with Image.open(tmp_path / "a.png") as image:
        assert (np.asarray(image) == pixels).all()
        packet = image.info["XML:com.adobe.xmp"]
    inner = packet[packet.index("<x:") : packet.index("<?xpacket end")]
    found = ElementTree.fromstring(inner).find(".//{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description").attrib
    assert json.loads(found["{http://www.tc260.org.cn/ns/AIGC/1.0/}AIGC"]) == label().aigc
    assert found["{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"] == IPTC + "compositeSynthetic"
    assert SOURCE in found["{http://purl.org/dc/elements/1.1/}source"]


def test_our_own_reader_finds_the_label_again(tmp_path):
    """What one run made is the next run's input: the label survives the round trip word for word."""
    write_png(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    containers.put_xmp_into_png(tmp_path / "a.png", label().xmp())
    assert still.read_still(tmp_path / "a.png").record.aigc_label == label().text


def test_glb_keeps_its_mesh_and_tells(tmp_path):
    path = tmp_path / "a.glb"
    write_glb(path, tetrahedron(), "a", {"label": "lamp"})
    before = read_glb(path)
    containers.put_into_glb(path, label().extras(), label().xmp_json_ld())
    after = read_glb(path)
    assert np.array_equal(before.vertices, after.vertices) and np.array_equal(before.faces, after.faces)
    assert np.array_equal(before.texture, after.texture)
    assert trimesh.load_mesh(path, process=True).is_volume
    document = pygltflib.GLTF2().load(str(path))
    assert document.asset.extras["AIGC"] == label().aigc and document.asset.extras["label"] == "lamp"
    assert document.asset.extras["digitalSourceType"] == IPTC + "compositeSynthetic"
    packet = document.extensions["KHR_xmp_json_ld"]["packets"][document.asset.extensions["KHR_xmp_json_ld"]["packet"]]
    assert json.loads(packet["TC260:AIGC"]) == label().aigc
    assert set(packet["@context"]) >= {key.split(":")[0] for key in packet if ":" in key}
    assert document.extensionsUsed == ["KHR_xmp_json_ld"]
    assert path.stat().st_size % 4 == 0


def test_ply_keeps_its_points_and_tells_in_ascii(tmp_path):
    path = tmp_path / "a.ply"
    write_gaussians(path, cloud(), ("frame: camera",))
    before = read_gaussians(path)
    containers.put_comments_into_ply(path, label(source=SOURCE).ply_comments(), "AIGC")
    comments = PlyData.read(str(path)).comments  # raises on anything but ASCII
    assert json.loads(comments[0].removeprefix("AIGC ")) == label().aigc
    assert json.loads(comments[3].removeprefix("AIGC-source ")) == SOURCE
    assert comments[-1] == "frame: camera"
    assert np.array_equal(read_gaussians(path).position, before.position)


def test_a_ply_that_bears_its_label_is_not_written_again(stand):
    folder, session = stand
    wanted = labels.ply_comments(session, folder, NETWORK, folder.scene_ply)
    write_gaussians(folder.scene_ply, cloud(), (*wanted, "frame: camera"))
    before = folder.scene_ply.stat()
    assert labels.label_outputs(session, folder, NETWORK, [folder.scene_ply, folder.clean]) == [folder.clean]
    assert (folder.scene_ply.stat().st_ino, folder.scene_ply.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert labels.label_outputs(session, folder, None, [folder.scene_ply]) == []  # a network had run in another stage
    assert labels.ply_comments(session, folder, None, folder.still) == []


@pytest.mark.parametrize("kind", ["png", "glb", "ply"])
def test_labelling_twice_is_labelling_once(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "png":
        write_png(path, np.zeros((8, 8, 3), np.uint8))
        put = lambda: containers.put_xmp_into_png(path, label().xmp())  # noqa: E731
    elif kind == "glb":
        write_glb(path, tetrahedron(), "a")
        put = lambda: containers.put_into_glb(path, label().extras(), label().xmp_json_ld())  # noqa: E731
    else:
        write_gaussians(path, cloud())
        put = lambda: containers.put_comments_into_ply(path, label().ply_comments(), "AIGC")  # noqa: E731
    put()
    once = path.read_bytes()
    put()
    assert path.read_bytes() == once


def test_only_results_are_labelled(stand):
    folder, _ = stand
    for path in (folder.clean,):
        assert b"TC260" in path.read_bytes()
    for path in (folder.still, folder.prop_mask("prop_01"), folder.prop_crop("prop_01")):
        assert b"TC260" not in path.read_bytes()  # the artist's own pixels, and data
    for path in (folder.points, folder.scene_ply, folder.prop_ply("prop_01")):
        assert containers.ply_comments(path)[0].startswith("AIGC {")


def test_source_type_follows_the_engines(stand):
    folder, session = stand
    made = PlyData.read(str(folder.prop_ply("prop_01"))).comments
    lifted = PlyData.read(str(folder.scene_ply)).comments
    assert f"AIGC-digitalSourceType {IPTC}trainedAlgorithmicMedia" in made  # a network invented its shape
    assert f"AIGC-digitalSourceType {IPTC}compositeSynthetic" in lifted  # no network had run yet
    labels.label_outputs(session, folder, None, [folder.scene_ply])  # after one did
    again = PlyData.read(str(folder.scene_ply)).comments
    assert f"AIGC-digitalSourceType {IPTC}compositeWithTrainedAlgorithmicMedia" in again
    assert labels.uses_network(NETWORK) and not labels.uses_network(None)


def test_the_inputs_label_goes_into_every_file(tmp_path):
    folder, _ = make_session(tmp_path / "out", label=SOURCE)
    assert SOURCE in Image.open(folder.clean).info["XML:com.adobe.xmp"].replace("&quot;", '"')
    assert containers.glb_document(folder.prop_glb("prop_01"))["asset"]["extras"]["sourceAIGC"] == SOURCE
    assert any("AIGC-source" in line for line in containers.ply_comments(folder.points))


def test_a_studio_labels_in_its_own_name(tmp_path):
    folder, _ = make_session(tmp_path / "out", producer="华光影业")
    extras = containers.glb_document(folder.prop_glb("prop_01"))["asset"]["extras"]
    assert extras["AIGC"]["ContentProducer"] == "华光影业"


@pytest.mark.parametrize(
    "function",
    [
        lambda path: containers.put_xmp_into_png(path, ""),
        lambda path: containers.put_into_glb(path, {}, {}),
        containers.ply_header,
    ],
)
def test_other_files_are_left_alone(tmp_path, function):
    path = tmp_path / "a.bin"
    path.write_bytes(b"not what it says" * 9)
    with pytest.raises(ValueError, match=r"a\.bin is no"):
        function(path)
    assert path.read_bytes() == b"not what it says" * 9
