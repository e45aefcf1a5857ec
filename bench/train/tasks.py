"""What a run may train: each task makes its network, takes the loss of a batch of pictures, and shows its work."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Protocol

import torch
from checkpoint import load
from losses import total_loss
from model import GeometryNet
from outline_model import SIZE, OutlineNet
from outline_prompts import crops, outline_loss
from torch import Tensor, nn

Losses = tuple[Tensor, dict[str, Tensor]]


class Task(Protocol):
    frozen: tuple[str, ...]  # starts of the names of what is not trained

    def start(self, args: argparse.Namespace) -> tuple[nn.Module, int]:
        """The network with the weights it starts from, and the steps it has behind it."""

    def loss(self, net: nn.Module, image: Tensor, part: dict[str, Tensor]) -> Losses: ...

    def show(self, net: nn.Module, image: Tensor, part: dict[str, Tensor], path: Path) -> None: ...


class Geometry:
    # the stem and first blocks stay as ImageNet made them
    frozen = ("encoder._conv_stem", "encoder._bn0", *(f"encoder._blocks.{i}." for i in range(4)))

    def start(self, args: argparse.Namespace) -> tuple[nn.Module, int]:
        net = GeometryNet()
        if args.backbone:
            net.load_backbone(str(args.backbone))
        return net, load(net, args.resume, tuple(args.fresh)) if args.resume else 0

    def loss(self, net: nn.Module, image: Tensor, part: dict[str, Tensor]) -> Losses:
        with torch.autocast(image.device.type, torch.bfloat16, enabled=image.is_cuda):
            out = net(image)
        return total_loss(out, part)

    def show(self, net: nn.Module, image: Tensor, part: dict[str, Tensor], path: Path) -> None:
        """The last training pictures, their true and their estimated disparity."""
        with torch.no_grad():
            estimate = torch.exp(net(image[:12])[0].float())
        truth = torch.where(part["depth"][:12] > 0, 1 / part["depth"][:12].clamp_min(0.02), 0.0)
        grey = [(a / a.flatten(1).quantile(0.98, 1).reshape(-1, 1, 1, 1)).clamp(0, 1) * 255 for a in (truth, estimate)]
        sheet([image[:12], *[g.expand(-1, 3, -1, -1) for g in grey]], 6, path)


class Outline:
    frozen = ("encoder._conv_stem", "encoder._bn0")

    def start(self, args: argparse.Namespace) -> tuple[nn.Module, int]:
        net = OutlineNet()
        self.count = args.crops
        if args.resume:
            return net, load(net, args.resume, tuple(args.fresh))
        state = torch.load(args.encoder / "weights_encoder.pt", map_location="cpu")
        net.load_encoder(state["net"])
        return net, 0

    def loss(self, net: nn.Module, image: Tensor, part: dict[str, Tensor]) -> Losses:
        with torch.no_grad():
            batch = crops(image, part, self.count, SIZE)
        last = image.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        with torch.autocast(image.device.type, torch.bfloat16, enabled=image.is_cuda):
            out = net(batch["image"].contiguous(memory_format=layout), batch["prompt"])
        return outline_loss(out, batch)

    def show(self, net: nn.Module, image: Tensor, part: dict[str, Tensor], path: Path) -> None:
        """Crops, what was pointed at, the outline found and the true one."""
        with torch.no_grad():
            batch = crops(image, part, 36, SIZE)
            outline, _ = net(batch["image"], batch["prompt"])
        grey = [batch["prompt"], torch.sigmoid(outline.float()), batch["target"] * batch["known"]]
        sheet([batch["image"], *[255 * g.expand(-1, 3, -1, -1) for g in grey]], 12, path)


def sheet(rows: list[Tensor], columns: int, path: Path) -> None:
    """Pictures (n, 3, h, w), those of one index below each other."""
    from PIL import Image

    stack = torch.cat(rows, 2).byte().cpu()
    columns = min(columns, len(stack))
    lines = [torch.cat(list(stack[i : i + columns]), 2) for i in range(0, len(stack) - len(stack) % columns, columns)]
    Image.fromarray(torch.cat(lines, 1).permute(1, 2, 0).numpy()).save(path, quality=80)


TASKS: dict[str, Task] = {"geometry": Geometry(), "outline": Outline()}
