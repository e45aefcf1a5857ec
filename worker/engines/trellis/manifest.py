"""Names, shapes and precisions of the tensors in the official files, told without torch.

Written out from the sizes in `config`, so that a download can be checked before any network is built; a test holds
each against the network's own state.
"""

from __future__ import annotations

from collections.abc import Iterator

from worker.engines.trellis.config import (
    DecoderConfig,
    GaussianConfig,
    LatentFlowConfig,
    StructureDecoderConfig,
    StructureFlowConfig,
    TrellisConfig,
)
from worker.nn.checkpoint import TensorSpec

Manifest = dict[str, TensorSpec]
_FULL, _HALF = "float32", "float16"
_TIME = 256  # channels of the time's embedding before its layers


def _layer(name: str, cin: int, cout: int, dtype: str = _HALF, kernel: tuple[int, ...] = ()) -> Iterator[tuple]:
    yield f"{name}.weight", (cout, cin, *kernel), dtype
    yield f"{name}.bias", (cout,), dtype


def _norm(name: str, channels: int) -> Iterator[tuple]:
    yield f"{name}.weight", (channels,), _FULL
    yield f"{name}.bias", (channels,), _FULL


def _sparse(name: str, cin: int, cout: int, kernel: int = 3) -> Iterator[tuple]:
    yield f"{name}.conv.weight", (cout, kernel, kernel, kernel, cin), _HALF
    yield f"{name}.conv.bias", (cout,), _HALF


def _time(channels: int) -> Iterator[tuple]:
    yield from _layer("t_embedder.mlp.0", _TIME, channels, _FULL)
    yield from _layer("t_embedder.mlp.2", channels, channels, _FULL)


def _cross_blocks(config: StructureFlowConfig | LatentFlowConfig) -> Iterator[tuple]:
    full, hidden = config.channels, int(config.channels * config.mlp_ratio)
    for number in range(config.blocks):
        at = f"blocks.{number}"
        yield from _norm(f"{at}.norm2", full)
        yield from _layer(f"{at}.self_attn.to_qkv", full, 3 * full)
        for norm in ("q_rms_norm", "k_rms_norm"):
            yield f"{at}.self_attn.{norm}.gamma", (config.heads, full // config.heads), _FULL
        yield from _layer(f"{at}.self_attn.to_out", full, full)
        yield from _layer(f"{at}.cross_attn.to_q", full, full)
        yield from _layer(f"{at}.cross_attn.to_kv", config.context, 2 * full)
        yield from _layer(f"{at}.cross_attn.to_out", full, full)
        yield from _layer(f"{at}.mlp.mlp.0", full, hidden)
        yield from _layer(f"{at}.mlp.mlp.2", hidden, full)
        yield from _layer(f"{at}.adaLN_modulation.1", full, 6 * full)


def _structure_flow(config: StructureFlowConfig) -> Iterator[tuple]:
    yield from _time(config.channels)
    yield "pos_emb", (config.grid**3, config.channels), _FULL
    yield from _layer("input_layer", config.latent, config.channels, _FULL)
    yield from _cross_blocks(config)
    yield from _layer("out_layer", config.channels, config.latent, _FULL)


def _residual(name: str, channels: int) -> Iterator[tuple]:
    for norm in ("norm1", "norm2"):
        yield from _norm(f"{name}.{norm}", channels)
    for conv in ("conv1", "conv2"):
        yield from _layer(f"{name}.{conv}", channels, channels, _HALF, (3, 3, 3))


def _structure_decoder(config: StructureDecoderConfig) -> Iterator[tuple]:
    first, last = config.channels[0], config.channels[-1]
    yield from _layer("input_layer", config.latent, first, _FULL, (3, 3, 3))
    for number in range(config.blocks):
        yield from _residual(f"middle_block.{number}", first)
    number = 0
    for step, channels in enumerate(config.channels):
        for _ in range(config.blocks):
            yield from _residual(f"blocks.{number}", channels)
            number += 1
        if step + 1 < len(config.channels):
            yield from _layer(f"blocks.{number}.conv", channels, 8 * config.channels[step + 1], _HALF, (3, 3, 3))
            number += 1
    yield from _norm("out_layer.0", last)
    yield from _layer("out_layer.2", last, 1, _FULL, (3, 3, 3))


def _sparse_residual(name: str, cin: int, cout: int, time: int) -> Iterator[tuple]:
    yield from _norm(f"{name}.norm1", cin)
    yield from _sparse(f"{name}.conv1", cin, cout)
    yield from _sparse(f"{name}.conv2", cout, cout)
    yield from _layer(f"{name}.emb_layers.1", time, 2 * cout)
    if cin != cout:
        yield from _layer(f"{name}.skip_connection", cin, cout)


def _latent_flow(config: LatentFlowConfig) -> Iterator[tuple]:
    edge, full = config.edge_channels, config.channels
    yield from _time(full)
    yield from _layer("input_layer", config.latent, edge, _FULL)
    yield from _sparse_residual("input_blocks.0", edge, edge, full)
    yield from _sparse_residual("input_blocks.1", edge, full, full)
    yield from _cross_blocks(config)
    yield from _sparse_residual("out_blocks.0", 2 * full, edge, full)
    yield from _sparse_residual("out_blocks.1", 2 * edge, edge, full)
    yield from _layer("out_layer", edge, config.latent, _FULL)


def _window_blocks(config: DecoderConfig) -> Iterator[tuple]:
    full, hidden = config.channels, int(config.channels * config.mlp_ratio)
    yield from _layer("input_layer", config.latent, full, _FULL)
    for number in range(config.blocks):
        at = f"blocks.{number}"
        yield from _layer(f"{at}.attn.to_qkv", full, 3 * full)
        yield from _layer(f"{at}.attn.to_out", full, full)
        yield from _layer(f"{at}.mlp.mlp.0", full, hidden)
        yield from _layer(f"{at}.mlp.mlp.2", hidden, full)


def _gaussian_decoder(config: DecoderConfig, gaussians: GaussianConfig) -> Iterator[tuple]:
    yield from _window_blocks(config)
    yield from _layer("out_layer", config.channels, gaussians.channels, _FULL)
    yield "offset_perturbation", (gaussians.count, 3), _FULL


def _mesh_decoder(config: DecoderConfig) -> Iterator[tuple]:
    yield from _window_blocks(config)
    full = config.channels
    for number, (cin, cout) in enumerate(((full, full // 4), (full // 4, full // 8))):
        at = f"upsample.{number}"
        yield from _norm(f"{at}.act_layers.0", cin)
        yield from _sparse(f"{at}.out_layers.0", cin, cout)
        yield from _norm(f"{at}.out_layers.1", cout)
        yield from _sparse(f"{at}.out_layers.3", cout, cout)
        yield from _sparse(f"{at}.skip_connection", cin, cout, kernel=1)
    yield from _layer("out_layer", full // 8, 101, _FULL)


def _image(config: TrellisConfig) -> Iterator[tuple]:
    image = config.image
    dim, patches = image.dim, (image.image // image.patch) ** 2
    yield "cls_token", (1, 1, dim), _FULL
    yield "pos_embed", (1, 1 + patches, dim), _FULL
    yield "register_tokens", (1, image.registers, dim), _FULL
    yield "mask_token", (1, dim), _FULL
    yield from _layer("patch_embed.proj", 3, dim, _FULL, (image.patch, image.patch))
    for number in range(image.depth):
        at = f"blocks.{number}"
        yield from _norm(f"{at}.norm1", dim)
        yield from _layer(f"{at}.attn.qkv", dim, 3 * dim, _FULL)
        yield from _layer(f"{at}.attn.proj", dim, dim, _FULL)
        yield f"{at}.ls1.gamma", (dim,), _FULL
        yield from _norm(f"{at}.norm2", dim)
        yield from _layer(f"{at}.mlp.fc1", dim, 4 * dim, _FULL)
        yield from _layer(f"{at}.mlp.fc2", 4 * dim, dim, _FULL)
        yield f"{at}.ls2.gamma", (dim,), _FULL
    yield from _norm("norm", dim)


def _manifest(rows: Iterator[tuple]) -> Manifest:
    return {name: TensorSpec(shape, dtype) for name, shape, dtype in rows}


def structure_flow(config: TrellisConfig = TrellisConfig()) -> Manifest:  # noqa: B008 - frozen
    return _manifest(_structure_flow(config.structure_flow))


def structure_decoder(config: TrellisConfig = TrellisConfig()) -> Manifest:  # noqa: B008
    return _manifest(_structure_decoder(config.structure_decoder))


def latent_flow(config: TrellisConfig = TrellisConfig()) -> Manifest:  # noqa: B008
    return _manifest(_latent_flow(config.latent_flow))


def gaussian_decoder(config: TrellisConfig = TrellisConfig()) -> Manifest:  # noqa: B008
    return _manifest(_gaussian_decoder(config.decoder, config.gaussians))


def mesh_decoder(config: TrellisConfig = TrellisConfig()) -> Manifest:  # noqa: B008
    return _manifest(_mesh_decoder(config.decoder))


def image(config: TrellisConfig = TrellisConfig()) -> Manifest:  # noqa: B008
    return _manifest(_image(config))
