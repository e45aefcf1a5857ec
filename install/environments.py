"""The environments that bootstrap.py makes: where they lie, what is in them, whether they are up to date."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "install" / "locks"
WINDOWS = os.name == "nt"
TYPED = "py install\\bootstrap.py" if WINDOWS else "python3 install/bootstrap.py"
BLENDER_OF_PYTHON = {(3, 11): "4.5", (3, 13): "5.2"}  # which bpy wheel runs on which Python
OTHER_BPY = {"4.2": ((3, 11), "bpy==4.2.23")}  # tested too, never installed for users


_WRITE_PTH = """
import pathlib, sys, sysconfig
encoding = "utf-8" if sys.version_info >= (3, 13) else "locale"
(pathlib.Path(sysconfig.get_path("purelib")) / "assetize.pth").write_text(sys.argv[1] + chr(10), encoding)
"""


class SetupError(Exception):
    """One sentence: what happened and what to do."""


def supported_python() -> None:
    """Go on with 3.11 or 3.13; elsewhere say plainly what to do."""
    if sys.version_info[:2] in BLENDER_OF_PYTHON:
        return
    found = next((name for name in _names(*BLENDER_OF_PYTHON) if _starts(name.split())), None)
    have = ".".join(map(str, sys.version_info[:2]))
    script = TYPED.partition(" ")[2]
    hint = f"this machine has one: {found} {script} ..." if found else "install one from python.org."
    raise SetupError(f"Blender's Python module exists for Python 3.11 and 3.13, and this is Python {have}; {hint}")


def _names(*versions: tuple[int, int]) -> list[str]:
    """What other Pythons are called: on Windows the launcher knows them."""
    return [("py -{}.{}" if WINDOWS else "python{}.{}").format(*version) for version in versions]


def _starts(line: list[str]) -> bool:
    try:
        return subprocess.run([*line, "-c", ""], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@dataclass(frozen=True)
class Environment:
    """A virtual environment made from one lock file. `stamp` in it names the lock that it was made from."""

    folder: Path
    lock: Path
    title: str
    covers: Environment | None = None  # a smaller environment in the same folder that this one contains
    also: tuple[str, ...] = ()  # requirements instead of the lock (test matrix only)
    home: str = sys.executable  # the Python it is made with

    @property
    def python(self) -> Path:
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def _stamp(self) -> Path:
        # A superset (tests) stamps its own lock; the file is named after it so both can be told apart.
        return self.folder / f"assetize-{self.lock.stem}.stamp"

    @property
    def torch_stamp(self) -> Path:
        """Says which build of PyTorch `bootstrap.py gpu` put here. No lock knows of it, so none takes it away."""
        return self.folder / "assetize-torch.stamp"

    def _wanted(self) -> str:
        digest = hashlib.sha256(self.lock.read_bytes())
        digest.update(repr((sys.version_info[:2], self.also, str(ROOT))).encode())
        return digest.hexdigest()

    def ready(self) -> bool:
        try:
            return self.python.exists() and self._stamp.read_text() == self._wanted()
        except OSError:
            return False

    def ensure(self, say: Progress) -> None:
        if self.ready():
            return
        had_torch = self.torch_stamp.exists()
        if not self._python_works():
            say(self, "making the environment")
            _call([self.home, "-m", "venv", "--clear", str(self.folder)], f"could not make {self.folder}")
        self._stamp.unlink(missing_ok=True)
        if self.also:
            _call([*self._pip(), *self.also], f"could not install {', '.join(self.also)}")
        else:
            self._install_lock(say)
        self._make_importable()
        for made in filter(None, (self, self.covers)):
            made._stamp.write_text(made._wanted())
        again = " (made anew: PyTorch has to be put in again with bootstrap.py gpu)"
        say(self, "ready" + again * (had_torch and not self.torch_stamp.exists()), done=True)

    def _python_works(self) -> bool:
        try:
            found = subprocess.run([str(self.python), "-c", "import sys, pip; print(sys.version_info[:2])"],
                                   capture_output=True, text=True, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            return False
        return found.returncode == 0 and (self.also != () or found.stdout.strip() == str(sys.version_info[:2]))

    def _pip(self) -> list[str]:
        return [str(self.python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]

    def _install_lock(self, say: Progress) -> None:
        total = sum(1 for line in self.lock.read_text(encoding="utf-8").splitlines() if "==" in line)
        line = [*self._pip(), "--require-hashes", "--no-deps", "--progress-bar", "off", "-r", str(self.lock)]
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   encoding="utf-8", errors="replace")
        seen, tail = 0, []
        assert process.stdout is not None
        for text in process.stdout:
            tail = [*tail[-14:], text.rstrip()]
            word, _, rest = text.strip().partition(" ")
            if word in ("Collecting", "Requirement"):
                seen += 1
            if word in ("Collecting", "Downloading", "Installing", "Using"):
                say(self, f"{min(seen, total)}/{total} {'unpacking all' if word == 'Installing' else rest[:60]}")
        if process.wait() != 0:
            cause = "\n".join(tail)
            raise SetupError(f"pip could not install {self.lock.name}. Its last words:\n{cause}\n"
                             "Check the network or the package mirror, then run the same command again.")

    def _make_importable(self) -> None:
        """A .pth file instead of an install: a checkout runs as it stands, from any current folder."""
        try:  # written by the Python that will read it: before 3.13 it reads in the system's own encoding
            _call([str(self.python), "-c", _WRITE_PTH, str(ROOT)], f"could not make {self.folder} know this folder")
        except SetupError as error:
            raise SetupError(f"{error} A folder with plain letters in its path helps.") from None

    @staticmethod
    def ensure_all(environments: list[Environment]) -> None:
        """Make what is missing, side by side: one downloads while the other unpacks."""
        missing = [environment for environment in environments if not environment.ready()]
        if not missing:
            return
        say = Progress()
        names = " and ".join(environment.title for environment in missing)
        print(f"First start: installing {names}. This takes a few minutes, once.", file=sys.stderr, flush=True)
        errors: list[SetupError] = []

        def work(environment: Environment) -> None:
            try:
                environment.ensure(say)
            except SetupError as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(environment,), daemon=True) for environment in missing]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.2)
            say.tick()
        if errors:
            raise errors[0]


class Progress:
    """One line a step; in a terminal one live line with the seconds running: a wait never looks dead."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.last: dict[str, str] = {}
        self.printed = 0.0
        self.live = sys.stderr.isatty()

    def __call__(self, environment: Environment, text: str, done: bool = False) -> None:
        self.last[environment.title] = text
        if done:
            words = f"{environment.title}: {text}"
            print(f"\r{words:{self._width()}}" if self.live else words, file=sys.stderr, flush=True)
            self.last.pop(environment.title)

    @staticmethod
    def _width() -> int:
        """To fill with blanks what the last line left: Windows' older consoles know no code for that."""
        return shutil.get_terminal_size().columns - 1

    def tick(self) -> None:
        now = time.monotonic() - self.start
        if not self.last or now - self.printed < (0.2 if self.live else 10):
            return
        self.printed = now
        line = " | ".join(f"{title}: {text}" for title, text in sorted(self.last.items()))
        if self.live:
            width = self._width()
            print(f"\r{f'{int(now):4d} s  {line}'[:width]:{width}}", end="", file=sys.stderr, flush=True)
        else:
            print(f"{int(now):4d} s  {line}", file=sys.stderr, flush=True)


def _call(line: list[str], message: str) -> None:
    result = subprocess.run(line, capture_output=True, text=True)
    if result.returncode != 0:
        words = (result.stderr or result.stdout).strip().splitlines()[-3:]
        raise SetupError(f"{message}: {' '.join(words)}")


def bpy_python(version: str | None) -> Path:
    """The Python that has this Blender as a module; None: the one that users get. Makes it where it is missing."""
    ours = BLENDER_OF_PYTHON[sys.version_info[:2]]
    if version in (None, ours):
        environment = BPY_TEST
    else:
        matrix = {blender: (python, _locked_bpy(blender)) for python, blender in BLENDER_OF_PYTHON.items()} | OTHER_BPY
        if version not in matrix:
            raise SetupError(f"there is no Blender {version} to test with; known are {', '.join(sorted(matrix))}.")
        wanted, requirement = matrix[version]
        environment = Environment(ROOT / f".venv-bpy-{version}", BPY_TEST.lock, f"Blender {version}",
                                  also=(requirement, "pytest", "pytest-timeout"), home=_find_python(wanted))
    Environment.ensure_all([environment])
    return environment.python


def _locked_bpy(blender: str) -> str:
    lines = (LOCKS / "bpy.txt").read_text(encoding="utf-8").splitlines()
    return next(line.split(" ")[0] for line in lines if line.startswith(f"bpy=={blender}."))


def _find_python(version: tuple[int, int]) -> str:
    """An interpreter of that version: this one, one on the PATH, or one that pyenv keeps."""
    if sys.version_info[:2] == version:
        return sys.executable
    (name,) = _names(version)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    kept = sorted(pyenv.glob("{}.{}.*/bin/python".format(*version)))
    for candidate in [*([str(path)] for path in kept), name.split()]:
        if _starts(candidate):
            find = [*candidate, "-c", "import sys; print(sys.executable)"]
            return subprocess.check_output(find, text=True).strip()
    raise SetupError(f"this Blender needs {name}, which was not found.")


WORKER = Environment(ROOT / ".venv", LOCKS / "worker.txt", "Assetize worker")
TEST = Environment(ROOT / ".venv", LOCKS / "test.txt", "Assetize worker and test tools", covers=WORKER)
BPY = Environment(ROOT / ".venv-bpy", LOCKS / "bpy.txt", "Blender as a Python module")
BPY_TEST = Environment(ROOT / ".venv-bpy", LOCKS / "bpy-test.txt", "Blender and test tools", covers=BPY)
