"""Stages that do what the still tells them: the "still" of these tests is a JSON file.

{"scratch": FOLDER, "scene": ["sigkill", "ok"]} makes the scene stage die at its first attempt and work at the second.
Attempts are counted in files of the scratch folder, because a killed process remembers nothing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from worker.errors import InputError
from worker.stages.base import StageContext, StageResult

NOTICES = {"fake.bad": ("It went {how}.", "{how}。"), "fake.note": ("A remark.", "备注。")}


def orders(ctx: StageContext) -> dict:
    try:
        return json.loads(ctx.source.read_text("utf-8"))
    except ValueError:
        raise InputError("input.not_a_picture", f"{ctx.source.name} is no picture.", "不是图片。") from None


def act(ctx: StageContext, name: str) -> StageResult:
    asked = orders(ctx)
    scratch = Path(asked["scratch"])
    number = len(list(scratch.glob(f"{name}.attempt-*")))
    (scratch / f"{name}.attempt-{number}").write_text(str(os.getpid()))
    actions = asked.get(name, ["ok"])
    action, _, value = actions[min(number, len(actions) - 1)].partition(":")
    ctx.progress(0.1, "acting")
    if action in {"sigkill", "sigsegv", "sigfpe", "sigstop"}:
        os.kill(os.getpid(), getattr(signal, action.upper()))
        time.sleep(30)
    elif action == "exit":
        os._exit(int(value))
    elif action == "sysexit":
        sys.exit(3)
    elif action == "raise":
        raise ZeroDivisionError("a fault of the stage")
    elif action == "fail":
        raise ctx.fail("fake.bad", how="wrong")
    elif action == "oom":
        raise MemoryError("simulated")
    elif action == "enospc":
        raise OSError(28, "No space left on device")
    elif action == "idle":
        time.sleep(600)
    elif action == "spin":
        while True:
            sum(range(10000))
    elif action == "child":
        (ctx.folder.root / ".part-of-child.txt").touch()
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (scratch / "grandchild").write_text(str(child.pid))
        if value == "die":
            time.sleep(0.6)
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(600)
    elif action == "memory":
        block = bytearray(int(value) << 20)
        block[::4096] = b"x" * len(block[::4096])
        time.sleep(0.6)
    elif action == "noise":
        os.write(1, b"\x00\xff native noise on stdout\n")
        print("python noise on stdout")
        os.system("echo noise of a child")
    elif action == "steps":
        for step in range(int(value)):
            ctx.progress(step / int(value), "")
            time.sleep(0.05)
    elif action == "wait":
        while not (scratch / "go").exists():
            ctx.progress(0.5, "")
            time.sleep(0.02)
    engine = ctx.run_engine({"name": name, "action": action, "value": value}) if ctx.engine is not None else None
    if action == "warn":
        ctx.warn("fake.note", degraded=True)
    out = ctx.folder.root / name / "out.txt"
    out.parent.mkdir(exist_ok=True)
    text = f"{name} of {ctx.session.input.sha256} seed {ctx.options.seed} engine {engine and engine['text']}\n"
    if action == "ghost":
        return StageResult(outputs=[out.with_name("ghost.txt")])
    out.write_text(text)
    if action == "odd":  # as numpy gives them
        import numpy as np

        return StageResult(outputs=[out], quality={"psnr_db": float("nan")}, details={"closed": np.bool_(True)})
    if action == "unspeakable":
        return StageResult(outputs=[out], details={"object": object()})
    if action == "badscene":
        from worker.session.model import SceneRecord

        scene = SceneRecord(
            width=4, height=3, intrinsics=((1, 0, 2), (0, 1, 1.5), (0, 0, 1)),
            hfov_deg=float("nan"), hfov_source="assumed",
            unit="relative", median_depth=1.0, scale_basis="none", gravity=(0, 1, 0), gravity_source="assumed",
        )  # fmt: skip
        return StageResult(outputs=[out], scene=scene)
    details = {"host": os.getpid(), "loads": engine["loads"] if engine else 0}
    return StageResult(outputs=[out], details=details, quality={"size": float(len(text))})
