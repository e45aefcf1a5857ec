"""NVIDIA's GPUs, and slices of them (MIG), that this process may use. Asked of the driver's tool, without torch.

CUDA_VISIBLE_DEVICES, with which a user or a queue hands out GPUs, is read as CUDA reads it (CUDA C++ Programming Guide,
"CUDA Environment Variables"; MIG User Guide, "CUDA Device Enumeration").
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

VISIBLE = "CUDA_VISIBLE_DEVICES"
_FIELDS = "index,uuid,memory.total,driver_version,name"
_LOADED_DRIVER = Path("/proc/driver/nvidia/version")
_MB_OF_A_NAMED_GB = 0.95 * 1024  # a "1g.5gb" has 4864 MB


@dataclass(frozen=True)
class Gpu:
    """`id` is what CUDA_VISIBLE_DEVICES calls it: its number by bus, as the driver counts (CUDA does so under
    CUDA_DEVICE_ORDER=PCI_BUS_ID), or a slice's UUID."""

    name: str
    memory_mb: int
    driver: str
    id: str = "0"


@dataclass(frozen=True)
class Gpus:
    """`hidden`: they are there, and CUDA_VISIBLE_DEVICES keeps them from us."""

    usable: tuple[Gpu, ...] = ()
    hidden: tuple[Gpu, ...] = ()


@dataclass(frozen=True)
class _Listed:
    """One that the driver lists. `uuid` is its own, `card` the number of the GPU that it is, or is a slice of."""

    gpu: Gpu
    uuid: str
    card: str
    card_uuid: str


def find(torch_has_cuda: bool) -> Gpus:
    """Where the driver's tool is missing or may not tell, as in some containers, an installed torch is asked."""
    wish = os.environ.get(VISIBLE)
    listed = _ask_driver()
    ours = listed if wish is None else _handed_out(wish, listed)
    found = Gpus(tuple(one.gpu for one in ours), tuple(one.gpu for one in listed if one not in ours))
    may_be_more = torch_has_cuda and _LOADED_DRIVER.exists() and (wish is None or _names(wish))
    return replace(found, usable=_ask_torch(wish)) if not ours and may_be_more else found


def _names(wish: str) -> list[str]:
    """What a list hands out: up to the first entry that is none."""
    names = []
    for name in (part.strip() for part in wish.split(",")):
        if not (name.isdecimal() or name.startswith(("GPU-", "MIG-"))):
            break
        names.append(name)
    return names


def _handed_out(wish: str, listed: list[_Listed]) -> list[_Listed]:
    """In the driver's order. A GPU stands for all its slices; what no device or more than one answers to ends the
    list, as it does for CUDA."""
    chosen: list[_Listed] = []
    for name in _names(wish):
        if name.startswith("MIG-"):
            found = [one for one in listed if one.uuid.startswith(name)]
            several = len(found) > 1
        else:
            found = [one for one in listed if name == one.card or one.card_uuid.startswith(name)]
            several = len({one.card for one in found}) > 1
        if not found or several:
            break
        chosen += found
    return [one for one in listed if one in chosen]


def _run(*line: str, timeout_s: float = 10.0) -> str:
    """What a command prints. Raises OSError, subprocess.SubprocessError."""
    return subprocess.run(
        line, capture_output=True, text=True, timeout=timeout_s, check=True, stdin=subprocess.DEVNULL,
        encoding="utf-8", errors="replace", creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        env={**os.environ, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
    ).stdout  # fmt: skip


def _ask_driver() -> list[_Listed]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    for fields in (f"mig.mode.current,{_FIELDS}", _FIELDS):  # drivers before 450 know no slices, and no such field
        try:
            text = _run(tool, f"--query-gpu={fields}", "--format=csv,noheader,nounits")
        except subprocess.CalledProcessError:
            continue
        except (OSError, subprocess.SubprocessError):
            return []
        rows = [[part.strip() for part in line.split(",", fields.count(","))] for line in text.splitlines()]
        return _listed(tool, [row if len(row) == 6 else ["", *row] for row in rows])
    return []


def _listed(tool: str, rows: list[list[str]]) -> list[_Listed]:
    """Whole GPUs, and instead of a GPU that is cut up its slices: nothing runs on the whole of it any more."""
    found: list[_Listed] = []
    slices: dict[str, list[tuple[str, int, str]]] | None = None
    for row in rows:
        if len(row) != 6 or not row[1].isdecimal():
            continue
        cut_up, number, uuid, memory_mb, driver, name = row
        if cut_up == "Enabled":
            slices = _slices(tool) if slices is None else slices
            found += [
                _Listed(Gpu(f"{name} {profile}", mb, driver, own), own, number, uuid)
                for own, mb, profile in slices.get(uuid, [])
            ]
        elif memory_mb.isdecimal():
            found.append(_Listed(Gpu(name, int(memory_mb), driver, number), uuid, number, uuid))
    return found


def _slices(tool: str) -> dict[str, list[tuple[str, int, str]]]:
    """By the GPU's UUID: (UUID, megabytes, "MIG 3g.20gb") of each slice. The list has the names, the report the
    memory; where that cannot be read, the name tells it roughly."""
    try:
        listing = _run(tool, "-L")
    except (OSError, subprocess.SubprocessError):
        return {}
    exact = _slice_memory(tool)
    found: dict[str, list[tuple[str, int, str]]] = {}
    card = ""
    for line in listing.splitlines():
        if head := re.match(r"GPU \d+:.*\(UUID: (GPU-[^)\s]+)\)", line):
            card = head[1]
        elif part := re.match(r"\s+(MIG (\S+))\s+Device\s+(\d+):\s+\(UUID: (MIG-[^)\s]+)\)", line):
            gigabytes = re.search(r"(\d+)gb", part[2])
            roughly = int(_MB_OF_A_NAMED_GB * int(gigabytes[1])) if gigabytes else 0
            found.setdefault(card, []).append((part[4], exact.get((card, part[3]), roughly), part[1]))
    return found


def _slice_memory(tool: str) -> dict[tuple[str, str], int]:
    """Megabytes by (the GPU's UUID, the slice's number on it)."""
    try:
        report = ElementTree.fromstring(_run(tool, "-q", "-x"))
    except (OSError, subprocess.SubprocessError, ElementTree.ParseError):
        return {}
    found = {}
    for card in report.iter("gpu"):
        for part in card.iter("mig_device"):
            number, _, unit = part.findtext("fb_memory_usage/total", "").strip().partition(" ")
            if number.isdecimal() and unit == "MiB":
                found[card.findtext("uuid", "").strip(), part.findtext("index", "").strip()] = int(number)
    return found


_TORCH = """
import json, torch
cuda = torch.cuda
of = [cuda.get_device_properties(i) for i in range(cuda.device_count())]
print(json.dumps([[one.name, one.total_memory >> 20] for one in of]))
"""


def _ask_torch(wish: str | None) -> tuple[Gpu, ...]:
    try:
        told = json.loads(_run(sys.executable, "-c", _TORCH, timeout_s=120.0))
        version = re.search(r"Module\b.*?\s(\d+\.\d[\d.]*)", _LOADED_DRIVER.read_text("utf-8", "replace"))
    except (OSError, ValueError, subprocess.SubprocessError):
        return ()
    names = [str(number) for number in range(len(told))] if wish is None else _names(wish)
    driver = version[1] if version else ""
    return tuple(Gpu(name, mb, driver, own) for (name, mb), own in zip(told, names, strict=False))
