"""What conductor and host say to each other: JSON objects, each behind its length as four bytes, big-endian.

Files carry the data (the session folder); these messages stay small. JSON, not pickle: a broken host can garble a
message but cannot run code in its parent.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import asdict
from typing import IO, Any

from worker.engines.card import EngineCard, Licence, WeightFile

Message = dict[str, Any]
_LENGTH = struct.Struct(">I")
MAX_BYTES = 64 << 20


class BrokenStream(Exception):
    """The other side sent something that is no message."""


def send(stream: IO[bytes], message: Message) -> None:
    body = json.dumps(message).encode("ascii")  # escapes carry file names that are no valid Unicode
    stream.write(_LENGTH.pack(len(body)) + body)
    stream.flush()


def receive(stream: IO[bytes]) -> Message | None:
    """The next message; None at the end of the stream. Raises BrokenStream on anything else."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > MAX_BYTES:
        raise BrokenStream(f"a message of {length} bytes")
    body = stream.read(length)
    if len(body) < length:
        return None
    try:
        message = json.loads(body)
    except ValueError as fault:
        raise BrokenStream(str(fault)) from fault
    if not isinstance(message, dict) or "kind" not in message:
        raise BrokenStream("a message without a kind")
    return message


def plain(value: Any) -> Any:
    """`value` as JSON knows it: numpy scalars become Python's, what is not finite becomes null.

    Raises TypeError for what has no plain form.
    """
    if isinstance(value, bool | int | str | None):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if hasattr(value, "tolist"):  # numpy, without importing it
        return plain(value.tolist())
    raise TypeError(f"a stage's result cannot hold a {type(value).__name__}")


def card_to_json(card: EngineCard) -> Message:
    return asdict(card)


def card_from_json(value: Message) -> EngineCard:
    return EngineCard(
        **{
            **value,
            "licence": Licence(**value["licence"]),
            "weights": tuple(WeightFile(**file) for file in value["weights"]),
            "devices": tuple(value["devices"]),
            "tier_devices": {tier: tuple(devices) for tier, devices in value["tier_devices"].items()},
            "named_only": tuple(value["named_only"]),
            "heeds": tuple(value["heeds"]),
            "needs": tuple(value["needs"]),
        }
    )
