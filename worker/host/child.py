"""An engine host: a process that runs stages, keeps their engines warm, and ends when its parent does.

`python -m worker.host.child`. Requests come in on stdin, events go out on what was stdout; everything that Python or
native code prints goes to stderr, which the parent keeps as the log.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import logging
import os
import queue
import random
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NoReturn

import psutil

from worker.engines import gpu_memory
from worker.engines.card import EngineCard
from worker.engines.contract import Engine
from worker.engines.faults import is_device_fault, is_out_of_memory
from worker.errors import AssetizeError
from worker.host import messages, torch_state
from worker.metadata import labels
from worker.session.atomic import sha256_of
from worker.session.layout import SessionFolder
from worker.session.model import Session
from worker.session.options import Options

HEARTBEAT_S = 1.0
PROGRESS_S = 0.1  # at most ten progress messages a second


def _die_with_parent() -> NoReturn:
    """Stdin ended: the conductor is gone, however it went. Grandchildren (Blender) go too."""
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
    os._exit(0)


class Channel:
    """The way back to the conductor, shared by the stage's thread and the heartbeat's."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._lock = stream, threading.Lock()

    def send(self, kind: str, **fields: Any) -> None:
        try:
            with self._lock:
                messages.send(self._stream, {"kind": kind, **fields})
        except OSError:
            _die_with_parent()


def _error_fields(fault: BaseException) -> dict[str, Any]:
    """How a failure travels: `type` tells the conductor what to do, the rest what to say."""
    if isinstance(fault, AssetizeError):
        return {"type": type(fault).__name__, **fault.as_dict()}
    if is_out_of_memory(fault):
        return {"type": "OutOfMemory", "text": f"{type(fault).__name__}: {fault}"}
    if isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return {
            "type": "OutputError",
            "code": "output.full",
            "en": "The disk of the output folder is full. Make room, then run the same command: it resumes.",
            "zh": "输出文件夹所在磁盘已满。请清理空间后再次运行同一命令，即可继续。",
            "fix": None,
        }
    if is_device_fault(fault):
        return {"type": "DeviceFault", "text": str(fault).splitlines()[0][:200]}
    if "NotFinite" in {kind.__name__ for kind in type(fault).__mro__}:
        return {"type": "NotFinite", "text": str(fault)}
    return {"type": "Fault", "text": f"{type(fault).__name__}: {fault}"}


def _peak_after_failure() -> float | None:
    try:
        return gpu_memory.stage_peak_mb()
    except Exception:  # after some faults of CUDA every question to it fails too
        return None


def _seed_everything(seed: int) -> None:
    """A warm host must give the bytes a fresh one gives, so every global generator starts anew at each stage."""
    random.seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed % 2**32)
    if cv2 := sys.modules.get("cv2"):
        cv2.setRNGSeed(seed % 2**31)
    torch_state.make_repeatable(seed)


def _hashes(folder: SessionFolder, outputs: list[Path], known: dict[Path, str]) -> dict[str, str | None]:
    """sha256 of a stage's files by their names in the folder; None for a file that cannot be read."""

    def one(path: Path) -> str | None:
        with contextlib.suppress(OSError):
            return known.get(path) or sha256_of(path)
        return None

    paths = sorted(set(outputs))
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(map(folder.relative, paths), pool.map(one, paths), strict=True))


class Host:
    """Runs one stage at a time; engines stay loaded between them."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._engines: dict[tuple[str, str], tuple[str, str, Engine]] = {}

    def _engine(self, card: EngineCard, device: str, tier: str) -> Engine:
        key = (card.stage, card.name)
        loaded = self._engines.pop(key, None)
        if loaded is None or loaded[:2] != (device, tier):
            del loaded  # the other tier's memory goes before the new one's comes
            module, _, name = card.entry.partition(":")
            engine: Engine = getattr(importlib.import_module(module), name)()
            engine.load(device, tier)
            loaded = (device, tier, engine)
        self._engines[key] = loaded
        return loaded[2]

    def run_stage(self, request: dict[str, Any]) -> dict[str, Any]:
        stage = importlib.import_module(request["module"])
        base = importlib.import_module("worker.stages.base")
        gpu_memory.begin_stage()
        engine = card = None
        if request["card"] is not None:
            card = messages.card_from_json(request["card"])
            engine = self._engine(card, request["device"], request["tier"])
        folder = SessionFolder(Path(request["folder"]))
        last = 0.0

        def progress(fraction: float, note: str = "") -> None:
            nonlocal last
            now = time.monotonic()
            if note or now - last >= PROGRESS_S:
                last = now
                self._channel.send("progress", fraction=min(max(float(fraction), 0.0), 1.0), note=note)

        context = base.StageContext(
            folder=folder,
            session=Session.model_validate(request["session"]),
            options=Options.model_validate(request["options"]),
            source=Path(request["source"]),
            progress=progress,
            notices=stage.NOTICES,
            engine=engine,
            card=card,
            safer_tier=request["safer_tier"],
        )
        _seed_everything(context.options.seed)
        result = stage.run(context)
        labelled = labels.label_outputs(context.session, folder, card, result.outputs)
        known = {path: sha256 for path, sha256 in result.sha256.items() if path not in labelled}
        fields = {
            "outputs": _hashes(folder, result.outputs, known),
            "scene": result.scene and result.scene.model_dump(),
            "input": result.input and result.input.model_dump(),
            "quality": result.quality,
            "details": result.details,
            "degraded": bool(result.degraded or context.degraded),
            "warnings": [notice.model_dump() for notice in context.warnings],
            "peak_gpu_memory_mb": gpu_memory.stage_peak_mb(),
        }
        plain: dict[str, Any] = messages.plain(fields)
        return plain

    def answer(self, request: dict[str, Any]) -> None:
        try:
            fields = self.run_stage(request)
        except BaseException as fault:  # a stage's sys.exit() must not end the host either
            logging.getLogger("assetize.host").exception("stage %s", request["stage"])
            self._channel.send("error", peak_gpu_memory_mb=_peak_after_failure(), **_error_fields(fault))
        else:
            self._channel.send("result", **fields)


def _listen(stream: IO[bytes], requests: queue.Queue[dict[str, Any]]) -> None:
    with contextlib.suppress(messages.BrokenStream, OSError):
        while (message := messages.receive(stream)) is not None:
            requests.put(message)
    _die_with_parent()


def _beat(channel: Channel) -> None:
    while True:
        channel.send("heartbeat")
        time.sleep(HEARTBEAT_S)


def main() -> None:
    # Ctrl-C in a terminal reaches the whole group; ending hosts is the conductor's business alone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = Channel(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    incoming = os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # a stage's own children must not drink from our stdin
    os.close(nothing)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    requests: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(incoming, requests), daemon=True).start()
    threading.Thread(target=_beat, args=(channel,), daemon=True).start()
    host = Host(channel)
    while True:
        host.answer(requests.get())


if __name__ == "__main__":
    main()
