"""Sparse convolution against the dense one, resampling against its definition, windows against a loop."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
F = torch.nn.functional

from worker.nn import sparse  # noqa: E402
from worker.nn.sparse import SparseConv3d, SparseGroupNormSilu, Voxels  # noqa: E402
from worker.nn.windows import partition, window_attention  # noqa: E402


def some_voxels(count: int, size: int, seed: int) -> Voxels:
    """Distinct voxels in no order."""
    chosen = torch.randperm(size**3, generator=torch.Generator().manual_seed(seed))[:count]
    return Voxels(torch.stack([chosen // size**2, chosen // size % size, chosen % size], dim=1), size)


def seeded(conv: torch.nn.Module, seed: int) -> torch.nn.Module:
    draw = torch.Generator().manual_seed(seed)
    for parameter in conv.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw)
    return conv.requires_grad_(False)


def dense_convolution(x: torch.Tensor, voxels: Voxels, conv: SparseConv3d) -> torch.Tensor:
    grid = x.new_zeros(x.shape[1], *[voxels.size] * 3)
    i, j, k = voxels.coords.long().unbind(1)
    grid[:, i, j, k] = x.T
    weight = conv.conv.weight.permute(0, 4, 1, 2, 3)
    return F.conv3d(grid[None], weight, conv.conv.bias, padding=weight.shape[2] // 2)[0][:, i, j, k].T


shapes = st.tuples(st.integers(1, 9), st.integers(1, 5), st.integers(1, 6), st.integers(0, 10**6))


@settings(max_examples=25, deadline=None)
@given(shapes, st.integers(1, 300), st.sampled_from([1, 3]))
def test_convolution_is_the_dense_one_at_the_voxels(shape, count, kernel):
    size, cin, cout, seed = shape
    voxels = some_voxels(min(count, size**3), size, seed)
    conv = seeded(SparseConv3d(cin, cout, kernel), seed)
    x = torch.randn(len(voxels), cin, generator=torch.Generator().manual_seed(seed + 1))
    torch.testing.assert_close(conv(x, voxels), dense_convolution(x, voxels, conv), rtol=1e-4, atol=1e-4)


def test_convolution_in_chunks_changes_nothing(monkeypatch):
    voxels = some_voxels(200, 8, 3)
    conv = seeded(SparseConv3d(4, 5), 0)
    x = torch.randn(2, 200, 4)
    whole = conv(x, voxels)
    monkeypatch.setattr(sparse, "GATHER_BYTES", 27 * 4 * 4 * 7)  # seven rows at a time
    monkeypatch.setattr(sparse, "TABLE_BYTES", 0)  # and no table kept
    torch.testing.assert_close(conv(x, Voxels(voxels.coords, 8)), whole)


def test_rows_in_common_equal_copied_rows():
    voxels = some_voxels(30, 6, 1)
    source = torch.randint(0, 7, (30,), generator=torch.Generator().manual_seed(0))
    x = torch.randn(7, 4)
    for kernel in (1, 3):
        conv = seeded(SparseConv3d(4, 3, kernel), 2)
        torch.testing.assert_close(conv(x, voxels, source), conv(x[source], voxels))


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 9), st.integers(1, 200), st.integers(0, 10**6))
def test_pool_divides_by_children_plus_one(size, count, seed):
    voxels = some_voxels(min(count, size**3), size, seed)
    x = torch.randn(1, len(voxels), 3, generator=torch.Generator().manual_seed(seed))
    half = voxels.coarser
    pooled = half.pool(x)
    cells = [tuple(row) for row in half.voxels.coords.tolist()]
    assert cells == sorted(set(tuple(row) for row in (voxels.coords // 2).tolist()))
    for row, cell in enumerate(cells):
        children = [i for i, place in enumerate(voxels.coords.tolist()) if tuple(c // 2 for c in place) == cell]
        torch.testing.assert_close(pooled[0, row], x[0, children].sum(0) / (len(children) + 1))
        for child in children:
            assert int(half.parent[child]) == row


def test_subdivision_keeps_the_order_with_z_fastest():
    finer = Voxels(torch.tensor([[1, 0, 2]]), 3).subdivide()
    assert finer.size == 6
    assert finer.coords.tolist() == [
        [2, 0, 4], [2, 0, 5], [2, 1, 4], [2, 1, 5], [3, 0, 4], [3, 0, 5], [3, 1, 4], [3, 1, 5],
    ]  # fmt: skip


def test_group_norm_is_the_dense_one(monkeypatch):
    norm = seeded(SparseGroupNormSilu(4, 12), 5)
    x = 3 + torch.randn(50, 12)
    expected = F.silu(F.group_norm(x.T[None], 4, norm.weight, norm.bias, 1e-5)[0].T)
    torch.testing.assert_close(norm(x), expected)
    monkeypatch.setattr(sparse, "GATHER_BYTES", 4 * 4 * 12 * 9)
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize("coords", [[[0, 0, 4]], [[0, -1, 0]]])
def test_voxels_outside_their_cube_are_refused(coords):
    with pytest.raises(ValueError, match="outside"):
        Voxels(torch.tensor(coords), 4)


def test_a_voxel_listed_twice_is_refused():
    with pytest.raises(ValueError, match="twice"):
        Voxels(torch.tensor([[1, 1, 1], [1, 1, 1]]), 4).neighbours()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 400), st.integers(1, 5), st.integers(0, 4), st.integers(0, 10**6))
def test_window_attention_is_a_loop_over_windows(count, side, shift, seed):
    voxels = some_voxels(count, 8, seed)
    qkv = torch.randn(count, 3, 2, 4, generator=torch.Generator().manual_seed(seed))
    found = window_attention(qkv, partition(voxels.coords, side, shift))
    window = [tuple(row) for row in ((voxels.coords + shift) // side).tolist()]
    for one in set(window):
        rows = [i for i, other in enumerate(window) if other == one]
        q, k, v = qkv[rows].permute(1, 2, 0, 3)
        expected = torch.softmax(q @ k.transpose(1, 2) / 2.0, dim=-1) @ v
        torch.testing.assert_close(found[rows], expected.transpose(0, 1), rtol=1e-4, atol=1e-5)
