"""TRELLIS' six networks: made without values, filled from their files when needed, kept or dropped as the tier says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from worker.engines.contract import EngineNotice
from worker.engines.trellis.config import TrellisConfig
from worker.engines.trellis.decoders import GaussianDecoder, MeshDecoder
from worker.engines.trellis.latent import LatentFlow
from worker.engines.trellis.structure import StructureDecoder, StructureFlow
from worker.errors import StageError
from worker.nn.checkpoint import Checkpoint, load_into
from worker.nn.dinov2 import DinoV2

log = logging.getLogger("assetize.trellis")
T = TypeVar("T")

IMAGE, STRUCTURE_FLOW, STRUCTURE_DECODER = "image", "structure_flow", "structure_decoder"
LATENT_FLOW, GAUSSIAN_DECODER, MESH_DECODER = "latent_flow", "gaussian_decoder", "mesh_decoder"
PARTS = (IMAGE, STRUCTURE_FLOW, STRUCTURE_DECODER, LATENT_FLOW, GAUSSIAN_DECODER, MESH_DECODER)

BUILD: dict[str, Callable[[TrellisConfig, torch.dtype], nn.Module]] = {
    IMAGE: lambda config, _: DinoV2(config.image),
    STRUCTURE_FLOW: lambda config, dtype: StructureFlow(config.structure_flow, dtype),
    STRUCTURE_DECODER: lambda config, dtype: StructureDecoder(config.structure_decoder, dtype),
    LATENT_FLOW: lambda config, dtype: LatentFlow(config.latent_flow, dtype),
    GAUSSIAN_DECODER: lambda config, dtype: GaussianDecoder(config.decoder, config.gaussians, dtype),
    MESH_DECODER: lambda config, dtype: MeshDecoder(config.decoder, dtype),
}


class Networks:
    """One network at a time, or all at once.

    Args:
        open_file: gives the checkpoint of a part; asked again whenever the part is loaded.
        resident: keep every network on the device once loaded.
    """

    def __init__(
        self, config: TrellisConfig, open_file: Callable[[str], Checkpoint], device: torch.device, resident: bool
    ) -> None:
        self.config, self.device, self.resident = config, device, resident
        # matrices are stored in 16 bits; a CPU computes those slowly
        self.dtype = torch.float32 if device.type == "cpu" else torch.float16
        self._open = open_file
        self._loaded: dict[str, nn.Module] = {}

    def load_all(self) -> None:
        """Load every network where they stay; else only see that each file is what it should be."""
        for part in PARTS:
            with self.use(part):
                pass

    def _load(self, part: str) -> nn.Module:
        with torch.device("meta"):
            module = BUILD[part](self.config, self.dtype)
        load_into(module, self._open(part), device=str(self.device))
        return module

    @contextmanager
    def use(self, part: str) -> Iterator[nn.Module]:
        module = self._loaded.get(part)
        if module is None:
            self.free()  # of the network before, whose memory stays reserved else
            module = self._load(part)
        if self.resident:
            self._loaded[part] = module
        yield module

    def drop(self, *parts: str) -> None:
        """Take networks off the device; they are loaded again when needed."""
        for part in parts or PARTS:
            self._loaded.pop(part, None)
        self.free()

    def free(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def finite(
        self, part: str, compute: Callable[[nn.Module], T], tensors: Callable[[T], Mapping[str, Tensor]],
        notices: list[EngineNotice],
    ) -> T:  # fmt: skip
        """`compute` with this network; once more with wider numbers where the result holds NaN or infinity.

        Some GPUs and some pictures leave the range of 16-bit floats. Raises StageError where that does not help.
        """
        with self.use(part) as module:
            result = compute(module)
            if _all_finite(tensors(result)):
                return result
            wider = self._wider(module)
            if wider is not None:
                log.warning("%s gave values that are not finite; computing it once more in %s", part, wider)
                del result
                module.set_precision(wider)  # type: ignore[operator]
                result = compute(module)
                self._loaded.pop(part, None)  # the next prop starts from the stored numbers again
                if _all_finite(tensors(result)):
                    notices.append(EngineNotice("props.wider_numbers", {}))
                    return result
        raise StageError(
            "props.not_finite",
            "the network gave no finite numbers for it, even in wider precision; try another seed, or check the "
            "weights with “assetize engines check trellis”",
            "即使用更高精度，网络也未能给出有限的数值；请更换种子，或用“assetize engines check trellis”检查权重",
        )

    def _wider(self, module: nn.Module) -> torch.dtype | None:
        """float32 where it fits beside the rest, else bfloat16: the range of float32 in 16 bits."""
        if self.dtype == torch.float32 or not hasattr(module, "set_precision"):
            return None
        size = sum(tensor.numel() * 4 for tensor in module.parameters())
        free = torch.cuda.mem_get_info(self.device)[0] if self.device.type == "cuda" else 2 * size
        return torch.float32 if free > 1.5 * size else torch.bfloat16


def _all_finite(tensors: Mapping[str, Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors.values())
