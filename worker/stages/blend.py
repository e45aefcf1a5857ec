"""Blend: the session as scene.blend, rendered through its own camera and measured against the still.

Blender runs as a process of its own and builds the scene with the add-on's importer, the same that an artist uses.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from worker.session.atomic import replacing
from worker.session.model import Notice
from worker.setup_command import SETUP
from worker.stages.base import StageContext, StageResult, StageSpec

SPEC = StageSpec(
    name="blend",
    title_en="Blender scene",
    title_zh="Blender 场景",
    weight=9.0,
    requires=("plate", "geometry"),
    uses=("clean_plate", "scene", "lighting", "props", "placement", "package"),
    timeout_s=600.0,
)
NOTICES = {
    "blend.no_blender": (
        f"scene.blend was not made: no Blender found. Run `{SETUP} run ...`, which installs it "
        "as a Python module, or set ASSETIZE_BLENDER to your Blender (4.2 or newer).",
        f"未生成 scene.blend：找不到 Blender。请运行 `{SETUP} run ...`（会以 Python 模块安装），"
        "或将 ASSETIZE_BLENDER 设为您的 Blender（4.2 或更新版本）。",
    ),
    "blend.no_importer": (
        "scene.blend was not made: the folder blender_addon is missing beside the worker. Start the worker from the "
        "Assetize folder, or import the session from inside Blender.",
        "未生成 scene.blend：worker 旁缺少 blender_addon 文件夹。请从 Assetize 目录启动，或在 Blender 中导入该会话。",
    ),
    "blend.not_started": (
        "scene.blend was not made: {program} cannot be started ({reason}). "
        "Set ASSETIZE_BLENDER to a Blender that runs.",
        "未生成 scene.blend：无法启动 {program}（{reason}）。请将 ASSETIZE_BLENDER 设为可运行的 Blender。",
    ),
    "blend.failed": (
        "Blender could not build the scene (exit code {answer}); logs/blender.log tells why.",
        "Blender 未能生成场景（退出码 {answer}）；原因见 logs/blender.log。",
    ),
}

PREVIEW_WIDTH = 480
PREVIEW_SAMPLES = 16


def blender_command() -> list[str] | None:
    """How to run a Python file in Blender: ASSETIZE_BLENDER, the bpy module's environment, a Blender on PATH.

    ASSETIZE_BLENDER may name a Blender or a Python that has the bpy module.
    """
    said = os.environ.get("ASSETIZE_BLENDER", "").strip()
    if said:
        return _as_command(Path(shutil.which(said) or said).expanduser())
    for home in (Path(sys.prefix).parent, Path(__file__).resolve().parents[2]):
        for python in (home / ".venv-bpy" / "bin" / "python", home / ".venv-bpy" / "Scripts" / "python.exe"):
            if python.is_file():
                return _as_command(python)
    found = shutil.which("blender")
    return None if found is None else _as_command(Path(found))


def _as_command(program: Path) -> list[str]:
    if program.stem.lower().startswith("python"):
        return [str(program)]
    return [str(program), "--background", "--factory-startup", "--python-exit-code", "5", "--python"]


def run(ctx: StageContext) -> StageResult:
    """Writes scene.blend and the preview; quality psnr_db compares the preview with the still."""
    command = blender_command()
    if command is None:
        raise ctx.fail("blend.no_blender")
    script = Path(__file__).resolve().parents[2] / "blender_addon" / "cli.py"
    if not script.is_file():
        raise ctx.fail("blend.no_importer")
    folder = ctx.folder
    folder.logs.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as scratch,
        replacing(folder.blend) as blend,
        replacing(folder.blend_preview) as preview,
    ):
        stats_file = Path(scratch) / "stats.json"
        arguments = ["--session", str(folder.root), "--blend", str(blend), "--render", str(preview),
                     "--render_width", str(PREVIEW_WIDTH), "--samples", str(PREVIEW_SAMPLES),
                     "--stats", str(stats_file)]  # fmt: skip
        code = _run_blender(ctx, [*command, str(script), "--", *arguments])
        # exit code 1 stands for a scene with parts left out; each is told below
        if code not in (0, 1) or not stats_file.is_file() or not blend.stat().st_size or not preview.stat().st_size:
            raise ctx.fail("blend.failed", answer=code)
        stats = json.loads(stats_file.read_text(encoding="utf-8"))
    for problem in stats["problems"]:
        # a part the session lacks was told by the stage that did not make it
        if problem["code"] != "session.missing":
            ctx.warnings.append(Notice(code=problem["code"], en=problem["en"], zh=problem["zh"]))
            ctx.degraded = True
    ctx.progress(1.0, "")
    return StageResult(
        outputs=[folder.blend, folder.blend_preview],
        quality={"psnr_db": stats.get("psnr_db")},
        details={key: stats[key] for key in ("blender", "objects", "import_s", "save_s", "render_s") if key in stats},
    )


def _run_blender(ctx: StageContext, command: list[str]) -> int:
    """Run to the end, its words into logs/blender.log, its steps into our progress."""
    # the worker's own Python settings must not reach Blender's Python
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
            text=True, encoding="utf-8", errors="replace",
        )  # fmt: skip
    except OSError as error:
        raise ctx.fail("blend.not_started", program=command[0], reason=error.strerror) from error
    assert process.stdout is not None
    try:
        with process, (ctx.folder.logs / "blender.log").open("w", encoding="utf-8") as log:
            for line in process.stdout:
                log.write(line)
                if line.startswith("assetize: step "):
                    ctx.progress(float(line.split()[2]), "")
    finally:
        if process.poll() is None:
            process.kill()
    return process.returncode
