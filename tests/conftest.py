"""Fixtures every area may use."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from hypothesis import settings

# CI judges a change by the same cases every time; everyone else goes on looking for new ones.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repo_root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def examples_dir() -> Path:
    return ROOT / "examples"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why tests were skipped where nobody wrote it beside them."""
    if importlib.util.find_spec("torch") is None:
        text = "PyTorch is not installed, so tests of the large networks were skipped; this brings it: "
        terminalreporter.write_line(text + "python3 install/bootstrap.py gpu --device cpu")
