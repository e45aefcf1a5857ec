"""The networks that ship with Assetize, run by onnxruntime on the processor."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from worker.errors import EngineUnavailable

if TYPE_CHECKING:
    import onnxruntime


def open_network(
    weights: Path, sha256: str, damaged: EngineUnavailable, threads: int = 2
) -> onnxruntime.InferenceSession:
    """Raises `damaged` where the file is missing, or is not the one that the code around it was measured with."""
    import onnxruntime  # 0.2 s that only a process running the network should pay

    data = weights.read_bytes() if weights.is_file() else b""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise damaged
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Idle threads that spin between runs burn the core another stage or Blender could use.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
