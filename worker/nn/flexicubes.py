"""Dual surface extraction from a sparse grid of learned cubes.

Source: Shen et al., "Flexible Isosurface Extraction for Gradient-Based Mesh Optimization" (FlexiCubes, SIGGRAPH 2023),
sections 4.2 and 4.3, in the form in which TRELLIS' mesh decoder was trained (Xiang et al., 2024). The dense original
walks all resolution^3 cubes; here only cubes at a corner that lies inside are touched, which gives the same surface.
"""

from __future__ import annotations

import torch
from torch import Tensor

from worker.nn.dual_cells import EDGES, tables

WEIGHT_SCALE = 0.99  # alpha and beta stay within 1 +- this, so no weight is ever zero
CORNERS = tuple((i & 1, i >> 1 & 1, i >> 2) for i in range(8))
ATTRIBUTES = 6

# A grid edge is shared by four cubes. Seen from the one that starts at the edge's lower end: the steps to the four in
# ascending order, and which of its own edges each of them calls it.
_RING = {
    0: (((0, -1, -1), 6), ((0, -1, 0), 4), ((0, 0, -1), 2), ((0, 0, 0), 0)),
    1: (((-1, 0, -1), 10), ((-1, 0, 0), 9), ((0, 0, -1), 11), ((0, 0, 0), 8)),
    2: (((-1, -1, 0), 5), ((-1, 0, 0), 1), ((0, -1, 0), 7), ((0, 0, 0), 3)),
}


def extract(
    coords: Tensor,
    sdf: Tensor,
    deform: Tensor,
    weights: Tensor,
    colour: Tensor,
    resolution: int = 256,
    chunk: int = 1 << 16,
) -> tuple[Tensor, Tensor, Tensor]:
    """The surface of the active voxels, from the decoder's raw outputs.

    Args:
        coords: (N, 3) integer voxels, distinct, x y z in 0..resolution-1.
        sdf: (N, 8) signed distance at the voxel's corners in `CORNERS` order, negative inside. The trained bias of
            -1 / resolution is added here.
        deform: (N, 8, 3) corner displacement before tanh.
        weights: (N, 21) beta (12 edges), alpha (8 corners), gamma, all before their squashing.
        colour: (N, 8, 6) RGB and normal map before the sigmoid.
        chunk: voxels or cubes worked on at once; beside inputs and outputs some 400 MB are used at 256^3.

    Returns:
        vertices (V, 3) float32 in [-0.5, 0.5], axes as `coords`; faces (F, 3) int64, counter-clockwise seen from
        outside; attributes (V, 6) float32 in 0..1. All empty where nothing lies inside. The surface is closed but
        where it reaches the grid's border.
    """
    side, device = resolution + 1, coords.device
    coords = coords.long()
    corner_step = torch.tensor([(x * side + y) * side + z for x, y, z in CORNERS], device=device)
    base = (coords[:, 0] * side + coords[:, 1]) * side + coords[:, 2]
    keys, row_of = _corner_rows(base, corner_step, side**3)
    corners = _corner_means(base, corner_step, row_of, len(keys), sdf, deform, colour, -1.0 / resolution, chunk)

    inside = torch.zeros(side**3, dtype=torch.bool, device=device)
    inside[keys[corners[:-1, 0] < 0]] = True
    cubes, case = _surface_cubes(keys[corners[:-1, 0] < 0], inside, corner_step, resolution)
    if not len(cubes):
        empty = torch.zeros((0, 3), device=device)
        return empty, empty.long(), torch.zeros((0, ATTRIBUTES), device=device)
    cube_base = (cubes[:, 0] * side + cubes[:, 1]) * side + cubes[:, 2]
    low_inside = inside[cube_base]
    del inside
    case = _resolve_ambiguity(cubes, case, resolution)

    voxel_of = torch.full((resolution**3,), len(coords), dtype=torch.int32, device=device)
    voxel_of[_cube_key(coords, resolution)] = torch.arange(len(coords), dtype=torch.int32, device=device)
    parts = []
    for start in range(0, len(cubes), chunk):
        some = slice(start, start + chunk)
        rows = row_of[cube_base[some, None] + corner_step].long()
        voxel = voxel_of[_cube_key(cubes[some], resolution)].long()
        parts.append(_dual_vertices(cubes[some], case[some], corners[rows], _weights(weights, voxel), resolution))
    del row_of, corners
    vertex, gamma = (torch.cat([part[i] for part in parts]) for i in range(2))
    faces = _triangles(cubes, case, low_inside, gamma, voxel_of, resolution)
    return vertex[:, :3].contiguous(), faces, vertex[:, 3:].contiguous()


def _cube_key(cubes: Tensor, resolution: int) -> Tensor:
    return (cubes[:, 0] * resolution + cubes[:, 1]) * resolution + cubes[:, 2]


def _corner_rows(base: Tensor, corner_step: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Keys of all corners of active voxels, ascending, and a dense table from key to row (their number: not active)."""
    active = torch.zeros(size, dtype=torch.bool, device=base.device)
    for step in corner_step:
        active[base + step] = True
    keys = active.nonzero()[:, 0]
    row_of = torch.full((size,), len(keys), dtype=torch.int32, device=base.device)
    row_of[keys] = torch.arange(len(keys), dtype=torch.int32, device=base.device)
    return keys, row_of


def _corner_means(
    base: Tensor, corner_step: Tensor, row_of: Tensor, count: int, sdf: Tensor, deform: Tensor, colour: Tensor,
    bias: float, chunk: int,
) -> Tensor:  # fmt: skip
    """(count + 1, 10): sdf, deform, colour averaged over the voxels that meet at a corner; the last row is empty space.

    A corner of a voxel is the same corner of no other voxel, so each pass adds to distinct rows: no atomics, and the
    same sum on every run.
    """
    total = torch.zeros((count + 1, 4 + ATTRIBUTES), device=base.device)
    met = torch.zeros((count + 1, 1), device=base.device)
    for corner, step in enumerate(corner_step):
        for start in range(0, len(base), chunk):
            some = slice(start, start + chunk)
            row = row_of[base[some] + step].long()
            distance = sdf[some, corner, None].float() + bias
            total[row] += torch.cat([distance, deform[some, corner].float(), colour[some, corner].float()], dim=1)
            met[row] += 1
    total /= met.clamp_(min=1)
    total[count, 0] = 1.0
    return total


def _surface_cubes(
    inside_keys: Tensor, inside: Tensor, corner_step: Tensor, resolution: int
) -> tuple[Tensor, Tensor]:
    """(S, 3) cubes that have corners inside and outside, in ascending order, and their case numbers (S,)."""
    side = resolution + 1
    corner = torch.stack([inside_keys // side**2, inside_keys // side % side, inside_keys % side], dim=1)
    touched = torch.zeros(resolution**3, dtype=torch.bool, device=inside.device)
    for step in CORNERS:
        cube = corner - torch.tensor(step, device=corner.device)
        touched[_cube_key(cube[((cube >= 0) & (cube < resolution)).all(dim=1)], resolution)] = True
    key = touched.nonzero()[:, 0]
    cubes = torch.stack([key // resolution**2, key // resolution % resolution, key % resolution], dim=1)
    base = (cubes[:, 0] * side + cubes[:, 1]) * side + cubes[:, 2]
    case = torch.zeros_like(base)
    for bit, step in enumerate(corner_step):
        case += inside[base + step].long() << bit
    mixed = case < 255  # none is 0: every touched cube has a corner inside
    return cubes[mixed], case[mixed]


def _resolve_ambiguity(cubes: Tensor, case: Tensor, resolution: int) -> Tensor:
    """Two cubes that both fold a sheet over the ambiguous face between them would pinch it: both are inverted."""
    known = tables()
    ambiguous = torch.from_numpy(known.ambiguous).to(case.device)[case].nonzero()[:, 0]
    flagged = torch.zeros(resolution**3, dtype=torch.bool, device=case.device)
    flagged[_cube_key(cubes[ambiguous], resolution)] = True
    beyond = cubes[ambiguous] + torch.from_numpy(known.towards).to(case.device)[case[ambiguous]]
    within = ((beyond >= 0) & (beyond < resolution)).all(dim=1)
    ambiguous, beyond = ambiguous[within], beyond[within]
    both = ambiguous[flagged[_cube_key(beyond, resolution)]]
    case = case.clone()
    case[both] = 255 - case[both]
    return case


def _weights(weights: Tensor, voxel: Tensor) -> Tensor:
    """(n, 21) raw weights of cubes; a cube that is no active voxel has zeros."""
    known = voxel < len(weights)
    raw = torch.zeros((len(voxel), weights.shape[1]), device=weights.device)
    raw[known] = weights[voxel[known]].float()
    return raw


def _dual_vertices(
    cubes: Tensor, case: Tensor, corners: Tensor, raw: Tensor, resolution: int
) -> tuple[Tensor, Tensor]:
    """Of a run of cubes, in the order cube, patch: (v, 9) positions and attributes, (v,) gamma.

    A vertex is the beta-weighted mean of the points where the surface crosses its edges, each crossing found from the
    alpha-weighted distances at the edge's ends (equations 5 and 6 of the paper).

    Args:
        corners: (n, 8, 10) sdf, deform, colour. raw: (n, 21).
    """
    known, device = tables(), cubes.device
    patch = torch.from_numpy(known.patch).to(device)[case].long()
    count = torch.from_numpy(known.count).to(device)[case].long()
    grid = (cubes[:, None, :] + torch.tensor(CORNERS, device=device)).float() / resolution - 0.5
    place = grid + (1 - 1e-8) / (2 * resolution) * torch.tanh(corners[..., 1:4])
    value = torch.cat([place, torch.sigmoid(corners[..., 4:])], dim=-1)
    beta = torch.tanh(raw[:, :12]) * WEIGHT_SCALE + 1
    distance = corners[..., 0] * (torch.tanh(raw[:, 12:20]) * WEIGHT_SCALE + 1)
    gamma = torch.sigmoid(raw[:, 20]) * WEIGHT_SCALE + (1 - WEIGHT_SCALE) / 2
    total = torch.zeros((4 * len(cubes), 1 + value.shape[-1]), device=device)
    for edge, (a, b) in enumerate(EDGES):
        row = (patch[:, edge] >= 0).nonzero()[:, 0]
        at_a, at_b = distance[row, a, None], distance[row, b, None]
        crossing = (value[row, a] * at_b - value[row, b] * at_a) / (at_b - at_a)
        share = beta[row, edge, None]
        total[4 * row + patch[row, edge]] += torch.cat([share, share * crossing], dim=1)
    used = (torch.arange(4, device=device) < count[:, None]).reshape(-1)
    total = total[used]
    return total[:, 1:] / total[:, :1], gamma.repeat_interleave(count)


def _triangles(
    cubes: Tensor, case: Tensor, low_inside: Tensor, gamma: Tensor, scratch: Tensor, resolution: int
) -> Tensor:
    """(F, 3): a quad about every crossed grid edge that has four cubes, cut along the diagonal of greater gamma.

    Args:
        low_inside: (S,) whether the cube's corner 0 lies inside. scratch: (resolution^3,) int32, overwritten.
    """
    known, device = tables(), cubes.device
    patch = torch.from_numpy(known.patch).to(device)[case].long()
    count = torch.from_numpy(known.count).to(device)[case].long()
    first = torch.cumsum(count, 0) - count
    scratch[_cube_key(cubes, resolution)] = torch.arange(len(cubes), dtype=torch.int32, device=device)
    quads = []
    for axis, ring in _RING.items():
        own = ring[3][1]
        others = [other for other in range(3) if other != axis]
        row = ((patch[:, own] >= 0) & (cubes[:, others] > 0).all(dim=1)).nonzero()[:, 0]
        corner = []
        for step, edge in ring:
            cube = scratch[_cube_key(cubes[row] + torch.tensor(step, device=device), resolution)].long()
            corner.append(first[cube] + patch[cube, edge])
        quad = torch.stack(corner, dim=1)
        # Ascending order runs round the edge as 0 1 3 2, which is clockwise about x and z and the other way about y.
        outward = low_inside[row] if axis == 1 else ~low_inside[row]
        quads += [quad[outward][:, [0, 1, 3, 2]], quad[~outward][:, [2, 3, 1, 0]]]
    quad = torch.cat(quads)
    weight = gamma[quad]
    across = weight[:, 0] * weight[:, 2] > weight[:, 1] * weight[:, 3]
    cut = torch.tensor([[0, 1, 3, 3, 1, 2], [0, 1, 2, 0, 2, 3]], device=device)[across.long()]
    return quad.gather(1, cut).reshape(-1, 3)
