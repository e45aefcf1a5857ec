"""What a still costs outside the networks: the geometry and scene stages with engines that answer at once.

    python -m bench.file_work [CASE ...] [--runs 5] [--json FILE] [--profile]

Each case runs in a process of its own through the host's own code: pictures read, stage, files, labels, hashes. The
native engines are stand-ins that hold a result of the official size (1,179,648 Gaussians; a 512x288 pointmap through
DUSt3R's own way up to 1920x1080); drawing the check on a GPU is left out, judging it is not. Counted are processor
seconds, which other work on the machine does not change, and `waited`, which it does. Equal `files` are equal files:
a digest of every output, a PNG by its pixels and texts.
"""

from __future__ import annotations

import argparse
import cProfile
import hashlib
import json
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from bench.stage_times import ROOT, machine
from worker.engines.card import EngineCard
from worker.engines.contract import SceneRequest, SceneResult
from worker.formats.gaussians import GaussianCloud
from worker.formats.image import write_png
from worker.formats.pointmap import Pointmap, intrinsics_from_hfov, pixel_rays, write_pointmap
from worker.formats.rasteriser import Render
from worker.host import messages
from worker.host.child import Host
from worker.pointmaps.background import background_points
from worker.session.atomic import sha256_of
from worker.session.layout import SessionFolder
from worker.session.model import InputRecord, SceneRecord, Session, StageRecord, StageState
from worker.session.options import Options
from worker.stages import scene as scene_stage

SIZE = (1080, 1920)
GAUSSIANS = 2 * 768 * 768
HFOV = 64.3


class Mute:
    """The host's way to a conductor that is not there."""

    def send(self, kind: str, **fields: Any) -> None:
        pass


def still() -> np.ndarray:
    """An example at 1080p with film grain, without which every PNG would be too easy."""
    with Image.open(ROOT / "examples" / "interior.png") as image:
        picture = cv2.resize(np.asarray(image.convert("RGB")), SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    grain = np.random.default_rng(0).normal(0, 3, picture.shape)
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def depth(size: tuple[int, int]) -> np.ndarray:
    """A wall, a floor and two boxes: (h, w) z."""
    v, u = np.mgrid[: size[0], : size[1]] / np.array(size)[:, None, None]
    floor = np.where(v > 0.55, 1.6 / (1.2 * np.maximum(v - 0.5, 0.02)), 9.0)
    box = (np.abs(u - 0.3) < 0.08) & (np.abs(v - 0.6) < 0.15) | (np.abs(u - 0.7) < 0.05) & (np.abs(v - 0.5) < 0.3)
    return np.where(box, 4.0, np.minimum(floor, 9.0)).astype(np.float32)


class Answered:
    """In SHARP's place: its Gaussians are there already; what lies behind the props is worked out as SHARP does it."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        z = rng.uniform(2, 20, GAUSSIANS)
        position = np.column_stack([z * rng.uniform(-1, 1, GAUSSIANS), z * rng.uniform(-0.6, 0.6, GAUSSIANS), z])
        turn = rng.normal(size=(GAUSSIANS, 4))
        self.cloud = GaussianCloud(
            position.astype(np.float32),
            (0.002 * z[:, None] * rng.uniform(0.1, 2, (GAUSSIANS, 3))).astype(np.float32),
            (turn / np.linalg.norm(turn, axis=1, keepdims=True)).astype(np.float32),
            rng.uniform(0, 1, GAUSSIANS).astype(np.float32),
            rng.uniform(0, 1, (GAUSSIANS, 3)).astype(np.float32),
        )

    def run(self, request: SceneRequest, progress: Callable[[float], None]) -> SceneResult:
        solid = request.mask & ~request.sky
        behind = background_points(request.points, solid, request.removed, request.intrinsics, request.seed)
        return SceneResult(self.cloud, behind, layers=(GAUSSIANS // 2,) * 2)


def sharp() -> tuple[EngineCard, Any]:
    from worker.engines.sharp.cards import CARDS

    return CARDS[0], Answered()


def dust3r() -> tuple[EngineCard, Any]:
    from worker.engines.dust3r.cards import DUST3R
    from worker.engines.dust3r.engine import Dust3rEngine

    size = (288, 512)
    K = intrinsics_from_hfov(size[1], size[0], HFOV)
    points = pixel_rays(*size, K) * depth(size)[..., None]
    engine = Dust3rEngine()
    engine.network = lambda picture: (points, np.full(size, 3, np.float32))
    return DUST3R, engine


def embedded(stage: str) -> tuple[EngineCard, Any]:
    from worker.engines import registry

    card = next(card for card in registry.all_cards() if (card.name, card.stage) == ("embedded", stage))
    engine = Host(Mute())._engine(card, "cpu", next(iter(card.memory_mb)))  # type: ignore[arg-type]
    return card, engine


CASES: dict[str, tuple[str, Callable[[], tuple[EngineCard, Any]], bool]] = {
    "scene, SHARP": ("scene", sharp, False),
    "scene, SHARP, holes": ("scene", sharp, True),
    "geometry, DUSt3R": ("geometry", dust3r, False),
    "scene, embedded": ("scene", lambda: embedded("scene"), True),
    "geometry, embedded": ("geometry", lambda: embedded("geometry"), False),
}


def session_in(folder: SessionFolder, hole: bool) -> Session:
    picture, K = still(), intrinsics_from_hfov(SIZE[1], SIZE[0], HFOV)
    removed = np.zeros(SIZE, bool)
    if hole:
        removed[SIZE[0] // 2 : SIZE[0] * 3 // 4, SIZE[1] // 3 : SIZE[1] // 2] = True
    write_png(folder.still, picture)
    write_png(folder.clean, picture)
    write_png(folder.removed_mask, removed)
    points, everywhere = pixel_rays(*SIZE, K) * depth(SIZE)[..., None], np.ones(SIZE, bool)
    normals = np.broadcast_to(np.float32([0, 0, -1]), points.shape)
    write_pointmap(folder.pointmap, Pointmap(points, everywhere, np.ones(SIZE, np.float32), K, ~everywhere, normals))
    record = SceneRecord(
        width=SIZE[1], height=SIZE[0], intrinsics=K.tolist(), hfov_deg=HFOV, hfov_source="user", unit="relative",
        median_depth=4.0, scale_basis="drawn", gravity=(0, 1, 0), gravity_source="assumed",
    )  # fmt: skip
    given = InputRecord(
        name="still.png", sha256="0" * 64, bytes=1, format="PNG", width=SIZE[1], height=SIZE[0], mode="RGB",
        bit_depth=8, color_space="sRGB", crop=(0, 0, SIZE[1], SIZE[0]),
    )  # fmt: skip
    done = {name: StageRecord(state=StageState.DONE) for name in ("plate", "geometry", "clean_plate")}
    time_ = "2026-01-01T00:00:00Z"
    return Session(
        tool_version="0", session_id="00000000-0000-4000-8000-000000000000", created=time_, updated=time_,
        input=given, options={}, scene=record, stages=done,
    )  # fmt: skip


def drawn_elsewhere(cloud: GaussianCloud, pose: Any, intrinsics: Any, size: tuple[int, int]) -> Render:
    picture = cv2.resize(still(), size[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return Render(picture, np.ones(size, np.float32), np.ones(size, np.float32))


def digest(path: Path) -> str:
    if path.suffix != ".png":
        return sha256_of(path)[:16]
    with Image.open(path) as image:
        parts = (image.mode, image.size, sorted(image.info.items()), hashlib.sha256(image.tobytes()).hexdigest())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def run_case(name: str, runs: int, profile: bool) -> dict[str, Any]:
    stage, make, hole = CASES[name]
    card, engine = make()
    tier = next(iter(card.memory_mb))
    if engine.__class__ is Answered:
        check = drawn_elsewhere(engine.cloud, None, None, (750, 1333))
        scene_stage._renderer = lambda: (lambda *scene: replace(check), "elsewhere")
    host = Host(Mute())  # type: ignore[arg-type]
    host._engines[(card.stage, card.name)] = ("cpu", tier, engine)
    with tempfile.TemporaryDirectory() as place:
        folder = SessionFolder(Path(place))
        session = session_in(folder, hole)
        request = {
            "stage": stage, "module": f"worker.stages.{stage}", "folder": place, "source": str(folder.still),
            "options": Options().model_dump(mode="json"), "session": session.model_dump(mode="json", by_alias=True),
            "card": messages.card_to_json(card), "device": "cpu", "tier": tier, "safer_tier": False,
        }  # fmt: skip

        def work() -> dict[str, str]:
            outputs = host.run_stage(request)["outputs"]
            if isinstance(outputs, dict):
                return outputs
            return {path: sha256_of(folder.root / path) for path in outputs}

        hashes, processor, waited = work(), [], []
        for _ in range(runs):
            for path in hashes:  # another still's folder is empty; deleting costs time of its own
                (folder.root / path).unlink()
            start, wall = time.process_time(), time.perf_counter()
            hashes = work()
            processor.append(time.process_time() - start)
            waited.append(time.perf_counter() - wall)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        assert all(sha256_of(folder.root / path) == sha256 for path, sha256 in hashes.items())
        if profile:
            recorder = cProfile.Profile()
            recorder.runcall(work)
            pstats.Stats(recorder, stream=sys.stderr).sort_stats("tottime").print_stats(35)
        return {
            "processor_s": round(min(processor), 3),
            "waited_s": round(min(waited), 3),
            "peak_mb": round(peak),
            "files": {path: digest(folder.root / path) for path in sorted(hashes)},
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=list(CASES))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.here:
        print(json.dumps(run_case(words.cases[0], words.runs, words.profile)))
        return
    found = {}
    print(f"least of {words.runs} runs; {machine()}\n")
    print(f"{'':24}{'processor':>12}{'waited':>12}{'peak memory':>14}")
    for name in words.cases:
        line = [sys.executable, "-m", "bench.file_work", name, "--here", "--runs", str(words.runs)]
        answer = subprocess.run(line + ["--profile"] * words.profile, stdout=subprocess.PIPE, text=True, check=True)
        found[name] = json.loads(answer.stdout.splitlines()[-1])
        one = found[name]
        print(f"{name:24}{one['processor_s']:>10.2f} s{one['waited_s']:>10.2f} s{one['peak_mb']:>11} MB", flush=True)
    if words.json:
        words.json.write_text(json.dumps({"machine": machine(), "cases": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
