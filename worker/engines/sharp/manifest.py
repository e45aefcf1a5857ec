"""Every tensor of the official file `sharp_2572gikvuh.pt`: 1,038 of them, 702,305,169 numbers, all float32.

Part of them serves training alone: the ViTs' classifiers, and a U-Net that aligns depth with a known one (UNUSED).
"""

from __future__ import annotations

from collections.abc import Iterator

from worker.engines.sharp.config import LAYERS, STRIDE, SharpConfig
from worker.nn.checkpoint import TensorSpec

UNUSED = (r"depth_alignment\..*", r".*_encoder\.head\.(weight|bias)")

_Shapes = Iterator[tuple[str, tuple[int, ...]]]


def official() -> dict[str, TensorSpec]:
    return tensors(SharpConfig())


def tensors(config: SharpConfig) -> dict[str, TensorSpec]:
    """Names and shapes as a file of this configuration holds them, those that nothing here uses too."""
    monodepth = "monodepth_model.monodepth_predictor"
    shapes: dict[str, tuple[int, ...]] = {}
    for prefix, part in (
        (f"{monodepth}.encoder", _encoder(config)),
        (f"{monodepth}.decoder", _decoder(config, config.depth_width)),
        (f"{monodepth}.head", _depth_head(config)),
        ("feature_model", _feature_model(config)),
        ("prediction_head.geometry_prediction_head", _affine((3 * LAYERS, config.gaussian_head, 1, 1))),
        ("prediction_head.texture_prediction_head", _affine((11 * LAYERS, config.gaussian_head, 1, 1))),
        ("depth_alignment.scale_map_estimator", _alignment()),
    ):
        shapes |= {f"{prefix}.{name}": shape for name, shape in part}
    return {name: TensorSpec(shape) for name, shape in shapes.items()}


def _within(prefix: str, part: _Shapes) -> _Shapes:
    return ((f"{prefix}.{name}", shape) for name, shape in part)


def _affine(weight: tuple[int, ...], biases: int | None = None) -> _Shapes:
    yield "weight", weight
    yield "bias", (weight[0] if biases is None else biases,)


def _vit(config: SharpConfig) -> _Shapes:
    dim = config.dim
    yield "cls_token", (1, 1, dim)
    yield "pos_embed", (1, config.tile_tokens**2 + 1, dim)
    yield from _within("patch_embed.proj", _affine((dim, 3, config.patch, config.patch)))
    for index in range(config.depth):
        block = f"blocks.{index}"
        yield from _within(f"{block}.norm1", _affine((dim,)))
        yield from _within(f"{block}.attn.qkv", _affine((3 * dim, dim)))
        yield from _within(f"{block}.attn.proj", _affine((dim, dim)))
        yield f"{block}.ls1.gamma", (dim,)
        yield from _within(f"{block}.norm2", _affine((dim,)))
        yield from _within(f"{block}.mlp.fc1", _affine((4 * dim, dim)))
        yield from _within(f"{block}.mlp.fc2", _affine((dim, 4 * dim)))
        yield f"{block}.ls2.gamma", (dim,)
    yield from _within("norm", _affine((dim,)))
    yield from _within("head", _affine((config.classes, dim)))


def _encoder(config: SharpConfig) -> _Shapes:
    yield from _within("patch_encoder", _vit(config))
    yield from _within("image_encoder", _vit(config))
    levels = ("upsample_latent0", "upsample_latent1", "upsample0", "upsample1", "upsample2")
    for name, width, doublings in zip(levels, config.widths, (3, 2, 1, 1, 1), strict=True):
        yield f"{name}.0.weight", (width, config.dim, 1, 1)
        for index in range(doublings):
            yield f"{name}.{index + 1}.weight", (width, width, 2, 2)
    coarsest = config.widths[-1]
    yield from _within("upsample_lowres", _affine((config.dim, coarsest, 2, 2), coarsest))
    yield from _within("fuse_lowres", _affine((coarsest, 2 * coarsest, 1, 1)))


def _fusion(width: int, doubling: bool) -> _Shapes:
    for block in ("resnet1", "resnet2"):
        for index in (1, 3):
            yield from _within(f"{block}.residual.{index}", _affine((width, width, 3, 3)))
    if doubling:
        yield "deconv.weight", (width, width, 2, 2)
    yield from _within("out_conv", _affine((width, width, 1, 1)))


def _decoder(config: SharpConfig, width: int) -> _Shapes:
    for level, channels in enumerate(config.widths):
        if level > 0:
            yield f"convs.{level}.weight", (width, channels, 3, 3)
        elif channels != width:
            yield f"convs.{level}.weight", (width, channels, 1, 1)
        yield from _within(f"fusions.{level}", _fusion(width, doubling=level > 0))


def _depth_head(config: SharpConfig) -> _Shapes:
    half = config.depth_width // 2
    yield from _within("0", _affine((half, config.depth_width, 3, 3)))
    yield from _within("1", _affine((half, half, 2, 2)))
    yield from _within("2", _affine((config.depth_head, half, 3, 3)))
    yield from _within("4", _affine((LAYERS, config.depth_head, 1, 1)))


def _normed_residual(channels: int, width: int) -> _Shapes:
    half = width // 2
    yield from _within("residual.0", _affine((channels,)))
    yield from _within("residual.2", _affine((half, channels, 3, 3)))
    yield from _within("residual.3", _affine((half,)))
    yield from _within("residual.5", _affine((width, half, 3, 3)))
    if channels != width:
        yield from _within("shortcut", _affine((width, channels, 1, 1)))


def _feature_model(config: SharpConfig) -> _Shapes:
    width = config.gaussian_width
    yield from _within("decoder", _decoder(config, width))
    yield from _within("image_encoder.conv", _affine((width, 3 + LAYERS, STRIDE, STRIDE)))
    yield from _within("fusion", _fusion(width, doubling=False))
    for head in ("texture_head", "geometry_head"):
        for index in (0, 1):
            yield from _within(f"{head}.{index}", _normed_residual(width, width))
        yield from _within(f"{head}.3", _affine((config.gaussian_head, width, 1, 1)))


def _alignment() -> _Shapes:
    """A U-Net of four levels whose skips are concatenated."""
    down = (16, 32, 64, 128, 256)
    yield from _within("encoder.conv_in.0", _affine((down[0], LAYERS, 3, 3)))
    yield from _within("encoder.conv_in.1", _affine((down[0],)))
    for level in range(4):
        yield from _within(f"encoder.convs_down.{level}.1", _normed_residual(down[level], down[level + 1]))
        yield from _within(f"encoder.convs_down.{level}.2", _normed_residual(down[level + 1], down[level + 1]))
    for level in range(4):
        width = down[3 - level]
        channels = 2 * width if level == 0 else 4 * width
        yield from _within(f"decoder.convs_up.{level}.1", _normed_residual(channels, width))
        yield from _within(f"decoder.convs_up.{level}.2", _normed_residual(width, width))
    yield from _within("decoder.conv_out.0", _affine((2 * down[0],)))
    yield from _within("decoder.conv_out.2", _affine((down[0], 2 * down[0], 1, 1)))
    yield from _within("decoder.conv_out.3", _affine((down[0],)))
    yield from _within("conv_out", _affine((1, down[0], 1, 1)))
