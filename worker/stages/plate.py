"""Plate: the still as it came becomes the still everything else works on.

Upright, bars cropped, at most DCI 4K; an 8-bit sRGB view and the scene-linear original of the same pixels.
"""

from __future__ import annotations

from worker.formats import exr, image, still
from worker.stages.base import NoticeTable, StageContext, StageResult, StageSpec

SPEC = StageSpec(name="plate", title_en="Plate", title_zh="底图", weight=1.0)

NOTICES: NoticeTable = {
    "plate.bars_cropped": (
        "Black bars were cropped: left {left}, top {top}, right {right}, bottom {bottom} pixels.",
        "已裁去黑边：左 {left}、上 {top}、右 {right}、下 {bottom} 像素。",
    ),
    "plate.reduced": (
        "The picture area of {from_size} pixels was reduced to {to_size} to fit time and memory.",
        "画面区域 {from_size} 像素已缩小为 {to_size}，以控制时间和内存。",
    ),
    "plate.small": (
        "The still has only {size} pixels; depth, props and textures will be coarse.",
        "剧照只有 {size} 像素，深度、道具与贴图会比较粗糙。",
    ),
    "plate.blank": (
        "The still shows next to nothing (one tone from edge to edge); there is little to reconstruct.",
        "剧照几乎没有内容（整幅一个色调），可重建的信息很少。",
    ),
    "plate.exposure": (
        "The scene-linear values lie far from viewing level; the 8-bit view was made {stops:+.2f} stops from them.",
        "场景线性数值远离观看亮度；8 位预览相对原值调整了 {stops:+.2f} 档曝光。",
    ),
    "plate.exr_layer": (
        "The file has layers; “{layer}” was taken as the picture.",
        "文件含多个图层，已采用“{layer}”作为画面。",
    ),
    "plate.nonfinite_repaired": (
        "{count} pixels held NaN or infinity and were filled from their surroundings.",
        "{count} 个像素含 NaN 或无穷大，已用周围像素填补。",
    ),
    "plate.chromaticities_broken": (
        "The file's primaries make no sense and were ignored; Rec.709 was assumed.",
        "文件中的基色数据无效，已忽略并按 Rec.709 处理。",
    ),
    "plate.unsqueezed": (
        "Pixels are not square (aspect {aspect}); the picture was stretched to square pixels.",
        "像素非正方形（比例 {aspect}），画面已拉伸为方形像素。",
    ),
    "plate.alpha_composited": (
        "Transparent parts were laid over 18 % grey.",
        "透明部分已叠加在 18% 灰底上。",
    ),
    "plate.first_frame": (
        "The file holds {frames} pictures; the first was taken.",
        "文件包含 {frames} 幅图像，已采用第一幅。",
    ),
    "plate.profile_broken": (
        "The colour profile cannot be used ({reason}); colours were taken as they stand.",
        "颜色配置文件无法使用（{reason}），颜色按原值处理。",
    ),
    "plate.profile_tables": (
        "The profile “{profile}” works by tables, which are not applied to 16-bit pixels; sRGB was assumed.",
        "配置文件“{profile}”为查表型，不能用于 16 位像素，已按 sRGB 处理。",
    ),
    "plate.cmyk_unprofiled": (
        "The file is CMYK without a profile; its colours are an estimate.",
        "文件为无配置文件的 CMYK，颜色为估计值。",
    ),
    "plate.precision_reduced": (
        "Only 8 of {bits} bits could be read.",
        "{bits} 位数据只能读取 8 位。",
    ),
    "plate.float_is_linear": (
        "Floating-point values were taken as scene-linear Rec.709.",
        "浮点数值按场景线性 Rec.709 处理。",
    ),
    "plate.lens_ignored": (
        "The file names a lens that does not fit the picture (cropped later, or a nonsense value); it was ignored.",
        "文件记录的镜头与画面不符（曾被裁剪或数值无效），已忽略。",
    ),
    "plate.aigc_label": (
        "The file carries an AI-content label; it is kept and carried into every record.",
        "文件带有人工智能生成内容标识，已保留并写入每份记录。",
    ),
    "plate.ai_source": (
        "The file says it was made with AI (digital source type “{type}”).",
        "文件声明由人工智能生成（数字来源类型“{type}”）。",
    ),
}

_DEGRADING = {"plate.precision_reduced", "plate.profile_broken", "plate.profile_tables", "plate.cmyk_unprofiled"}


def run(ctx: StageContext) -> StageResult:
    """Raises InputError before anything is written where the file is no usable still."""
    ctx.progress(0.05, "")
    found = still.read_still(ctx.source, ctx.options.hfov_deg, ctx.options.lens_mm)
    for code, params in found.remarks:
        ctx.warn(code, degraded=code in _DEGRADING, **params)
    found.record.name = ctx.session.input.name  # an upload's own, not that of the file it was put into
    ctx.progress(0.6, "")
    image.write_png(ctx.folder.still, found.view)
    ctx.progress(0.8, "")
    exr.write_exr(ctx.folder.linear, found.linear)
    return StageResult(
        outputs=[ctx.folder.still, ctx.folder.linear],
        input=found.record,
        details={"input": found.record.model_dump(mode="json")},
    )
