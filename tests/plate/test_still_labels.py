"""AI-content labels and other words that a still brings along."""

from __future__ import annotations

import json

import pytest
from PIL import Image, PngImagePlugin

from tests.plate.conftest import codes, exif_with, save
from worker.formats import still

LABEL = '{"Label":"1","ContentProducer":"某工作室","ProduceID":"42","ReservedCode1":""}'
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/" TC260:AIGC="{}"/></rdf:RDF></x:xmpmeta>'
).format(LABEL.replace('"', "&quot;"))


def test_a_label_in_xmp_is_carried_word_for_word(tmp_path, picture):
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP)
    image = Image.fromarray(picture)
    for path in (
        save(tmp_path, image, "a.png", pnginfo=info),
        save(tmp_path, image, "a.jpg", xmp=XMP.encode()),
        save(tmp_path, image, "a.webp", xmp=XMP.encode()),
        save(tmp_path, image, "a.tif", tiffinfo={700: XMP.encode()}),
    ):
        result = still.read_still(path)
        assert result.record.aigc_label == LABEL, path.name
        assert "plate.aigc_label" in codes(result)


def test_a_label_in_text_fields(tmp_path, picture):
    info = PngImagePlugin.PngInfo()
    info.add_text("AIGC", LABEL)
    assert still.read_still(save(tmp_path, Image.fromarray(picture), "a.png", pnginfo=info)).record.aigc_label == LABEL
    comment = b"ASCII\0\0\0" + json.dumps({"AIGC": {"Label": "2", "ContentProducer": "x"}}).encode()
    result = still.read_still(save(tmp_path, Image.fromarray(picture), "b.jpg", exif=exif_with(ifd={0x9286: comment})))
    assert json.loads(result.record.aigc_label) == {"Label": "2", "ContentProducer": "x"}


def test_iptc_source_type_is_told(tmp_path, picture):
    xmp = XMP.replace("TC260:AIGC", "TC260:Other").replace(
        "<rdf:Description ",
        '<rdf:Description xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        'i:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia" ',
    )
    result = still.read_still(save(tmp_path, Image.fromarray(picture), "a.jpg", xmp=xmp.encode()))
    assert ("plate.ai_source", {"type": "trainedAlgorithmicMedia"}) in result.remarks


@pytest.mark.parametrize("xmp", [b"<x:xmpmeta", b"\xff\xfe junk", b'<!DOCTYPE a [<!ENTITY b "c">]>' + XMP.encode()])
def test_broken_xmp_is_nothing(tmp_path, picture, xmp):
    assert still.read_still(save(tmp_path, Image.fromarray(picture), "a.jpg", xmp=xmp)).record.aigc_label is None
