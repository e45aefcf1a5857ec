"""Errors a person reads: what happened, what it means, what to do. Tracebacks go to the log, never to the user."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the command line answers with; documented in README.md."""

    OK = 0
    PARTIAL = 1  # the session stands, but at least one stage (or one file of a batch) failed
    BAD_INPUT = 2  # bad arguments, unreadable still, unusable output folder: nothing was written
    ENGINE_MISSING = 3  # a named engine is not installed, does not fit, or its licence is not accepted
    CANCELLED = 4
    INTERNAL = 5  # a fault of ours


class AssetizeError(Exception):
    """A failure told in one sentence or two.

    Args:
        code: stable dotted identifier, e.g. "input.truncated"; clients may key on it.
        en, zh: the sentence in English and in Simplified Chinese.
        fix: optional command or button that mends it (an operator id or a shell command).
    """

    exit_code: ExitCode = ExitCode.INTERNAL
    http_status: int = 500

    def __init__(self, code: str, en: str, zh: str = "", fix: str | None = None) -> None:
        super().__init__(en)
        self.code, self.en, self.zh, self.fix = code, en, zh or en, fix

    def as_dict(self) -> dict[str, str | None]:
        return {"code": self.code, "en": self.en, "zh": self.zh, "fix": self.fix}


class InputError(AssetizeError):
    """The still or the arguments cannot be used; nothing was written."""

    exit_code = ExitCode.BAD_INPUT
    http_status = 422


class OutputError(AssetizeError):
    """The output folder cannot be written (no permission, no space)."""

    exit_code = ExitCode.BAD_INPUT
    http_status = 507


class EngineUnavailable(AssetizeError):
    """An engine was asked for by name and cannot run here."""

    exit_code = ExitCode.ENGINE_MISSING
    http_status = 409


class WeightsError(EngineUnavailable):
    """An engine's weights are missing, damaged, or not those it needs; or they could not be brought."""


class StageError(AssetizeError):
    """One stage failed; the job goes on without what depends on it."""

    exit_code = ExitCode.PARTIAL


class Cancelled(AssetizeError):
    exit_code = ExitCode.CANCELLED
    http_status = 409

    def __init__(self) -> None:
        super().__init__("job.cancelled", "Cancelled. Finished stages are kept; the same command resumes.",
                         "已取消。已完成的阶段会保留，再次运行同一命令即可继续。")
