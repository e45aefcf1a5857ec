"""Arguments that `run` and `batch` share, and the Options they make."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from worker.errors import InputError
from worker.session.options import EnginedStage, Options, Studio

DEFAULT_OUTPUT_ROOT = Path("outputs/pipeline_demo")


def _roi(text: str) -> tuple[int, ...]:
    try:
        box = tuple(int(part) for part in text.split(","))
    except ValueError:
        box = ()
    if len(box) != 4:
        raise argparse.ArgumentTypeError(f"a box is x,y,w,h in pixels of the still, not “{text}”")
    return box


def _engine(text: str) -> tuple[str, str]:
    stage, _, name = text.partition("=")
    stages = get_args(EnginedStage)
    if stage not in stages or not name:
        raise argparse.ArgumentTypeError(f"“{text}” is not STAGE=NAME with a STAGE of {', '.join(stages)}")
    return stage, name


def _studio(text: str) -> dict[str, Any]:
    try:
        found = json.loads(Path(text).read_text("utf-8-sig"))
    except OSError as fault:
        raise argparse.ArgumentTypeError(f"{text} cannot be read ({fault.strerror})") from None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f"{text} is no JSON object")
    return found


def add_options(parser: argparse.ArgumentParser) -> None:
    """Every flag whose value is an Option has that Option's name, and None stands for “not given”."""
    add = parser.add_argument
    add("--output_root", type=Path, default=DEFAULT_OUTPUT_ROOT, metavar="FOLDER",
        help=f"sessions are made in here (default {DEFAULT_OUTPUT_ROOT.as_posix()})")  # fmt: skip
    add("--skip_scene", action="store_true", default=None, help="no background Gaussians")
    add("--skip_geometry", action="store_true", default=None, help="no depth, and nothing that needs it")
    backends = ("auto", "trellis", "sam3d_objects", "sam3d", "embedded")
    add("--asset_gen_backend", choices=backends, help="who makes the props (sam3d is short for sam3d_objects)")
    add("--engine", dest="engines", type=_engine, action="append", metavar="STAGE=NAME",
        help="use this engine for a stage (repeatable); `assetize engines` lists them")  # fmt: skip
    add("--roi", dest="rois", type=_roi, action="append", metavar="X,Y,W,H",
        help="a box around a prop you want, in pixels of the still (repeatable)")  # fmt: skip
    add("--max_props", type=int, metavar="N", help="at most so many props (default 8)")
    add("--seed", type=int, metavar="N", help="the same seed gives the same bytes (default 0)")
    lens = parser.add_mutually_exclusive_group()
    lens.add_argument("--fov", dest="hfov_deg", type=float, metavar="DEGREES", help="horizontal field of view")
    lens.add_argument("--lens_mm", type=float, metavar="MM", help="focal length on a 36 mm wide sensor")
    add("--geometry_tiles", action="store_true", default=None,
        help="finer depth from overlapping tiles, by engines that can; up to 3 million points")  # fmt: skip
    add("--keep_props", action="store_true", default=None, help="leave the props in the background as well")
    add("--no_blend", action="store_true", default=None, help="make no scene.blend")
    add("--studio", type=_studio, metavar="FILE",
        help=f"JSON with any of {', '.join(Studio.model_fields)}, for the metadata records")  # fmt: skip
    add("--language", choices=("en", "zh"), help="language of messages (default en)")
    add("--fresh", action="store_true", help="do every stage anew, even finished ones")
    add("--json", action="store_true", help="one JSON event a line on standard output")


def options_from(arguments: argparse.Namespace) -> Options:
    """Raises InputError in one sentence where values do not make sense."""
    names = Options.model_fields.keys() & vars(arguments).keys()
    given: dict[str, Any] = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if "engines" in given:
        given["engines"] = dict(given["engines"])
    return make_options(given)


def make_options(given: Any) -> Options:
    try:
        return Options.model_validate(given)
    except ValidationError as fault:
        first = fault.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "options"
        reason = first["msg"].removeprefix("Value error, ")
        raise InputError(
            "options.invalid", f"The option {where} does not fit: {reason}.", f"选项 {where} 无效：{reason}。"
        ) from None
