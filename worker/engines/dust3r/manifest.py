"""Names, shapes and dtypes of the official files, computed from their sizes without torch.

Checked when the weights are installed; the network's own names are held against the same list by the tests. Files that
the hub library wrote hold each tied tensor once (`layer1_rn`, not its second name `layer_rn.0`); so does this list.
"""

from __future__ import annotations

from collections.abc import Iterator

from worker.engines.dust3r.config import PATCH, Dust3rConfig
from worker.nn.checkpoint import TensorSpec

Shapes = Iterator[tuple[str, tuple[int, ...]]]
LOCAL_FEATURES = 25  # MASt3R: a descriptor of 24 numbers and its confidence for each pixel


def dust3r(config: Dust3rConfig | None = None) -> dict[str, TensorSpec]:
    config = config or Dust3rConfig()
    return {name: TensorSpec(shape) for name, shape in _network(config)}


def mast3r(config: Dust3rConfig | None = None) -> dict[str, TensorSpec]:
    """DUSt3R's tensors and two heads of local features, which no single still needs."""
    config = config or Dust3rConfig()
    dim = config.enc_dim + config.dec_dim
    specs = dust3r(config)
    for head in (1, 2):
        name = f"downstream_head{head}.head_local_features"
        shapes = (*_linear(f"{name}.fc1", dim, 4 * dim), *_linear(f"{name}.fc2", 4 * dim, LOCAL_FEATURES * PATCH**2))
        specs |= {key: TensorSpec(shape) for key, shape in shapes}
    return specs


def _network(c: Dust3rConfig) -> Shapes:
    yield "mask_token", (1, 1, c.dec_dim)
    yield from _conv("patch_embed.proj", 3, c.enc_dim, PATCH)
    for i in range(c.enc_depth):
        yield from _attention_and_mlp(f"enc_blocks.{i}", c.enc_dim, ("norm1", "norm2"))
    yield from _norm("enc_norm", c.enc_dim)
    yield from _linear("decoder_embed", c.enc_dim, c.dec_dim)
    for stream in ("dec_blocks", "dec_blocks2"):
        for i in range(c.dec_depth):
            name = f"{stream}.{i}"
            yield from _attention_and_mlp(name, c.dec_dim, ("norm1", "norm2", "norm3", "norm_y"))
            for part in ("projq", "projk", "projv", "proj"):
                yield from _linear(f"{name}.cross_attn.{part}", c.dec_dim, c.dec_dim)
    yield from _norm("dec_norm", c.dec_dim)
    for head in ("downstream_head1", "downstream_head2"):
        if c.head == "dpt":
            yield from _dpt(f"{head}.dpt", c)
        else:
            yield from _linear(f"{head}.proj", c.dec_dim, 4 * PATCH**2)


def _attention_and_mlp(name: str, dim: int, norms: tuple[str, ...]) -> Shapes:
    for norm in norms:
        yield from _norm(f"{name}.{norm}", dim)
    yield from _linear(f"{name}.attn.qkv", dim, 3 * dim)
    yield from _linear(f"{name}.attn.proj", dim, dim)
    yield from _linear(f"{name}.mlp.fc1", dim, 4 * dim)
    yield from _linear(f"{name}.mlp.fc2", 4 * dim, dim)


def _dpt(name: str, c: Dust3rConfig) -> Shapes:
    width, dims = c.head_features, (c.enc_dim, c.dec_dim, c.dec_dim, c.dec_dim)
    for i, channels in enumerate(c.head_channels):
        yield f"{name}.scratch.layer{i + 1}_rn.weight", (width, channels, 3, 3)
        fusion = f"{name}.scratch.refinenet{i + 1}"
        yield from _conv(f"{fusion}.out_conv", width, width, 1)
        for unit in ("resConfUnit1", "resConfUnit2"):
            yield from _conv(f"{fusion}.{unit}.conv1", width, width, 3)
            yield from _conv(f"{fusion}.{unit}.conv2", width, width, 3)
        yield from _conv(f"{name}.act_postprocess.{i}.0", dims[i], channels, 1)
        if i != 2:  # the first two grow by 4 and 2, the last shrinks by 2; the third keeps the tokens' grid
            yield from _conv(f"{name}.act_postprocess.{i}.1", channels, channels, (4, 2, 0, 3)[i])
    yield from _conv(f"{name}.head.0", width, width // 2, 3)
    yield from _conv(f"{name}.head.2", width // 2, width // 2, 3)
    yield from _conv(f"{name}.head.4", width // 2, 4, 1)


def _linear(name: str, wide: int, out: int) -> Shapes:
    yield f"{name}.weight", (out, wide)
    yield f"{name}.bias", (out,)


def _conv(name: str, wide: int, out: int, kernel: int) -> Shapes:
    yield f"{name}.weight", (out, wide, kernel, kernel)
    yield f"{name}.bias", (out,)


def _norm(name: str, dim: int) -> Shapes:
    yield f"{name}.weight", (dim,)
    yield f"{name}.bias", (dim,)
