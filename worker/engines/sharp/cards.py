"""SHARP's card. Imports no torch: cards are read wherever engines are listed."""

from __future__ import annotations

from worker.engines.card import EngineCard, Licence, WeightFile

NAME = "sharp"
WEIGHTS = WeightFile(
    name="sharp_2572gikvuh.pt",
    bytes=2_809_220_676,
    bytes_exact=False,
    sha256=None,  # Apple publishes none
    source="https://ml-site.cdn-apple.com/models/sharp/sharp_2572gikvuh.pt",
    manifest="worker.engines.sharp.manifest:official",
)
CARDS = (
    EngineCard(
        name=NAME,
        stage="scene",
        version="1",
        title="SHARP (Apple), own implementation",
        licence=Licence(
            code="GPL-3.0-or-later (ours, from the paper; Apple's own code is not used)",
            weights="apple-amlr (Apple Machine Learning Research Model License)",
            commercial="no",
            output="The licence claims no ownership of results, but running the model is allowed for non-commercial "
            "research only: treat results as not for commercial use.",
            gated=True,
            url="https://github.com/apple/ml-sharp/blob/main/LICENSE_MODEL",
            note="Exclusively for research purposes: non-commercial scientific research and academic development. "
            "Commercial exploitation, product development and use in any commercial product or service are excluded.",
        ),
        entry="worker.engines.sharp.engine:Sharp",
        weights=(WEIGHTS,),
        devices=("cuda", "mps", "cpu"),
        # On a GPU what was held from the driver on an H100 (4.35 and 3.79 GiB) and the driver's share; 2.82 GiB of it
        # were in use at most, in either tier. On a processor float32 weights and maps, by arithmetic.
        memory_mb={"full": 5000, "low": 4400, "cpu": 7000},
        tier_devices={"full": ("cuda", "mps"), "low": ("cuda", "mps"), "cpu": ("cpu",)},
        priority=10,
        needs=("torch",),
        install_hint="assetize engines install sharp",
    ),
)
