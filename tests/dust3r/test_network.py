"""The network without its weights: upstream's numbers, the papers' properties, the official file's names.

golden.npz is upstream's own answer (github.com/naver/dust3r 4c24a6e, torch 2.13.0 CPU) for a small network with weights
drawn by bench/random_weights.py and a drawn picture of 3 x 5 patches. It was made by
    python -m bench.parity.dust3r --upstream FOLDER --golden tests/dust3r/golden.npz
"""

# ruff: noqa: E402
from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from bench.parity.dust3r import GOLDEN_CONFIG, GOLDEN_SIZE, ours, picture, weights
from worker.engines.dust3r import manifest
from worker.engines.dust3r.config import Dust3rConfig
from worker.engines.dust3r.network import Dust3r, activated
from worker.engines.dust3r.runner import Runner, load_network
from worker.errors import WeightsError
from worker.nn.dpt import DPTHead
from worker.nn.rope import GridRope, grid_positions, rotate, tables
from worker.pointmaps import edge_upsampling_gpu
from worker.pointmaps.edge_upsampling import upsample

TINY = Dust3rConfig(
    enc_dim=16, enc_depth=2, enc_heads=2, dec_dim=16, dec_depth=4, dec_heads=2, head_channels=(4, 4, 4, 4),
    head_features=8,
)  # fmt: skip


def shapes(config: Dust3rConfig) -> dict[str, tuple[int, ...]]:
    return {name: spec.shape for name, spec in manifest.dust3r(config).items()}


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).with_name("golden.npz")) as data:
        return data["points"], data["conf"]


@pytest.fixture(scope="module")
def small():
    return ours(GOLDEN_CONFIG, weights(shapes(GOLDEN_CONFIG)))


def relative(ours, theirs) -> float:
    return float((np.linalg.norm(ours - theirs, axis=-1) / np.linalg.norm(theirs, axis=-1)).max())


def test_upstreams_numbers(small, golden) -> None:
    with torch.inference_mode():
        points, conf = small(picture(*GOLDEN_SIZE))
    assert relative(points[0].numpy(), golden[0]) < 1e-4
    assert np.abs((conf[0].numpy() - golden[1]) / (golden[1] - 1)).max() < 1e-4


def test_half_precision_stays_near(small, golden) -> None:
    for kind, bound in ((torch.float16, 0.02), (torch.bfloat16, 0.15)):
        network = copy.deepcopy(small)
        network.trunk_to(kind)
        assert network.enc_blocks[0].norm1.weight.dtype == torch.float32
        assert network.downstream_head1.dpt.head[0].weight.dtype == torch.float32
        with torch.inference_mode():
            points, _ = network(picture(*GOLDEN_SIZE))
        assert points.dtype == torch.float32 and relative(points[0].numpy(), golden[0]) < bound


def test_the_official_files() -> None:
    """Counts measured on upstream's networks and its hub writer; names against our own modules."""
    names = manifest.dust3r()
    assert len(names) == 1001 and sum(spec.elements for spec in names.values()) == 571_171_208
    assert sum(spec.elements for spec in manifest.mast3r().values()) == 688_638_856
    linear = Dust3rConfig(head="linear")
    assert sum(spec.elements for spec in manifest.dust3r(linear).values()) == 532_342_784
    for config in (Dust3rConfig(), linear):
        with torch.device("meta"):
            found = Dust3r(config).state_dict()
        assert {name: tuple(t.shape) for name, t in found.items()} == shapes(config)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 2**31))
def test_rope_sees_only_differences_of_place(down: int, across: int, seed: int) -> None:
    """RoFormer's property, on both axes: q at p and k at p' meet as they do when both have moved alike."""
    generator = torch.Generator().manual_seed(seed)
    q, k = torch.randn(2, 6, 32, generator=generator, dtype=torch.float64)
    here = grid_positions(2, 3)
    met = []
    for places in (here, here + torch.tensor([down, across])):
        cos, sin = (t.double() for t in tables(places, 32))
        met.append(rotate(q, cos, sin) @ rotate(k, cos, sin).mT)
    assert torch.allclose(*met, atol=1e-5)


def test_rope_turns_the_first_half_by_rows_and_the_second_by_columns() -> None:
    x = torch.ones(1, 64)
    for place, moved in (((3, 0), slice(0, 32)), ((0, 3), slice(32, 64))):
        turned = rotate(x, *tables(torch.tensor([place]), 64))
        still = [i for i in range(64) if i not in range(64)[moved]]
        assert torch.equal(turned[0, still], x[0, still]) and not torch.allclose(turned[0, moved], x[0, moved])
    turned = rotate(x, *tables(torch.tensor([(1, 0)]), 64))[0]
    # Channel 0 pairs with 16 and turns by one radian a row; channel 1 with 17, by 100^(-1/16).
    assert turned[0] == pytest.approx(np.cos(1) - np.sin(1)) and turned[16] == pytest.approx(np.cos(1) + np.sin(1))
    assert turned[1] == pytest.approx(np.cos(100 ** (-1 / 16)) - np.sin(100 ** (-1 / 16)))


def test_rope_needs_two_axes_of_pairs() -> None:
    with pytest.raises(ValueError, match="multiple of four"):
        GridRope(6)


def test_both_views_read_each_other_as_they_were_before_the_layer() -> None:
    """Swapping the decoders swaps the views: true of a parallel update, not of one view after the other."""
    network = ours(TINY, weights(shapes(TINY)))
    x = torch.randn(1, 4, 16, generator=torch.Generator().manual_seed(0))
    network._rope.place(2, 2, torch.device("cpu"), torch.float32)

    def both(one, other):
        first = second = x
        for a, b in zip(one, other, strict=True):
            first, second = a(first, second), b(second, first)
        return first, second

    layers, others = network.dec_blocks[:-1], network.dec_blocks2
    with torch.inference_mode():
        first, second = both(layers, others)
        swapped_first, swapped_second = both(others, layers)
        tokens = network._trunk(torch.zeros(1, 3, 32, 32))
    assert torch.equal(first, swapped_second) and torch.equal(second, swapped_first)
    assert not torch.allclose(first, second)
    assert len(tokens) == TINY.dec_depth + 1


@pytest.mark.parametrize("grid", [(1, 1), (1, 4), (3, 5), (4, 4), (7, 2)])
def test_head_gives_every_grid_its_pixels(grid: tuple[int, int]) -> None:
    head = DPTHead((6, 5, 5, 5), (4, 4, 4, 4), 8, 3)
    tokens = [torch.randn(1, grid[0] * grid[1], dim) for dim in (6, 5, 5, 5)]
    assert head(tokens, *grid).shape == (1, 3, 16 * grid[0], 16 * grid[1])


def test_activation() -> None:
    raw = torch.tensor([[0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, -40.0], [3.0, 4.0, 0.0, 1.0]])
    points, conf = activated(raw)
    assert points[0].tolist() == pytest.approx([0, 0, np.expm1(2)]) and points[1].tolist() == [0, 0, 0]
    assert points[2].tolist() == pytest.approx([0.6 * np.expm1(5), 0.8 * np.expm1(5), 0], rel=1e-5)
    assert conf.tolist() == pytest.approx([2, 1, 1 + np.e])


@settings(max_examples=15, deadline=None)
@given(st.integers(12, 40), st.integers(12, 40), st.floats(1.5, 6.0), st.integers(0, 2**31))
def test_upsampling_on_the_gpu_is_that_of_the_processor(height: int, width: int, factor: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(height, width)).astype(np.float32)
    small = rng.integers(0, 256, (height, width, 3), np.uint8)
    image = rng.integers(0, 256, (round(height * factor), round(width * factor), 3), np.uint8)
    here, there = upsample(values, small, image), edge_upsampling_gpu.upsample(values, small, image, "cpu")
    # Half-way between two pixels, or between two sides of equal weight, rounding decides.
    assert np.mean(np.abs(here - there) < 1e-4) > 0.96


# --- loading --------------------------------------------------------------------------------------------------------
@pytest.fixture
def file(tmp_path: Path):
    def write(**changes) -> Path:
        state = weights(shapes(TINY)) | changes
        path = tmp_path / "model.safetensors"
        save_file({name: tensor for name, tensor in state.items() if tensor is not None}, path)
        return path

    return write


def test_a_file_is_loaded_and_what_one_view_needs_is_kept(file) -> None:
    network = load_network(file(), TINY, "cpu", "fp32")
    assert len(network.dec_blocks) == TINY.dec_depth and len(network.dec_blocks2) == TINY.dec_depth - 1
    assert not any("head2" in name or "mask_token" in name for name, _ in network.named_parameters())
    want = ours(TINY, weights(shapes(TINY)))
    with torch.inference_mode():
        image = picture(32, 48)
        assert all(torch.equal(a, b) for a, b in zip(network(image), want(image), strict=True))


def test_second_names_and_local_features_are_ignored(file) -> None:
    first = weights(shapes(TINY))["downstream_head1.dpt.scratch.layer1_rn.weight"]
    extra = {name: torch.zeros(spec.shape) for name, spec in manifest.mast3r(TINY).items() if "local" in name}
    assert len(extra) == 8
    network = load_network(
        file(**{"downstream_head1.dpt.scratch.layer_rn.0.weight": first.clone(), **extra}), TINY, "cpu", "fp32"
    )
    assert torch.equal(network.downstream_head1.dpt.scratch.layer1_rn.weight, first)


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("enc_blocks.1.attn.qkv.bias", None, "missing: enc_blocks.1.attn.qkv.bias"),
        ("dec_blocks2.3.norm3.weight", None, "missing: dec_blocks2.3.norm3.weight"),
        ("prediction_head.weight", torch.zeros(2), "not expected: prediction_head.weight"),
        ("decoder_embed.weight", torch.zeros(16, 17), "of another shape: decoder_embed.weight"),
        ("enc_norm.weight", torch.zeros(16, dtype=torch.int64), "of another dtype: enc_norm.weight"),
    ],
)
def test_another_networks_file_is_refused_by_name(file, name: str, tensor, words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        load_network(file(**{name: tensor}), TINY, "cpu", "fp32")


def test_an_overflow_moves_the_trunk_to_bfloat16(caplog: pytest.LogCaptureFixture) -> None:
    state = weights(shapes(TINY))
    state["enc_blocks.0.mlp.fc1.bias"] = torch.full((64,), 3e4)
    state["enc_blocks.0.mlp.fc2.weight"] = torch.ones(16, 64)  # together 2e6: beyond float16, not beyond bfloat16
    network = ours(TINY, state)
    network.trunk_to(torch.float16)
    points, conf = Runner(network, "cpu", graphs=False)(picture(32, 48)[0].numpy())
    assert np.isfinite(points).all() and np.isfinite(conf).all()
    assert network.trunk_dtype == torch.bfloat16 and "overflowed" in caplog.text


def test_the_same_bytes_every_time() -> None:
    runner = Runner(ours(TINY, weights(shapes(TINY))), "cpu", graphs=False)
    image = picture(64, 48)[0].numpy()
    one, two = runner(image), runner(image)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one, two, strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_captured_graph_gives_the_same_bytes() -> None:
    network = load_network_on_gpu()
    plain, replayed = (Runner(network, "cuda", graphs=graphs) for graphs in (False, True))
    for size in ((48, 80), (64, 64), (48, 80)):
        image = picture(*size)[0].numpy()
        want = plain(image)
        for _ in range(2):
            assert all(a.tobytes() == b.tobytes() for a, b in zip(replayed(image), want, strict=True))


def load_network_on_gpu() -> Dust3r:
    state = {name: tensor.cuda() for name, tensor in weights(shapes(GOLDEN_CONFIG)).items()}
    network = ours(GOLDEN_CONFIG, state)
    network.trunk_to(torch.float16)
    return network
