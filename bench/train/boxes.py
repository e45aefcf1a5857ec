"""Upright boxes around objects: as the truth of a scene, and as what each pixel of an object says of its box.

A pixel speaks in its own frame, so that the same thing looks and is described the same wherever it stands in the
picture: `forward` is its ray's horizontal part, `up` the world's, `right` = forward x up; lengths are shares of the
distance to the point seen. Ten channels:

- 0-2: from the point seen to the box's centre (forward, right, up), as shares of the box's diagonal;
- 3: log(height / distance);
- 4-6: the footprint as the logarithm of a symmetric matrix, R diag(log(a / distance), log(b / distance)) R^T with R the
  turn of the box in (forward, right): entries (f, f), (f, r), (r, r). Unlike (a, b, angle) it never jumps;
- 7-8: cosine and sine of four times that turn: a box turned by a quarter is the same box;
- 9: log spread of what was said.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

CHANNELS = 10
MOST = 1024  # object ids of a scene
FIELDS = 9  # centre, heading (a unit vector along the first side), sides a, b, height
CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float64)


def true_boxes(scene: dict[str, np.ndarray], low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(MOST, 9) camera-frame boxes by object id (height 0: none) of one scene; `low`, `high`: meshes' own extents.

    The heading is that of an object's largest part; the box is the smallest upright one of that heading.
    """
    out = np.zeros((MOST, FIELDS), np.float32)
    inst, forward = scene["inst"], scene["forward"].astype(np.float64)
    ids, mesh = inst[:, 14].astype(int), inst[:, 12].astype(int)
    rows = np.nonzero((ids > 0) & (ids < MOST))[0]
    if not len(rows):
        return out
    rows = rows[np.argsort(ids[rows], kind="stable")]
    ids, lo, hi, m = ids[rows], low[mesh[rows]], high[mesh[rows]], forward[rows]
    corners = lo[:, None] + CORNERS * (hi - lo)[:, None]
    points = np.einsum("nij,nkj->nki", m[:, :, :3], corners) + m[:, None, :, 3]
    side = m[:, :2, :2] * (hi - lo)[:, None, :2]  # columns: the x and y sides seen from above
    longer = np.argmax(np.linalg.norm(side, axis=1), axis=1)
    heading = np.take_along_axis(side, longer[:, None, None], 2)[:, :, 0]
    angle = np.arctan2(heading[:, 1], heading[:, 0])
    volume = np.prod(np.linalg.norm(m[:, :, :3], axis=1) * (hi - lo), axis=1)
    starts = np.nonzero(np.r_[True, ids[1:] != ids[:-1]])[0]
    number = np.cumsum(np.r_[False, ids[1:] != ids[:-1]])
    order = np.lexsort((volume, number))
    largest = order[np.r_[starts[1:], len(ids)] - 1]
    turn = angle[largest]
    c, s = np.cos(turn), np.sin(turn)
    local = np.stack(
        [
            points[..., 0] * c[number, None] + points[..., 1] * s[number, None],
            points[..., 1] * c[number, None] - points[..., 0] * s[number, None],
            points[..., 2],
        ],
        -1,
    )
    first, last = np.minimum.reduceat(local.min(1), starts), np.maximum.reduceat(local.max(1), starts)
    middle, sides = (first + last) / 2, last - first
    centre = np.stack([middle[:, 0] * c - middle[:, 1] * s, middle[:, 0] * s + middle[:, 1] * c, middle[:, 2]], 1)
    camera_from_world = scene["params"][3:12].reshape(3, 3).astype(np.float64)
    own = ids[starts]
    out[own, :3] = (centre - scene["params"][:3]) @ camera_from_world.T
    out[own, 3:6] = np.stack([c, s, np.zeros_like(c)], 1) @ camera_from_world.T
    out[own, 6:9] = sides
    return out


def rays(batch: dict[str, Tensor], step: int) -> Tensor:
    """(n, 3, h, w) rays with z = 1 through the pixels that stand for `step` x `step` blocks of the truth."""
    n, _, h, w = batch["depth"].shape
    device = batch["depth"].device
    focal = (batch["focal"] * w).reshape(n, 1, 1, 1)
    middle = batch["centre"].reshape(n, 2, 1, 1)
    x = (torch.arange(w // step, device=device) * step + step / 2).reshape(1, 1, 1, -1)
    y = (torch.arange(h // step, device=device) * step + step / 2).reshape(1, 1, -1, 1)
    x, y = (x - middle[:, :1]) / focal, (y - middle[:, 1:]) / focal
    x, y = (a.expand(n, 1, h // step, w // step) for a in (x, y))
    return torch.cat([x, y, torch.ones_like(x)], 1)


def field_targets(ray: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Perspective field of rays (n,3,h,w) and up (n,3): sine of elevation (n,1,h,w), up as it is seen (n,2,h,w)."""
    u = up.reshape(-1, 3, 1, 1)
    elevation = (F.normalize(ray, dim=1) * u).sum(1, keepdim=True)
    return elevation, F.normalize(u[:, :2] - u[:, 2:] * ray[:, :2], dim=1)


def box_targets(ray: Tensor, depth: Tensor, objects: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """What every pixel should say of its box, (n, 9, h, w), and its weight (n, 1, h, w): an object weighs by the root
    of its size."""
    n, _, h, w = depth.shape
    up = batch["up"].reshape(n, 3, 1, 1).expand_as(ray)
    ids = objects.clamp(max=MOST - 1).flatten(1)
    box = batch["boxes"].gather(1, ids.unsqueeze(2).expand(-1, -1, FIELDS)).transpose(1, 2).reshape(n, FIELDS, h, w)
    point = ray * depth
    far = point.norm(dim=1, keepdim=True).clamp_min(1e-3)
    level = ray - (ray * up).sum(1, keepdim=True) * up
    slant = level.norm(dim=1, keepdim=True) / ray.norm(dim=1, keepdim=True)
    forward = F.normalize(level, dim=1)
    right = torch.cross(forward, up, dim=1)
    along = lambda v: torch.cat([(v * a).sum(1, keepdim=True) for a in (forward, right, up)], 1)  # noqa: E731
    sides = box[:, 6:9].clamp_min(0.01)
    diagonal = sides.norm(dim=1, keepdim=True)
    offset = along(box[:, :3] - point) / diagonal
    head = F.normalize(along(box[:, 3:6])[:, :2], dim=1)
    c, s = head[:, :1], head[:, 1:]
    a, b, tall = (torch.log(sides[:, k : k + 1] / far) for k in range(3))
    footprint = [a * c * c + b * s * s, (a - b) * c * s, a * s * s + b * c * c]
    c2, s2 = c * c - s * s, 2 * c * s
    target = torch.cat([offset, tall, *footprint, c2 * c2 - s2 * s2, 2 * c2 * s2], 1)
    sane = (box[:, 8:9] > 0) & (depth > 0) & (slant > 0.2) & (diagonal < 2 * far) & (diagonal > 0.01 * far)
    sane = sane & (offset.abs().amax(1, keepdim=True) < 1) & (objects > 0) & (objects < MOST - 1)
    count = torch.zeros(n, MOST, device=ids.device).scatter_add_(1, ids, torch.ones_like(ids, dtype=torch.float32))
    count = count.gather(1, ids).reshape(n, 1, h, w)
    return torch.where(sane, target, 0.0), count.clamp_min(1).rsqrt() * (count > 5) * sane
