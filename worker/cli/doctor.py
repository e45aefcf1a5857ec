"""`assetize doctor`: what is installed, what fits this machine, what is missing and the command that mends it."""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from worker import __version__
from worker.cli.show import write_json_line
from worker.engines import registry
from worker.errors import ExitCode
from worker.hardware.machine import Machine, this_machine
from worker.pipeline.folder import NEEDED_BYTES, existing_folder
from worker.pipeline.plan import Plan
from worker.setup_command import SETUP, SETUP_GPU, as_typed
from worker.stages.blend import blender_command
from worker.weights import store
from worker.weights.sentences import megabytes

_MODULES = (
    "numpy", "scipy", "PIL", "cv2", "OpenEXR", "onnxruntime", "pymatting", "plyfile", "trimesh", "xatlas",
    "fast_simplification", "pygltflib", "fastapi", "uvicorn", "multipart", "pydantic", "rich", "platformdirs", "psutil",
    "jinja2", "requests", "huggingface_hub", "filelock", "safetensors",
)  # fmt: skip
_NEEDED_MEMORY_MB = 4096


@dataclass(frozen=True)
class Check:
    """`state`: ok; note (good to know, or only an option is missing); missing (the main job cannot run whole)."""

    name: str
    state: str
    text: str
    fix: str | None = None


def add_to(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    parser = commands.add_parser("doctor", help="check this installation and this machine")
    parser.add_argument("--output_root", type=Path, default=Path(), help="check the free space here")
    parser.add_argument("--json", action="store_true", help="as JSON, one check a line")
    parser.set_defaults(do=do)


def _software() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check("Assetize", "ok", f"{__version__} on Python {version} ({sys.executable})")
    missing = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if missing:
        yield Check("Packages", "missing", f"not installed: {', '.join(missing)}", SETUP)
    else:
        yield Check("Packages", "ok", f"all {len(_MODULES)} are here")
    command = blender_command()
    if command is not None and shutil.which(command[0]) is not None:
        yield Check("Blender", "ok", f"{command[0]} makes scene.blend")
    else:
        text = "no Blender and no bpy module was found: no scene.blend will be made (ASSETIZE_BLENDER may name one)"
        yield Check("Blender", "missing", text, SETUP)


def _hardware(machine: Machine, output_root: Path) -> Iterator[Check]:
    yield Check("Processor", "ok", f"{machine.cores} cores")
    gigabytes = f"{machine.memory_mb / 1024:.1f} GB"
    if machine.memory_mb >= _NEEDED_MEMORY_MB:
        yield Check("Memory", "ok", gigabytes)
    else:
        yield Check("Memory", "missing", f"{gigabytes}; 4 GB are needed for stills of every size")
    for gpu in machine.gpus:
        yield Check("GPU", "ok", f"{gpu.name}, {gpu.memory_mb / 1024:.0f} GB, driver {gpu.driver}")
    if machine.apple_gpu:
        shared = f"{machine.memory_of('mps') / 1024:.0f} GB of the main memory"
        yield Check("GPU", "ok", f"Apple's, which may take {shared}")
    elif machine.hidden_gpus and not machine.gpus:
        names = ", ".join(gpu.name for gpu in machine.hidden_gpus)
        yield Check("GPU", "note", f"CUDA_VISIBLE_DEVICES hides what is there ({names}); unset it to use it")
    elif not machine.gpus:
        yield Check("GPU", "note", "none found; the embedded engines need none")
    free, place = _free(output_root)
    text = f"{megabytes(free)} free in {place}"
    yield Check("Disk", "ok" if free >= NEEDED_BYTES else "missing", text)


def _free(path: Path) -> tuple[int, Path]:
    """Bytes free for a folder that may not exist yet, and where; 0 on a drive that is not there."""
    place = existing_folder(path.absolute())
    try:
        return shutil.disk_usage(place).free, place
    except OSError:
        return 0, place


_ASK_TORCH = """
import json, torch
cuda = torch.cuda.is_available()
print(json.dumps({"cuda": cuda, "mps": torch.backends.mps.is_available(),
                  "free": torch.cuda.mem_get_info()[0] if cuda else None}))
"""


def _torch(machine: Machine) -> Iterator[Check]:
    """What the installed PyTorch can do, asked of itself in a process of its own: a broken one must not end doctor."""
    torch = machine.torch
    if torch is None:
        text = "not installed; the embedded engines need none, the large networks do"
        yield Check("PyTorch", "note", text, SETUP_GPU)
        return
    build = f"{torch.version}, built {'for CUDA ' + torch.cuda if torch.cuda else 'without CUDA'}"
    if driver := machine.old_driver():
        text = f"{build}, which needs a newer NVIDIA driver than {driver}; update it from nvidia.com/drivers"
        yield Check("PyTorch", "note", text, SETUP_GPU)
        return
    try:
        line = [sys.executable, "-c", _ASK_TORCH]
        answer = subprocess.run(line, capture_output=True, text=True, timeout=120, check=True)
        able = json.loads(answer.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as fault:
        last = str(getattr(fault, "stderr", None) or fault).strip().splitlines()[-1:]
        yield Check("PyTorch", "note", f"{build}, does not start ({' '.join(last)[:200]})", SETUP_GPU)
        return
    if able["cuda"]:
        yield Check("PyTorch", "ok", f"{build}, works on the GPU ({able['free'] / 2**30:.1f} GB of it are free)")
    elif able["mps"]:
        yield Check("PyTorch", "ok", f"{build}, works on Apple's GPU")
    elif machine.gpus:
        yield Check("PyTorch", "note", f"{build}, works on the processor though there is a GPU", SETUP_GPU)
    else:
        yield Check("PyTorch", "ok", f"{build}, works on the processor")


def _weights(plan: Plan) -> Iterator[Check]:
    if not any(file.source != store.SHIPPED for card in plan.cards for file in card.weights):
        return
    root = store.root()
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) if root.is_dir() else 0
    free, _ = _free(root)
    yield Check("Weights", "ok", f"{megabytes(size)} in {root}, {megabytes(free)} free there")


def _engines(plan: Plan, machine: Machine) -> Iterator[Check]:
    accepted = registry.accepted_engines()
    for card in plan.cards:
        refusal = registry.why_not(card, machine, accepted)
        name = f"Engine {card.stage}/{card.name}"
        if refusal is None:
            device, tier = registry.fit(card, machine) or ("", "")
            yield Check(name, "ok", f"{card.title} ({device}, tier {tier}, {card.memory_mb.get(tier, 0)} MB)")
        else:
            yield Check(name, "missing" if card.name == "embedded" else "note", refusal.en, refusal.fix)


def do(arguments: argparse.Namespace, plan: Plan) -> int:
    machine = this_machine()
    hardware = _hardware(machine, arguments.output_root)
    checks = [*_software(), *hardware, *_torch(machine), *_weights(plan), *_engines(plan, machine)]
    if arguments.json:
        for check in checks:
            write_json_line(asdict(check))
    else:
        console = Console(highlight=False)
        marks = {"ok": "[green]ok     [/]", "note": "[blue]note   [/]", "missing": "[red]missing[/]"}
        for check in checks:
            console.print(f"{marks[check.state]} {escape(check.name)}: {escape(check.text)}", soft_wrap=True)
            if check.fix:
                console.print(f"        mend it with: {escape(as_typed(check.fix))}", soft_wrap=True)
    return int(ExitCode.PARTIAL if any(check.state == "missing" for check in checks) else ExitCode.OK)
