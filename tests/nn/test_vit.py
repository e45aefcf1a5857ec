"""The Vision Transformer's parts: checkpoint names, and the arithmetic written out by hand."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from worker.nn.vit import Attention, Block, PatchEmbed  # noqa: E402


def test_names_are_those_of_timm_and_dinov2() -> None:
    assert list(Block(8, 2, layer_scale=True).state_dict()) == [
        "norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias",
        "ls1.gamma", "norm2.weight", "norm2.bias", "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight",
        "mlp.fc2.bias", "ls2.gamma",
    ]  # fmt: skip
    assert not [name for name in Block(8, 2).state_dict() if name.startswith("ls")]


def test_attention_is_softmax_of_scaled_products() -> None:
    torch.manual_seed(1)
    layer, x = Attention(12, 3), torch.randn(2, 5, 12)
    q, k, v = (part.view(2, 5, 3, 4).transpose(1, 2) for part in layer.qkv(x).chunk(3, dim=-1))
    weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(4), dim=-1)
    expected = layer.proj((weights @ v).transpose(1, 2).reshape(2, 5, 12))
    torch.testing.assert_close(layer(x), expected)


def test_rope_turns_queries_and_keys_only() -> None:
    torch.manual_seed(2)
    plain, x = Attention(12, 3), torch.randn(1, 5, 12)
    shapes = []

    def negate(q, k):
        shapes.append(q.shape)
        return -q, -k

    turned = Attention(12, 3, rope=negate)
    turned.load_state_dict(plain.state_dict())
    torch.testing.assert_close(turned(x), plain(x))  # both signs cancel in the product
    assert shapes == [(1, 3, 5, 4)]


def test_a_block_with_zero_gains_is_the_identity() -> None:
    block, x = Block(8, 2, layer_scale=True), torch.randn(1, 3, 8)
    torch.nn.init.zeros_(block.ls1.gamma)
    torch.nn.init.zeros_(block.ls2.gamma)
    assert torch.equal(block(x), x)


def test_patches_come_row_by_row() -> None:
    embed = PatchEmbed(2, 1, channels=1)
    torch.nn.init.constant_(embed.proj.weight, 0.25)
    torch.nn.init.zeros_(embed.proj.bias)
    image = torch.arange(3.0).repeat_interleave(2)[None, :] + 10 * torch.arange(2.0).repeat_interleave(2)[:, None]
    assert embed(image[None, None])[0, :, 0].tolist() == [0, 1, 2, 10, 11, 12]


def test_uneven_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="heads"):
        Attention(10, 3)
