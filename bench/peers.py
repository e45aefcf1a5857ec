"""What others report on their own benches, and whether our figures can stand beside theirs."""

from __future__ import annotations

from typing import NamedTuple


class Peer(NamedTuple):
    """One published figure; `ours` names our figure of the same kind, `comparable` says in words how far it carries."""

    system: str
    figure: str
    value: str
    ours: str
    comparable: str


PEERS = [
    Peer("MiDaS v2.1 small", "AbsRel on ETH3D (scale+shift)", "0.134", "AbsRel (scale+shift)",
         "same protocol, other pictures (real photographs): the order of size only"),
    Peer("MiDaS v2.1 small", "delta<1.25 on NYU (scale+shift)", "0.866", "delta<1.25 (scale+shift)",
         "same protocol, other pictures: the order of size only"),
    Peer("MIDI-3D", "IoU-B on 3D-FRONT", "0.518", "prop bbox IoU",
         "partly: theirs are axis-aligned boxes in a normalised room without a camera, ours oriented boxes in the "
         "camera's frame after one scale for the scene; ours is the harder one"),
    Peer("MIDI-3D", "F-score on 3D-FRONT objects (tau 0.1)", "53.58 %", "prop F-score",
         "no: theirs aligns and normalises each object, ours leaves it where it was placed (tolerance "
         "5 % of the diagonal)"),
    Peer("Gen3DSR", "IoU-B on 3D-FRONT", "0.363", "prop bbox IoU", "as MIDI-3D"),
    Peer("3D-RE-GEN", "IoU on its synthetic set", "0.63", "prop bbox IoU",
         "the closest: objects placed in the still's frame from one picture, synthetic truth; other scenes"),
    Peer("3D-RE-GEN", "F on its synthetic set", "0.85", "prop F-score", "unclear: its tolerance is not known to us"),
    Peer("SAM 3D Objects", "3D IoU on SA-3DAO", "0.4254", "prop bbox IoU",
         "partly: real photographs with artists' models, poses in the camera's frame"),
    Peer("SAM 3D Objects", "3D IoU on ADT", "0.4970", "prop bbox IoU",
         "partly: real rooms, poses in the camera's frame"),
    Peer("TRELLIS + Megapose", "3D IoU on SA-3DAO", "0.2449", "prop bbox IoU", "as SAM 3D Objects: the level to beat"),
    Peer("HY3D-2.0 + FoundationPose", "3D IoU on SA-3DAO", "0.2937", "prop bbox IoU", "as SAM 3D Objects: the aim"),
    Peer("SAM 3D Objects", "ICP rotation error on SA-3DAO", "20.8 deg", "prop yaw error, deg",
         "no: theirs is the full rotation after registration, ours the heading alone before any"),
    Peer("HunyuanWorld 1.0", "BRISQUE, image to world", "36.2", "",
         "no: no-reference looks, ours compares with true views"),
]
