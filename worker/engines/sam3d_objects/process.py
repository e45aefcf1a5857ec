"""Our side of the child that runs SAM 3D Objects: start it, ask it, and say in a sentence how it failed."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from worker.engines.faults import told_device_fault, told_out_of_memory
from worker.engines.sam3d_objects.settings import Settings, environment, missing
from worker.errors import StageError

CHILD = Path(__file__).with_name("child.py")
MOST_CRASHES = 2  # in a row; loading takes minutes, so a child that always dies is not started for every prop
LOAD_TIMEOUT_S = 900.0  # a dozen gigabytes of weights from a slow disk


class Child:
    """Started by the first request, kept warm, started anew after a crash."""

    def __init__(self, settings: Settings, load_timeout_s: float = LOAD_TIMEOUT_S) -> None:
        self._settings, self._load_timeout_s = settings, load_timeout_s
        self._crashes = 0
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def start(self) -> None:
        """Returns once the models are loaded. Raises StageError."""
        if self._process is not None and self._process.poll() is None:
            return
        if self._crashes >= MOST_CRASHES:
            raise StageError(
                "props.sam3d_given_up",
                f"SAM 3D Objects ended by itself {self._crashes} times in a row and was not started again",
                f"SAM 3D Objects 已连续自行退出 {self._crashes} 次，不再启动",
            )
        here = self._settings
        if here.checkout is None or here.python is None or here.config is None:
            raise _not_configured()
        self._answers = queue.Queue()
        try:
            self._process = subprocess.Popen(
                [str(here.python), str(CHILD), str(here.checkout), str(here.config)],
                cwd=here.checkout, env=environment(here.python), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                text=True, encoding="utf-8", creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )  # fmt: skip
        except OSError as fault:
            raise StageError(
                "props.sam3d_not_started",
                f"SAM 3D Objects cannot be started with {here.python} ({fault.strerror or fault}); "
                "`assetize doctor` checks the settings",
                f"无法用 {here.python} 启动 SAM 3D Objects（{fault.strerror or fault}）；"
                "请用 `assetize doctor` 检查设置",
            ) from None
        threading.Thread(target=self._read, args=(self._process, self._answers), daemon=True).start()
        self._receive(self._load_timeout_s)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One answer. Raises StageError where it refuses, crashes or takes too long; MemoryError where it runs out."""
        self.start()
        assert self._process is not None and self._process.stdin is not None
        with contextlib.suppress(OSError):  # a child that is gone is told of by the missing answer
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        return self._receive(self._settings.timeout_s)

    @staticmethod
    def _read(process: subprocess.Popen[str], answers: queue.Queue[dict[str, Any] | None]) -> None:
        assert process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            for line in process.stdout:
                answers.put(json.loads(line))
        answers.put(None)

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        assert self._process is not None
        started = time.monotonic()
        try:
            answer = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            self.end()
            raise StageError(
                "props.sam3d_timeout",
                f"SAM 3D Objects gave no answer for {time.monotonic() - started:.0f} s and was ended; "
                "ASSETIZE_SAM3D_TIMEOUT_S allows it more",
                f"SAM 3D Objects 在 {time.monotonic() - started:.0f} 秒内无响应，已被终止；"
                "可用 ASSETIZE_SAM3D_TIMEOUT_S 延长时间",
            ) from None
        if answer is None:
            code = self._process.wait()
            self._crashes += 1
            raise StageError(
                "props.sam3d_crashed",
                f"SAM 3D Objects' process ended by itself (exit code {code}); the stage's log has what it printed",
                f"SAM 3D Objects 的进程自行退出（退出码 {code}）；其输出见该阶段的日志",
            )
        if answer["ok"]:
            self._crashes = self._crashes if answer.get("loaded") else 0
            return answer
        text = f"{answer['kind']}: {answer['text']}"
        if told_out_of_memory({answer["kind"]}, text):
            self.end()
            raise MemoryError(text)
        if told_device_fault({answer["kind"]}, text):  # the next prop needs a process whose GPU still answers
            self.end()
            self._crashes += 1
        raise StageError(
            "props.sam3d_refused",
            f"SAM 3D Objects failed ({text}); the log of the stage tells where",
            f"SAM 3D Objects 运行失败（{text}）；详情见该阶段的日志",
        )

    def end(self) -> None:
        """End it and what it started."""
        if self._process is None:
            return
        with contextlib.suppress(psutil.Error):
            mine = psutil.Process(self._process.pid)
            for process in [*mine.children(recursive=True), mine]:
                with contextlib.suppress(psutil.Error):
                    process.kill()
        self._process.wait()
        self._process = None


def _not_configured() -> StageError:
    lacking = missing()
    return StageError(
        "props.sam3d_not_configured",
        f"SAM 3D Objects is not set up: missing {'; '.join(lacking)}. See docs/engines.md",
        f"SAM 3D Objects 尚未配置：缺少 {'；'.join(lacking)}。见 docs/engines.md",
    )
