"""The parent's side of a host: start it, feed it, watch it, end it with everything it started."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from worker.errors import Cancelled
from worker.host import messages

_POLL_S = 0.05
_SAMPLE_S = 0.2
_IDLE_SHARE = 0.01  # of one core: less than this is the heartbeat's own work


@dataclass(frozen=True)
class Limits:
    """When a running stage counts as hung.

    `silence_s`: no heartbeat, though native code may hold the interpreter for a while. `idle_s`: neither progress nor
    processor time. `total_s` comes from the stage's SPEC.
    """

    total_s: float = 900.0
    silence_s: float = 120.0
    idle_s: float = 90.0


class HostDied(Exception):
    """The process ended in the middle of a stage: `how` says by what ("signal 9 (SIGKILL)", "exit code 3")."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


class HostHung(Exception):
    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


class StageRaised(Exception):
    """The stage raised; `fields` as worker.host.child sends them."""

    def __init__(self, fields: dict[str, Any]) -> None:
        super().__init__(fields.get("en") or fields.get("text"))
        self.fields = fields


@dataclass
class Measured:
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    log: str = ""  # what the stage and native code printed


def describe_exit(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"signal {-code} ({signal.Signals(-code).name})"
        return f"signal {-code}"
    return f"exit code {code}"


class HostProcess:
    """One child process of `worker.host.child`. Not thread-safe: one stage at a time."""

    def __init__(self, name: str, gpu: str | None = None) -> None:
        """`gpu`: the id of the only GPU that it sees; None: it is told nothing of GPUs."""
        self.name, self.gpu = name, gpu
        self.last_used = time.monotonic()
        self.memory_mb = 0  # what its loaded cards say they need of the main memory, and of its GPU
        self.gpu_memory_mb = 0
        handle, path = tempfile.mkstemp(prefix="assetize-host-", suffix=".log")
        self._log_path = Path(path)
        self._log = self._log_path.open("rb")
        try:
            # A session of its own lets us end grandchildren that outlive the host, and keeps Ctrl-C from it.
            self._popen = subprocess.Popen(
                [sys.executable, "-P", "-m", "worker.host.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=handle,
                env=_child_environment(gpu),
                start_new_session=os.name == "posix",
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        finally:
            os.close(handle)
            with contextlib.suppress(OSError):  # Windows unlinks only closed files: then close() does it
                self._log_path.unlink()
        self._process = psutil.Process(self._popen.pid)
        self._descendants: set[psutil.Process] = set()
        self._events: queue.Queue[messages.Message | None] = queue.Queue()
        self._ended = False
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return not self._ended and self._popen.poll() is None

    def _read(self) -> None:
        assert self._popen.stdout is not None
        with contextlib.suppress(messages.BrokenStream, OSError, ValueError):
            while (message := messages.receive(self._popen.stdout)) is not None:
                self._events.put(message)
        self._popen.stdout.close()
        self._events.put(None)

    def _sample(self) -> tuple[float, float]:
        """Resident megabytes and processor seconds of the host and all it started."""
        memory = seconds = 0.0
        with contextlib.suppress(psutil.Error):
            self._descendants.update(self._process.children(recursive=True))
        for process in (self._process, *self._descendants):
            with contextlib.suppress(psutil.Error):
                with process.oneshot():
                    memory += process.memory_info().rss / 2**20
                    times = process.cpu_times()
                seconds += times.user + times.system
        return memory, seconds

    def run(
        self,
        request: dict[str, Any],
        limits: Limits,
        on_progress: Callable[[float, str], None],
        cancel: threading.Event,
        measured: Measured,
    ) -> dict[str, Any]:
        """Run one stage; returns the fields of its result. `measured` is filled however it ends.

        Raises StageRaised, HostDied, HostHung (the host is ended), Cancelled (the host is ended).
        """
        log_start = self._log.seek(0, os.SEEK_END)
        start = time.monotonic()
        try:
            return self._run(request, limits, on_progress, cancel, measured)
        except (HostDied, HostHung, Cancelled):
            self.kill()
            raise
        finally:
            self.last_used = time.monotonic()
            measured.seconds = self.last_used - start
            self._log.seek(log_start)
            measured.log = self._log.read().decode("utf-8", "replace")

    def _run(
        self,
        request: dict[str, Any],
        limits: Limits,
        on_progress: Callable[[float, str], None],
        cancel: threading.Event,
        measured: Measured,
    ) -> dict[str, Any]:
        assert self._popen.stdin is not None
        try:
            messages.send(self._popen.stdin, {"kind": "run", **request})
        except OSError:
            raise HostDied(self._how_it_ended()) from None
        start = heard = moved = time.monotonic()
        sampled = 0.0
        processor = 0.0
        while True:
            if cancel.is_set():
                raise Cancelled
            try:
                event = self._events.get(timeout=_POLL_S)
            except queue.Empty:
                event = {"kind": "none"}
            now = time.monotonic()
            if event is None:
                raise HostDied(self._how_it_ended())
            if event["kind"] != "none":
                heard = now
            if event["kind"] == "result":
                return event
            if event["kind"] == "error":
                raise StageRaised(event)
            if event["kind"] == "progress":
                moved = now
                on_progress(event["fraction"], event["note"])
            if now - sampled >= _SAMPLE_S:
                memory, seconds = self._sample()
                measured.peak_memory_mb = max(measured.peak_memory_mb, memory)
                if seconds - processor > _IDLE_SHARE * max(now - moved, 1.0):
                    processor, moved = seconds, now
                sampled = now
            if now - start > limits.total_s:
                raise HostHung(f"it took more than {limits.total_s:.0f} s")
            if now - heard > limits.silence_s:
                raise HostHung(f"no sign of life for {limits.silence_s:.0f} s")
            if now - moved > limits.idle_s:
                raise HostHung(f"it stood still for {limits.idle_s:.0f} s")

    def _how_it_ended(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return describe_exit(self._popen.wait(timeout=2.0))
        return "a broken message"  # alive but talking nonsense; run() ends it

    def kill(self) -> None:
        """End the host and everything it started, at once."""
        if self._ended:
            return
        self._ended = True
        with contextlib.suppress(psutil.Error):
            self._descendants.update(self._process.children(recursive=True))
        if os.name == "posix":  # the group outlives its leader, so this finds orphans as well
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self._popen.kill()
        for process in self._descendants:
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout=5.0)
        self._close_stdin()
        end = time.monotonic() + 0.5
        while any(_running(process) for process in self._descendants) and time.monotonic() < end:
            time.sleep(0.01)

    def close(self) -> None:
        """Let an idle host go: end of stdin is its sign to leave."""
        if not self._ended:
            self._close_stdin()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(timeout=1.0)
            self.kill()
        self._log.close()
        with contextlib.suppress(OSError):
            self._log_path.unlink(missing_ok=True)

    def _close_stdin(self) -> None:
        with contextlib.suppress(OSError):
            if self._popen.stdin is not None:
                self._popen.stdin.close()


def _running(process: psutil.Process) -> bool:
    """False for a zombie too: in a container nobody may ever reap an orphan."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _child_environment(gpu: str | None) -> dict[str, str]:
    """Ours, plus where `worker` lies, so that the host finds it from any folder; what makes equal bytes; its GPU."""
    home = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(part for part in (home, os.environ.get("PYTHONPATH", "")) if part)
    fixed = {"PYTHONPATH": path, "PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    one = {} if gpu is None else {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": gpu}
    return {**os.environ, **fixed, **one}
