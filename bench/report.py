"""The bench's results as a table in the terminal, as JSON and as one HTML page with pictures."""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.peers import PEERS

# (figure, better is higher, aim): the order of the tables. Aims are the project's own for these stills.
ROWS: list[tuple[str, bool, str]] = [
    ("hfov error, deg", False, "median <= 5"), ("gravity error, deg", False, ""),
    ("AbsRel (scale+shift)", False, "<= 0.10"), ("AbsRel of rows alone", False, "the level to beat"),
    ("delta<1.25 (scale+shift)", True, ">= 0.85"),
    ("AbsRel (scale)", False, ""), ("delta<1.25 (scale)", True, ""),
    ("AbsRel (as given)", False, ""), ("delta<1.25 (as given)", True, ""),
    ("ordinal accuracy", True, ">= 0.90"), ("depth edge F1", True, ""), ("depth covered", True, ""),
    ("harvest recall", True, ">= 0.6"), ("harvest precision", True, ">= 0.6"), ("harvest IoU", True, ""),
    ("harvest boundary F", True, ""), ("people taken", False, "0"),
    ("prop bbox IoU", True, ">= 0.35, hope 0.5"), ("prop silhouette IoU", True, ">= 0.8"),
    ("prop chamfer / diagonal", False, ""), ("prop F-score", True, ""), ("prop yaw error, deg", False, ""),
    ("prop ground gap", False, "<= 0.02"), ("prop penetration", False, "<= 0.02"),
    ("splat PSNR at the still, dB", True, ">= 27"), ("splat SSIM at the still", True, ""),
    ("splat GMSD at the still", False, ""),
    *[(f"splat {kind} {view}{unit}", kind != "GMSD", "")
      for view in ("right_05cm", "right_10cm", "right_20cm", "orbit_5deg")
      for kind, unit in (("PSNR", ", dB"), ("SSIM", ""), ("GMSD", ""))],
    ("key light error, deg", False, "median <= 35"), ("key vs mean light, deg", False, ""),
    ("mirror ball si-RMSE", False, ""), ("grey ball si-RMSE", False, ""),
    ("grey ball, even light", False, "the level to beat"),
    ("mirror ball, even light", False, "the level to beat"), ("grey ball colour, deg", False, ""),
]


def summarise(results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean, median and count of every figure; harvest's recall and precision also pooled over all props."""
    out: dict[str, dict[str, float]] = {}
    for name, *_ in ROWS:
        values = [r["figures"][name] for r in results if r.get("figures", {}).get(name) is not None]
        finite = [v for v in values if np.isfinite(v)]
        if finite:
            out[name] = {"mean": float(np.mean(finite)), "median": float(np.median(finite)), "stills": len(finite)}
    judged = [r["figures"] for r in results if "props wanted" in r.get("figures", {})]
    if judged:
        found = sum(f["props found"] for f in judged)
        out["props pooled"] = {"found": found, "wanted": sum(f["props wanted"] for f in judged),
                               "taken": sum(f["props taken"] for f in judged),
                               "people taken": sum(f["people taken"] for f in judged)}
    return out


def stage_costs(results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean seconds and largest peak memory of every stage over the stills where it ran, and how often it failed."""
    out: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(stage for r in results for stage in r.get("stages", {})):
        runs = [r["stages"][name] for r in results if name in r.get("stages", {})]
        seconds = [s["seconds"] for s in runs if s["seconds"] is not None]
        memory = [s["peak_memory_mb"] for s in runs if s["peak_memory_mb"] is not None]
        out[name] = {"seconds": float(np.mean(seconds)) if seconds else float("nan"),
                     "peak MB": max(memory, default=float("nan")), "ran": sum(s["state"] == "done" for s in runs),
                     "failed": sum(s["state"] == "failed" for s in runs)}
    return out


def table(summary: dict[str, dict[str, float]], costs: dict[str, dict[str, float]]) -> str:
    lines = [f"{'figure':34s} {'mean':>9s} {'median':>9s} {'stills':>6s}  aim"]
    for name, _, aim in ROWS:
        if name in summary:
            s = summary[name]
            lines.append(f"{name:34s} {s['mean']:9.3f} {s['median']:9.3f} {s['stills']:6.0f}  {aim}")
        else:
            lines.append(f"{name:34s} {'not measured':>19s} {0:6d}  {aim}")
    if "props pooled" in summary:
        p = summary["props pooled"]
        lines.append(f"props over all stills: {p['found']:.0f} found of {p['wanted']:.0f} wanted, "
                     f"{p['taken']:.0f} taken, {p['people taken']:.0f} of them people")
    lines += ["", f"{'stage':14s} {'seconds':>8s} {'peak MB':>8s} {'ran':>4s} {'failed':>6s}"]
    lines += [f"{name:14s} {c['seconds']:8.2f} {c['peak MB']:8.0f} {c['ran']:4.0f} {c['failed']:6.0f}"
              for name, c in costs.items()]
    return "\n".join(lines)


def peers_table(summary: dict[str, dict[str, float]]) -> list[tuple[str, ...]]:
    """(system, their figure, their value, our figure with value, may they be compared)."""
    rows = []
    for p in PEERS:
        ours = f"{p.ours} {summary[p.ours]['mean']:.3f}" if p.ours in summary else f"{p.ours or 'none'}"
        rows.append((p.system, p.figure, p.value, ours, p.comparable))
    return rows


def write(folder: Path, results: list[dict[str, Any]], about: dict[str, Any]) -> str:
    """results.json, table.txt and report.html into `folder`; returns the table."""
    summary, costs = summarise(results), stage_costs(results)
    text = table(summary, costs)
    document = {"about": about, "summary": summary, "stages": costs, "stills": results}
    (folder / "results.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (folder / "table.txt").write_text(text + "\n", encoding="utf-8")
    (folder / "report.html").write_text(_page(results, about, text, summary), encoding="utf-8")
    return text


STYLE = """body{font:14px system-ui,sans-serif;margin:2em auto;max-width:1200px;padding:0 1em;color:#222}
pre{background:#f4f4f2;padding:1em;overflow-x:auto}table{border-collapse:collapse}td,th{padding:.3em .7em;
text-align:left;border-bottom:1px solid #ddd;vertical-align:top}
figure{margin:0 0 1.5em;border-top:1px solid #ccc;padding-top:.8em}
img{max-width:100%;display:block}figcaption{margin:.4em 0}small{color:#666}"""


def _page(results: list[dict[str, Any]], about: dict[str, Any], text: str, summary: dict[str, dict[str, float]]) -> str:
    e = html.escape
    stills = []
    for r in results:
        few = {k: v for k, v in r.get("figures", {}).items() if v is not None}
        line = ", ".join(f"{e(k)} {v:.3g}" for k, v in few.items())
        picture = f'<img src="data:image/jpeg;base64,{r["strip"]}" alt="{e(r["name"])}">' if r.get("strip") else ""
        state = f"{e(r['state'])} {e(r.get('error') or '')}"
        caption = f"<figcaption><b>{e(r['name'])}</b> {state}</figcaption>"
        stills.append(f"<figure>{caption}{picture}<small>{line}</small></figure>")
    peers = "".join("<tr>" + "".join(f"<td>{e(c)}</td>" for c in row) + "</tr>" for row in peers_table(summary))
    facts = ", ".join(f"{e(k)}: {e(str(v))}" for k, v in about.items())
    return (f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
            f"<title>Bench</title><style>{STYLE}</style><h1>Bench</h1><p>{facts}</p><pre>{e(text)}</pre>"
            f"<h2>Others' figures</h2><table><tr><th>system<th>their figure<th>value<th>ours<th>comparable?</tr>{peers}"
            f"</table><h2>Stills</h2><p><small>left to right: still with true props (green) and what was taken (red), "
            f"true depth, depth of the session (scale+shift aligned), splats at the still's camera</small></p>"
            f"{''.join(stills)}</html>\n")


def strip(panels: list[np.ndarray], height: int = 180) -> str:
    """Panels (H, W, 3) uint8 side by side as a base64 JPEG."""
    shown = [Image.fromarray(p).resize((round(p.shape[1] * height / p.shape[0]), height)) for p in panels]
    sheet = Image.new("RGB", (sum(p.width for p in shown) + 4 * (len(shown) - 1), height), "white")
    x = 0
    for p in shown:
        sheet.paste(p, (x, 0))
        x += p.width + 4
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=82)
    return base64.b64encode(buffer.getvalue()).decode()


def depth_picture(depth: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Depth as grey by disparity between the 2nd and 98th percentile of `like`'s; near is bright, unknown is blue."""
    with np.errstate(divide="ignore", invalid="ignore"):
        d, r = 1 / depth, 1 / like[np.isfinite(like)]
    low, high = np.quantile(r, [0.02, 0.98])
    grey = np.clip((d - low) / max(high - low, 1e-9), 0, 1)
    out = np.repeat((np.nan_to_num(grey) * 255).astype(np.uint8)[..., None], 3, -1)
    out[~np.isfinite(depth)] = (40, 50, 90)
    return out


def outlined(still: np.ndarray, wanted: list[np.ndarray], taken: list[np.ndarray]) -> np.ndarray:
    """The still with true props' contours in green and taken ones in red."""
    from scipy import ndimage

    out = still.copy()
    for masks, colour in ((wanted, (60, 220, 60)), (taken, (240, 50, 40))):
        for mask in masks:
            edge = mask ^ ndimage.binary_erosion(mask, iterations=max(1, still.shape[1] // 400))
            out[edge] = colour
    return out
