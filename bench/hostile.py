"""Odd and bad stills through the whole command: exit codes, sentences, leftovers, memory, time.

    python bench/hostile.py OUT [--bad] [--only NAME ...] [-- more options for `worker run`]

Odd files must give a session (exit 0 or 1) and the warning they are due; bad ones exit 2, one sentence, nothing left.
Writes OUT/hostile.json and prints a table. Pictures are made on the spot.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import OpenEXR
import psutil
from PIL import Image, ImageCms

MEMORY_LIMIT_MB = 4096


@dataclass(frozen=True)
class Case:
    """`due`: a notice code that must stand in the session (odd) or the error code (bad)."""

    path: Path
    bad: bool
    due: str | None = None


def picture(width: int = 320, height: int = 200) -> np.ndarray:
    """(H, W, 3) uint8: sky, floor, and a few things standing about."""
    rng = np.random.default_rng(1)
    y = np.linspace(0, 1, height)[:, None, None]
    image = np.where(y < 0.45, (150, 180, 215) + y * 60, (120, 105, 90) - (y - 0.45) * 50) * np.ones((1, width, 1))
    image = np.ascontiguousarray(np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8))
    for x, base, size, colour in ((0.25, 0.8, 0.28, (190, 40, 30)), (0.6, 0.7, 0.22, (40, 120, 60))):
        right, bottom = int((x + size * 0.6) * width), int(base * height)
        cv2.rectangle(image, (int(x * width), int((base - size) * height)), (right, bottom), colour, -1, cv2.LINE_AA)
    cv2.circle(
        image, (int(0.85 * width), int(0.75 * height)), max(2, int(0.1 * height)), (210, 180, 60), -1, cv2.LINE_AA
    )
    return image


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _claiming_png(width: int, height: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", head)
        + _chunk(b"IDAT", zlib.compress(b"\0" * 999))
        + _chunk(b"IEND", b"")
    )


def _encoded(image: np.ndarray, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind, **options)
    return stream.getvalue()


def _exr(path: Path, linear: np.ndarray, dtype: Any = np.float16, prefix: str = "", **header: Any) -> None:
    channels = {f"{prefix}{c}": np.ascontiguousarray(linear[..., i]).astype(dtype) for i, c in enumerate("RGB")}
    base = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File({**base, **header}, channels).write(str(path))


def bad_files(root: Path) -> list[Case]:
    root.mkdir(parents=True, exist_ok=True)
    whole = picture()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.png", b"x")
    png, jpeg, tiff = _encoded(whole, "PNG"), _encoded(whole, "JPEG"), _encoded(whole, "TIFF", compression="tiff_lzw")
    contents = {
        "empty.png": (b"", "input.empty"),
        "zip.png": (archive.getvalue(), "input.not_a_picture"),
        "text.png": (b"not a picture\n" * 30, "input.not_a_picture"),
        "noise.png": (os.urandom(5000).replace(b"P", b"\x81"), "input.not_a_picture"),
        "video.jpg": (b"\0\0\0\x20ftypisom" + bytes(500), "input.not_a_picture"),
        "phone.jpg": (b"\0\0\0\x18ftypheic" + bytes(500), "input.unsupported"),
        "cut.png": (png[: len(png) // 2], "input.truncated"),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "input.truncated"),
        "cut.tif": (tiff[: len(tiff) // 2], "input.truncated"),
        "one pixel.png": (_claiming_png(1, 1), "input.too_small"),
        "ribbon.png": (_claiming_png(40_000, 12), "input.ribbon"),
        "bomb.png": (_claiming_png(50_000, 50_000), "input.too_large"),
        "hollow.png": (_claiming_png(800, 600), "input.truncated"),
        "-dash.png": (b"text", "input.not_a_picture"),
    }
    cases = []
    for name, (data, code) in contents.items():
        (root / name).write_bytes(data)
        cases.append(Case(root / name, True, code))
    _exr(root / "whole.exr", whole / 255.0)
    data = (root / "whole.exr").read_bytes()
    (root / "whole.exr").unlink()
    (root / "cut.exr").write_bytes(data[: len(data) * 2 // 3])
    OpenEXR.File({"type": OpenEXR.scanlineimage}, {"Z": np.ones((64, 64), np.float32)}).write(str(root / "depth.exr"))
    (root / "folder.png").mkdir(exist_ok=True)
    cases += [
        Case(root / "cut.exr", True, "input.truncated"),
        Case(root / "depth.exr", True, "input.exr_no_colour"),
        Case(root / "folder.png", True, "input.folder"),
        Case(root / "missing.png", True, "input.missing"),
    ]
    return cases


def odd_files(root: Path, huge: bool = True) -> list[Case]:
    root.mkdir(parents=True, exist_ok=True)
    image = picture()
    linear = ((image / 255.0) ** 2.2).astype(np.float32)
    cases: list[Case] = []

    def keep(name: str, data: bytes | None = None, due: str | None = None, **options: Any) -> Path:
        path = root / name
        if data is not None:
            path.write_bytes(data)
        cases.append(Case(path, False, due))
        return path

    pillow = Image.fromarray(image)
    keep("plain.jpg", _encoded(image, "JPEG", quality=90))
    keep("progressive.jpg", _encoded(image, "JPEG", progressive=True))
    keep("grey.png", _encoded(np.asarray(pillow.convert("L")), "PNG"))
    pillow.quantize(32).save(keep("palette.png"))
    pillow.convert("1").save(keep("bilevel.png"))
    pillow.convert("1").save(keep("fax.tif"), compression="group4")
    pillow.convert("CMYK").save(keep("cmyk.jpg", due="plate.cmyk_unprofiled"))
    pillow.convert("CMYK").save(keep("cmyk.tif", due="plate.cmyk_unprofiled"))
    pillow.save(keep("icc.jpg"), icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    pillow.save(keep("broken icc.png", due="plate.profile_broken"), icc_profile=b"nonsense" * 30)
    clear = pillow.copy()
    clear.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 320).astype(np.uint8), (200, 1))))
    clear.save(keep("alpha.png", due="plate.alpha_composited"))
    cv2.imwrite(str(keep("sixteen.png")), image[..., ::-1].astype(np.uint16) * 257)
    cv2.imwrite(str(keep("sixteen.tif")), image[..., ::-1].astype(np.uint16) * 257)
    cv2.imwrite(str(keep("float.tif", due="plate.float_is_linear")), linear[..., ::-1])
    pillow.save(keep("a.webp"))
    pillow.save(keep("a.bmp"))
    frames = [pillow, pillow.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    frames[0].save(keep("moving.gif", due="plate.first_frame"), save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(image, 1))).save(keep("turned.jpg"), exif=exif)
    boxed = cv2.copyMakeBorder(image, 40, 44, 0, 0, cv2.BORDER_CONSTANT, value=(4, 4, 4))
    keep("letterbox.png", _encoded(boxed, "PNG"), "plate.bars_cropped")
    _exr(keep("half.exr"), linear * 3)
    _exr(keep("float32.exr"), linear, np.float32)
    _exr(keep("layers.exr", due="plate.exr_layer"), linear, prefix="beauty.")
    ap1 = (0.713, 0.293, 0.165, 0.83, 0.128, 0.044, 0.32168, 0.33767)
    _exr(keep("acescg.exr"), linear, chromaticities=ap1)
    poisoned = linear.copy()
    poisoned[50:55, 60:70], poisoned[100, 100], poisoned[120, 40] = np.nan, np.inf, -np.inf
    _exr(keep("nan.exr", due="plate.nonfinite_repaired"), poisoned, np.float32)
    _exr(keep("dim.exr", due="plate.exposure"), linear / 3000, np.float32)
    keep("black.png", _encoded(np.zeros_like(image), "PNG"), "plate.blank")
    keep("white.png", _encoded(np.full_like(image, 255), "PNG"), "plate.blank")
    keep("tiny.png", _encoded(picture(64, 48), "PNG"), "plate.small")
    keep("panorama.jpg", _encoded(picture(1400, 200), "JPEG"))
    keep("tall.jpg", _encoded(picture(200, 900), "JPEG"))
    for name in (
        "剧照 第一场.png",
        "with spaces in.png",
        "-leading.png",
        "several.dots.in.name.png",
        "no_suffix",
        "🎬.png",
    ):
        keep(name, _encoded(image, "PNG"))
    (root / "png really.jpg").write_bytes(_encoded(image, "PNG"))
    cases.append(Case(root / "png really.jpg", False))
    if not huge:
        return cases
    large = cv2.resize(image, (9000, 6700), interpolation=cv2.INTER_CUBIC)
    keep("sixty megapixels.jpg", _encoded(large, "JPEG", quality=85), "plate.reduced")
    return cases


class Peak:
    """Resident memory of a process and all its children, sampled; the sum's maximum in MB."""

    def __init__(self, pid: int) -> None:
        self.megabytes = 0.0
        self._process = psutil.Process(pid)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._end.wait(0.1):
            total = 0
            try:
                family = [self._process, *self._process.children(recursive=True)]
            except psutil.Error:
                return
            for member in family:
                try:
                    total += member.memory_info().rss
                except psutil.Error:
                    continue
            self.megabytes = max(self.megabytes, total / 2**20)

    def stop(self) -> float:
        self._end.set()
        self._thread.join()
        return self.megabytes


def run(case: Case, out: Path, extra: tuple[str, ...] = ()) -> dict[str, Any]:
    """One file through `python -m worker run`; what came of it, and `faults`: what should not have been."""
    target = out / "sessions" / case.path.name.lstrip("-.")
    shutil.rmtree(target, ignore_errors=True)
    command = [
        sys.executable,
        "-m",
        "worker",
        "run",
        f"--input={case.path}",
        f"--output_root={target}",
        "--json",
        *extra,
    ]
    start = time.monotonic()
    root = Path(__file__).resolve().parent.parent
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    peak = Peak(process.pid)
    stdout, stderr = process.communicate(timeout=900)
    seconds, megabytes = time.monotonic() - start, peak.stop()
    events = [json.loads(line) for line in stdout.decode("utf-8").splitlines()]
    faults = judge(case, process.returncode, events, stderr.decode("utf-8", "replace"), target)
    if megabytes > MEMORY_LIMIT_MB:
        faults.append(f"{megabytes:.0f} MB")
    return {
        "name": case.path.name,
        "exit": process.returncode,
        "seconds": round(seconds, 1),
        "memory_mb": round(megabytes),
        "faults": faults,
        "sentence": sentence(events),
    }


def sentence(events: list[dict[str, Any]]) -> str | None:
    error = events[-1].get("error") if events else None
    return error["en"] if error else None


def judge(case: Case, code: int, events: list[dict[str, Any]], stderr: str, target: Path) -> list[str]:
    faults = ["traceback shown"] if "Traceback" in stderr else []
    if not events or events[-1]["event"] != "job.finished":
        return [*faults, f"no end told; exit {code}: {stderr[-200:]}"]
    if case.bad:
        error = events[-1]["error"] or {"code": None, "en": "", "zh": ""}
        if code != 2:
            faults.append(f"exit {code}")
        if case.due and error["code"] != case.due:
            faults.append(f"code {error['code']}, not {case.due}")
        if not error["zh"] or error["zh"] == error["en"]:
            faults.append("no Chinese")
        if error["en"].rstrip(".").replace(case.path.name, "").count(". "):
            faults.append("more than one sentence")
        left = [str(path) for path in target.rglob("*")] if target.exists() else []
        if left:
            faults.append(f"left behind: {left[:3]}")
        return faults
    if code not in (0, 1):
        return [*faults, f"exit {code}: {sentence(events)}"]
    session = json.loads((Path(events[-1]["folder"]) / "session.json").read_text("utf-8"))
    notices = {warning["code"] for stage in session["stages"].values() for warning in stage["warnings"]}
    if case.due and case.due not in notices:
        faults.append(f"{case.due} not told")
    faults += [
        f"{name}: {stage['error']['en']}" for name, stage in session["stages"].items() if stage["state"] == "failed"
    ]
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--bad", action="store_true", help="only the bad ones")
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    arguments = parser.parse_args(sys.argv[1:split])
    cases = bad_files(arguments.out / "bad") + ([] if arguments.bad else odd_files(arguments.out / "odd"))
    rows = []
    for case in cases:
        if arguments.only and case.path.name not in arguments.only:
            continue
        row = run(case, arguments.out, tuple(sys.argv[split + 1 :]))
        rows.append(row)
        print(
            f"{'ok ' if not row['faults'] else 'BAD'} {row['exit']} {row['seconds']:6.1f} s {row['memory_mb']:5d} MB  "
            f"{row['name']}  {row['sentence'] or ''} {'; '.join(row['faults'])}",
            flush=True,
        )
    (arguments.out / "hostile.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False), "utf-8")
    return int(any(row["faults"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
