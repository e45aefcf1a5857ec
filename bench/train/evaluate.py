"""Measure a model on real photos with true depth: affine-aligned AbsRel and inliers, ordinal accuracy, field of view.

The photo set is an .npz of `names`, and for each name `rgb_<name>` (uint8), `d_<name>` (metres, 0 = unknown) and
`fov_<name>` (horizontal, degrees, 0 = unknown). It is for measuring only, and is neither trained on nor published.

    python bench/train/evaluate.py --onnx geometry.onnx --photos real.npz --sheet sheet.png
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

LONG_SIDE = 512


def fit_size(height: int, width: int, long_side: int = LONG_SIDE) -> tuple[int, int]:
    """Network input size: multiples of 32 nearest to the picture at the given long side."""
    scale = long_side / max(height, width)
    return max(32, round(height * scale / 32) * 32), max(32, round(width * scale / 32) * 32)


def align(disparity: np.ndarray, depth: np.ndarray, scale_only: bool = False) -> np.ndarray:
    """Least-squares scale (and shift) of disparity onto 1/depth; returns depth, bounded by twice the true range."""
    truth = 1 / depth
    if scale_only:
        fitted = disparity * np.median(truth / np.maximum(disparity, 1e-9))
    else:
        a = np.stack([disparity, np.ones_like(disparity)], 1)
        fitted = a @ np.linalg.lstsq(a, truth, rcond=None)[0]
    return 1 / np.maximum(fitted, 0.5 / depth.max())


def measures(disparity: np.ndarray, depth: np.ndarray, seed: int = 0) -> dict[str, float]:
    """disparity (any affine unit) and depth (metres) of the valid pixels, both (n,)."""
    aligned, shape = align(disparity, depth), align(disparity, depth, True)
    rng = np.random.default_rng(seed)
    i, j = rng.integers(0, len(depth), (2, 20000))
    far = np.abs(np.log(depth[i] / depth[j])) > 0.1
    order = np.sign(disparity[i] - disparity[j]) == np.sign(depth[j] - depth[i])
    ratio = np.maximum(aligned / depth, depth / aligned)
    return {
        "absrel": float(np.mean(np.abs(aligned - depth) / depth)),
        "delta": float(np.mean(ratio < 1.25)),
        "ordinal": float(order[far].mean()) if far.any() else 1.0,
        "absrel_scale": float(np.mean(np.abs(shape - depth) / depth)),
    }


def evaluate(
    predict: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]],
    photos: Path,
    long_side: int = LONG_SIDE,
    sheet: Path | None = None,
) -> dict[str, dict[str, float]]:
    """`predict` maps (1,3,H,W) float32 sRGB 0-255 to depth, dense maps and lens. Returns measures per photo."""
    data, out, tiles = np.load(photos), {}, []
    for name in data["names"]:
        rgb, depth, fov = data[f"rgb_{name}"], data[f"d_{name}"].astype(np.float64), float(data[f"fov_{name}"])
        h, w = rgb.shape[:2]
        nh, nw = fit_size(h, w, long_side)
        small = cv2.resize(rgb, (nw, nh), interpolation=cv2.INTER_AREA if nw < w else cv2.INTER_LINEAR)
        log_disparity, dense, lens = predict(small.transpose(2, 0, 1)[None].astype(np.float32))
        disparity = cv2.resize(np.exp(log_disparity[0, 0].astype(np.float64)), (w, h), interpolation=cv2.INTER_LINEAR)
        valid = depth > 0
        row = measures(disparity[valid], depth[valid])
        rows = measures(np.broadcast_to(np.arange(h, dtype=float)[:, None], (h, w))[valid] + 1e-3, depth[valid])
        row |= {"row_absrel": rows["absrel"], "row_delta": rows["delta"], "row_ordinal": rows["ordinal"]}
        # lens holds log(focal / diagonal) of the network's input; the picture's own aspect differs by the rounding only
        hfov = 2 * np.degrees(np.arctan(0.5 * w / (np.exp(float(lens[0, 0])) * np.hypot(w, h))))
        row |= {"hfov": hfov, "hfov_error": abs(hfov - fov) if fov else float("nan")}
        out[str(name)] = row
        q = np.clip(disparity / np.percentile(disparity, 99.5), 0, 1)
        t = np.where(valid, 1 / np.where(valid, depth, 1), 0)
        t = np.clip(t / np.percentile(t[valid], 99), 0, 1)
        kind = np.array([[60, 60, 220], [120, 120, 120], [230, 190, 90], [60, 200, 60]], np.uint8)[
            dense[0, 3:7].argmax(0)
        ]
        strip = [
            rgb[..., ::-1],
            *[cv2.applyColorMap((m * 255).astype(np.uint8), cv2.COLORMAP_INFERNO) for m in (t, q)],
            kind,
        ]
        tile = np.hstack([cv2.resize(s, (240, 180), interpolation=cv2.INTER_AREA) for s in strip])
        cv2.putText(
            tile,
            f"{name} {row['absrel']:.3f} {row['delta']:.2f} row {row['row_absrel']:.3f} fov {hfov:.0f}/{fov:.0f}",
            (4, 14),
            0,
            0.45,
            (0, 255, 0),
            1,
        )
        tiles.append(tile)
    if sheet:
        tiles += [np.zeros_like(tiles[0])] * (len(tiles) % 2)
        cv2.imwrite(str(sheet), np.vstack([np.hstack(tiles[i : i + 2]) for i in range(0, len(tiles), 2)]))
    return out


def table(result: dict[str, dict[str, float]], skip: tuple[str, ...] = ("iclroom",)) -> str:
    """Text table; pictures whose name starts with `skip` (rendered, not real) are listed but not averaged."""
    lines = [f"{'photo':14s} absrel delta  ordin  | row: absrel delta  ordin | scale-only | hfov  error"]
    for name, r in result.items():
        ours = f"{r['absrel']:.3f}  {r['delta']:.3f}  {r['ordinal']:.3f}"
        rows = f"{r['row_absrel']:.3f}  {r['row_delta']:.3f}  {r['row_ordinal']:.3f}"
        lens = f"{r['hfov']:5.1f} {r['hfov_error']:5.1f}"
        lines.append(f"{name:14s} {ours}  |      {rows} | {r['absrel_scale']:.3f}      | {lens}")
    real = [r for n, r in result.items() if not n.startswith(skip)]
    mean = {k: float(np.mean([r[k] for r in real])) for k in real[0]}
    ours = f"{mean['absrel']:.3f}  {mean['delta']:.3f}  {mean['ordinal']:.3f}"
    rows = f"{mean['row_absrel']:.3f}  {mean['row_delta']:.3f}  {mean['row_ordinal']:.3f}"
    lens = f"median hfov error {np.nanmedian([r['hfov_error'] for r in real]):.1f}"
    better = sum(r["absrel"] < r["row_absrel"] for r in real)
    name = f"mean of {len(real)}"
    lines.append(f"{name:14s} {ours}  |      {rows} | {mean['absrel_scale']:.3f}      | {lens}; beats rows on {better}")
    return "\n".join(lines)


def onnx_predictor(path: Path, threads: int = 2) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda x: tuple(session.run(["log_disparity", "dense", "lens"], {"image": x}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--onnx", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--long-side", type=int, default=LONG_SIDE)
    parser.add_argument("--sheet", type=Path)
    args = parser.parse_args()
    print(table(evaluate(onnx_predictor(args.onnx), args.photos, args.long_side, args.sheet)))


if __name__ == "__main__":
    main()
