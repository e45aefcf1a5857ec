"""A real Blender: ASSETIZE_BLENDER names it. A wrapper `...-blender` may run it in a root of its own, with Xvfb."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLENDER = os.environ.get("ASSETIZE_BLENDER", "")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent and not BLENDER:
            item.add_marker(pytest.mark.skip(reason="ASSETIZE_BLENDER names no Blender"))


class Window:
    """Blender in a window of 1600 x 900, driven from outside by drive.py."""

    def __init__(self, real: Real, *arguments: str) -> None:
        self.real, self.work, self._asked = real, real.work, 0
        for old in [*self.work.glob("ask-*"), *self.work.glob("answer-*"), *self.work.glob("x-*"), self.work / "stop"]:
            old.unlink(missing_ok=True)
        (self.work / "ready.json").unlink(missing_ok=True)
        shutil.copy(Path(__file__).with_name("drive.py"), self.work)
        line = [*arguments, "--window-geometry", "0", "0", "1600", "900", "--python", "drive.py", "--", str(self.work)]
        if real.can_click:
            words = " ".join(map(shlex.quote, line))
            (self.work / "go.sh").write_text(GO.replace("{blender}", f"blender {words}"))
            line = ["--exec", "bash", str(self.work / "go.sh")]
        self._process = subprocess.Popen([BLENDER, *line], env=real.environment | {"XVFB": "1"}, cwd=self.work)
        assert real.wait((self.work / "ready.json").exists, 120), self.log
        self.ask("None")

    @property
    def log(self) -> str:
        path = self.work / "blender.log"
        return path.read_text(errors="replace") if path.is_file() else ""

    @property
    def seen(self) -> list[dict[str, Any]]:
        path = self.work / "watch.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def ask(self, python: str, seconds: float = 90) -> Any:
        """Run Python on Blender's main thread; the value of its last expression."""
        self._asked += 1
        part = self.work / "part.py"
        part.write_text(python, encoding="utf-8")
        part.replace(self.work / f"ask-{self._asked:03d}.py")
        path = self.work / f"answer-{self._asked:03d}.json"
        assert self.real.wait(path.exists, seconds), f"no answer to {python!r}\n{self.log}"
        said = json.loads(path.read_text(encoding="utf-8"))
        assert "error" not in said, said["error"]
        return said["value"]

    def x(self, command: str) -> None:
        """Run a shell command inside the window's display: xdotool, import."""
        assert self.real.can_click
        path = self.work / f"x-{time.monotonic_ns()}.sh"
        part = path.with_suffix(".part")
        part.write_text(command)
        part.replace(path)
        assert self.real.wait(path.with_suffix(".done").exists, 60), command

    def shot(self, name: str) -> None:
        if self.real.can_click:
            self.x(f"import -window root {name}.png")

    def click(self, x: float, y: float) -> None:
        """Screen position, counted from the upper left corner."""
        self.x(f"xdotool mousemove {x:.0f} {y:.0f}; sleep 0.7; xdotool mousemove {x + 2:.0f} {y:.0f}; sleep 0.7; "
               "xdotool click 1")  # fmt: skip

    def place(self, region: str) -> tuple[int, int, int, int]:
        """(left, top, width, height) on the screen; Blender counts from below, its window stands under a title bar."""
        x, y, width, height = json.loads((self.work / "ready.json").read_text())[region]
        return x, 900 - y - height - 10, width, height

    def close(self) -> None:
        (self.work / "stop").touch()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.terminate()


GO = """
{blender} >> blender.log 2>&1 &
blender=$!
while [ ! -e stop ]; do
  for job in x-*.sh; do
    [ -e "$job" ] && [ ! -e "${job%.sh}.done" ] && { bash "$job"; touch "${job%.sh}.done"; }
  done
  kill -0 $blender 2>/dev/null || break
  sleep 0.2
done
kill $blender 2>/dev/null
wait $blender
"""


class Real:
    """One fresh profile under /tmp, which a wrapper's root shares."""

    executable, can_click = BLENDER, BLENDER.endswith("-blender")  # the wrapper has Xvfb, xdotool and ImageMagick

    def __init__(self, work: Path) -> None:
        self.work, self.home = work, work / "home"
        self.home.mkdir()
        self.state = self.home / ".local" / "state" / "assetize"

    @property
    def environment(self) -> dict[str, str]:
        # a wrapper's root sees the worker's Python by these folders, and knows of no environment but PASS_ENV
        worker = {"ASSETIZE_WORKER": str(ROOT)}
        seen = {str(folder) for folder in (ROOT, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve())}
        inside = {"BIND": " ".join(sorted(seen)), "PASS_ENV": f"ASSETIZE_WORKER={ROOT}"}
        return os.environ | worker | inside | {"HOME": str(self.home), "HOME_DIR": str(self.home), "XVFB": "0"}

    def run(self, *arguments: str, code: int = 0, timeout: float = 300) -> str:
        """Blender without a window, to its end; what it said."""
        done = subprocess.run([BLENDER, *arguments], env=self.environment, cwd=self.work, text=True,
                              capture_output=True, check=False, timeout=timeout)  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def script(self, text: str, *arguments: str, timeout: float = 300) -> str:
        """Run Python in Blender without a window; an exception there is a failure here."""
        path = self.work / f"script_{time.monotonic_ns()}.py"
        path.write_text(text, encoding="utf-8")
        return self.run("--background", "--python-exit-code", "9", "--python", str(path), "--", *arguments,
                        timeout=timeout)  # fmt: skip

    def build(self, version: str = "") -> Path:
        """The extension's zip, by this Blender; `version` instead of the manifest's."""
        source = self.work / f"source{version}"
        shutil.copytree(ROOT / "blender_addon", source, ignore=shutil.ignore_patterns("__pycache__"))
        if version:
            manifest = source / "blender_manifest.toml"
            manifest.write_text(manifest.read_text().replace('version = "0.1.0"', f'version = "{version}"'))
        out = self.work / f"built{version}"
        out.mkdir()
        self.run("--command", "extension", "build", "--source-dir", str(source), "--output-dir", str(out))
        return next(out.glob("assetize-*.zip"))

    def install(self, package: Path) -> str:
        return self.run("--command", "extension", "install-file", "-r", "user_default", "-e", str(package))


    def open(self, *arguments: str) -> Window:
        return Window(self, *arguments)

    @staticmethod
    def wait(until: Callable[[], bool], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not until() and time.monotonic() < end:
            time.sleep(0.5)
        return until()


@pytest.fixture
def real() -> Iterator[Real]:
    """Screenshots are copied to dist/window."""
    folder = Path(tempfile.mkdtemp(prefix="assetize-window-"))
    yield Real(folder)
    kept = ROOT / "dist" / "window"
    kept.mkdir(parents=True, exist_ok=True)
    for artefact in [*folder.glob("*.png"), *folder.glob("watch.jsonl")]:
        shutil.copy(artefact, kept)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def serve(real: Real) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts the worker's service outside of Blender's root, where Blender finds it by its announce file."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        line = [sys.executable, "-m", "worker", "serve", "--state_dir", str(real.state),
                "--output_root", str(real.work / "out")]  # fmt: skip
        started.append(subprocess.Popen(line, cwd=ROOT))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(20)
