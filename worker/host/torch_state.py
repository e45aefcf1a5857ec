"""What a host does to PyTorch before a stage, if an engine has loaded it.

Nothing here imports torch: a host without such an engine must not pay for it.
"""

from __future__ import annotations

import sys


def make_repeatable(seed: int) -> None:
    """The same seed on the same machine gives the same bytes. Operations that cannot promise it warn in the log.

    cuBLAS needs CUBLAS_WORKSPACE_CONFIG beside this, before it starts: worker.host.process sets it.
    """
    if (torch := sys.modules.get("torch")) is None:
        return
    torch.manual_seed(seed)  # of every device
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # a help for debugging that costs a pass over memory
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False  # it would choose by a race
