# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors an artist reads: a sentence in two languages, and the button that mends it where one exists."""

from __future__ import annotations


class AddonError(Exception):
    """`code` is stable; `fix` is the id of an operator that mends it, or None."""

    exit_code = 5

    def __init__(self, code: str, en: str, zh: str = "", fix: str | None = None) -> None:
        super().__init__(en)
        self.code, self.en, self.zh, self.fix = code, en, zh or en, fix

    def message(self, language: str = "en") -> str:
        return self.zh if language.startswith("zh") else self.en


class SessionError(AddonError):
    """The session folder cannot be read, or holds no scene to build."""

    exit_code = 2


class FormatError(AddonError):
    """A file of the session is not what its name says."""

    exit_code = 2


class WorkerMissing(AddonError):
    """No worker is installed, or none answers where one was announced."""

    exit_code = 3


class WorkerRefused(AddonError):
    """The worker answered, and said no: `status` is its HTTP status."""

    exit_code = 1

    def __init__(self, code: str, en: str, zh: str = "", fix: str | None = None, status: int = 0) -> None:
        super().__init__(code, en, zh, fix)
        self.status = status


UNEXPECTED = (KeyError, TypeError, ValueError, AttributeError)
"""What reading an answer of another shape raises. A timer that raised would never fire again."""


def unexpected(fault: Exception) -> AddonError:
    return AddonError(
        "worker.answer",
        f"The worker's answer makes no sense here ({type(fault).__name__}: {fault}). Update the older of worker and "
        "add-on, then start the worker again.",
        f"无法理解工作进程的答复（{type(fault).__name__}: {fault}）。"
        "请更新工作进程与插件中较旧的一方，然后重启工作进程。",
    )
