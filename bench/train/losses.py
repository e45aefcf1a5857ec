"""Losses of the geometry network.

Depth: scale-and-shift-invariant L1 in disparity with its multi-scale gradient (Ranftl et al., MiDaS, 2020), plus an
L1 on log-depth up to scale, which alone fixes the shift and so the true 3D shape, plus its gradients for sharp edges.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from boxes import box_targets, field_targets, rays
from torch import Tensor


def masked_median(x: Tensor, mask: Tensor) -> Tensor:
    """Per picture over (n,1,h,w); (n,1,1,1)."""
    y = torch.where(mask, x, torch.nan).flatten(1)
    return torch.nan_to_num(torch.nanmedian(y[:, ::7], dim=1).values).reshape(-1, 1, 1, 1)


def mean(x: Tensor, mask: Tensor) -> Tensor:
    return (x * mask).sum() / mask.sum().clamp_min(1)


def gradients(error: Tensor, mask: Tensor, scales: int) -> Tensor:
    total = error.new_zeros(())
    for k in range(scales):
        s = 2**k
        e, m = error[..., ::s, ::s], mask[..., ::s, ::s]
        mx, my = m[..., 1:] * m[..., :-1], m[..., 1:, :] * m[..., :-1, :]
        total = (
            total
            + mean((e[..., 1:] - e[..., :-1]).abs().clamp(max=1.0), mx)
            + mean((e[..., 1:, :] - e[..., :-1, :]).abs().clamp(max=1.0), my)
        )
    return total


def depth_losses(log_disparity: Tensor, depth: Tensor) -> dict[str, Tensor]:
    solid = depth > 0
    some = solid.float()
    truth = torch.where(solid, 1 / depth.clamp_min(0.02), 0.0)
    log_truth = torch.log(truth.clamp_min(1e-5))
    # affine-invariant, sky counts as zero disparity
    d = torch.exp(log_disparity.clamp(-9, 7))
    with torch.no_grad():
        shift_t = masked_median(truth, torch.ones_like(solid))
        scale_t = (truth - shift_t).abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-4)
        t = (truth - shift_t) / scale_t
    every = torch.ones_like(some)
    shift_p = masked_median(d, torch.ones_like(solid))
    p = (d - shift_p) / (d - shift_p).abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-5)
    ssi = mean((p - t).abs().clamp(max=4), every)
    # up to scale, in logarithms
    error = log_disparity - log_truth
    error = torch.where(solid, error - masked_median(error, solid).detach(), 0.0)
    log = mean(error.abs().clamp(max=2.5), some)
    return {
        "ssi": ssi,
        "log": log,
        "grad": gradients((p - t) * 1.0, every, 4),
        "edge": gradients(error, some, 4),
        "_error": error.detach().abs(),
    }


def instance_targets(objects: Tensor, solid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Ids (n,1,h,w) -> offset to each object's centre (n,2,h,w; shares of the diagonal), where it counts, boundary."""
    n, _, h, w = objects.shape
    ids = objects.clamp(max=1023).flatten(1)
    diagonal = (h * h + w * w) ** 0.5
    x = (torch.arange(w, device=objects.device).float() / diagonal).expand(h, w).flatten().expand(n, -1)
    y = (torch.arange(h, device=objects.device).float() / diagonal).reshape(h, 1).expand(h, w).flatten().expand(n, -1)
    zeros = lambda: torch.zeros(n, 1024, device=objects.device)  # noqa: E731
    count = zeros().scatter_add_(1, ids, torch.ones_like(x)).clamp_min(1)
    cx, cy = zeros().scatter_add_(1, ids, x) / count, zeros().scatter_add_(1, ids, y) / count
    offset = torch.stack([cx.gather(1, ids) - x, cy.gather(1, ids) - y], 1).reshape(n, 2, h, w)
    counts = ((ids > 0) & (count.gather(1, ids) > 24)).reshape(n, 1, h, w)
    edge = torch.zeros_like(solid)
    dx, dy = objects[..., 1:] != objects[..., :-1], objects[..., 1:, :] != objects[..., :-1, :]
    edge[..., 1:] |= dx
    edge[..., :-1] |= dx
    edge[..., 1:, :] |= dy
    edge[..., :-1, :] |= dy
    return offset, counts, edge


def coarse_losses(coarse: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The perspective field everywhere, the boxes on objects; at an eighth of the pictures' size."""
    eighth = lambda a: a[..., 4::8, 4::8]  # noqa: E731
    ray = rays(batch, 8)
    elevation, seen = field_targets(ray, batch["up"])
    target, weight = box_targets(ray, eighth(batch["depth"]), eighth(batch["object"]), batch)
    error = (coarse[:, 3:12] - target).abs().clamp(max=3).mean(1, keepdim=True)
    spread = coarse[:, 12:13].clamp(-5, 1)
    return {
        "elevation": (coarse[:, :1] - elevation).abs().mean(),
        "seen_up": (1 - (F.normalize(coarse[:, 1:3], dim=1) * seen).sum(1)).mean(),
        "box": (error * weight).sum() / weight.sum().clamp_min(1),
        "box_spread": ((error.detach() * torch.exp(-spread) + spread) * weight).sum() / weight.sum().clamp_min(1),
    }


def total_loss(
    out: tuple[Tensor, Tensor, Tensor, Tensor], batch: dict[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    log_disparity, dense, lens, coarse = (o.float() for o in out)
    depth = batch["depth"]
    h, w = depth.shape[2:]
    parts = depth_losses(log_disparity, depth)
    error = parts.pop("_error")
    small = lambda a: a[..., 2::4, 2::4]  # noqa: E731
    solid, kind = small(depth) > 0, small(batch["class"])[:, 0]
    normal = small(batch["normal"])
    parts["normal"] = mean(
        1 - (F.normalize(dense[:, :3], dim=1) * normal).sum(1, keepdim=True),
        (solid & (normal.abs().sum(1, keepdim=True) > 0.5)).float(),
    )
    parts["class"] = F.cross_entropy(
        dense[:, 3:7], kind, weight=torch.tensor([1.0, 0.7, 1.0, 2.0], device=kind.device), label_smoothing=0.03
    )
    offset, counts, edge = instance_targets(small(batch["object"]), solid)
    parts["offset"] = mean((dense[:, 7:9] - offset).abs() * 10, counts.float())
    parts["boundary"] = F.binary_cross_entropy_with_logits(
        dense[:, 9:10], edge.float(), pos_weight=torch.tensor(3.0, device=edge.device)
    )
    spread = dense[:, 10:11].clamp(-4, 2)
    parts["spread"] = mean(small(error).clamp(max=2.5) * torch.exp(-spread) + spread, solid.float())
    focal = torch.log(batch["focal"] * w / (h * h + w * w) ** 0.5)
    parts["lens"] = F.smooth_l1_loss(lens[:, 0], focal, beta=0.1)
    parts["up"] = (1 - (F.normalize(lens[:, 1:4], dim=1) * batch["up"]).sum(1)).mean()
    parts |= coarse_losses(coarse, batch)
    weight = {
        "elevation": 5.0,
        "seen_up": 2.0,
        "box": 0.8,
        "box_spread": 0.05,
        "ssi": 1.0,
        "log": 1.5,
        "grad": 0.3,
        "edge": 0.5,
        "normal": 0.4,
        "class": 0.25,
        "offset": 0.25,
        "boundary": 0.15,
        "spread": 0.1,
        "lens": 2.5,
        "up": 2.0,
    }
    loss = sum(weight[k] * v for k, v in parts.items())
    return loss, {k: v.detach() for k, v in parts.items()}
