"""The network: the official file's tensors, upstream's numbers, and ways of running it that change nothing."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from worker.engines.sharp.manifest import UNUSED, official, tensors

torch = pytest.importorskip("torch")

from bench.parity import sharp as parity  # noqa: E402
from tests.sharp.twin import TINY, random_state  # noqa: E402
from worker.engines.sharp.config import SharpConfig  # noqa: E402
from worker.engines.sharp.decoder import GroupNorm  # noqa: E402
from worker.engines.sharp.network import Execution, Overflow, SharpNetwork  # noqa: E402
from worker.nn.checkpoint import load_into, spec_of  # noqa: E402


def test_manifest_is_the_official_files() -> None:
    """Counts and digest of the names and shapes of sharp_2572gikvuh.pt, listed from upstream's own modules."""
    shapes = {name: spec.shape for name, spec in official().items()}
    assert len(shapes) == 1038 and sum(math.prod(shape) for shape in shapes.values()) == 702_305_169
    listing = "".join(f"{name} {shape}\n" for name, shape in sorted(shapes.items()))
    digest = "e5ddd33765924a28955550c1080b527484c82adcbffb7980102f44b1ec44fb0e"
    assert hashlib.sha256(listing.encode()).hexdigest() == digest
    assert {spec.dtype for spec in official().values()} == {"float32"}


@pytest.mark.parametrize("config", [SharpConfig(), TINY, parity.SMALL], ids=["official", "tiny", "small"])
def test_the_modules_take_every_tensor_but_the_unused(config: SharpConfig) -> None:
    import re

    with torch.device("meta"):
        state = SharpNetwork(config, Execution()).state_dict()
    used = {n: s for n, s in tensors(config).items() if not any(re.fullmatch(pattern, n) for pattern in UNUSED)}
    assert {name: spec_of(tensor) for name, tensor in state.items()} == used


def test_upstreams_own_gaussians(repo_root: Path) -> None:
    """tests/data/sharp_golden.json: 40 of the 1,179,648 Gaussians that Apple's code makes of the same random weights
    and picture, narrowed to SMALL; made by `python -m bench.parity.sharp --upstream ... --golden ...`.
    """
    golden = json.loads((repo_root / "tests" / "data" / "sharp_golden.json").read_text("utf-8"))
    with torch.inference_mode():
        image, weights = parity.picture(parity.SMALL_SIZE), dict(parity.state(parity.SMALL))
        cloud = parity.ours(parity.SMALL, weights, image, parity.SMALL_FOCAL, "cpu")
    assert len(cloud["opacity"]) == 1_179_648
    ours = {name: torch.tensor(values) for name, values in parity.sampled(cloud).items()}
    theirs = {name: torch.tensor(golden[name]) for name in ours}
    found = parity.differences(ours, theirs)
    assert max(found["position_max"], found["color_max"], found["opacity_max"]) < 1e-5
    assert max(found["length_max"], found["covariance_max"]) < 1e-4
    spread = theirs["position"][:, 2].std() / theirs["position"][:, 2].mean()
    assert spread > 0.1 and theirs["opacity"].std() > 0.01, "the case says something"


def forward(execution: Execution, image: torch.Tensor, state: dict | None = None):
    with torch.device("meta"):
        network = SharpNetwork(TINY, execution)
    load_into(network, parity.Drawn(state or random_state()), ignore=UNUSED)
    with torch.inference_mode():
        return network(image, 0.8)


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 3, TINY.side, TINY.side, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def whole(image):
    return forward(Execution(), image)


def test_tiles_and_stripes_change_nothing(image, whole) -> None:
    parts = forward(Execution(tiles_at_once=4, stripes=7), image)
    for name in ("position", "scale", "rotation", "color", "opacity"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-5, atol=1e-6)


def test_half_precision_stays_near(image, whole) -> None:
    """bfloat16, the coarsest that is ever used; float16 convolutions take a CPU minutes."""
    half = forward(Execution(torch.bfloat16), image)
    error = (half.position - whole.position).abs() / whole.position[:, 2:]
    assert error.median() < 2e-3 and error.quantile(0.99) < 0.05
    assert (half.color - whole.color).abs().max() < 5e-3 and (half.opacity - whole.opacity).abs().max() < 0.05
    assert half.position.dtype == torch.float32


def test_plain_dots_where_nothing_is_offset(image) -> None:
    """With the last layers zero, every Gaussian is its beginning: on its ray, half opaque, the picture's colour."""
    state = {n: t * 0 if n.startswith("prediction_head") else t for n, t in random_state().items()}
    dots = forward(Execution(), image, state)
    grid, layer = TINY.grid, TINY.grid**2
    center = (torch.arange(grid) * 2 + 1) / grid - 1
    position = dots.position[:layer].view(grid, grid, 3)
    torch.testing.assert_close(position[..., 0] / position[..., 2], center.expand(grid, grid))
    torch.testing.assert_close(position[..., 1] / position[..., 2], center[:, None].expand(grid, grid))
    assert (dots.opacity == 0.5).all() and dots.rotation.tolist() == [[1, 0, 0, 0]] * (2 * layer)
    torch.testing.assert_close(dots.scale, (2 / grid * dots.position[:, 2:]).expand(-1, 3))
    color = torch.nn.functional.avg_pool2d(image, 2)[0].flatten(1).T.clamp(0.01, 0.99)
    torch.testing.assert_close(dots.color, torch.cat([color, color]))
    nearest, farthest = dots.position[:, 2].min(), dots.position[:, 2].max()
    assert 1 < farthest / nearest < 100


def test_numbers_out_of_range_are_not_hidden(image) -> None:
    state = random_state()
    name = next(name for name in state if name.endswith("decoder.fusions.2.out_conv.bias"))
    state[name] = torch.full_like(state[name], float("inf"))
    with pytest.raises(Overflow):
        forward(Execution(), image, state)


def test_half_precision_group_norm() -> None:
    torch.manual_seed(0)
    norm = GroupNorm(4, 16)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = (torch.randn(1, 16, 20, 24) * 3 + torch.arange(16)[:, None, None]).bfloat16()
    expected = torch.nn.GroupNorm.forward(norm, x.float())
    torch.testing.assert_close(norm(x).float(), expected, rtol=0.01, atol=0.01)
    with pytest.raises(ValueError, match="one picture"):
        norm(x.expand(2, -1, -1, -1))


def test_random_weights_do_not_depend_on_order() -> None:
    first = dict(parity.state(replace(TINY, depth=1)))
    again = dict(parity.state(TINY))
    assert all(np.array_equal(first[name], again[name]) for name in first)
