"""Runs a TRELLIS checkout's networks as a black box, without the compiled packages it asks for.

spconv is stood in for by a sorted-key search and one product for each of the 27 offsets; flash-attn by PyTorch's own
attention; the two representation classes by recorders of what the decoders hand them. Two files of the checkout carry
a non-commercial licence; they are neither opened nor run here.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SparseConvTensor:
    """spconv's tensor as far as TRELLIS touches it."""

    def __init__(self, features: Tensor, indices: Tensor, spatial_shape: Any, batch_size: int, *rest: Any) -> None:
        self._features, self.indices = features, indices
        self.spatial_shape, self.batch_size = spatial_shape, batch_size
        self.grid, self.voxel_num, self.indice_dict = (*rest, None, None, None)[:3]
        if self.indice_dict is None:
            self.indice_dict = {}
        self.benchmark, self.benchmark_record, self.thrust_allocator = False, {}, None
        self._timer = self.force_algo = self.int8_scale = None

    @property
    def features(self) -> Tensor:
        return self._features

    def replace_feature(self, features: Tensor) -> SparseConvTensor:
        rest = (self.grid, self.voxel_num, self.indice_dict)
        return SparseConvTensor(features, self.indices, self.spatial_shape, self.batch_size, *rest)


class SubMConv3d(nn.Module):
    """Submanifold convolution, weights (Cout, k, k, k, Cin); sums the offsets in 32 bits."""

    def __init__(self, cin: int, cout: int, kernel: int, bias: bool = True, **_: Any) -> None:
        super().__init__()
        self.out_channels = cout
        self.weight = nn.Parameter(torch.empty(cout, kernel, kernel, kernel, cin))
        self.bias = nn.Parameter(torch.empty(cout)) if bias else None

    def forward(self, x: SparseConvTensor) -> SparseConvTensor:
        kernel = self.weight.shape[1]
        batch, *place = x.indices.long().unbind(1)
        if kernel == 1:
            return x.replace_feature(F.linear(x.features, self.weight.flatten(1), self.bias))

        def key(step: tuple[int, ...]) -> Tensor:
            a, b, c = (axis + by + 1 for axis, by in zip(place, step, strict=True))
            return ((batch * 2048 + a) * 2048 + b) * 2048 + c

        ordered, order = key((0, 0, 0)).sort()
        total = torch.zeros(len(x.features), self.out_channels, device=x.features.device)
        steps = [(a, b, c) for a in range(kernel) for b in range(kernel) for c in range(kernel)]
        for a, b, c in steps:
            wanted = key((a - 1, b - 1, c - 1))
            found = torch.searchsorted(ordered, wanted).clamp(max=len(ordered) - 1)
            here = (ordered[found] == wanted).nonzero()[:, 0]
            total[here] += (x.features[order[found[here]]] @ self.weight[:, a, b, c].T).float()
        return x.replace_feature((total + self.bias.float()).to(x.features.dtype))


def _segments(cumulative: Tensor) -> list[int]:
    return cumulative.diff().tolist()


def _attend(q: Tensor, k: Tensor, v: Tensor, q_lengths: list[int], kv_lengths: list[int]) -> Tensor:
    parts = zip(q.split(q_lengths), k.split(kv_lengths), v.split(kv_lengths), strict=True)
    found = [F.scaled_dot_product_attention(*(one.transpose(0, 1)[None] for one in three)) for three in parts]
    return torch.cat([one[0].transpose(0, 1) for one in found])


def _flash_attention() -> types.ModuleType:
    module = types.ModuleType("flash_attn")
    module.flash_attn_varlen_qkvpacked_func = lambda qkv, lengths, _: _attend(  # type: ignore[attr-defined]
        *qkv.unbind(1), _segments(lengths), _segments(lengths)
    )
    module.flash_attn_varlen_kvpacked_func = lambda q, kv, q_cum, kv_cum, *_: _attend(  # type: ignore[attr-defined]
        q, *kv.unbind(1), _segments(q_cum), _segments(kv_cum)
    )
    module.flash_attn_varlen_func = lambda q, k, v, q_cum, kv_cum, *_: _attend(  # type: ignore[attr-defined]
        q, k, v, _segments(q_cum), _segments(kv_cum)
    )
    module.flash_attn_qkvpacked_func = lambda qkv: F.scaled_dot_product_attention(  # type: ignore[attr-defined]
        *(one.transpose(1, 2) for one in qkv.unbind(2))
    ).transpose(1, 2)
    return module


class GaussianRecorder:
    """Takes the fields that the decoder sets."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings


class MeshRecorder:
    """In the place of FlexiCubes: gives back what the decoder hands over."""

    feats_channels = 101

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __call__(self, cubes: Any, training: bool = False) -> Any:
        return cubes


class _Edict(dict[str, Any]):
    def __getattr__(self, name: str) -> Any:
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def _package(name: str, path: Path | None = None, **content: Any) -> None:
    module = types.ModuleType(name)
    if path is not None:
        module.__path__ = [str(path)]
    vars(module).update(content)
    sys.modules[name] = module


@cache
def load_upstream(checkout: Path) -> types.SimpleNamespace:
    """`models` and `samplers` of a TRELLIS checkout (microsoft/TRELLIS at 6b0d647)."""
    os.environ.update(ATTN_BACKEND="sdpa", SPARSE_BACKEND="spconv")
    algorithms = types.SimpleNamespace(Native=0, MaskImplicitGemm=1)
    content = {"SparseConvTensor": SparseConvTensor, "SubMConv3d": SubMConv3d, "ConvAlgo": algorithms}
    _package("spconv", Path("/nowhere"))
    _package("spconv.pytorch", **content)
    sys.modules["flash_attn"] = _flash_attention()
    if importlib.util.find_spec("easydict") is None:
        _package("easydict", EasyDict=_Edict)
    if importlib.util.find_spec("tqdm") is None:
        _package("tqdm", tqdm=lambda what, **_: what)
    root = checkout / "trellis"
    _package("trellis", root)
    _package("trellis.representations", Gaussian=GaussianRecorder, Strivec=object, MeshExtractResult=object)
    _package("trellis.representations.mesh", SparseFeatures2Mesh=MeshRecorder)
    _package("trellis.pipelines", root / "pipelines")
    return types.SimpleNamespace(
        models=importlib.import_module("trellis.models"),
        sparse=importlib.import_module("trellis.modules.sparse"),
        samplers=importlib.import_module("trellis.pipelines.samplers"),
    )


def load_dinov2(checkout: Path) -> Any:
    """`dinov2.models.vision_transformer` of a DINOv2 checkout (facebookresearch/dinov2 at b8931f7)."""
    os.environ["XFORMERS_DISABLED"] = "1"
    sys.path.insert(0, str(checkout))
    return importlib.import_module("dinov2.models.vision_transformer")


@contextmanager
def uninitialised() -> Iterator[None]:
    """Networks made inside get memory but no values: every value is put in later, and drawing them takes minutes."""
    kinds = ("xavier_uniform", "kaiming_uniform", "normal", "constant", "uniform", "trunc_normal", "zeros", "ones")
    names = [f"{kind}_" for kind in kinds]
    kept = {name: getattr(nn.init, name) for name in names}
    try:
        for name in names:
            setattr(nn.init, name, lambda tensor, *_, **__: tensor)
        yield
    finally:
        for name, function in kept.items():
            setattr(nn.init, name, function)
