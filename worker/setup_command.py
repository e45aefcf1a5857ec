"""How commands are typed on this system, and in a checkout, where no `assetize` is on the path."""

import os
import shutil
from pathlib import Path

SETUP = "py install\\bootstrap.py" if os.name == "nt" else "python3 install/bootstrap.py"
SETUP_GPU = f"{SETUP} gpu"


def as_typed(command: str) -> str:
    """`assetize ...` as it works here; another command as it is."""
    program, _, rest = command.partition(" ")
    is_checkout = (Path(__file__).parents[1] / "install" / "bootstrap.py").is_file()
    return f"{SETUP} {rest}" if program == "assetize" and is_checkout and not shutil.which(program) else command
