"""What careful enlarging of small crops is worth: rendered props are shrunk, enlarged, compared with themselves.

    python -m bench.crops
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from worker.engines.trellis.crop import MARGIN, SIDE, _enlarged

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def originals(smallest: int = 150) -> list[np.ndarray]:
    """(518, 518, 4) premultiplied pictures of the examples' props that are at least `smallest` px large."""
    found = []
    for name in ("tabletop", "interior", "street"):
        image = np.asarray(Image.open(EXAMPLES / f"{name}.png").convert("RGB"))
        ids = np.asarray(Image.open(EXAMPLES / "truth" / f"{name}_ids.png"))
        for thing in np.unique(ids)[1:]:
            rows, columns = np.nonzero(ids == thing)
            longest = max(np.ptp(rows), np.ptp(columns))
            if longest < smallest or longest > 500:
                continue
            half = int(longest * MARGIN) // 2
            padded = np.pad(np.dstack([image, (ids == thing) * 255]), ((half, half), (half, half), (0, 0)))
            y, x = (rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2
            crop = padded[y : y + 2 * half, x : x + 2 * half].astype(np.float32) / 255
            crop[..., :3] *= crop[..., 3:]
            how = cv2.INTER_AREA if 2 * half > SIDE else cv2.INTER_CUBIC
            found.append(cv2.resize(crop, (SIDE, SIDE), interpolation=how))
    return found


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(((a - b) ** 2).mean()))


def straight(picture: np.ndarray) -> np.ndarray:
    alpha = picture[..., 3:]
    return np.concatenate([np.clip(picture[..., :3] / np.maximum(alpha, 1 / 255), 0, 1), alpha], axis=2)


def compare(picture: np.ndarray, side: int) -> tuple[float, float, float, float]:
    """PSNR of colour on black and of alpha: Lanczos alone, then ours."""
    small = np.round(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA) * 255) / 255
    ours = _enlarged(straight(small).astype(np.float32))
    ours[..., :3] *= ours[..., 3:]
    plain = [Image.fromarray(small[..., c]).resize((SIDE, SIDE), Image.Resampling.LANCZOS) for c in range(4)]
    lanczos = np.clip(np.stack([np.asarray(channel) for channel in plain], axis=2), 0, 1)
    return (psnr(lanczos[..., :3], picture[..., :3]), psnr(lanczos[..., 3], picture[..., 3]),
            psnr(ours[..., :3], picture[..., :3]), psnr(ours[..., 3], picture[..., 3]))  # fmt: skip


def main() -> None:
    pictures = originals()
    print(f"{len(pictures)} props; PSNR in dB of Lanczos -> ours")
    for side in (64, 110, 180, 300):
        mean = np.mean([compare(picture, side) for picture in pictures], axis=0)
        print(f"{side:4d} px  colour {mean[0]:.1f} -> {mean[2]:.1f}   alpha {mean[1]:.1f} -> {mean[3]:.1f}")


if __name__ == "__main__":
    main()
