"""The networks that ship with Assetize, run by onnxruntime on the processor."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from worker.errors import EngineUnavailable

if TYPE_CHECKING:
    import onnxruntime


WITHOUT = {  # what cannot be done without a stage's networks
    "geometry": ("no depth can be estimated", "无法估计深度"),
    "harvest": ("no props can be found", "无法寻找道具"),
}


def open_network(
    weights: Path, sha256: str, stage: str, name_en: str, name_zh: str, threads: int = 2
) -> onnxruntime.InferenceSession:
    """Raises EngineUnavailable where the file is missing, or is not the one the code around it was measured with."""
    import onnxruntime  # 0.2 s that only a process running the network should pay

    data = weights.read_bytes() if weights.is_file() else b""
    if hashlib.sha256(data).hexdigest() != sha256:
        lost_en, lost_zh = WITHOUT[stage]
        raise EngineUnavailable(
            f"{stage}.weights_damaged",
            f"The {name_en} network's file {weights.name} is missing or damaged, so {lost_en}. Install Assetize again.",
            f"{name_zh}网络文件 {weights.name} 缺失或损坏，{lost_zh}。请重新安装 Assetize。",
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Idle threads that spin between runs burn the core another stage or Blender could use.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
