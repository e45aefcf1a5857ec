"""Train the geometry network on pictures rendered as it goes. Resumable; one call is one run of at most a few minutes.

python train.py --assets assets.npz --backbone efficientnet-lite2.pth --photos real.npz --out OUT --minutes 8
python train.py ... --resume OUT --rate 4e-4 --end-rate 1e-5
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import math
import multiprocessing as mp
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

# height and width of a training batch, and how often. Few and fixed: for every new shape cuDNN plans for seconds.
SHAPES = ((384, 512, 0.27), (288, 384, 0.13), (320, 480, 0.15), (288, 512, 0.2), (192, 448, 0.1), (448, 320, 0.15))
_kit = None


def start_worker(library) -> None:
    global _kit
    from kit import Kit

    _kit = Kit(library)


def work(job: tuple[int, int, int]) -> tuple[int, list[dict[str, np.ndarray]]]:
    """Make `count` scenes; a recipe that trips over its own dice is skipped, not fatal."""
    from scenes import make_scene

    seed, count, shape = job
    aspect = SHAPES[shape][1] / SHAPES[shape][0]
    scenes = []
    k = 0
    while len(scenes) < count:
        with contextlib.suppress(ValueError, IndexError, ZeroDivisionError):
            scenes.append(make_scene(_kit, seed * 1000 + k, aspect))
        k += 1
    return shape, scenes


def jobs(first: int, count: int, seed: int):
    weights = np.array([a[2] for a in SHAPES])
    rng = np.random.default_rng(seed)
    while True:
        yield first, count, int(rng.choice(len(SHAPES), p=weights / weights.sum()))
        first += 1


class Feeder:
    """Scenes made by worker processes, a bounded number ahead."""

    def __init__(self, library, processes: int, count: int, seed: int):
        context = mp.get_context("spawn")
        os.environ["OMP_NUM_THREADS"] = "1"
        self.pool = context.Pool(processes, start_worker, (library,))
        del os.environ["OMP_NUM_THREADS"]
        self.jobs = jobs(seed * 100_000, count, seed)
        self.ready = [self.pool.apply_async(work, (next(self.jobs),)) for _ in range(processes * 2)]

    def get(self):
        self.ready.append(self.pool.apply_async(work, (next(self.jobs),)))
        return self.ready.pop(0).get()


def render_size(aspect: float, area: float) -> tuple[int, int]:
    h = math.sqrt(area / aspect)
    return round(h * aspect / 8) * 8, round(h / 8) * 8


def useful(r: dict[str, torch.Tensor]) -> torch.Tensor:
    """Pictures worth learning from: things in view, not all pressed against the lens, some relief, some light."""
    d, n = r["depth"], r["depth"].shape[0]
    solid = (d > 0).float()
    log = torch.log(d.clamp_min(0.02)) * solid
    share = solid.mean((1, 2))
    mean = log.sum((1, 2)) / solid.sum((1, 2)).clamp_min(1)
    relief = (((log - mean.reshape(n, 1, 1)) ** 2 * solid).sum((1, 2)) / solid.sum((1, 2)).clamp_min(1)).sqrt()
    near = ((d < 0.2) & (d > 0)).float().mean((1, 2))
    glow = torch.quantile(
        torch.nn.functional.adaptive_avg_pool2d(r["rgb"].mean(3).unsqueeze(1), 16).flatten(1), 0.6, dim=1
    )
    return (share > 0.15) & (relief > 0.1) & (near < 0.12) & (glow > 2e-3)


def pack(r: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    keep = useful(r)
    return {
        "depth": r["depth"][keep],
        "rgb": r["rgb"][keep].clamp(max=200).half(),
        "normal": (r["normal"][keep] * 127).to(torch.int8),
        "object": r["object"][keep].short(),
        "class": r["class"][keep].to(torch.uint8),
        "focal": r["focal"][keep],
        "up": r["up"][keep],
    }


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--assets", type=Path, required=True)
    p.add_argument("--backbone", type=Path)
    p.add_argument("--photos", type=Path)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--resume", type=Path, help="folder with the weights_*.pt of an earlier run")
    p.add_argument("--minutes", type=float, default=8)
    p.add_argument("--rate", type=float, default=8e-4)
    p.add_argument("--end-rate", type=float, default=2e-5)
    p.add_argument("--warm", type=int, default=200)
    p.add_argument("--batch", type=int, default=48)
    p.add_argument("--render", type=int, default=50)
    p.add_argument("--reuse", type=int, default=3, help="training steps per rendered batch")
    p.add_argument("--ring", type=int, default=32)
    p.add_argument("--area", type=float, default=200_000)
    p.add_argument(
        "--slowest", type=float, default=0.0, help="give up when fewer pictures a second are trained on after 75 s"
    )
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--processes", type=int, default=14)
    p.add_argument("--device", default="cuda")
    p.add_argument("--layout", choices=["channels_last", "contiguous"], default="channels_last")
    args = p.parse_args()
    begin = time.time()
    args.out.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(Path(__file__).parent))
    from augment import cut, photograph
    from evaluate import evaluate, table
    from losses import total_loss
    from model import GeometryNet
    from render import Renderer

    cuda = args.device == "cuda"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = False  # many picture sizes: searching for the best kernel of each costs minutes
    torch.manual_seed(args.seed)
    renderer = Renderer(args.assets, args.device, args.out)
    feeder = Feeder(renderer.library, args.processes, args.render, args.seed)
    net = GeometryNet()
    steps = 0
    if args.backbone:
        net.load_backbone(str(args.backbone))
    if args.resume:
        for part in sorted(args.resume.glob("weights_*.pt")):
            state = torch.load(part, map_location="cpu")
            net.load_state_dict(
                {k: v.float() if v.is_floating_point() else v for k, v in state["net"].items()}, strict=False
            )
            steps = state["steps"]
    layout = torch.channels_last if args.layout == "channels_last" else torch.contiguous_format
    net = net.to(args.device, memory_format=layout)
    frozen = ["encoder._conv_stem", "encoder._bn0", *(f"encoder._blocks.{i}." for i in range(4))]
    for name, q in net.named_parameters():
        q.requires_grad = not name.startswith(tuple(frozen)) and not ("encoder" in name and "_bn" in name)
    encoder = [q for n, q in net.named_parameters() if q.requires_grad and n.startswith("encoder")]
    heads = [q for n, q in net.named_parameters() if q.requires_grad and not n.startswith("encoder")]
    optimiser = torch.optim.AdamW(
        [{"params": encoder, "k": 0.12}, {"params": heads, "k": 1.0}],
        lr=args.rate,
        weight_decay=0.02,
        betas=(0.9, 0.98),
        fused=cuda,
    )
    smooth = copy.deepcopy(net).eval()
    print(
        f"ready after {time.time() - begin:.1f} s; {sum(q.numel() for q in net.parameters()) / 1e6:.2f} M parameters",
        flush=True,
    )

    def test(tag: str) -> None:
        if not args.photos:
            return

        def predict(x):
            with torch.no_grad():
                return tuple(o.float().cpu().numpy() for o in smooth(torch.from_numpy(x).to(args.device)))

        result = evaluate(predict, args.photos, 512, args.out / f"photos_{tag}.jpg")
        print(f"--- photos after {steps} steps\n{table(result)}", flush=True)
        log.write(json.dumps({"steps": steps, "photos": result}) + "\n")

    def save() -> None:
        """The smoothed weights in half precision, in two files (each stays small enough to travel)."""
        state = {k: v.half().cpu() if v.is_floating_point() else v.cpu() for k, v in smooth.state_dict().items()}
        for name, wanted in (("encoder", True), ("heads", False)):
            torch.save(
                {"net": {k: v for k, v in state.items() if k.startswith("encoder") == wanted}, "steps": steps},
                args.out / f"weights_{name}.pt",
            )

    floats = lambda m: [v for v in m.state_dict().values() if v.is_floating_point()]  # noqa: E731
    slow, fast = floats(smooth), floats(net)
    log = (args.out / "log.jsonl").open("a")
    generator = torch.Generator().manual_seed(args.seed)
    ring: list[dict] = []
    seen = rendered = local = 0
    spent = {"wait": 0.0, "render": 0.0}
    start = time.time()
    total = args.minutes * 60
    running: dict[str, torch.Tensor] = {}
    last_print, tests = start, 0
    net.set_train()
    while time.time() - start < total:
        if local % args.reuse == 0 or len(ring) < 3:
            t = time.time()
            shape, scenes = feeder.get()
            spent["wait"] += time.time() - t
            with torch.no_grad():
                batch = pack(renderer(scenes, *render_size(SHAPES[shape][1] / SHAPES[shape][0], args.area)))
            rendered += len(batch["depth"])
            if len(batch["depth"]) > 3:
                ring.append({"shape": shape, **batch})
            if len(ring) > args.ring:
                ring.pop(0)
            if local == 0 and len(ring) < 3:
                continue
        item = ring[int(torch.randint(0, len(ring), (1,), generator=generator))] if local % 2 else ring[-1]
        (h, w, _), n = SHAPES[item["shape"]], args.batch
        pick = (
            torch.randperm(len(item["depth"]), generator=generator)
            .repeat(2 + n // len(item["depth"]))[:n]
            .to(args.device)
        )
        with torch.no_grad():
            part = cut({k: v[pick] for k, v in item.items() if k != "shape"}, h, w, generator)
            image = photograph(part["rgb"], part["depth"])
        progress = (time.time() - start) / total
        rate = args.end_rate + (args.rate - args.end_rate) * 0.5 * (1 + math.cos(math.pi * min(1, progress)))
        rate *= min(1, (local + 1) / args.warm)
        for group in optimiser.param_groups:
            group["lr"] = rate * group["k"]
        with torch.autocast(args.device, torch.bfloat16, enabled=cuda):
            out = net(image.contiguous(memory_format=layout))
        loss, parts = total_loss(out, part)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder + heads, 1.0)
        optimiser.step()
        with torch.no_grad():
            decay = min(0.998, (local + 1) / (local + 20))
            torch._foreach_lerp_(slow, fast, 1 - decay)
        for k, v in parts.items():
            running[k] = running.get(k, v) * 0.98 + v * 0.02
        seen, steps, local = seen + n, steps + 1, local + 1
        if time.time() - last_print > 15:
            last_print = time.time()
            line = {
                "steps": steps,
                "seconds": round(last_print - start),
                "seen": seen,
                "rendered": rendered,
                "rate": seen / (last_print - start),
                "waited": round(spent["wait"], 1),
                **{k: round(float(v), 4) for k, v in running.items()},
            }
            log.write(json.dumps(line) + "\n")
            print(" ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in line.items()), flush=True)
            if args.slowest and last_print - start > 75 and seen / (last_print - start) < args.slowest:
                raise RuntimeError("Training is too slow to be worth its time.")
            if not all(math.isfinite(float(v)) for v in running.values()):
                raise FloatingPointError("The loss is no longer finite.")
        if progress > (tests + 1) / 4:
            tests += 1
            save()
    test("end")
    save()
    log.close()
    feeder.pool.terminate()
    print(f"done after {time.time() - begin:.1f} s", flush=True)


if __name__ == "__main__":
    main()
