"""Package: one metadata record for the delivery and one for every prop; see docs/metadata.md for what they claim."""

from __future__ import annotations

import json

from worker.metadata import assemble
from worker.session.atomic import write_json
from worker.session.harvest import HarvestManifest
from worker.session.model import SceneRecord
from worker.stages.base import NoticeTable, StageContext, StageResult, StageSpec

SPEC = StageSpec(
    name="package",
    title_en="Metadata and licences",
    title_zh="元数据与许可",
    weight=0.5,
    requires=("plate",),
    uses=("geometry", "harvest", "clean_plate", "scene", "lighting", "props", "placement", "relight"),
)

NOTICES: NoticeTable = {
    "package.prefix_refused": (
        "“{prefix}” is not used as DOI prefix ({why}); the records stay unregistered. Give the studio's own prefix.",
        "未采用 DOI 前缀“{prefix}”（{why}），记录保持未注册状态。请填写工作室自己的前缀。",
    ),
    "package.film_number_wrong": (
        "The film's {kind} “{number}” fails its check character and was left out of the records.",
        "影片的 {kind}“{number}”校验不通过，未写入记录。",
    ),
    "package.non_commercial": (
        "Not for commercial use as it stands: {engines} forbid it.",
        "当前结果不可商用：{engines} 的许可禁止商用。",
    ),
    "package.terms": (
        "Commercial use has conditions: read the terms of {engines}.",
        "商用附有条件：请阅读 {engines} 的条款。",
    ),
}


def run(ctx: StageContext) -> StageResult:
    session, folder = ctx.session, ctx.folder
    records = assemble.Assembler(session, folder)
    for code, params in records.faults():
        ctx.warn(code, **params)
    scene = session.scene
    placed = {prop.id: prop for prop in scene.props} if scene else {}
    outputs, recorded = [], []
    for prop in _harvested(ctx):
        if not folder.prop_glb(prop.id).is_file() and not folder.prop_ply(prop.id).is_file():
            continue  # found in the picture, but never made
        record = records.prop(prop, placed.get(prop.id))
        write_json(folder.prop_record(prop.id), record.model_dump(mode="json", by_alias=True))
        outputs.append(folder.prop_record(prop.id))
        recorded.append(prop.id)
        ctx.progress(0.1 + 0.4 * len(recorded) / (len(recorded) + 1), prop.id)
    delivery = records.delivery(recorded)
    write_json(folder.scene_record, delivery.model_dump(mode="json", by_alias=True))
    outputs.append(folder.scene_record)

    for use, code in (("no", "package.non_commercial"), ("terms", "package.terms")):
        if engines := assemble.ledger_names(records.ledger, use):
            ctx.warn(code, engines=engines)
    check = delivery.self_check
    return StageResult(
        outputs=outputs,
        scene=_with_records(ctx, scene, recorded) if scene else None,
        quality={"kernel_present": check.present, "kernel_required": check.required},
        details={
            "registrationStatus": delivery.registrationStatus,
            "self_check": check.model_dump(mode="json"),
            "commercial_use": delivery.licences.commercial_use,
        },
    )


def _harvested(ctx: StageContext) -> list[assemble.HarvestedProp]:
    if not ctx.done("harvest") or not ctx.folder.harvest_manifest.is_file():
        return []
    manifest = json.loads(ctx.folder.harvest_manifest.read_text("utf-8"))
    return HarvestManifest.model_validate(manifest).props


def _with_records(ctx: StageContext, scene: SceneRecord, recorded: list[str]) -> SceneRecord:
    """The scene with every placed prop's record named."""
    scene = scene.model_copy(deep=True)
    for prop in scene.props:
        if prop.id in recorded:
            prop.record = ctx.folder.relative(ctx.folder.prop_record(prop.id))
    return scene
