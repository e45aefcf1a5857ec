"""Sparse voxel tensors in plain torch: where the voxels lie, and convolution among them.

Submanifold convolution after Graham et al., "3D Semantic Segmentation with Submanifold Sparse Convolutional Networks"
(2018): the output has the input's voxels, and absent neighbours count as zero. Features are (N, C), or (B, N, C) for
several features on the same voxels, as guidance has them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GATHER_BYTES = 256 << 20  # what one gathered chunk of a convolution may take
TABLE_BYTES = 64 << 20  # neighbour tables up to this size are kept, larger ones are looked up chunk by chunk

# (features (P, Cin), voxels, weight (Cout, 3, 3, 3, Cin), bias, source) -> (N, Cout). `source` (N,) is the row of the
# features that each voxel has; None: its own.
Convolve = Callable[[Tensor, "Voxels", Tensor, Tensor, Tensor | None], Tensor]


class Voxels:
    """N distinct voxels in a cube of `size`.

    Args:
        coords: (N, 3) integers in 0..size-1, columns x, y, z.
        convolve: how convolutions among these voxels, and those derived from them, are computed.
    Raises ValueError for voxels outside the cube, or listed twice: every index below would go astray.
    """

    def __init__(self, coords: Tensor, size: int, convolve: Convolve | None = None) -> None:
        self.coords = coords.to(torch.int32).contiguous()
        self.size = size
        self.convolve = convolve or gather_convolve
        if len(self.coords) and (int(self.coords.min()) < 0 or int(self.coords.max()) >= size):
            raise ValueError(f"voxels lie outside their cube of {size}")
        self._windows: dict[tuple[int, int], object] = {}

    def __len__(self) -> int:
        return len(self.coords)

    @property
    def device(self) -> torch.device:
        return self.coords.device

    @cached_property
    def _places(self) -> Tensor:
        """(N,) each voxel's place in `volume`."""
        x, y, z = (self.coords + 1).unbind(1)
        side = self.size + 2
        return (x * side + y) * side + z

    @cached_property
    def volume(self) -> Tensor:
        """((size + 2)^3,) int32: the voxel at each place, N where there is none. One empty layer lies all around."""
        volume = torch.full(((self.size + 2) ** 3,), len(self), dtype=torch.int32, device=self.device)
        rows = torch.arange(len(self), dtype=torch.int32, device=self.device)
        volume[self._places.long()] = rows
        if not torch.equal(volume[self._places.long()], rows):
            raise ValueError("a voxel is listed twice")
        return volume

    @cached_property
    def offsets(self) -> Tensor:
        """(27,) steps in `volume` to the neighbours, z fastest: the order of a kernel's weights."""
        side = self.size + 2
        step = torch.arange(-1, 2, dtype=torch.int32, device=self.device)
        return ((step[:, None, None] * side + step[:, None]) * side + step).flatten()

    @cached_property
    def _table(self) -> Tensor | None:
        return self._look_up(0, len(self)) if len(self) * 27 * 4 <= TABLE_BYTES else None

    def _look_up(self, start: int, stop: int) -> Tensor:
        return self.volume[(self._places[start:stop, None] + self.offsets).long()]

    def neighbours(self, start: int = 0, stop: int | None = None) -> Tensor:
        """(rows, 27) int32: the neighbours of voxels start..stop, themselves in the middle; N where there is none."""
        stop = len(self) if stop is None else stop
        return self._look_up(start, stop) if self._table is None else self._table[start:stop]

    @cached_property
    def coarser(self) -> Coarser:
        """These voxels at half the resolution."""
        half = (self.coords // 2).long()
        side = (self.size + 1) // 2
        code, parent = ((half[:, 0] * side + half[:, 1]) * side + half[:, 2]).unique(return_inverse=True)
        coords = torch.stack([code // side**2, code // side % side, code % side], dim=1)
        octant = (self.coords & 1).long()
        children = torch.full((len(code), 8), len(self), dtype=torch.int64, device=self.device)
        children[parent, octant[:, 0] * 4 + octant[:, 1] * 2 + octant[:, 2]] = torch.arange(
            len(self), device=self.device
        )
        return Coarser(Voxels(coords, side, self.convolve), parent, children)

    def subdivide(self) -> Voxels:
        """Eight voxels in the place of each, in its order, z fastest."""
        step = torch.arange(2, dtype=torch.int32, device=self.device)
        octants = torch.stack(torch.meshgrid(step, step, step, indexing="ij"), dim=-1).reshape(8, 3)
        return Voxels((self.coords[:, None] * 2 + octants).reshape(-1, 3), self.size * 2, self.convolve)

    def windows(self, side: int, shift: int, make: Callable[[Tensor, int, int], object]) -> object:
        """`make(coords, side, shift)`, made once."""
        if (side, shift) not in self._windows:
            self._windows[side, shift] = make(self.coords, side, shift)
        return self._windows[side, shift]


class Coarser:
    """Half the resolution: `voxels`, sorted by x, y, z; `parent` (N,) of each fine voxel; `children` (P, 8), N = none.

    `pool` divides by the number of children plus one: TRELLIS was trained with a zero counted among them
    (`scatter_reduce(..., "mean")` includes what it is given to write to).
    """

    def __init__(self, voxels: Voxels, parent: Tensor, children: Tensor) -> None:
        self.voxels, self.parent, self.children = voxels, parent, children

    @cached_property
    def _share(self) -> Tensor:
        fine = len(self.parent)
        return 1.0 / ((self.children < fine).sum(1, keepdim=True) + 1).float()

    def pool(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, P, C)."""
        with_zero = F.pad(x, (0, 0, 0, 1))
        total = with_zero[:, self.children.flatten()].view(len(x), *self.children.shape, -1).float().sum(2)
        return (total * self._share).to(x.dtype)


def neighbour_rows(voxels: Voxels, start: int, stop: int, x: Tensor, source: Tensor | None) -> Tensor:
    """(rows, 27) rows of `x` around voxels start..stop; len(x) where there is no voxel."""
    rows = voxels.neighbours(start, stop)
    if source is None:
        return rows
    return F.pad(source.to(torch.int32), (0, 1), value=len(x))[rows.long()]


def gather_convolve(x: Tensor, voxels: Voxels, weight: Tensor, bias: Tensor, source: Tensor | None) -> Tensor:
    """Gather the 27 neighbours' features and multiply once, a chunk of rows at a time.

    No index or buffer grows with N beyond the output, so neither memory nor 32-bit sizes limit N. The sum over the
    neighbours is one matrix product's, which accumulates 16-bit inputs in 32 bits.
    """
    count, width = len(voxels), x.shape[1]
    with_zero = F.pad(x, (0, 0, 0, 1))
    matrix = weight.reshape(len(weight), -1)
    out = x.new_empty(count, len(weight))
    chunk = max(1, GATHER_BYTES // (27 * width * x.element_size()))
    for start in range(0, count, chunk):
        stop = min(start + chunk, count)
        rows = neighbour_rows(voxels, start, stop, x, source)
        gathered = with_zero.index_select(0, rows.flatten()).view(stop - start, 27 * width)
        out[start:stop] = F.linear(gathered, matrix, bias)
    return out


class SparseConv3d(nn.Module):
    """Kernel 3 (submanifold) or 1, with bias; parameters lie in `conv` under spconv's names and layout.

    `conv.weight` is (Cout, k, k, k, Cin): that of a dense Conv3d with its axes permuted (0, 2, 3, 4, 1), the kernel's
    axes along x, y, z.
    """

    def __init__(self, cin: int, cout: int, kernel: int = 3) -> None:
        super().__init__()
        if kernel not in (1, 3):
            raise ValueError(f"no kernel of {kernel}")
        self.conv = _Kernel(cin, cout, kernel)

    def forward(self, x: Tensor, voxels: Voxels, source: Tensor | None = None) -> Tensor:
        """(..., P, Cin) -> (..., N, Cout). `source` (N,): the row of `x` that each voxel has, where voxels have rows in
        common (just subdivided, or spread from half the resolution); so such features are never copied out.
        """
        weight, bias = self.conv.weight, self.conv.bias
        if weight.shape[1] == 1:
            out = F.linear(x, weight.flatten(1), bias)
            return out if source is None else out.index_select(-2, source)
        if x.dim() == 2:
            return voxels.convolve(x, voxels, weight, bias, source)
        return torch.stack([voxels.convolve(one, voxels, weight, bias, source) for one in x])


class _Kernel(nn.Module):
    def __init__(self, cin: int, cout: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(cout, kernel, kernel, kernel, cin))
        self.bias = nn.Parameter(torch.empty(cout))


class SparseGroupNormSilu(nn.Module):
    """Group norm over a sample's voxels, then SiLU: statistics in 32 bits, rows a chunk at a time (Wu and He, 2018)."""

    def __init__(self, groups: int, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.groups, self.eps = groups, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C) -> (N, C)."""
        rows = max(1, GATHER_BYTES // (4 * 4 * x.shape[1]))
        parts = x.split(rows)
        count = len(x) * (x.shape[1] // self.groups)

        def per_group(total: Tensor) -> Tensor:
            mean = total.view(self.groups, -1).sum(1) / count
            return mean.repeat_interleave(x.shape[1] // self.groups)

        nothing = torch.zeros(x.shape[1], dtype=torch.float32, device=x.device)
        centre = per_group(sum((part.sum(0, dtype=torch.float32) for part in parts), nothing))
        variance = per_group(sum(((part - centre).square().sum(0) for part in parts), nothing))
        gain = self.weight * (variance + self.eps).rsqrt()
        out = torch.empty_like(x)
        for start in range(0, len(x), rows):
            part = x[start : start + rows]
            # norm rounds to x's precision before SiLU, as the reference does
            out[start : start + rows] = F.silu(((part - centre) * gain + self.bias).to(x.dtype))
        return out
