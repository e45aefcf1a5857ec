"""Cards of the two official checkpoints that this code runs."""

from __future__ import annotations

from worker.engines.card import EngineCard, Licence, WeightFile

_OUTPUT = "The weights may not be used for commercial work, so neither may what they make."
_HERE = "worker.engines.dust3r"
# Half precision is the GPU's; what a processor or Apple's GPU does there was not tried.
_TIER_DEVICES = {"full": ("cuda",), "low": ("cuda",), "fp32": ("mps", "cpu")}

DUST3R = EngineCard(
    name="dust3r",
    stage="geometry",
    version="1",
    title="DUSt3R (ViT-Large, DPT, 512)",
    licence=Licence(
        code="GPL-3.0-or-later",
        weights="CC BY-NC-SA 4.0, and the terms of all public training datasets and base checkpoints",
        commercial="no",
        output=_OUTPUT,
        url="https://github.com/naver/dust3r",
        note="Naver asks you to agree to CC BY-NC-SA 4.0 and to the terms of every public dataset and checkpoint the "
        "weights were trained from; several of these (ARKitScenes, CO3Dv2, ScanNet++, Waymo) are non-commercial too. "
        "The weights may not be passed on under other terms.",
    ),
    entry=f"{_HERE}.engine:Dust3rEngine",
    weights=(
        WeightFile(
            "model.safetensors",
            2_284_790_056,
            None,
            "hf://naver/DUSt3R_ViTLarge_BaseDecoder_512_dpt/model.safetensors",
            bytes_exact=False,
            manifest=f"{_HERE}.manifest:dust3r",
        ),
    ),
    devices=("cuda", "mps", "cpu"),
    memory_mb={"full": 3500, "low": 2700, "fp32": 3600},
    tier_devices=_TIER_DEVICES,
    timeout_s=1800.0,  # thirty tiles on a slow processor
    priority=10,
    needs=("torch", "safetensors"),
    install_hint="assetize engines install dust3r",
)

MAST3R = EngineCard(
    name="mast3r",
    stage="geometry",
    version="1",
    title="MASt3R (ViT-Large, metric, 512)",
    licence=Licence(
        code="GPL-3.0-or-later",
        weights="CC BY-NC-SA 4.0, and the dataset terms in its CHECKPOINTS_NOTICE",
        commercial="no",
        output=_OUTPUT,
        url="https://github.com/naver/mast3r",
        note="CC BY-NC-SA 4.0 and, in CHECKPOINTS_NOTICE, the terms of each training dataset; Naver calls those of "
        "Niantic's map-free dataset very restrictive. Read that file before you use the weights. "
        "They may not be passed on under other terms.",
    ),
    entry=f"{_HERE}.engine:Mast3rEngine",
    weights=(
        WeightFile(
            "model.safetensors",
            2_754_700_000,
            None,
            "hf://naver/MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric/model.safetensors",
            bytes_exact=False,
            manifest=f"{_HERE}.manifest:mast3r",
        ),
    ),
    devices=("cuda", "mps", "cpu"),
    memory_mb={"full": 3500, "low": 2700, "fp32": 3600},
    tier_devices=_TIER_DEVICES,
    timeout_s=1800.0,  # thirty tiles on a slow processor
    priority=20,
    needs=("torch", "safetensors"),
    install_hint="assetize engines install mast3r",
)

CARDS = (DUST3R, MAST3R)
