"""The licence ledger: what every engine of a session may be used for, and what its licence says of results."""

from __future__ import annotations

from typing import Literal

from worker.engines import registry
from worker.session.model import Model, Session, StageState

Commercial = Literal["yes", "no", "terms"]
_STRICTNESS: dict[Commercial, int] = {"yes": 0, "terms": 1, "no": 2}


class LedgerEntry(Model):
    """One engine as it was used by one stage. `code` and `weights` are SPDX or named terms."""

    stage: str
    engine: str
    engine_version: str | None
    code: str | None
    weights: str | None
    weights_sha256: dict[str, str]
    commercial_use: Commercial | None
    output: str | None
    gated: bool
    url: str | None
    note: str | None


def ledger(session: Session) -> list[LedgerEntry]:
    """Engines of the finished stages in their order. An engine removed since keeps what the session says of it."""
    entries = []
    for stage, record in session.stages.items():
        if record.state != StageState.DONE or record.engine is None:
            continue
        card = next((c for c in registry.all_cards() if (c.stage, c.name) == (stage, record.engine)), None)
        licence = card.licence if card else None
        entries.append(
            LedgerEntry(
                stage=stage,
                engine=record.engine,
                engine_version=record.engine_version,
                code=record.licence_code,
                weights=record.licence_weights,
                weights_sha256=dict(sorted(record.weights_sha256.items())),
                commercial_use=record.commercial_use,
                output=licence.output if licence else None,
                gated=licence.gated if licence else False,
                url=licence.url if licence else None,
                note=(licence.note or None) if licence else None,
            )
        )
    return entries


def strictest(entries: list[LedgerEntry]) -> Commercial:
    """What holds for the whole: the least that any part allows; an unknown licence counts as terms to be read."""
    uses: list[Commercial] = [entry.commercial_use or "terms" for entry in entries]
    return max(uses, key=_STRICTNESS.__getitem__, default="yes")
