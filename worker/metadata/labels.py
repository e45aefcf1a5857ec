"""AI-content labels: GB 45438-2025's implicit label and IPTC's digital source type, inside the files themselves.

`label_outputs` runs once for every stage, in its host, after the stage wrote its files and before they are hashed.
So every engine's results leave labelled, whatever their stage does, and no file changes after its final hash is taken.
A stage with a large PLY asks `ply_comments` beforehand: a file that bears its label already is not written again.
Where no standard names a place (EXR, NPZ, JSON), the record beside the file is the label.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from worker.engines.card import EngineCard
from worker.formats.exif import AIGC_NAMESPACE, DIGITAL_SOURCE_TYPES
from worker.metadata import containers
from worker.metadata.identifiers import asset_uuid
from worker.session.layout import SessionFolder
from worker.session.model import Session

PRODUCER = "Assetize (run locally)"  # until a studio names itself; a plain name, never an invented provider code
DELIVERY = "delivery"
_IPTC_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_DC = "http://purl.org/dc/elements/1.1/"
_OWN = "AIGC"  # how our PLY comments begin


@dataclass(frozen=True)
class Label:
    """`source` is the label that the input still carried, word for word: nobody may drop it."""

    identifier: str
    producer: str
    source_type: str
    source: str | None = None

    @property
    def aigc(self) -> dict[str, str]:
        """GB 45438-2025 Annex E: these keys in this order, all values strings."""
        return {
            "Label": "1",
            "ContentProducer": self.producer,
            "ProduceID": self.identifier,
            "ReservedCode1": "",
            "ContentPropagator": "",
            "PropagateID": "",
            "ReservedCode2": "",
        }

    @property
    def text(self) -> str:
        return json.dumps(self.aigc, ensure_ascii=False, separators=(",", ":"))

    def xmp(self) -> str:
        attributes = {
            "xmlns:TC260": AIGC_NAMESPACE,
            "xmlns:Iptc4xmpExt": _IPTC_EXT,
            "xmlns:dc": _DC,
            "TC260:AIGC": self.text,
            "Iptc4xmpExt:DigitalSourceType": DIGITAL_SOURCE_TYPES + self.source_type,
            "dc:identifier": f"urn:uuid:{self.identifier}",
            **({"dc:source": f"AIGC {self.source}"} if self.source else {}),
        }
        listed = " ".join(f"{name}={quoteattr(value)}" for name, value in attributes.items())
        return (
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
            '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            f'<rdf:Description rdf:about="" {listed}/></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
        )

    def xmp_json_ld(self) -> dict[str, Any]:
        return {
            "@context": {"TC260": AIGC_NAMESPACE, "Iptc4xmpExt": _IPTC_EXT, "dc": _DC},
            "@id": "",
            "TC260:AIGC": self.text,
            "Iptc4xmpExt:DigitalSourceType": DIGITAL_SOURCE_TYPES + self.source_type,
            "dc:identifier": f"urn:uuid:{self.identifier}",
            **({"dc:source": f"AIGC {self.source}"} if self.source else {}),
        }

    def extras(self) -> dict[str, Any]:
        return {
            "AIGC": self.aigc,
            "digitalSourceType": DIGITAL_SOURCE_TYPES + self.source_type,
            "identifier": f"urn:uuid:{self.identifier}",
            **({"sourceAIGC": self.source} if self.source else {}),
        }

    def ply_comments(self) -> list[str]:
        """ASCII only: readers refuse anything else in a PLY header."""
        comments = [f"{_OWN} {json.dumps(self.aigc, separators=(',', ':'))}"]
        comments.append(f"{_OWN}-identifier urn:uuid:{self.identifier}")
        comments.append(f"{_OWN}-digitalSourceType {DIGITAL_SOURCE_TYPES}{self.source_type}")
        if self.source:
            comments.append(f"{_OWN}-source {json.dumps(self.source)}")
        return comments


def label_for(session: Session, asset: str, trained: bool, generated: bool = False) -> Label:
    """`asset` is a prop id or DELIVERY. `trained`: a network took part; `generated`: shape or picture is its invention.

    Without a network the results are still computed, not photographed: "compositeSynthetic". The implicit label says
    "1" all the same, which is the safe reading of the rules.
    """
    studio = session.options.get("studio") or {}
    kind = "compositeSynthetic"
    if trained:
        kind = "trainedAlgorithmicMedia" if generated else "compositeWithTrainedAlgorithmicMedia"
    return Label(
        identifier=asset_uuid(session.session_id, asset),
        producer=studio.get("producer") or PRODUCER,
        source_type=kind,
        source=session.input.aigc_label,
    )


def label_outputs(
    session: Session, folder: SessionFolder, card: EngineCard | None, outputs: Iterable[Path]
) -> list[Path]:
    """Label those of a stage's files that are results (not masks, not previews of data) and can hold a label.

    Returns those that changed by it: all but the PLY files that bore their label already.
    """
    changed = []
    for path in outputs:
        label = _label_of(session, folder, card, path)
        if label is None or not path.is_file():
            continue
        if path.suffix == ".ply" and not containers.put_comments_into_ply(path, label.ply_comments(), _OWN):
            continue
        if path.suffix == ".png":
            containers.put_xmp_into_png(path, label.xmp())
        elif path.suffix == ".glb":
            containers.put_into_glb(path, label.extras(), label.xmp_json_ld())
        changed.append(path)
    return changed


def ply_comments(session: Session, folder: SessionFolder, card: EngineCard | None, path: Path) -> list[str]:
    """What `label_outputs` will want at the head of the PLY that is about to be written to `path`."""
    label = _label_of(session, folder, card, path)
    return [] if label is None else label.ply_comments()


def _label_of(session: Session, folder: SessionFolder, card: EngineCard | None, path: Path) -> Label | None:
    asset = labelled_asset(folder, path)
    if asset is None:
        return None
    trained = uses_network(card) or any(record.licence_weights for record in session.stages.values())
    generated = path.parent == folder.prop_glb("x").parent
    return label_for(session, asset, trained, generated and uses_network(card))


def uses_network(card: EngineCard | None) -> bool:
    return card is not None and card.licence.weights is not None


def labelled_asset(folder: SessionFolder, path: Path) -> str | None:
    """The asset that a file belongs to where it is a labelled result; None for the rest."""
    if path in (folder.clean, folder.scene_ply, folder.points, folder.scene_preview, folder.probe_preview):
        return DELIVERY
    if path == folder.relight_balls:
        return DELIVERY
    if path.parent == folder.prop_glb("x").parent and path.suffix in (".glb", ".ply"):
        return path.stem
    if path.parent == folder.prop_relit("x").parent and path.name.endswith("_relit.png"):
        return path.name.removesuffix("_relit.png")
    return None
