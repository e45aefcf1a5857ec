"""Report: the session as one HTML file that opens from disk, with no network, on a phone."""

from __future__ import annotations

from worker.report.gather import gather
from worker.report.page import render
from worker.session.atomic import write_bytes
from worker.stages.base import StageContext, StageResult, StageSpec

SPEC = StageSpec(
    name="report",
    title_en="Report",
    title_zh="报告",
    weight=2.0,
    uses=(
        "plate", "geometry", "harvest", "clean_plate", "scene", "lighting", "props", "placement", "relight",
        "package", "blend",
    ),
)
NOTICES = {
    "report.large": (
        "The report is {megabytes:.1f} MB; some mail systems will refuse it.",
        "报告大小为 {megabytes:.1f} MB，部分邮件系统可能拒收。",
    ),
}
LARGE = 8_000_000


def run(ctx: StageContext) -> StageResult:
    page = gather(ctx.folder, ctx.session, ctx.options.language)
    ctx.progress(0.7, "")
    data = render(page).encode("utf-8")
    write_bytes(ctx.folder.report, data)
    if len(data) > LARGE:
        ctx.warn("report.large", megabytes=len(data) / 1e6)
    return StageResult(outputs=[ctx.folder.report], details={"bytes": len(data)})
