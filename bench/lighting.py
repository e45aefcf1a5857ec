"""The light alone: embedded geometry and lighting engines on the bench's stills, against the light that was set.

python -m bench.lighting --cache CACHE [--seeds 1,3,5] [--out FILE.json]     (about 2 s a still)

Beside the estimate stands what knowing nothing gives: the best constant direction, straight up, even light. Constants
of the engine were set on even seeds below 24 and on 26, 30, 34, 38; no seed of the holdout is looked at.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

import numpy as np

from bench import light
from bench import metrics as m
from bench.judge import _exr
from bench.truth import read_scene
from worker.engines.contract import GeometryRequest, LightingRequest
from worker.engines.embedded.learned_geometry import LearnedGeometry
from worker.engines.embedded.lighting import EmbeddedLighting
from worker.formats.image import read_rgb
from worker.formats.pointmap import normals_of
from worker.formats.srgb import linear_from_srgb
from worker.session.frames import level_from_camera


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seeds", default=",".join(map(str, range(24))), help="of split dev, with commas")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    geometry = LearnedGeometry()
    geometry.load("cpu", "")
    stills = []
    for seed in map(int, args.seeds.split(",")):
        stills.append(one(args.cache / "scenes" / f"dev_{seed:04d}", geometry))
        print(" ".join(f"{name}={value:.3g}" if isinstance(value, float) else f"{value}"
                       for name, value in stills[-1].items() if name != "key, level"), flush=True)
    result = {"machine": f"{platform.system()} {platform.machine()}, CPU", "stills": stills,
              "odd seeds": summary([s for s in stills if s["seed"] % 2]),
              "even seeds": summary([s for s in stills if s["seed"] % 2 == 0])}
    print(json.dumps({k: v for k, v in result.items() if k != "stills"}, indent=1))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def one(folder: Path, geometry: LearnedGeometry) -> dict:
    """Figures of one still; the key light's error is None where none was named."""
    truth = read_scene(folder)
    image = read_rgb(truth.still)
    made = geometry.run(GeometryRequest(image, None), lambda fraction: None)
    normals = made.normals if made.normals is not None else normals_of(made.points)
    result = EmbeddedLighting().run(
        LightingRequest(linear_from_srgb(image / 255.0), made.intrinsics, made.gravity, 1.0, made.points, normals,
                        made.mask, made.sky), lambda fraction: None)
    level = level_from_camera(made.gravity)
    mirror, grey, inside = light.balls(light.camera_equirect(light.shrink(result.equirect), level))
    true_mirror, true_grey, _ = light.balls(_exr(folder / "probe.exr"))
    even = inside[..., None] * np.ones(3)
    key = truth.record["key_light"]["direction_to_light"]
    named = result.key_direction is not None
    return {
        "seed": int(truth.record["seed"]), "kind": truth.record["kind"],
        "key error": m.angle_degrees(result.key_direction, key) if named else None,
        "confidence": float(result.key_confidence), "key, level": (level @ np.array(key)).round(4).tolist(),
        "grey": m.scale_invariant_rmse(grey, true_grey, inside),
        "grey, even light": m.scale_invariant_rmse(even, true_grey, inside),
        "mirror": m.scale_invariant_rmse(mirror, true_mirror, inside),
        "mirror, even light": m.scale_invariant_rmse(even, true_mirror, inside),
        "colour": m.rgb_angular_error(grey, true_grey, inside),
    }


def summary(stills: list[dict]) -> dict:
    """Means of the balls, distribution of the key light's error, and what constants would have scored."""
    if not stills:
        return {}
    errors = [s["key error"] for s in stills if s["key error"] is not None]
    keys = np.array([s["key, level"] for s in stills])
    grid = light.directions(36, 72).reshape(-1, 3)
    off = np.degrees(np.arccos(np.clip(grid @ keys.T, -1, 1)))
    up = np.degrees(np.arccos(np.clip(keys[:, 2], -1, 1)))
    return {
        "stills": len(stills), "keys named": len(errors),
        "key error, median": round(float(np.median(errors)), 1) if errors else None,
        "key within 35 degrees": sum(e < 35 for e in errors),
        "mean confidence": round(float(np.mean([s["confidence"] for s in stills])), 2),
        "straight up, median": round(float(np.median(up)), 1),
        "best constant direction, median": round(float(np.median(off, axis=1).min()), 1),
        "best constant direction, within 35 degrees": int((off < 35).sum(axis=1).max()),
        **{name: round(float(np.mean([s[name] for s in stills])), 3)
           for name in ("grey", "grey, even light", "mirror", "mirror, even light", "colour")},
    }


if __name__ == "__main__":
    main()
