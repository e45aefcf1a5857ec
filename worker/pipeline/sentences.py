"""The conductor's own sentences, in both languages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import platformdirs

from worker import errors
from worker.errors import AssetizeError, Cancelled, InputError, StageError
from worker.host.process import HostDied, HostHung
from worker.session.model import Notice, StageRecord
from worker.stages.base import StageSpec


def input_broke_reader(path: Path, error: AssetizeError, log: Path | None) -> InputError:
    """The plate stage did not refuse the still, it broke on it."""
    where_en, where_zh = (f" Details: {log}.", f"详情见 {log}。") if log else ("", "")
    return InputError(
        "input.broke_reader",
        f"{path} cannot be used: {error.en.split(' The rest goes on')[0].rstrip('.')}. "
        f"Save it anew as PNG or JPEG and try again.{where_en}",
        f"无法使用 {path}：读取时出错。请另存为 PNG 或 JPEG 后重试。{where_zh}",
    )


def keep_failure_log(text: str) -> Path | None:
    """Where the log of a run without a session went."""
    path = platformdirs.user_log_path("assetize", appauthor=False) / "last_failure.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8", "replace")
    except OSError:
        return None
    return path


def skipped_without(name: str, record: StageRecord | None) -> Notice:
    state = "missing" if record is None else str(record.state)
    zh = {"failed": "失败", "skipped": "被跳过", "missing": "不存在"}.get(state, "未完成")
    word = {"failed": "failed", "skipped": "was skipped", "missing": "is not there"}.get(state, "is not done")
    return Notice(
        code="stage.skipped_without",
        en=f"Skipped, because the {name} stage, which it needs, {word}.",
        zh=f"已跳过：所依赖的 {name} 阶段{zh}。",
        params={"stage": name},
    )


def retried(how: str, safer_tier: str | None) -> Notice:
    tier_en = f" with the safer memory tier “{safer_tier}”" if safer_tier else ""
    tier_zh = f"（改用更省内存的“{safer_tier}”档）" if safer_tier else ""
    return Notice(
        code="stage.retried",
        en=f"An attempt ended early ({how}); it was tried again{tier_en}.",
        zh=f"一次尝试中途结束（{how}），已重试{tier_zh}。",
        params={"how": how, "tier": safer_tier},
    )


HOW = {  # what ended an attempt, by what the host says of it
    "OutOfMemory": "running out of memory",
    "NotFinite": "giving numbers that are none",
    "DeviceFault": "a fault of the GPU",
}


def tier_kept(best: str, taken: str) -> Notice:
    return Notice(
        code="stage.tier_kept",
        en=f"The GPU had no room for the memory tier “{best}” at an earlier still; “{taken}” was taken from the start.",
        zh=f"处理之前的图片时显存不足以使用“{best}”档，本次直接使用“{taken}”档。",
        params={"best": best, "tier": taken},
    )


def stage_ended(spec: StageSpec, end: HostDied | HostHung) -> StageError:
    code = "stage.crashed" if isinstance(end, HostDied) else "stage.hung"
    verb, verb_zh = ("crashed", "崩溃") if isinstance(end, HostDied) else ("was stopped", "被终止")
    return StageError(
        code,
        f"{spec.title_en}: its process {verb} twice ({end.how}). The rest goes on without it; "
        f"logs/{spec.name}.log has the details, and the same command tries it again.",
        f"{spec.title_zh}：进程两次{verb_zh}（{end.how}）。其余阶段继续；"
        f"详情见 logs/{spec.name}.log，再次运行同一命令会重试。",
    )


def out_of_memory(spec: StageSpec) -> StageError:
    return StageError(
        "stage.out_of_memory",
        f"{spec.title_en}: there was not enough memory, at the last try either. Close other programs, above all those "
        "that use the GPU, or use a smaller still, then run the same command: it resumes here.",
        f"{spec.title_zh}：最后一次尝试仍内存不足。请关闭其他程序（尤其是占用显卡的程序）或使用较小的图片，"
        "再运行同一命令即可从此处继续。",
    )


def device_fault(spec: StageSpec, text: str) -> StageError:
    return StageError(
        "stage.device_fault",
        f"{spec.title_en}: the GPU failed twice ({text}). The rest goes on without it. Update the GPU's driver, undo "
        f"any overclocking, or use another engine; logs/{spec.name}.log has the details.",
        f"{spec.title_zh}：显卡两次出错（{text}）。其余阶段继续。请更新显卡驱动、取消超频，或改用其他引擎；"
        f"详情见 logs/{spec.name}.log。",
    )


def fault(spec: StageSpec, text: str) -> StageError:
    return StageError(
        "stage.fault",
        f"{spec.title_en}: an unexpected fault ({text}). The rest goes on without it; "
        f"logs/{spec.name}.log has the details.",
        f"{spec.title_zh}：意外错误（{text}）。其余阶段继续；详情见 logs/{spec.name}.log。",
    )


def output_missing(spec: StageSpec, error: OSError) -> StageError:
    return StageError(
        "stage.output_missing",
        f"{spec.title_en}: a file that it made is not there any more ({error.filename}). "
        "Run the same command to make it again.",
        f"{spec.title_zh}：生成的文件已不存在（{error.filename}）。再次运行同一命令可重新生成。",
    )


def raised(spec: StageSpec, fields: dict[str, Any]) -> AssetizeError:
    """The exception that the stage raised in its host, or a sentence for what was no AssetizeError."""
    kind = getattr(errors, fields["type"], None)
    if isinstance(kind, type) and issubclass(kind, AssetizeError) and kind is not Cancelled:
        return kind(fields["code"], fields["en"], fields["zh"], fields["fix"])
    if fields["type"] == "OutOfMemory":
        return out_of_memory(spec)
    if fields["type"] == "DeviceFault":
        return device_fault(spec, fields["text"])
    return fault(spec, fields["text"])
