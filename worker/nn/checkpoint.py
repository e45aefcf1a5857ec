"""Reads weight files and puts them into networks, checking every tensor's name, shape and dtype on the way.

Two kinds of file: .safetensors, and PyTorch's .pt/.pth read as data only (`weights_only`), because a pickle can hold
a program. Both are mapped, not read: a tensor's pages come from disk when it is asked for. torch is imported when a
tensor is, so that the specs of a safetensors file can be read without it.
"""

from __future__ import annotations

import argparse
import math
import pickle
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from worker.errors import WeightsError

if TYPE_CHECKING:
    import torch

# safetensors' names of dtypes -> torch's, without "torch."
_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip
_STATE_KEYS = ("model", "state_dict")  # where training scripts put the tensors inside their own dict
_NAMED = 5  # differences that a sentence names; of the rest it tells the number


@dataclass(frozen=True)
class TensorSpec:
    """`dtype` as torch names it, without "torch.": "float32", "float16", "int64"."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    def __str__(self) -> str:
        return f"{self.dtype} {'x'.join(map(str, self.shape)) or 'scalar'}"


class Checkpoint(Protocol):
    """Named tensors: a file, or anything else that can draw them one at a time."""

    @property
    def name(self) -> str: ...

    def specs(self) -> Mapping[str, TensorSpec]: ...

    def tensor(self, name: str) -> torch.Tensor: ...


class SafetensorsCheckpoint:
    def __init__(self, path: Path) -> None:
        """Raises WeightsError where the file is no whole safetensors file."""
        from safetensors import SafetensorError, safe_open

        self.path, self.name = path, path.name
        try:
            with safe_open(path, "numpy") as file:
                names = list(file.keys())
                slices = {name: file.get_slice(name) for name in names}
                self._specs = {
                    name: TensorSpec(tuple(part.get_shape()), _DTYPES.get(part.get_dtype(), part.get_dtype()))
                    for name, part in slices.items()
                }
        except SafetensorError as fault:
            raise damaged(path, str(fault)) from None

    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs

    @cached_property
    def _file(self) -> Any:
        from safetensors import safe_open

        return safe_open(self.path, "pt").__enter__()  # stays mapped as long as this object lives

    def tensor(self, name: str) -> torch.Tensor:
        found: torch.Tensor = self._file.get_tensor(name)
        return found


class TorchCheckpoint:
    def __init__(self, path: Path) -> None:
        """Raises WeightsError where the file is damaged or holds anything but tensors and plain values."""
        import torch

        self.path, self.name = path, path.name
        whole = zipfile.is_zipfile(path)
        if not whole and _head(path).startswith(b"PK\x03\x04"):  # an archive's list of content stands at its end
            raise damaged(path, "the archive has no end")
        try:
            # Namespace: only a bag of values, and DUSt3R's files carry one. Old files are no archives: not mappable.
            with torch.serialization.safe_globals([argparse.Namespace]):
                found = torch.load(path, map_location="cpu", weights_only=True, mmap=whole or None)
        except pickle.UnpicklingError as fault:
            if re.search(r"GLOBAL|call reduce|Can only (create|build)", str(fault)):
                raise _pickled(path, str(fault)) from None
            raise damaged(path, "its table of tensors makes no sense") from None
        except MemoryError:
            raise
        except Exception as fault:  # noise can break a pickle reader in every way there is
            raise damaged(path, f"{type(fault).__name__}: {fault}") from None
        self._tensors = _state_of(found)
        if not self._tensors:
            raise WeightsError(
                "weights.no_tensors",
                f"{path} holds no tensors, so it is not a network's weights. Download the file that belongs to the "
                "engine and install it again.",
                f"{path} 中没有张量，不是网络权重。请下载该引擎对应的文件后重新安装。",
            )

    def specs(self) -> Mapping[str, TensorSpec]:
        return {name: spec_of(tensor) for name, tensor in self._tensors.items()}

    def tensor(self, name: str) -> torch.Tensor:
        return self._tensors[name]


def _state_of(found: Any) -> dict[str, torch.Tensor]:
    """The dict of tensors: the file's own, or the one under a key that training scripts use."""
    import torch

    if isinstance(found, dict):
        for key in _STATE_KEYS:
            if isinstance(found.get(key), dict):
                found = found[key]
                break
        return {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}
    return {}


def spec_of(tensor: torch.Tensor) -> TensorSpec:
    return TensorSpec(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))


def open_checkpoint(path: Path) -> SafetensorsCheckpoint | TorchCheckpoint:
    """The tensors of a .safetensors, .pt or .pth file. Raises WeightsError with a sentence where it is none."""
    if not path.is_file():
        raise missing(path)
    refuse_other_content(path)
    if path.suffix == ".safetensors":
        return SafetensorsCheckpoint(path)
    if path.suffix in (".pt", ".pth"):
        return TorchCheckpoint(path)
    raise WeightsError(
        "weights.kind",
        f"{path.name} is no kind of weights that Assetize reads. Give a .safetensors, .pt or .pth file.",
        f"无法读取 {path.name} 这种权重文件。请提供 .safetensors、.pt 或 .pth 文件。",
    )


def missing(path: Path) -> WeightsError:
    return WeightsError(
        "weights.missing",
        f"The weights {path} are not there. Install the engine again with “assetize engines install”.",
        f"找不到权重文件 {path}。请用“assetize engines install”重新安装该引擎。",
        fix="assetize engines install NAME",
    )


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(256)


def refuse_other_content(path: Path) -> None:
    """Raises WeightsError for what portals and blocked networks give in the place of weights: pages and pointers."""
    head = _head(path).lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"version https://git-lfs"):
        what, what_zh = "only a Git LFS pointer", "只是 Git LFS 指针"
    elif head.startswith((b"<", b'{"error', b'{"message')):
        what, what_zh = "a web page", "是网页"
    elif not head:
        what, what_zh = "empty", "是空文件"
    else:
        return
    raise WeightsError(
        "weights.not_weights",
        f"{path.name} is {what}, not weights: something between here and the download's server answered in its place. "
        "Download the file again, from a mirror (--mirror) or by hand (--from FILE).",
        f"{path.name} {what_zh}，不是权重：下载途中有别的服务代为应答。"
        "请重新下载：换用镜像（--mirror）或手动下载（--from FILE）。",
    )


def damaged(path: Path, detail: str) -> WeightsError:
    return WeightsError(
        "weights.damaged",
        f"{path.name} is cut short or damaged ({_short(detail)}). Install the engine again; the file is brought anew.",
        f"{path.name} 不完整或已损坏（{_short(detail)}）。请重新安装该引擎，文件会重新下载。",
    )


def _pickled(path: Path, detail: str) -> WeightsError:
    found = re.search(r"GLOBAL ([\w.]+)", detail)
    what = f" ({found[1]})" if found else ""
    return WeightsError(
        "weights.pickled",
        f"{path.name} holds a program's objects{what}, not only tensors, and opening it could run what it brings. "
        "It was not opened. Use the official file, or its .safetensors form.",
        f"{path.name} 含有程序对象{what}，而不仅是张量，打开它可能运行其中的代码，因此未打开。"
        "请使用官方文件或其 .safetensors 版本。",
    )


def _short(text: str) -> str:
    return " ".join(text.split())[:120]


# --- comparison -----------------------------------------------------------------------------------------------------
def _list(names: Iterable[str], what: str) -> str:
    names = list(names)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{what}: {', '.join(names[:_NAMED])}{more}" if names else ""


def differences(found: Mapping[str, TensorSpec], wanted: Mapping[str, TensorSpec], *, dtypes: bool = True) -> list[str]:
    """What differs between two manifests, one phrase a kind, at most five names each; empty where nothing does.

    `dtypes` False: 16 and 32 bits of floating point count as the same, but numbers and integers do not.
    """

    def same(a: str, b: str) -> bool:
        return a == b or (not dtypes and "float" in a and "float" in b)

    both = [name for name in wanted if name in found]
    reshaped = [name for name in both if found[name].shape != wanted[name].shape]
    retyped = [name for name in both if name not in reshaped and not same(found[name].dtype, wanted[name].dtype)]
    lists = (
        _list((name for name in wanted if name not in found), "missing"),
        _list((name for name in found if name not in wanted), "not expected"),
        _list((f"{name} ({found[name]}, not {wanted[name]})" for name in reshaped), "of another shape"),
        _list((f"{name} ({found[name].dtype}, not {wanted[name].dtype})" for name in retyped), "of another dtype"),
    )
    return [text for text in lists if text]


def require_equal(
    name: str, found: Mapping[str, TensorSpec], wanted: Mapping[str, TensorSpec], *, dtypes: bool = True
) -> None:
    """Raises WeightsError that names what differs."""
    if phrases := differences(found, wanted, dtypes=dtypes):
        text = "; ".join(phrases)
        raise WeightsError(
            "weights.differ",
            f"{name} holds another network's tensors than this engine has ({text}). "
            "Use the file that the engine's page names, in the version it names.",
            f"{name} 中的张量与此引擎的网络不符（{text}）。请使用引擎页面指定的文件和版本。",
        )


# --- loading --------------------------------------------------------------------------------------------------------
def load_into(
    module: torch.nn.Module,
    checkpoint: Checkpoint,
    *,
    ignore: tuple[str, ...] = (),
    rename: Callable[[str], str] | None = None,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
) -> None:
    """Put a checkpoint's tensors into a module built on the meta device, one at a time, and set it to inference.

    Args:
        ignore: regular expressions; a checkpoint's tensor whose whole name matches one is left out.
        rename: the module's name of a checkpoint's tensor.
        dtype: of all floating-point tensors; None: each gets the dtype that its place in the module was built with.
    Raises WeightsError that names what differs. Nothing was put into the module then.
    """
    names = {
        (rename(name) if rename else name): name
        for name in checkpoint.specs()
        if not any(re.fullmatch(pattern, name) for pattern in ignore)
    }
    places = module.state_dict(keep_vars=True)
    found = {place: checkpoint.specs()[name] for place, name in names.items()}
    wanted = {place: spec_of(tensor) for place, tensor in places.items()}
    require_equal(checkpoint.name, found, wanted, dtypes=False)
    state = {}
    for place, name in names.items():
        kind = places[place].dtype
        if dtype is not None and kind.is_floating_point:
            kind = dtype
        state[place] = checkpoint.tensor(name).to(device=device, dtype=kind)
    module.load_state_dict(state, assign=True)
    left = [name for name, tensor in [*module.named_parameters(), *module.named_buffers()] if tensor.is_meta]
    if left:  # a buffer that is not part of the state: the module itself must make it on the device
        raise ValueError(f"still on the meta device after loading: {', '.join(left[:_NAMED])}")
    module.to(device)  # buffers that the module made itself
    module.requires_grad_(False).eval()
