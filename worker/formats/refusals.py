"""The sentences with which a file is turned away at the door, in both languages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from worker.errors import InputError

_SENTENCES = {
    "input.missing": (
        "There is no file at “{path}”; check the path.",
        "找不到文件“{path}”，请检查路径。",
    ),
    "input.folder": (
        "“{name}” is a folder, not a picture; give one file, or use `assetize batch` for a folder.",
        "“{name}”是文件夹而不是图片；请指定一个文件，或用 `assetize batch` 处理整个文件夹。",
    ),
    "input.not_a_file": (
        "“{name}” is a device or pipe, not a picture file; save it to disk first.",
        "“{name}”是设备或管道而不是图片文件，请先保存到磁盘。",
    ),
    "input.no_permission": (
        "“{name}” may not be read by this user; change its permissions or copy it elsewhere.",
        "当前用户无权读取“{name}”，请修改权限或复制到别处。",
    ),
    "input.unreadable": (
        "“{name}” cannot be read from its disk ({reason}); copy it to a local disk and try again.",
        "无法从磁盘读取“{name}”（{reason}），请复制到本地磁盘后重试。",
    ),
    "input.empty": (
        "“{name}” is empty (0 bytes); copy or export it again.",
        "“{name}”是空文件（0 字节），请重新复制或导出。",
    ),
    "input.not_a_picture": (
        "“{name}” is not a picture but {what_en}; give a JPEG, PNG, TIFF, WebP, BMP or OpenEXR still.",
        "“{name}”不是图片，而是{what_zh}；请提供 JPEG、PNG、TIFF、WebP、BMP 或 OpenEXR 剧照。",
    ),
    "input.unsupported": (
        "“{name}” is {what_en}, which Assetize does not read; save it as PNG, TIFF, JPEG or OpenEXR.",
        "“{name}”是{what_zh}，Assetize 不能读取；请另存为 PNG、TIFF、JPEG 或 OpenEXR。",
    ),
    "input.truncated": (
        "“{name}” breaks off or is damaged, its picture is not whole; copy or export it again.",
        "“{name}”不完整或已损坏，图像内容不全；请重新复制或导出。",
    ),
    "input.too_small": (
        "“{name}” is {width} x {height} pixels; a still needs at least {least} on its short side.",
        "“{name}”只有 {width} x {height} 像素，剧照的短边至少需要 {least} 像素。",
    ),
    "input.ribbon": (
        "“{name}” is a ribbon of {width} x {height} pixels, longer than {most} : 1; crop it to a frame.",
        "“{name}”是 {width} x {height} 像素的长条，长宽比超过 {most}；请裁成一帧画面。",
    ),
    "input.too_large": (
        "“{name}” is {width} x {height} pixels; at most {most} million are read, so scale it down first.",
        "“{name}”为 {width} x {height} 像素，最多读取 {most} 百万像素，请先缩小。",
    ),
    "input.too_many_layers": (
        "“{name}” unpacks to {gigabytes:.1f} GB of channels; export its beauty layer alone.",
        "“{name}”解开后各通道共 {gigabytes:.1f} GB，请只导出 beauty 层。",
    ),
    "input.exr_deep": (
        "“{name}” holds deep samples; flatten it to an ordinary RGB picture first.",
        "“{name}”包含深度采样（deep）数据，请先合并为普通 RGB 图像。",
    ),
    "input.exr_no_colour": (
        "“{name}” has no colour channels (R, G, B or Y); export the beauty pass.",
        "“{name}”没有颜色通道（R、G、B 或 Y），请导出 beauty 通道。",
    ),
}


def shown(text: str) -> str:
    """A file name that any terminal, log and JSON file can take; undecodable bytes and controls are escaped."""
    safe = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in safe)


def refuse(code: str, path: Path, **params: Any) -> InputError:
    en, zh = _SENTENCES[code]
    params = {"name": shown(path.name), "path": shown(str(path)), **params}
    return InputError(code, en.format(**params), zh.format(**params))
