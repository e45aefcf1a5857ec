"""What can be said against a file by its first bytes alone. Imports nothing heavy: the conductor asks here first."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from worker.formats.refusals import refuse

EXR = b"\x76\x2f\x31\x01"
_PICTURES: tuple[tuple[bytes, str], ...] = (
    (EXR, "EXR"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"BM", "BMP"),
    (b"GIF8", "GIF"),
    (b"\0\0\0\x0cjP  ", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"P5", "PPM"),
    (b"P6", "PPM"),
)
_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (b"PK", "a ZIP archive", "ZIP 压缩包"),
    (b"\x1f\x8b", "a gzip archive", "gzip 压缩文件"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "7-Zip 压缩包"),
    (b"Rar!", "a RAR archive", "RAR 压缩包"),
    (b"%PDF", "a PDF document", "PDF 文档"),
    (b"\x1aE\xdf\xa3", "a Matroska video (export one frame of it)", "Matroska 视频（请导出其中一帧）"),
    (b"MZ", "a Windows program", "Windows 程序"),
    (b"\x7fELF", "a program", "程序文件"),
    (b"glTF", "a 3D model", "三维模型"),
    (b"BLENDER", "a Blender file", "Blender 文件"),
    (b"ply\n", "a 3D model", "三维模型"),
)
_UNREAD: tuple[tuple[bytes, str, str], ...] = (
    (b"8BPS", "a Photoshop document", "Photoshop 文档"),
    (b"SDPX", "a DPX frame", "DPX 帧"),
    (b"XPDS", "a DPX frame", "DPX 帧"),
    (b"\x80\x2a\x5f\xd7", "a Cineon frame", "Cineon 帧"),
    (b"#?RADIANCE", "a Radiance HDR picture", "Radiance HDR 图片"),
    (b"#?RGBE", "a Radiance HDR picture", "Radiance HDR 图片"),
    (b"\xff\x0a", "a JPEG XL picture", "JPEG XL 图片"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture", "JPEG XL 图片"),
    (b"II+\0", "a BigTIFF", "BigTIFF 图片"),
    (b"MM\0+", "a BigTIFF", "BigTIFF 图片"),
    (b"FUJIFILMCCD-RAW", "a camera raw file", "相机 RAW 文件"),
    (b"IIU\0", "a camera raw file", "相机 RAW 文件"),
    (b"IIRO", "a camera raw file", "相机 RAW 文件"),
    (b"FOVb", "a camera raw file", "相机 RAW 文件"),
)


def knock(path: Path) -> str:
    """Name of the picture format, by its first bytes.

    Raises:
        InputError: nothing there, not to be read, or no picture.
    """
    head = first_bytes(path)
    for magic, what_en, what_zh in _UNREAD:
        if head.startswith(magic):
            raise refuse("input.unsupported", path, what_en=what_en, what_zh=what_zh)
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in (b"avif", b"avis"):
            return "AVIF"
        if brand in (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim", b"heis"):
            raise refuse("input.unsupported", path, what_en="a HEIC picture", what_zh="HEIC 图片")
        if brand == b"crx ":
            raise refuse("input.unsupported", path, what_en="a camera raw file", what_zh="相机 RAW 文件")
        raise refuse(
            "input.not_a_picture", path, what_en="a video (export one frame of it)", what_zh="视频（请导出其中一帧）"
        )
    if head[:4] == b"RIFF":
        if head[8:12] == b"WEBP":
            return "WEBP"
        raise refuse("input.not_a_picture", path, what_en="a video or sound file", what_zh="视频或音频文件")
    for magic, kind in _PICTURES:
        if head.startswith(magic):
            return kind
    for magic, what_en, what_zh in _OTHERS:
        if head.startswith(magic):
            raise refuse("input.not_a_picture", path, what_en=what_en, what_zh=what_zh)
    if _is_text(head):
        raise refuse("input.not_a_picture", path, what_en="text", what_zh="文本")
    raise refuse("input.not_a_picture", path, what_en="data of another kind", what_zh="其他类型的数据")


def first_bytes(path: Path) -> bytes:
    """The first 4096 bytes of an ordinary, readable, non-empty file.

    Raises:
        InputError: it is none of that.
    """
    try:
        kind = path.stat().st_mode
    except PermissionError as error:
        raise refuse("input.no_permission", path) from error
    except (OSError, ValueError) as error:
        raise refuse("input.missing", path) from error
    if stat.S_ISDIR(kind):
        raise refuse("input.folder", path)
    if not stat.S_ISREG(kind):
        raise refuse("input.not_a_file", path)
    if path.stat().st_size == 0:
        raise refuse("input.empty", path)
    try:
        with path.open("rb") as stream:
            return stream.read(4096)
    except PermissionError as error:
        raise refuse("input.no_permission", path) from error
    except OSError as error:
        raise refuse("input.unreadable", path, reason=os.strerror(error.errno or 5)) from error


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", "ignore")
    printable = sum(c.isprintable() or c in "\r\n\t\f\ufeff" for c in text)
    return len(text) > 0 and printable >= 0.97 * len(text) and len(text.encode()) >= len(head) - 4
