"""Names that may stand in a record: our own UUIDs, a studio's own DOI prefix, and film numbers that check."""

from __future__ import annotations

import re
import uuid

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PREFIX = re.compile(r"10\.\d{4,9}(\.[0-9]+)*")  # ISO 26324: digits and dots, directory indicator 10
_EIDR = re.compile(r"10\.5240/((?:[0-9A-F]{4}-){5})([0-9A-Z])")
_ISAN = re.compile(r"(?:ISAN )?((?:[0-9A-F]{4}-){4})([0-9A-Z])(?:-((?:[0-9A-F]{4}-){2})([0-9A-Z]))?")

FOREIGN_PREFIXES = {
    "10.1000": "the DOI Foundation's own",
    "10.5000": "one that nobody here registered",
    "10.5072": "a retired test prefix",
    "10.5240": "EIDR's, for films",
    "10.5555": "an example prefix",
}


def asset_uuid(session_id: str, asset: str) -> str:
    """UUID5 of session and asset name: the same run names its assets alike on every machine."""
    return str(uuid.uuid5(uuid.UUID(session_id), asset))


def prefix_fault(prefix: str) -> str | None:
    """Why `prefix` cannot be a studio's own DOI prefix; None where it can."""
    if not _PREFIX.fullmatch(prefix):
        return "not of the form 10.NNNN"
    for foreign, why in FOREIGN_PREFIXES.items():
        if prefix == foreign or prefix.startswith(f"{foreign}."):
            return why
    return None


def check_character(digits: str) -> str:
    """ISO 7064 Mod 37,36 over hexadecimal digits, as EIDR (ID Format 1.51) and ISAN (ISO 15706) use it."""
    product = 36
    for character in digits.upper():
        product = ((product + _ALPHABET.index(character)) % 36 or 36) * 2 % 37
    return _ALPHABET[(37 - product) % 36]


def is_eidr(text: str) -> bool:
    """An EIDR content ID, 10.5240/XXXX-XXXX-XXXX-XXXX-XXXX-C, whose check character is right."""
    match = _EIDR.fullmatch(text.upper())
    return match is not None and check_character(match[1].replace("-", "")) == match[2]


def is_isan(text: str) -> bool:
    """An ISAN, with or without its version part, whose check characters are right."""
    match = _ISAN.fullmatch(text.upper())
    if match is None:
        return False
    root = match[1].replace("-", "")
    if check_character(root) != match[2]:
        return False
    return match[3] is None or check_character(root + match[3].replace("-", "")) == match[4]
