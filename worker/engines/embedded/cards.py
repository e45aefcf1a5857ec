"""Cards of the embedded engines, one a stage."""

from __future__ import annotations

from worker import __version__
from worker.engines.card import EngineCard, EngineStage, Licence, WeightFile

_OURS = Licence(
    code="GPL-3.0-or-later",
    weights=None,
    commercial="yes",
    output="Results belong to whoever made them; the GPL covers the program, not what it makes.",
)


def _card(
    stage: EngineStage,
    title: str,
    entry: str,
    memory_mb: int,
    licence: Licence = _OURS,
    weights: tuple[WeightFile, ...] = (),
) -> EngineCard:
    return EngineCard(
        name="embedded",
        stage=stage,
        version=__version__,
        title=title,
        licence=licence,
        entry=f"worker.engines.embedded.{entry}",
        weights=weights,
        memory_mb={"full": memory_mb, "low": memory_mb // 2},
    )


CARDS = (
    _card(
        "geometry",
        "Small network of our own",
        "learned_geometry:LearnedGeometry",
        1200,
        Licence(
            code="GPL-3.0-or-later",
            weights="Apache-2.0 (ours, on an EfficientNet-Lite2 backbone)",
            commercial="yes",
            output="Apache-2.0 makes no claim on results.",
        ),
        (
            WeightFile(
                "geometry.onnx",
                18_382_353,
                "a241edb355a977b4a0067bd049b17fb4222f5a5c8d6e1aa9b0c3b54bd67d9c4e",
                "shipped",
            ),
        ),
    ),
    _card(
        "harvest",
        "Saliency, tiles, boxes and outlines of our own",
        "harvest:EmbeddedHarvest",
        1200,
        Licence(
            code="GPL-3.0-or-later",
            weights="Apache-2.0 (U2-Net; outline network ours, on an EfficientNet-Lite2 backbone)",
            commercial="yes",
            output="Apache-2.0 makes no claim on results.",
            url="https://github.com/xuebinqin/U-2-Net",
        ),
        (
            WeightFile(
                "u2netp.onnx",
                4_574_861,
                "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
                "shipped",
            ),
            WeightFile(
                "outline.onnx",
                4_980_978,
                "901c4043b93938026f7e302b08f42ca6ee549ffa670492b7c8e17316075d3703",
                "shipped",
            ),
        ),
    ),
    _card("clean_plate", "Classical inpainting", "inpaint:EmbeddedInpaint", 800),
    _card("scene", "Two-layer lift", "splats:EmbeddedSplats", 1500),
    _card("lighting", "Classical probe", "lighting:EmbeddedLighting", 800),
    _card("props", "Front from the picture, back completed", "props:EmbeddedProps", 1000),
)
