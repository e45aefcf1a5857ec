"""What kind of failure an exception is, by what libraries say that need not be installed."""

from __future__ import annotations

from collections.abc import Set

_OUT_OF_MEMORY = {"MemoryError", "OutOfMemoryError", "_ArrayMemoryError"}
_OUT_OF_MEMORY_WINDOWS = {8, 14, 1455}  # ERROR_NOT_ENOUGH_MEMORY, ERROR_OUTOFMEMORY, ERROR_COMMITMENT_LIMIT
_OUT_OF_MEMORY_TEXT = (
    "out of memory", "insufficient memory", "failed to allocate", "std::bad_alloc", "can't allocate memory",
    "not enough memory",  # torch's allocator on Windows, where others say "can't allocate"
    "status_alloc_failed",  # cuBLAS and cuDNN
)  # fmt: skip
_DEVICE_FAULT_TEXT = ("CUDA error", "CUDNN_STATUS", "CUBLAS_")


def is_out_of_memory(fault: BaseException) -> bool:
    if getattr(fault, "winerror", None) in _OUT_OF_MEMORY_WINDOWS:
        return True
    return told_out_of_memory(_kinds(fault), str(fault))


def is_device_fault(fault: BaseException) -> bool:
    """Whether the GPU itself failed (an illegal access, an assertion in a kernel). All that its process asks of the
    GPU afterwards fails too."""
    return told_device_fault(_kinds(fault), str(fault))


def told_out_of_memory(kinds: Set[str], text: str) -> bool:
    """The same of an exception in another process, by its class names and its words."""
    return bool(kinds & _OUT_OF_MEMORY) or any(words in text.lower() for words in _OUT_OF_MEMORY_TEXT)


def told_device_fault(kinds: Set[str], text: str) -> bool:
    if told_out_of_memory(kinds, text):  # CUDA tells it as one of its errors, and the GPU goes on
        return False
    return "AcceleratorError" in kinds or any(words in text for words in _DEVICE_FAULT_TEXT)


def _kinds(fault: BaseException) -> Set[str]:
    return {kind.__name__ for kind in type(fault).__mro__}
