"""From linear renders to 'photographs': crop, lens blur, exposure, film curve, grading, grain, compression."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def rand(n: int, low: float, high: float, device: torch.device) -> Tensor:
    return (low + (high - low) * torch.rand(n, device=device)).reshape(n, 1, 1, 1)


def chance(n: int, p: float, device: torch.device) -> Tensor:
    return (torch.rand(n, device=device) < p).float().reshape(n, 1, 1, 1)


def blur(x: Tensor, sigma: float) -> Tensor:
    if sigma < 0.2:
        return x
    r = max(1, math.ceil(2.5 * sigma))
    k = torch.exp(-0.5 * (torch.arange(-r, r + 1, device=x.device, dtype=x.dtype) / sigma) ** 2)
    k = (k / k.sum()).expand(x.shape[1], 1, -1)
    with torch.backends.cudnn.flags(enabled=False):  # cuDNN would plan anew for every width of blur
        x = F.conv2d(F.pad(x, (r, r, 0, 0), mode="replicate"), k.unsqueeze(2), groups=x.shape[1])
        return F.conv2d(F.pad(x, (0, 0, r, r), mode="replicate"), k.unsqueeze(3), groups=x.shape[1])


def cut(batch: dict[str, Tensor], height: int, width: int, generator: torch.Generator) -> dict[str, Tensor]:
    """One crop of the target's aspect for the whole batch, near the middle, resized; half of the pictures mirrored."""
    u = lambda: float(torch.rand(1, generator=generator))  # noqa: E731
    n, h, w = batch["depth"].shape
    aspect = width / height
    ch, cw = (h, round(h * aspect)) if w / h > aspect else (round(w / aspect), w)
    zoom = 0.72 + 0.28 * u() ** 0.5
    ch, cw = min(h, round(ch * zoom)), min(w, round(cw * zoom))
    # off-centre crops move the principal point: mostly by a few percent, in every third batch by more
    room = 0.06 if u() < 0.67 else 0.25
    y = round((h - ch) / 2 + (u() - 0.5) * min(h - ch, room * h))
    x = round((w - cw) / 2 + (u() - 0.5) * min(w - cw, room * w))
    part = {k: batch[k][:, y : y + ch, x : x + cw] for k in ("depth", "rgb", "normal", "object", "class")}
    size = (height, width)
    near = lambda a: F.interpolate(a, size, mode="nearest-exact")  # noqa: E731
    out = {
        "rgb": F.interpolate(part["rgb"].permute(0, 3, 1, 2).float(), size, mode="bilinear", antialias=True),
        "depth": near(part["depth"].float().unsqueeze(1)),
        "normal": near(part["normal"].permute(0, 3, 1, 2).float()) / 127,
        "object": near(part["object"].float().unsqueeze(1)).long(),
        "class": near(part["class"].float().unsqueeze(1)).long(),
        "focal": batch["focal"] * w / cw,  # as a share of the width
        "up": batch["up"].clone(),
        "centre": batch["up"].new_tensor([(w / 2 - x) * width / cw, (h / 2 - y) * height / ch]).repeat(n, 1),
        "boxes": batch["boxes"].clone(),
    }
    flip = torch.rand(n, device=out["rgb"].device) < 0.5
    for k in ("rgb", "depth", "normal", "object", "class"):
        out[k] = torch.where(flip.reshape(n, 1, 1, 1), out[k].flip(3), out[k])
    sign = torch.where(flip, -1.0, 1.0)
    out["normal"][:, 0] *= sign.reshape(n, 1, 1)
    out["up"][:, 0] *= sign
    out["boxes"][:, :, (0, 3)] *= sign.reshape(n, 1, 1)
    out["centre"][:, 0] = torch.where(flip, width - out["centre"][:, 0], out["centre"][:, 0])
    return out


def smear(x: Tensor, dx: float, dy: float) -> Tensor:
    """Motion blur: the mean along a straight path of (dx, dy) pixels."""
    n, h, w = max(2, math.ceil(max(abs(dx), abs(dy))) + 1), *x.shape[2:]
    mx, my = math.ceil(abs(dx) / 2), math.ceil(abs(dy) / 2)
    wide, out = F.pad(x, (mx, mx, my, my), mode="replicate"), torch.zeros_like(x)
    for k in range(n):
        u, v = mx + round(dx * (k / (n - 1) - 0.5)), my + round(dy * (k / (n - 1) - 0.5))
        out += wide[:, :, v : v + h, u : u + w]
    return out / n


def photograph(rgb: Tensor, depth: Tensor) -> Tensor:
    """Linear (n,3,h,w) and depth (n,1,h,w) -> sRGB in 0..255 with the faults of real pictures, no two alike."""
    n, _, h, w = rgb.shape
    d = rgb.device
    luma = rgb.mean(1, keepdim=True)
    low = F.adaptive_avg_pool2d(luma, 32).flatten(1)
    key = torch.quantile(low, 0.3 + 0.6 * float(torch.rand(1)), dim=1).reshape(n, 1, 1, 1).clamp_min(1e-4)
    x = rgb * (torch.exp(rand(n, math.log(0.18), math.log(0.75), d)) / key)
    x = x * (1 + 0.35 * (torch.rand(n, 3, 1, 1, device=d) - 0.5) * chance(n, 0.7, d))  # white balance
    x = x * torch.exp(rand(n, -1.6, -0.3, d) * chance(n, 0.2, d))  # under-exposed
    warm = torch.tensor([1.0, 0.62, 0.35], device=d).reshape(1, 3, 1, 1) ** rand(n, -0.3, 1.0, d)  # lamp light
    x = torch.where(chance(n, 0.15, d) > 0, x * warm, x)
    soft = blur(x.clamp(max=6), 0.02 * w * (0.3 + float(torch.rand(1))))
    x = x + (soft - x) * rand(n, 0, 0.15, d) * chance(n, 0.3, d)  # veiling glare around bright windows
    if torch.rand(1) < 0.25:  # depth of field
        inverse = 1 / depth.clamp_min(0.05) * (depth > 0)
        focus = inverse.flatten(1).gather(1, torch.randint(0, h * w, (n, 1), device=d)).reshape(n, 1, 1, 1)
        amount = ((inverse - focus).abs() / focus.clamp_min(0.02) * rand(n, 0, 1.5, d)).clamp(0, 1)
        x = x + (blur(x.clamp(max=8), 0.6 + 2.5 * float(torch.rand(1))) - x) * amount
    if torch.rand(1) < 0.12:  # the camera moved
        turn, path = 2 * math.pi * float(torch.rand(1)), w * (0.004 + 0.016 * float(torch.rand(1)))
        x = smear(x.clamp(max=8), path * math.cos(turn), path * math.sin(turn))
    # few photons: noise that grows with the root of the light, apart in each channel, in blotches where cleaned up
    shot = blur(torch.randn_like(x), 0.8) * 2.5 if torch.rand(1) < 0.5 else torch.randn_like(x)
    x = (x + shot * x.clamp(1e-4, 4).sqrt() * rand(n, 0.01, 0.09, d) * chance(n, 0.2, d)).clamp_min(0)
    curve = chance(n, 0.6, d)
    film = x * (1 + x / 12) / (1 + x)
    x = curve * film * 1.25 + (1 - curve) * x
    x = x.clamp(0, 1) + 1e-6
    x = x ** (1 / 2.2)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * rand(n, 0.3, 1.35, d)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = mean + (x - mean) * rand(n, 0.7, 1.4, d)
    x = x.clamp(1e-4, 1) ** torch.exp(rand(n, -0.35, 0.35, d))
    x = x + (torch.rand(n, 3, 1, 1, device=d) - 0.5) * 0.12 * chance(n, 0.4, d)  # tinted shadows
    x = torch.where(chance(n, 0.08, d) > 0, x.mean(1, keepdim=True).expand_as(x), x)
    yy = torch.linspace(-1, 1, h, device=d).reshape(1, 1, h, 1)
    xx = torch.linspace(-1, 1, w, device=d).reshape(1, 1, 1, w)
    x = x * (1 - (xx**2 + yy**2) * rand(n, 0, 0.35, d) * chance(n, 0.4, d))
    if torch.rand(1) < 0.6:
        x = blur(x, float(torch.rand(1)) * 1.1)
    if torch.rand(1) < 0.3:  # a small original, enlarged
        s = 0.4 + 0.5 * float(torch.rand(1))
        x = F.interpolate(F.interpolate(x, scale_factor=s, mode="bilinear", antialias=True), (h, w), mode="bilinear")
    if torch.rand(1) < 0.4:
        x = x + (x - blur(x, 1.0)) * float(torch.rand(1)) * 1.2  # sharpening
    noise = torch.randn_like(x)
    if torch.rand(1) < 0.5:
        noise = blur(noise, 0.6) * 2
    x = x + noise * rand(n, 0, 0.035, d) * chance(n, 0.5, d)
    if torch.rand(1) < 0.2:  # blocks of a hard compression: quantised 8x8 means and coarse chroma
        grey = x.mean(1, keepdim=True)
        chroma = F.interpolate(F.avg_pool2d(x - grey, 4), (h, w), mode="nearest")
        step = 0.02 + 0.06 * float(torch.rand(1))
        base = F.interpolate(F.avg_pool2d(grey, 8), (h, w), mode="nearest")
        x = base + torch.round((grey - base) / step) * step + chroma
    if torch.rand(1) < 0.08:  # an empty margin, as scans and undistorted pictures have, its sides slightly bent
        edge = 1 - rand(n, 0, 0.06, d), 1 - rand(n, 0, 0.06, d)
        lean, bend = rand(n, -0.02, 0.02, d), rand(n, 0, 0.03, d)
        inside = ((xx + lean * yy).abs() < edge[0] - bend * yy**2) & ((yy - lean * xx).abs() < edge[1] - bend * xx**2)
        x = torch.where(inside, x, chance(n, 0.6, d).expand_as(x))
    return x.clamp(0, 1) * 255
