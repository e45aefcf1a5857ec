"""Render the example stills and their truth. Run with a Python that has bpy 4.5, OpenEXR and Pillow:

python examples/make_examples.py [interior street tabletop tiny] [--out DIR] [--scale 1.0] [--samples 40]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from examples.make import truth  # noqa: E402
from examples.make.sets import SETS  # noqa: E402


def shoot(name: str, picture: Path, folder: Path, truth_name: str, scale: float, samples: int, stride: int) -> None:
    """Build set `name`, render it to `picture` at `scale` of its full size, write its truth into `folder`."""
    began = time.perf_counter()
    shot = SETS[name]()
    size = (round(shot.size[0] * scale), round(shot.size[1] * scale))
    picture.parent.mkdir(parents=True, exist_ok=True)
    passes = truth.render(picture, size, samples, shot.exposure, shot.haze, shot.haze_colour)
    K = truth.intrinsics(shot.lens_mm, *size)
    record = truth.describe(passes["ids"], K, shot.key, shot.ground_z,
                            {"name": name, "ground_label": shot.ground_label, "licence": "CC0-1.0"})
    truth.write(folder, truth_name, passes, record, stride)
    props = [(o["label"], f"{o['area_fraction']:.1%}") for o in record["objects"] if o["is_prop"]]
    print(f"{name} {size[0]}x{size[1]}: {time.perf_counter() - began:.0f} s, props {props}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=[*SETS, "tiny"])
    parser.add_argument("--out", type=Path, default=ROOT)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--samples", type=int, default=40)
    args = parser.parse_args()
    examples = args.out / "examples"
    for name in args.names:
        if name == "tiny":
            data = args.out / "tests" / "data"
            shoot("interior", data / "tiny_interior.png", data, "tiny_interior", 0.25, args.samples * 2, 1)
        else:
            shoot(name, examples / f"{name}.png", examples / "truth", name, args.scale, args.samples, 2)


if __name__ == "__main__":
    main()
