"""Fixtures of the add-on's tests. They run in Blender's Python (the bpy module) and never import the worker."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
sys.path.append(str(ROOT / "tests" / "fakes"))
HAS_BPY = importlib.util.find_spec("bpy") is not None


def load_maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_session", Path(__file__).with_name("make_session.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Without bpy (the worker's environment) only what needs no Blender is collected."""
    needs_bpy = collection_path.name.startswith("test_bpy_")
    return True if needs_bpy and not HAS_BPY else None


@pytest.fixture(scope="session")
def maker() -> ModuleType:
    return load_maker()


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory, maker: ModuleType) -> Path:
    """The analytic session. Read only; copy it to change it."""
    return maker.make_session(tmp_path_factory.mktemp("outputs") / "set")


@pytest.fixture
def service() -> Iterator[Any]:
    from stand_in_worker import Service

    made = Service()
    yield made
    made.close()


@pytest.fixture
def dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A folder on a share that is off; whoever asks it on the main thread fails."""
    from dead_share import DeadShare

    share = DeadShare(monkeypatch, tmp_path / "share")
    yield share
    share.answer.set()
