"""Commands that are told, as they work where they are told."""

from __future__ import annotations

import shutil

import pytest

from worker import setup_command


def test_in_a_checkout_the_command_goes_through_its_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    monkeypatch.setattr(setup_command, "SETUP", "py install\\bootstrap.py")
    assert setup_command.as_typed("assetize engines install x") == "py install\\bootstrap.py engines install x"
    assert setup_command.as_typed("pip install x") == "pip install x"
    monkeypatch.setattr(shutil, "which", lambda program: "/usr/bin/assetize")
    assert setup_command.as_typed("assetize doctor") == "assetize doctor"
