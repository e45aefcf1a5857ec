"""What one rank of a training run does: make pictures, learn from them, agree with the other ranks.

Every rank renders scenes of its own; the gradients are averaged, so that all ranks hold the same weights. Rank 0 alone
keeps the clock (the learning rate follows the time, and all must use the same), the log and the checkpoint.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time

import torch
import torch.distributed as dist
from augment import cut, photograph
from checkpoint import save
from feeder import BATCH_AREA, SHAPES, Feeder
from render import Renderer
from tasks import TASKS, Task
from torch import Tensor

SYNC = 16  # steps between looks at rank 0's clock


def render_size(aspect: float, area: float) -> tuple[int, int]:
    h = math.sqrt(area / aspect)
    return round(h * aspect / 8) * 8, round(h / 8) * 8


def useful(r: dict[str, Tensor]) -> Tensor:
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
    return (share > 0.15) & (relief > 0.1) & (near < 0.12) & (glow > 1e-3)


def pack(r: dict[str, Tensor]) -> dict[str, Tensor]:
    keep = useful(r)
    return {
        "depth": r["depth"][keep],
        "rgb": r["rgb"][keep].clamp(max=200).half(),
        "normal": (r["normal"][keep] * 127).to(torch.int8),
        "object": r["object"][keep].short(),
        "class": r["class"][keep].to(torch.uint8),
        "focal": r["focal"][keep],
        "boxes": r["boxes"][keep],
        "up": r["up"][keep],
    }


class Pictures:
    """A ring of rendered batches, each used `reuse` times on average with other crops and film faults."""

    def __init__(self, renderer: Renderer, feeder: Feeder, args: argparse.Namespace, rank: int):
        self.renderer, self.feeder, self.args = renderer, feeder, args
        self.generator = torch.Generator().manual_seed(args.seed * 64 + rank)
        self.ring: list[dict] = []
        self.rendered, self.waited, self.taken = 0, 0.0, 0

    def add(self) -> None:
        t = time.time()
        shape, scenes = self.feeder.get()
        self.waited += time.time() - t
        h, w, _ = SHAPES[shape]
        with torch.no_grad():
            batch = pack(self.renderer(scenes, *render_size(w / h, self.args.area / self.args.shrink**2)))
        self.rendered += len(batch["depth"])
        if len(batch["depth"]) > 3:
            self.ring.append({"shape": shape, **batch})
        if len(self.ring) > self.args.ring:
            self.ring.pop(0)

    def next(self) -> tuple[Tensor, dict[str, Tensor]]:
        """One training batch: sRGB pictures 0..255 and the truth beside them."""
        if self.taken % self.args.reuse == 0:
            self.add()
        while not self.ring:
            self.add()
        draw = int(torch.randint(0, len(self.ring), (1,), generator=self.generator))
        item = self.ring[draw] if self.taken % 2 else self.ring[-1]
        self.taken += 1
        h, w, _ = SHAPES[item["shape"]]
        n = max(2, round(self.args.batch * BATCH_AREA / (h * w) / 2) * 2)
        h, w = (max(32, round(side / self.args.shrink / 32) * 32) for side in (h, w))
        have = len(item["depth"])
        pick = torch.randperm(have, generator=self.generator).repeat(1 + n // have)[:n].to(item["depth"].device)
        with torch.no_grad():
            part = cut({k: v[pick] for k, v in item.items() if k != "shape"}, h, w, self.generator)
            return photograph(part["rgb"], part["depth"]), part


class Averager:
    """Gradients averaged over ranks, clipped by their norm; a step that is not finite becomes none at all."""

    def __init__(self, parameters: list[Tensor], ranks: int):
        self.parameters, self.ranks = parameters, ranks
        self.flat = torch.zeros(sum(q.numel() for q in parameters), device=parameters[0].device)
        self.views, at = [], 0
        for q in parameters:
            self.views.append(self.flat[at : at + q.numel()].view(q.shape))
            at += q.numel()

    def __call__(self) -> Tensor:
        gradients = [q.grad for q in self.parameters]
        torch._foreach_copy_(self.views, gradients)
        if self.ranks > 1:
            dist.all_reduce(self.flat)
            self.flat.div_(self.ranks)
        norm = self.flat.norm()
        factor = torch.where(torch.isfinite(norm), (1 / norm.clamp_min(1e-6)).clamp(max=1), 0.0)
        self.flat.nan_to_num_(0.0, 0.0, 0.0).mul_(factor)
        torch._foreach_copy_(gradients, self.views)
        return norm


class Clock:
    """Share of the run's time gone, as rank 0 sees it and all ranks agree."""

    def __init__(self, end: float, device: torch.device, ranks: int):
        self.start, self.end, self.ranks = time.time(), end, ranks
        self.shared = torch.zeros(1, device=device, dtype=torch.float64)
        self.progress = 0.0

    def look(self) -> float:
        self.shared.fill_((time.time() - self.start) / max(1e-3, self.end - self.start))
        if self.ranks > 1:
            dist.broadcast(self.shared, 0)
        self.progress = float(self.shared)
        return self.progress


def trainable(net: torch.nn.Module, frozen: tuple[str, ...], encoder_share: float) -> list[dict]:
    """Parameter groups: what is `frozen` stays as it is, the rest of the encoder learns slowly."""
    for name, q in net.named_parameters():
        q.requires_grad = not name.startswith(frozen) and not ("encoder" in name and "_bn" in name)
    named = [(n, q) for n, q in net.named_parameters() if q.requires_grad]
    return [
        {"params": [q for n, q in named if n.startswith("encoder")], "k": encoder_share},
        {"params": [q for n, q in named if not n.startswith("encoder")], "k": 1.0},
    ]


def run(rank: int, ranks: int, meeting: str, begin: float, args: argparse.Namespace) -> None:
    """`meeting` is the file by which the ranks find each other; `begin` the time the whole run started."""
    cuda = args.device == "cuda"
    device = torch.device("cuda", 0) if cuda else torch.device("cpu")  # train.py shows each rank its own GPU only
    if cuda:
        torch.cuda.set_device(device)
        torch.set_num_threads(8)
    if ranks > 1:
        dist.init_process_group("nccl" if cuda else "gloo", f"file://{meeting}", rank=rank, world_size=ranks)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = False  # several picture sizes: searching for the best kernel of each costs minutes
    torch.manual_seed(args.seed * 64 + rank)
    renderer = Renderer(args.assets, str(device), args.kernels)
    pictures = Pictures(renderer, Feeder(renderer.stock, args.processes, args.render, args.seed, rank), args, rank)
    task: Task = TASKS[args.network]
    net, steps = task.start(args)
    layout = torch.channels_last if args.layout == "channels_last" else torch.contiguous_format
    net = net.to(device, memory_format=layout)
    groups = trainable(net, task.frozen, args.encoder_share)
    optimiser = torch.optim.AdamW(groups, lr=args.rate, weight_decay=0.02, betas=(0.9, 0.98), fused=cuda)
    average = Averager([q for g in groups for q in g["params"]], ranks)
    smooth = copy.deepcopy(net).eval()
    floats = lambda m: [v for v in m.state_dict().values() if v.is_floating_point()]  # noqa: E731
    slow, fast = floats(smooth), floats(net)
    say = print if rank == 0 else lambda *a, **k: None
    log = (args.out / "log.jsonl").open("a") if rank == 0 else None
    say(
        f"ready after {time.time() - begin:.1f} s, {ranks} ranks, {sum(map(torch.numel, fast)) / 1e6:.2f} M", flush=True
    )
    clock = Clock(begin + args.seconds, device, ranks)
    seen, local, running = 0, 0, {}
    last_print = last_save = time.time()
    net.train()
    net.encoder.eval()  # its normalisation keeps ImageNet's statistics
    while True:
        if local % SYNC == 0 and clock.look() >= 1:
            break
        image, part = pictures.next()
        rate = args.end_rate + (args.rate - args.end_rate) * 0.5 * (1 + math.cos(math.pi * min(1, clock.progress)))
        rate *= min(1, (local + 1) / args.warm)
        for group in optimiser.param_groups:
            group["lr"] = rate * group["k"]
        loss, parts = task.loss(net, image.contiguous(memory_format=layout), part)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        parts["norm"] = average()
        optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(slow, fast, 1 - min(0.998, (local + 1) / (local + 20)))
        seen, steps, local = seen + len(image), steps + 1, local + 1
        if rank:
            continue
        for k, v in parts.items():
            running[k] = torch.where(
                torch.isfinite(v), running.get(k, v).nan_to_num() * 0.98 + v * 0.02, running.get(k, v)
            )
        if time.time() - last_print > 15:
            last_print = time.time()
            line = {
                "steps": steps,
                "seconds": round(last_print - clock.start),
                "seen": seen * ranks,
                "rendered": pictures.rendered * ranks,
                "rate": seen * ranks / (last_print - clock.start),
                "waited": round(pictures.waited, 1),
                **{k: round(float(v), 4) for k, v in running.items()},
            }
            log.write(json.dumps(line) + "\n")
            log.flush()
            say(" ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in line.items()), flush=True)
        if time.time() - last_save > args.save_every:
            last_save = time.time()
            save(smooth, args.out, steps)
    if rank == 0:
        save(smooth, args.out, steps)
        task.show(smooth, image, part, args.out / "pictures.jpg")
        log.close()
    say(f"done after {time.time() - begin:.1f} s: {steps} steps", flush=True)
    pictures.feeder.pool.terminate()
    if ranks > 1:
        dist.destroy_process_group()
