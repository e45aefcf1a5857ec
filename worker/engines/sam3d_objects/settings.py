"""Where the user's installation of SAM 3D Objects lies, and what of it is missing.

Each value comes from its environment variable, else from `sam3d_objects.json` in the user's settings folder.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs

VARIABLES = {
    "checkout": "ASSETIZE_SAM3D_CHECKOUT",
    "python": "ASSETIZE_SAM3D_PYTHON",
    "config": "ASSETIZE_SAM3D_CONFIG",
    "timeout_s": "ASSETIZE_SAM3D_TIMEOUT_S",
}
ENTRY = Path("notebook") / "inference.py"
MODULES = ("torch", "numpy", "pytorch3d", "kaolin", "gsplat", "spconv", "hydra", "omegaconf", "utils3d")
DEFAULT_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Settings:
    """`python`: the interpreter of its environment. `config`: pipeline.yaml, beside the weights."""

    checkout: Path | None
    python: Path | None
    config: Path | None
    timeout_s: float = DEFAULT_TIMEOUT_S


def settings_file() -> Path:
    return platformdirs.user_config_path("assetize", appauthor=False) / "sam3d_objects.json"


def read() -> Settings:
    stored: dict[str, Any] = {}
    try:
        found = json.loads(settings_file().read_text("utf-8"))
        stored = found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        pass

    def value(name: str) -> str:
        return (os.environ.get(VARIABLES[name]) or str(stored.get(name) or "")).strip()

    def path(name: str) -> Path | None:
        return Path(value(name)).expanduser().absolute() if value(name) else None

    checkout = path("checkout")
    config = path("config") or (checkout / "checkpoints" / "hf" / "pipeline.yaml" if checkout else None)
    try:
        timeout_s = max(1.0, float(value("timeout_s")))
    except ValueError:
        timeout_s = DEFAULT_TIMEOUT_S
    return Settings(checkout, path("python"), config, timeout_s)


def missing() -> list[str]:
    """What stands between this machine and a run, each as a thing that is missing; empty where all is there."""
    here = read()
    lacking = []
    if here.checkout is None:
        lacking.append(f"the setting {VARIABLES['checkout']} (folder of your checkout)")
    elif not (here.checkout / ENTRY).is_file():
        lacking.append(f"{here.checkout / ENTRY}")
    if here.python is None:
        lacking.append(f"the setting {VARIABLES['python']} (Python of its environment)")
    elif not here.python.is_file():
        lacking.append(f"{here.python}")
    if here.config is not None and not here.config.is_file():
        lacking.append(f"{here.config} (comes with the weights)")
    if not lacking and here.python is not None:
        lacking += _missing_modules(here.python, here.python.stat().st_mtime_ns)
    return lacking


@cache
def _missing_modules(python: Path, _: int) -> list[str]:
    """Modules that this interpreter does not find; nothing is imported, so the answer takes a moment only."""
    question = f"import importlib.util as u; print(*[m for m in {MODULES!r} if u.find_spec(m) is None])"
    try:
        answer = subprocess.run(
            [str(python), "-c", question], env=environment(python), stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=30, creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as fault:
        return [f"a Python that starts ({python}: {fault})"]
    if answer.returncode:
        return [f"a Python that starts ({python} ends with {answer.returncode})"]
    names = answer.stdout.split()
    return [f"{', '.join(names)} in {python}"] if names else []


def environment(python: Path) -> dict[str, str]:
    """Ours, less what would make another interpreter read our packages, plus what its conda environment would set."""
    ours = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_DEFAULT_ENV"}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    home = python.parent if os.name == "nt" else python.parent.parent
    programs = [home, home / "Library" / "bin", home / "Scripts"] if os.name == "nt" else [home / "bin"]
    kept["CONDA_PREFIX"] = str(home)  # its entry reads it without asking whether it is there
    kept["PATH"] = os.pathsep.join([*map(str, programs), kept.get("PATH", "")])
    kept["PYTHONUNBUFFERED"] = "1"
    return kept
