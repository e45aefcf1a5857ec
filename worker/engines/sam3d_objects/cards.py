"""The card of SAM 3D Objects."""

from __future__ import annotations

from worker.engines.card import EngineCard, Licence

CARDS = (
    EngineCard(
        name="sam3d_objects",
        stage="props",
        version="cf06676",  # the commit whose interface is spoken here
        title="SAM 3D Objects, your own installation",
        licence=Licence(
            code="SAM License",
            weights="SAM License of 19 November 2025",
            commercial="terms",
            output="The SAM License makes no claim on results; publications must acknowledge SAM 3D.",
            gated=True,
            url="https://huggingface.co/facebook/sam-3d-objects",
            note=(
                "Meta's own licence, not an open-source one. Commercial work is allowed; military, nuclear, espionage, "
                "weapons and ITAR uses are not, nor reverse engineering. Meta may change the terms. Ask your lawyer."
            ),
        ),
        entry="worker.engines.sam3d_objects.engine:Sam3dObjects",
        devices=("cuda",),
        memory_mb={"full": 22_000},  # Meta states 32 GB; cards of 24 GB run some props and run out on others
        timeout_s=7200.0,  # a minute or two a prop, and minutes to load
        priority=3,
        own_check="worker.engines.sam3d_objects.settings:missing",
    ),
)
