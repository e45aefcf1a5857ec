"""Records: valid by the shipped schema, true to the files, silent about what only an agency may say."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import logging
import re

import jsonschema
import pytest

from tests.metadata.conftest import make_session
from tests.metadata.test_identifiers import EIDR, ISAN
from worker.metadata.identifiers import asset_uuid
from worker.metadata.labels import DELIVERY
from worker.metadata.record import AssetRecord, json_schema
from worker.session.model import Dimensions, PlacedProp, SceneRecord
from worker.session.options import Options
from worker.stages import package
from worker.stages.base import StageContext

SCHEMA = json.loads(
    (importlib.resources.files("worker.metadata") / "schema/asset_record.schema.json").read_text("utf-8")
)


def run(folder, session):
    ctx = StageContext(
        folder,
        session,
        Options.model_validate(session.options),
        folder.root / "x",
        lambda f, n: None,
        package.NOTICES,
        log=logging.getLogger("test"),
    )
    return ctx, package.run(ctx)


def load(path):
    record = json.loads(path.read_text("utf-8"))
    jsonschema.validate(record, SCHEMA, cls=jsonschema.Draft202012Validator)
    return record


@pytest.fixture
def records(stand):
    folder, session = stand
    run(folder, session)
    return folder, session, load(folder.scene_record), load(folder.prop_record("prop_01"))


def test_the_shipped_schema_is_the_models():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert json_schema() == SCHEMA, "write it anew: see docs/metadata.md"


def test_the_schema_has_teeth(records):
    *_, record = records
    for damage in (
        lambda r: r["kernel"].update(referentDoiName="10.1234/x"),
        lambda r: r["system_metadata"].update(doi_name="10.1234/x"),
        lambda r: r["AIGC"].update(Label=1),
        lambda r: r["AIGC"].pop("ProduceID"),
        lambda r: r["files"][0].update(sha256="nonsense"),
        lambda r: r.pop("licences"),
        lambda r: r.update(extra=1),
        lambda r: r["kernel"]["referentCreation"].update(structuralType="Physical"),
    ):
        broken = json.loads(json.dumps(record))
        damage(broken)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, SCHEMA, cls=jsonschema.Draft202012Validator)


def test_every_key_the_house_promises_is_there(records):
    for record in records[2:]:
        assert {
            "system_metadata",
            "kernel",
            "technical_metadata",
            "content_metadata",
            "provenance",
            "licences",
            "files",
            "AIGC",
        } <= record.keys()
        assert {
            "doi_name",
            "referent_type",
            "referent_sub_type",
            "referent_name",
            "basic_metadata",
            "referent_identifier",
            "registration_authority",
            "created_date",
        } == record["system_metadata"].keys()


def test_files_and_hashes_are_the_folders(records):
    folder, session, delivery, prop = records
    for record in (delivery, prop):
        for entry in record["files"]:
            data = (folder.root / entry["path"]).read_bytes()
            assert entry["sha256"] == hashlib.sha256(data).hexdigest() and entry["bytes"] == len(data)
    listed = {entry["path"] for entry in delivery["files"]}
    made = {path for stage in session.stages.values() for path in stage.outputs}
    assert listed == made
    assert {entry["role"] for entry in prop["files"]} == {"mesh", "gaussians", "crop", "mask"}


def test_identity_is_one_thread(records):
    folder, session, delivery, prop = records
    identity = asset_uuid(session.session_id, "prop_01")
    whole = asset_uuid(session.session_id, DELIVERY)
    assert prop["AIGC"]["ProduceID"] == identity
    assert {"nonUriValue": identity, "type": "UUID"} in prop["kernel"]["referentCreation"]["identifier"]
    assert delivery["content_metadata"]["structure_data"]["parts"] == [
        {"id": "prop_01", "identifier": f"urn:uuid:{identity}"}
    ]
    roles = {}
    for link in prop["kernel"]["referentCreation"]["linkedCreation"]:
        assert (link["referentCreationRole"] is None) != (link["linkedCreationRole"] is None)
        roles[link["identifier"][0]["nonUriValue"]] = link["referentCreationRole"]
    assert roles == {f"sha256:{session.input.sha256}": "Derivation", whole: "Part"}
    from worker.metadata import containers

    assert (
        containers.glb_document(folder.prop_glb("prop_01"))["asset"]["extras"]["identifier"] == f"urn:uuid:{identity}"
    )


def test_no_doi_is_ever_made_up(records):
    for record in records[2:]:
        assert record["registrationStatus"] == "unregistered" and record["proposedDoiName"] is None
        text = json.dumps(record)
        assert not re.search(r"10\.\d{4,}/", text) and "doi.org" not in text and "doi:" not in text
        assert record["kernel"]["registrationAgencyDoiName"] is None


def test_self_check_counts(records):
    check = records[2]["self_check"]
    assert (check["present"], check["required"]) == (8, 11)
    assert check["missing"] == ["referentDoiName", "registrationAgencyDoiName", "principalAgent"]
    assert check["statement"]["en"].startswith(
        "8 of 11 kernel elements present; 2 only a registration agency can supply"
    )


def test_a_studio_with_its_own_prefix(tmp_path):
    folder, session = make_session(
        tmp_path / "out", producer="华光影业", doi_prefix="10.12345", film_title="夜航", film_eidr=EIDR, film_isan=ISAN
    )
    ctx, _ = run(folder, session)
    record = load(folder.prop_record("prop_01"))
    assert record["registrationStatus"] == "pending-registration"
    assert record["proposedDoiName"] == f"10.12345/{asset_uuid(session.session_id, 'prop_01')}"
    assert record["kernel"]["referentDoiName"] is None  # proposed is not registered
    assert (record["self_check"]["present"], record["self_check"]["agency_only"]) == (
        9,
        ["referentDoiName", "registrationAgencyDoiName"],
    )
    film = record["kernel"]["referentCreation"]["linkedCreation"][-1]
    assert film["name"] == "夜航" and film["referentCreationRole"] == "SupplementalResource"
    assert [i["type"] for i in film["identifier"]] == ["EidrContentID", "ISAN"]
    assert not {w.code for w in ctx.warnings} & {"package.prefix_refused", "package.film_number_wrong"}


def test_wrong_studio_numbers_are_left_out_and_told(tmp_path):
    folder, session = make_session(tmp_path / "out", doi_prefix="10.5555", film_eidr=EIDR[:-1] + "8", film_isan="1-2")
    ctx, _ = run(folder, session)
    record = load(folder.scene_record)
    assert record["registrationStatus"] == "unregistered" and record["proposedDoiName"] is None
    assert EIDR[:-1] + "8" not in json.dumps(record)
    codes = [w.code for w in ctx.warnings]
    assert codes.count("package.film_number_wrong") == 2 and "package.prefix_refused" in codes


def test_technical_facts_are_read_from_the_files(records):
    *_, delivery, prop = records
    assert prop["technical_metadata"]["facts"] == {"content": "textured mesh", "vertices": 4, "triangles": 4}
    assert prop["technical_metadata"]["files"]["props_3d/prop_01.ply"] == {"content": "3D Gaussians", "count": 5}
    assert delivery["technical_metadata"]["facts"] == {"content": "3D Gaussians", "count": 5}
    assert delivery["technical_metadata"]["files"]["dust3r/points.ply"] == {"content": "points", "count": 3}
    assert delivery["technical_metadata"]["files"]["plate/still.png"] == {"width": 64, "height": 48, "mode": "RGB"}
    assert delivery["system_metadata"]["referent_sub_type"] == "3DModel/GaussianSplat"
    assert prop["system_metadata"]["referent_sub_type"] == "3DModel/TexturedMesh"


def test_ledger_and_source_type(records):
    *_, prop = records
    entry = prop["licences"]["engines"][0]
    assert entry["code"] == "MIT" and entry["weights"] == "CC-BY-NC-4.0" and entry["commercial_use"] == "no"
    assert prop["licences"]["commercial_use"] == "no"
    assert prop["provenance"]["digital_source_type"] == "trainedAlgorithmicMedia"
    assert prop["provenance"]["steps"][-1]["engine"] == "net" and prop["provenance"]["steps"][-1]["seed"] == 7
    assert prop["provenance"]["source"]["sha256"] == "ab" * 32


def test_a_forbidding_licence_is_told_aloud(stand):
    ctx, result = run(*stand)
    assert [w.code for w in ctx.warnings] == ["package.non_commercial"]
    assert "net (props)" in ctx.warnings[0].en and result.details["commercial_use"] == "no"


def test_the_inputs_label_is_in_every_record(tmp_path):
    folder, session = make_session(tmp_path / "out", label='{"Label":"2"}')
    run(folder, session)
    for path in (folder.scene_record, folder.prop_record("prop_01")):
        assert load(path)["sourceAIGC"] == '{"Label":"2"}'


def test_same_session_same_bytes(tmp_path):
    texts = []
    for name in ("one", "two"):
        folder, session = make_session(tmp_path / name)
        _, result = run(folder, session)
        texts.append([path.read_bytes() for path in result.outputs])
    assert texts[0] == texts[1]


def test_placed_props_get_their_record_named(stand):
    folder, session = stand
    eye = [[float(i == j) for j in range(4)] for i in range(4)]
    prop = PlacedProp(
        id="prop_01",
        label="lamp",
        mask="m",
        crop="c",
        camera_from_prop=eye,
        camera_from_glb=eye,
        dimensions=Dimensions(width=1, depth=2, height=3),
        silhouette_iou=0.8,
    )
    session.scene = SceneRecord(
        width=64,
        height=48,
        intrinsics=[[60, 0, 32], [0, 60, 24], [0, 0, 1]],
        hfov_deg=50,
        hfov_source="assumed",
        unit="metre",
        median_depth=3,
        scale_basis="x",
        gravity=(0, 1, 0),
        gravity_source="assumed",
        props=[prop],
    )
    _, result = run(folder, session)
    assert result.scene.props[0].record == "props_3d/prop_01.json" and session.scene.props[0].record is None
    structure = load(folder.prop_record("prop_01"))["content_metadata"]["structure_data"]
    assert structure["dimensions"] == {"width": 1, "depth": 2, "height": 3} and structure["silhouette_iou"] == 0.8


def test_a_plate_alone_has_a_record(stand):
    folder, session = stand
    session.stages = {"plate": session.stages["plate"]}
    _, result = run(folder, session)
    record = load(folder.scene_record)
    assert result.outputs == [folder.scene_record]
    assert record["system_metadata"]["referent_sub_type"] == "Image/Still"
    assert "plate only" in record["content_metadata"]["description"]["en"]
    assert AssetRecord.model_validate(record).licences.commercial_use == "yes"
