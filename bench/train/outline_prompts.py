"""Crops around single things, each with the rough mask a harvest may have of it, from pictures whose truth is known."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from augment import blur, rand
from boxes import MOST
from losses import mean
from stage import PERSON
from torch import Tensor

CELL = 4  # rough masks are made at a quarter of the picture
LEAST = 250  # pixels of a thing worth pointing at


def choose(objects: Tensor, count: int, nothing: float) -> tuple[Tensor, Tensor]:
    """(picture, object id), both (count,): pictures in turn, large things more often; id 0: a place of no thing."""
    n = objects.shape[0]
    ids = objects.flatten(1)
    pixels = torch.zeros(n, MOST, device=ids.device).scatter_add_(1, ids, torch.ones_like(ids, dtype=torch.float32))
    good = (pixels > LEAST) & (pixels < 0.7 * ids.shape[1])
    good[:, 0] = False
    weight = good.float() * pixels.clamp_min(1) ** 0.5
    weight[:, 0] = (weight.sum(1) * nothing / (1 - nothing)).clamp_min(1e-3)
    picture = torch.arange(count, device=ids.device) % n
    return picture, torch.multinomial(weight[picture], 1).squeeze(1)


def middle_and_size(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean place (m, 2) as x and y and root of the area (m,) of masks (m, 1, h, w), in their pixels."""
    _, _, h, w = mask.shape
    area = mask.sum((1, 2, 3)).clamp_min(1e-3)
    x = (mask.sum((1, 2)) * torch.arange(w, device=mask.device)).sum(1) / area
    y = (mask.sum((1, 3)) * torch.arange(h, device=mask.device)).sum(1) / area
    return torch.stack([x, y], 1), area.sqrt()


def pixel_of(mask: Tensor) -> Tensor:
    """One pixel (m, 2) as x and y drawn from each mask (m, 1, h, w)."""
    at = torch.multinomial(mask.flatten(1) + 1e-9, 1).squeeze(1)
    return torch.stack([at % mask.shape[3], at // mask.shape[3]], 1)


def disc(at: Tensor, radius: Tensor, like: Tensor) -> Tensor:
    h, w = like.shape[2:]
    y = torch.arange(h, device=like.device).reshape(1, 1, h, 1) - at[:, 1].reshape(-1, 1, 1, 1)
    x = torch.arange(w, device=like.device).reshape(1, 1, 1, w) - at[:, 0].reshape(-1, 1, 1, 1)
    return ((x * x + y * y) < radius.reshape(-1, 1, 1, 1) ** 2).float()


def opened(mask: Tensor) -> Tensor:
    """Each mask (m, 1, h, w) opened by a width of its own, as far as a third of it is left."""
    m = len(mask)
    area, out = mask.sum((1, 2, 3), keepdim=True), mask
    most = 1 + 6 * torch.rand(m, 1, 1, 1, device=mask.device) ** 1.5
    for reach in (1, 2, 3, 4, 6):
        side = 2 * reach + 1
        bare = -F.max_pool2d(-mask, side, 1, reach)
        part = torch.minimum(F.max_pool2d(bare, side, 1, reach), mask)
        out = torch.where((part.sum((1, 2, 3), keepdim=True) > 0.33 * area) & (reach <= most), part, out)
    return out


def rough(target: Tensor, ids: Tensor) -> Tensor:
    """Masks (m, 1, h, w) as a harvest might give them for the true ones; `ids` (m, 1, h, w) says what lies beside."""
    m, _, h, w = target.shape
    d = target.device
    yes = lambda p: (torch.rand(m, 1, 1, 1, device=d) < p).float()  # noqa: E731
    empty = target.sum((1, 2, 3), keepdim=True) < 0.5  # no thing there: a blot on what is there
    middle, size = middle_and_size(target)
    anywhere = torch.stack([torch.randint(0, w, (m,), device=d), torch.randint(0, h, (m,), device=d)], 1)
    blot = disc(anywhere, rand(m, 3, 0.2 * w, d), target)
    at = anywhere[:, 1] * w + anywhere[:, 0]
    same = (ids == ids.flatten(1).gather(1, at.unsqueeze(1)).reshape(-1, 1, 1, 1)).float()
    mask = torch.where(empty, blot * same, target)
    size = torch.where(empty.flatten(), mask.sum((1, 2, 3)).sqrt(), size).clamp_min(1.5)
    middle = torch.where(empty.reshape(-1, 1), anywhere.float(), middle)

    # legs, stems and arms lost: what is thinner than the rest
    mask = torch.where(yes(0.5) > 0, opened(mask), mask)
    # a neighbour, or a patch of what lies beside: a shadow, the seat of the next chair
    spread = torch.randn(m, 2, device=d) * (0.75 * size).unsqueeze(1)
    beside = torch.stack([(middle + spread)[:, 0].clamp(0, w - 1), (middle + spread)[:, 1].clamp(0, h - 1)], 1).long()
    at = (beside[:, 1] * w + beside[:, 0]).unsqueeze(1)
    region = (ids == ids.flatten(1).gather(1, at).reshape(-1, 1, 1, 1)).float()
    added = region * disc(beside, size * rand(m, 0.2, 0.8, d).flatten(), target)
    added = added * (added.sum((1, 2, 3), keepdim=True) < 0.8 * mask.sum((1, 2, 3), keepdim=True)) * yes(0.35)
    # cut by a straight edge, the feet more often than the head
    angle = (torch.rand(m, 1, 1, 1, device=d) - 0.5) * 2.2 + yes(0.35) * torch.pi
    y = torch.arange(h, device=d).reshape(1, 1, h, 1) - middle[:, 1].reshape(-1, 1, 1, 1)
    x = torch.arange(w, device=d).reshape(1, 1, 1, w) - middle[:, 0].reshape(-1, 1, 1, 1)
    along = x * torch.sin(angle) + y * torch.cos(angle)
    area = mask.sum((1, 2, 3), keepdim=True).clamp_min(1e-3)
    centre = (along * mask).sum((1, 2, 3), keepdim=True) / area
    variance = ((along - centre) ** 2 * mask).sum((1, 2, 3), keepdim=True) / area
    kept = (along < centre + variance.sqrt() * rand(m, -0.4, 1.3, d)).float()
    mask = mask * torch.where(yes(0.35) > 0, kept, 1.0)
    mask = torch.maximum(mask, added)
    # only a part from the middle of it
    core = mask * disc(pixel_of(mask), size * rand(m, 0.15, 0.6, d).flatten(), target)
    mask = torch.where((yes(0.2) > 0) & (core.sum((1, 2, 3), keepdim=True) > 1), core, mask)
    # thin parts lost, edges that wander
    soft = blur(mask, 0.5 + 1.5 * float(torch.rand(1)) ** 2)
    random = [torch.randn(m, 1, max(2, h // s), max(2, w // s), device=d) for s in (4, 12)]
    waves = sum(F.interpolate(each, (h, w), mode="bilinear") for each in random)
    wandering = (soft + waves * rand(m, 0, 0.22, d) > rand(m, 0.3, 0.62, d)).float()
    wandering = wandering * (soft > 0.04)
    return torch.where((yes(0.88) > 0) & (wandering.sum((1, 2, 3), keepdim=True) > 1), wandering, mask)


def windows(prompt: Tensor) -> tuple[Tensor, Tensor]:
    """Middle (m, 2) and side (m,) of a square around each rough mask, as a harvest would cut it, in its pixels."""
    there = prompt > 0.5
    h, w = prompt.shape[2:]
    y, x = torch.arange(h, device=prompt.device).float(), torch.arange(w, device=prompt.device).float()
    low, high = [], []
    for seen, places in ((there.any(2).squeeze(1), x), (there.any(3).squeeze(1), y)):
        low.append(torch.where(seen, places, 1e6).amin(1))
        high.append(torch.where(seen, places, -1e6).amax(1) + 1)
    low, high = torch.stack(low, 1), torch.stack(high, 1)
    m = len(prompt)
    side = (high - low).amax(1).clamp(4, max(h, w)) * (1.25 + 0.75 * torch.rand(m, device=prompt.device))
    middle = (low + high) / 2 + torch.randn(m, 2, device=prompt.device) * (0.05 * side).unsqueeze(1)
    return middle.clamp(0, max(h, w)), side


def crop(maps: Tensor, middle: Tensor, side: Tensor, size: int, nearest: bool) -> Tensor:
    """Squares of (m, c, h, w) around `middle` (shares of the width and height) of `side` (shares of the width)."""
    m, _, h, w = maps.shape
    line = (torch.arange(size, device=maps.device) + 0.5) / size - 0.5
    x = middle[:, :1] + line * side.unsqueeze(1)
    y = middle[:, 1:] + line * (side * w / h).unsqueeze(1)
    grid = torch.stack([x.unsqueeze(1).expand(m, size, size), y.unsqueeze(2).expand(m, size, size)], 3) * 2 - 1
    mode, pad = ("nearest", "zeros") if nearest else ("bilinear", "border")
    return F.grid_sample(maps, grid, mode=mode, padding_mode=pad, align_corners=False)


def crops(image: Tensor, part: dict[str, Tensor], count: int, size: int, nothing: float = 0.12) -> dict[str, Tensor]:
    """Training batch of the outline network from pictures (n, 3, h, w): image, prompt, target, known, person."""
    objects = part["object"].clamp(max=MOST - 1)
    picture, wanted = choose(objects, count, nothing)
    small = objects[:, :, CELL // 2 :: CELL, CELL // 2 :: CELL][picture]
    wanted_ = wanted.reshape(-1, 1, 1, 1)
    share = F.avg_pool2d((objects[picture] == wanted_).half(), CELL).float() * (wanted_ > 0)
    prompt = rough(share, small)
    middle, side = windows(prompt)
    h, w = prompt.shape[2:]
    middle = middle / torch.tensor([w, h], device=middle.device)
    side = side / w
    full = image[picture]
    half = F.avg_pool2d(full, 2)
    shrunk = (side * image.shape[3] > 1.5 * size).reshape(-1, 1, 1, 1)
    picture_crop = torch.where(shrunk, crop(half, middle, side, size, False), crop(full, middle, side, size, False))
    # ids shifted by one: 0 is outside of the picture
    ids = crop(torch.cat([objects[picture] + 1, part["class"][picture]], 1).float(), middle, side, size, True)
    ids, kind = ids[:, :1].round().long(), ids[:, 1:]
    target = ((ids == wanted_ + 1) & (wanted_ > 0)).float()
    # where hardly a half of what is pointed at is the thing, nobody can tell what is meant
    meant = (prompt * share).sum((1, 2, 3)) > 0.45 * prompt.sum((1, 2, 3))
    known = (ids > 0).float() * (meant | (wanted == 0)).float().reshape(-1, 1, 1, 1)
    person = ((kind == PERSON).float() * target).sum((1, 2, 3)) > 0.5 * target.sum((1, 2, 3)).clamp_min(1)
    return {
        "image": picture_crop,
        "prompt": crop(prompt, middle, side, size, False),
        "target": target,
        "known": known,
        "person": person.float(),
    }


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """IoU (m,) of masks (m, 1, h, w) of 0 and 1; 0 where both are empty."""
    both = (a * b).sum((1, 2, 3))
    return both / (a.sum((1, 2, 3)) + b.sum((1, 2, 3)) - both).clamp_min(1)


def outline_loss(out: tuple[Tensor, Tensor], batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy, heavier along true edges and where the rough mask errs, and soft Dice a crop.

    The verdict learns the outline's own IoU. `iou` and `iou_before` of the outline and the rough mask are for the log.
    """
    outline, verdict = (o.float() for o in out)
    target, known = batch["target"], batch["known"]
    wide = F.max_pool2d(target, 5, 1, 2) + F.max_pool2d(-target, 5, 1, 2)
    misled = ((batch["prompt"] > 0.5).float() - target).abs()
    weight = known * (1 + 2 * wide + 2 * misled)
    entropy = mean(F.binary_cross_entropy_with_logits(outline, target, reduction="none"), weight)
    p = torch.sigmoid(outline) * known
    t = target * known
    both = (p * t).sum((1, 2, 3))
    dice = 1 - (2 * both + 30) / (p.sum((1, 2, 3)) + t.sum((1, 2, 3)) + 30)
    clear = (known.sum((1, 2, 3)) > 0).float()
    there = clear * (t.sum((1, 2, 3)) > 0)
    iou = overlap((outline.detach() > 0) * known, t)
    parts = {
        "entropy": entropy,
        "dice": mean(dice, clear),
        "judged": mean(F.binary_cross_entropy_with_logits(verdict[:, 0], iou, reduction="none"), clear),
        "person": mean(F.binary_cross_entropy_with_logits(verdict[:, 1], batch["person"], reduction="none"), there),
        "iou": mean(iou, there),
        "iou_before": mean(overlap((batch["prompt"] > 0.5) * known, t), there),
    }
    loss = entropy + 0.7 * parts["dice"] + 0.15 * parts["judged"] + 0.1 * parts["person"]
    return loss, {k: v.detach() for k, v in parts.items()}
