"""What a stage is: one file with `SPEC`, `NOTICES` and `run(ctx)`.

A stage reads and writes the session folder, asks its engine (already loaded by the host) and returns a StageResult.
It knows no engine by name, no process and no HTTP.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.engines.card import EngineCard, EngineStage
from worker.engines.contract import Engine, EngineNotice
from worker.engines.finite import NotFinite, first_not_finite
from worker.errors import StageError
from worker.session.layout import SessionFolder
from worker.session.model import InputRecord, Notice, SceneRecord, Session
from worker.session.options import Options

NoticeTable = dict[str, tuple[str, str]]  # code -> (English template, Chinese template), str.format fields


@dataclass(frozen=True)
class StageSpec:
    """`requires`: stages that must be done; `uses`: stages whose outputs are taken where they are there.

    Write SPEC with literals only: the conductor reads it from the source, so that planning imports no stage.
    `weight` is the share of wall time for the progress bar: typical seconds on 2 cores at 1280x720.
    """

    name: str
    title_en: str
    title_zh: str
    weight: float
    engine: EngineStage | None = None
    requires: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    timeout_s: float = 900.0


@dataclass
class StageResult:
    """`outputs` are files this stage owns. `scene` and `input` (plate) replace the session's; None leaves them.

    `sha256`: of those outputs that were hashed as they were written; the host hashes the others.
    """

    outputs: list[Path] = field(default_factory=list)
    sha256: dict[Path, str] = field(default_factory=dict)
    scene: SceneRecord | None = None
    input: InputRecord | None = None
    quality: dict[str, float | None] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    degraded: bool = False


@dataclass
class StageContext:
    """Everything a stage may touch.

    `session` is a snapshot to read; results go back through StageResult. `source` is the original file (plate only).
    `progress(fraction, note)` reports 0..1 of this stage truthfully.
    """

    folder: SessionFolder
    session: Session
    options: Options
    source: Path
    progress: Callable[[float, str], None]
    notices: NoticeTable
    engine: Engine | None = None
    card: EngineCard | None = None
    safer_tier: bool = False  # the stage will be tried again at a safer memory tier if this one gives no numbers
    warnings: list[Notice] = field(default_factory=list)
    degraded: bool = False
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("assetize.stage"))

    def notice(self, code: str, **params: Any) -> Notice:
        en, zh = self.notices[code]
        return Notice(code=code, en=en.format(**params), zh=zh.format(**params), params=params)

    def warn(self, code: str, *, degraded: bool = False, **params: Any) -> None:
        """Record a remark that session.json, the report and the panel will show."""
        self.warnings.append(self.notice(code, **params))
        self.degraded |= degraded

    def take(self, notices: list[EngineNotice]) -> None:
        for item in notices:
            self.warn(item.code, degraded=item.degraded, **item.params)

    def fail(self, code: str, **params: Any) -> StageError:
        """`raise ctx.fail("scene.no_points")`."""
        note = self.notice(code, **params)
        return StageError(code, note.en, note.zh)

    def done(self, stage: str) -> bool:
        """Whether an earlier stage's outputs are there."""
        record = self.session.stages.get(stage)
        return record is not None and record.state == "done"

    def run_engine(self, request: Any, start: float = 0.0, end: float = 1.0) -> Any:
        """Run this stage's engine, mapping its 0..1 onto start..end of the stage; takes its notices.

        Raises NotFinite (not to be caught: the host hands it on) or, where no safer tier is left, StageError.
        """
        assert self.engine is not None, "stage without an engine asked for one"
        try:
            result = self.engine.run(request, lambda f: self.progress(start + (end - start) * f, ""))
            if (where := first_not_finite(result)) is not None:
                raise NotFinite(where)
        except NotFinite as found:
            if self.safer_tier:
                raise
            raise _not_finite(self.card.name if self.card else "?", str(found)) from None
        self.take(getattr(result, "notices", []))
        return result


def _not_finite(engine: str, where: str) -> StageError:
    return StageError(
        "engine.not_finite",
        f"The engine “{engine}” gave numbers that are none (NaN or infinity in {where}), and there is no safer memory "
        "tier to try. Check its weights with “assetize engines check”, update the GPU's driver, or use another engine.",
        f"引擎“{engine}”的结果含有无效数值（{where} 中有 NaN 或无穷大），且没有更稳妥的内存档可试。"
        "请用“assetize engines check”检查权重，更新显卡驱动，或改用其他引擎。",
    )
