"""The extension in a real window: install the zip, press the button, watch, cancel one job, see a scene.

ASSETIZE_BLENDER names the Blender. A wrapper that takes `--exec PROGRAM` (Blender, Xvfb, xdotool and ImageMagick in
one root) lets the test click with a mouse and keep screenshots; without it the operator is called from inside.
Run with: pytest tests/window -m window
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.window
ROOT = Path(__file__).resolve().parents[2]
BLENDER = os.environ.get("ASSETIZE_BLENDER", "")
CAN_CLICK = BLENDER.endswith("-blender")
# Below the tab's head: path field, then the button. Pixels of Blender's default scale, from the region's upper right.
BUTTON_FROM_RIGHT, BUTTON_FROM_TOP = 120, 76

CLICK = """
for i in $(seq 120); do [ -e ready.json ] && break; sleep 1; done; sleep 4
import -window root panel.png
read -r x y w h <<< "$(tr -d '[],' < ready.json)"
xdotool mousemove $((x + w - {right})) $((900 - y - h + {top} - 10)); sleep 0.7
xdotool mousemove $((x + w - {right} + 2)) $((900 - y - h + {top} - 10)); sleep 0.7
xdotool click 1
for i in $(seq 600); do [ -e stop ] && break; sleep 1; [ $((i % 15)) = 0 ] && import -window root progress.png; done
import -window root scene.png
"""


@pytest.fixture
def work() -> Iterator[Path]:
    """Under /tmp, which a wrapper's root shares; screenshots are copied to dist/window."""
    folder = Path(tempfile.mkdtemp(prefix="assetize-window-"))
    (folder / "home").mkdir()
    yield folder
    kept = ROOT / "dist" / "window"
    kept.mkdir(parents=True, exist_ok=True)
    for picture in folder.glob("*.png"):
        shutil.copy(picture, kept)
    shutil.rmtree(folder, ignore_errors=True)


def environment(work: Path) -> dict[str, str]:
    return os.environ | {"HOME": str(work / "home"), "HOME_DIR": str(work / "home")}


def blender(work: Path, *arguments: str) -> str:
    done = subprocess.run([BLENDER, *arguments], env=environment(work) | {"XVFB": "0"}, cwd=work, text=True,
                          capture_output=True, check=False, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wait(until: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not until() and time.monotonic() < end:
        time.sleep(0.5)
    return until()


@pytest.mark.skipif(not BLENDER, reason="ASSETIZE_BLENDER names no Blender")
def test_install_click_watch_cancel_import(work: Path) -> None:
    shutil.copytree(ROOT / "blender_addon", work / "source", ignore=shutil.ignore_patterns("__pycache__"))
    blender(work, "--command", "extension", "build", "--source-dir", str(work / "source"), "--output-dir", str(work))
    package = next(work.glob("assetize-*.zip"))
    assert "Success" in blender(work, "--command", "extension", "validate", str(package))
    blender(work, "--command", "extension", "install-file", "-r", "user_default", "-e", str(package))
    stills = [work / "tabletop.png", work / "street.png"]
    for still in stills:
        shutil.copy(ROOT / "examples" / still.name, still)
    shutil.copy(Path(__file__).with_name("drive.py"), work)
    state = work / "home" / ".local" / "state" / "assetize"
    service = subprocess.Popen([sys.executable, "-m", "worker", "serve", "--state_dir", str(state),
                                "--output_root", str(work / "out")], cwd=ROOT)  # fmt: skip
    window = None
    try:
        line = ["--window-geometry", "0", "0", "1600", "900", "--python", "drive.py"]
        line += ["--", str(work), *map(str, stills)]
        if CAN_CLICK:
            script = f"cd {work}\nblender {' '.join(line)} > blender.log 2>&1 &\nblender=$!\n"
            script += CLICK.replace("{right}", str(BUTTON_FROM_RIGHT)).replace("{top}", str(BUTTON_FROM_TOP))
            (work / "go.sh").write_text(script + "kill $blender\n")
            window = subprocess.Popen([BLENDER, "--exec", "bash", str(work / "go.sh")], env=environment(work), cwd=work)
        else:
            press = work / "press.py"
            press.write_text("import bpy\nbpy.app.timers.register(lambda: bpy.ops.assetize.image() and None, "
                             "first_interval=12)\n")  # fmt: skip
            window = subprocess.Popen([BLENDER, *line[:7], "--python", str(press), *line[7:]], env=environment(work),
                                      cwd=work)  # fmt: skip

        def lines() -> list[dict]:
            path = work / "watch.jsonl"
            return [json.loads(each) for each in path.read_text().splitlines()] if path.is_file() else []

        def imported() -> bool:
            return any("tabletop camera" in each["objects"] for each in lines()[-1:])

        assert wait(imported, 600), lines()[-1:] or (work / "blender.log").read_text()
        seen = lines()
        states = [{name: (state, fraction) for name, state, fraction, _stage in each["jobs"]} for each in seen]
        assert states[-1]["street.png"][0] == "cancelled"
        assert states[-1]["tabletop.png"][0] in ("done", "partial")
        fractions = [each["tabletop.png"][1] for each in states if "tabletop.png" in each]
        assert fractions == sorted(fractions) and len(set(fractions)) > 5  # progress, and never backwards
        assert not any(each["problem"] for each in seen)
        assert seen[-1]["tick_ms"] < 30
        log = work / "blender.log"
        assert not log.is_file() or "Traceback" not in log.read_text()
        time.sleep(5)
    finally:
        (work / "stop").touch()
        if window is not None:
            try:
                window.wait(30)
            except subprocess.TimeoutExpired:
                window.terminate()
        service.terminate()
        service.wait(20)
