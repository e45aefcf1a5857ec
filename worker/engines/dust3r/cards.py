"""Cards of the two official checkpoints that this code runs."""

from __future__ import annotations

from worker.engines.card import EngineCard, Licence, WeightFile

_HERE = "worker.engines.dust3r"


def _card(
    name: str, title: str, entry: str, licence: tuple[str, str], size: int, repository: str, priority: int
) -> EngineCard:
    """`licence`: the weights' licence, and what a user must know of it. Both networks need the same of a machine."""
    weights, note = licence
    return EngineCard(
        name=name,
        stage="geometry",
        version="1",
        title=title,
        licence=Licence(
            code="GPL-3.0-or-later",
            weights=weights,
            commercial="no",
            output="The weights may not be used for commercial work, so neither may what they make.",
            url=f"https://github.com/naver/{name}",
            note=note,
        ),
        entry=f"{_HERE}.engine:{entry}",
        weights=(
            WeightFile(
                "model.safetensors",
                size,
                None,
                f"hf://naver/{repository}/model.safetensors",
                bytes_exact=False,
                manifest=f"{_HERE}.manifest:{name}",
            ),
        ),
        devices=("cuda", "mps", "cpu"),
        memory_mb={"full": 3500, "low": 2700, "fp32": 3600},
        # Half precision is the GPU's; what a processor or Apple's GPU does there was not tried.
        tier_devices={"full": ("cuda",), "low": ("cuda",), "fp32": ("mps", "cpu")},
        timeout_s=1800.0,  # thirty tiles on a slow processor
        heeds=("geometry_tiles",),
        priority=priority,
        needs=("torch", "safetensors"),
        install_hint=f"assetize engines install {name}",
    )


DUST3R = _card(
    "dust3r",
    "DUSt3R (ViT-Large, DPT, 512)",
    "Dust3rEngine",
    (
        "CC BY-NC-SA 4.0, and the terms of all public training datasets and base checkpoints",
        "Naver asks you to agree to CC BY-NC-SA 4.0 and to the terms of every public dataset and checkpoint the "
        "weights were trained from; several of these (ARKitScenes, CO3Dv2, ScanNet++, Waymo) are non-commercial too. "
        "The weights may not be passed on under other terms.",
    ),
    2_284_790_056,
    "DUSt3R_ViTLarge_BaseDecoder_512_dpt",
    priority=10,
)
MAST3R = _card(
    "mast3r",
    "MASt3R (ViT-Large, metric, 512)",
    "Mast3rEngine",
    (
        "CC BY-NC-SA 4.0, and the dataset terms in its CHECKPOINTS_NOTICE",
        "CC BY-NC-SA 4.0 and, in CHECKPOINTS_NOTICE, the terms of each training dataset; Naver calls those of "
        "Niantic's map-free dataset very restrictive. Read that file before you use the weights. "
        "They may not be passed on under other terms.",
    ),
    2_754_700_000,
    "MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric",
    priority=20,
)

CARDS = (DUST3R, MAST3R)
