"""bootstrap.py as a newcomer meets it, short of the downloads."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BOOTSTRAP = ROOT / "install" / "bootstrap.py"


@pytest.fixture
def environments(monkeypatch: pytest.MonkeyPatch):
    spec = importlib.util.spec_from_file_location("environments_under_test", ROOT / "install" / "environments.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(BOOTSTRAP), *arguments], capture_output=True, text=True)


def test_unknown_command_is_one_sentence_and_exit_2():
    answer = run("frobnicate")
    assert answer.returncode == 2
    assert "no command “frobnicate”" in answer.stderr and "Traceback" not in answer.stderr


def test_help_needs_nothing_and_is_quick():
    start = time.monotonic()
    answer = run("help")
    assert answer.returncode == 0 and "run --input FILE" in answer.stdout
    assert time.monotonic() - start < 5  # 0.1 s alone on a core; the bound only catches an accidental install


@pytest.mark.parametrize("version", [(3, 9), (3, 12), (3, 14)])
def test_other_pythons_are_told_what_to_do(environments, monkeypatch, version):
    monkeypatch.setattr(sys, "version_info", (*version, 0, "final", 0))
    with pytest.raises(environments.SetupError, match=r"3\.11 and 3\.13"):
        environments.supported_python()


def test_an_environment_is_ready_only_for_the_lock_it_was_made_from(environments, tmp_path):
    lock = tmp_path / "some.txt"
    lock.write_text("a==1\n")
    environment = environments.Environment(tmp_path / "venv", lock, "Some", home=sys.executable)
    environment.python.parent.mkdir(parents=True)
    environment.python.touch()
    assert not environment.ready()
    environment._stamp.write_text(environment._wanted())
    assert environment.ready()
    lock.write_text("a==2\n")
    assert not environment.ready()


def test_a_failing_install_leaves_the_environment_unready_and_says_why(environments, tmp_path):
    lock = tmp_path / "some.txt"
    lock.write_text("assetize-no-such-package-anywhere==1.0 --hash=sha256:" + "0" * 64 + "\n")
    environment = environments.Environment(tmp_path / "venv", lock, "Some", home=sys.executable)
    with pytest.raises(environments.SetupError, match="run the same command again"):
        environment.ensure(environments.Progress())
    assert not environment.ready()


def test_locks_pin_every_package_with_a_hash():
    for lock in sorted((ROOT / "install" / "locks").glob("*.txt")):
        lines = lock.read_text(encoding="utf-8").splitlines()
        pins = [line for line in lines if line and not line.startswith((" ", "#"))]
        assert pins and all("==" in pin for pin in pins), lock.name
        assert sum("--hash=sha256:" in line for line in lines) >= len(pins), lock.name
        assert not any("://" in line for line in lines), f"{lock.name} names a host"


@pytest.mark.parametrize("had", [True, False])
def test_an_environment_made_anew_says_that_pytorch_is_gone(environments, tmp_path, monkeypatch, capsys, had):
    lock = tmp_path / "some.txt"
    lock.write_text("a==1\n")
    environment = environments.Environment(tmp_path / "venv", lock, "Some", home=sys.executable)
    environment.folder.mkdir()
    if had:
        environment.torch_stamp.touch()
    monkeypatch.setattr(environments.Environment, "_python_works", lambda self: False)
    monkeypatch.setattr(environments.Environment, "_install_lock", lambda self, say: None)
    monkeypatch.setattr(environments.Environment, "_make_importable", lambda self: None)
    monkeypatch.setattr(environments, "_call", lambda line, text: environment.torch_stamp.unlink(missing_ok=True))
    environment.ensure(environments.Progress())
    assert ("bootstrap.py gpu" in capsys.readouterr().err) is had


def test_a_checkout_is_found_from_anywhere_whatever_its_folder_is_called(environments, tmp_path, monkeypatch):
    root = tmp_path / "项目 é"
    (root / "found_here").mkdir(parents=True)
    (root / "found_here" / "__init__.py").write_text("")
    monkeypatch.setattr(environments, "ROOT", root)
    environment = environments.Environment(root / ".venv", tmp_path / "lock", "Some")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment.folder)], check=True)
    environment._make_importable()
    subprocess.run([str(environment.python), "-c", "import found_here"], check=True, cwd=tmp_path)


@pytest.mark.parametrize("windows", [False, True])
def test_another_python_is_named_as_it_is_called_there(environments, monkeypatch, windows):
    monkeypatch.setattr(sys, "version_info", (3, 14, 0, "final", 0))
    monkeypatch.setattr(environments, "WINDOWS", windows)
    monkeypatch.setattr(environments, "_starts", lambda line: "3.13" in " ".join(line))
    with pytest.raises(environments.SetupError, match=r"py -3\.13 " if windows else r"python3\.13 "):
        environments.supported_python()
    monkeypatch.setattr(environments, "_starts", lambda line: False)
    with pytest.raises(environments.SetupError, match=r"python\.org"):
        environments.supported_python()


def test_the_live_line_is_overwritten_with_blanks_alone(environments, monkeypatch, capsys):
    """Windows' older consoles print an escape sequence as letters."""
    environment = environments.Environment(Path("x"), Path("y"), "Some")
    say = environments.Progress()
    say.live, say.start = True, say.start - 10
    say(environment, "a step with a long name")
    say.tick()
    say(environment, "ready", done=True)
    told = capsys.readouterr().err
    assert "\033" not in told and len(told.split("\r")[1]) == len(told.split("\r")[2].rstrip("\n"))
