"""The blend stage: finding Blender, telling what went wrong, files whole or not at all. Blender itself is played."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

from worker.errors import StageError
from worker.session.layout import SessionFolder
from worker.session.model import Session
from worker.session.options import Options
from worker.stages import blend
from worker.stages.base import StageContext

ROOT = Path(__file__).resolve().parents[2]
FAKE = """#!{python}
import json, sys
from pathlib import Path
words = sys.argv[1:]
value = lambda flag: words[words.index(flag) + 1]
print("assetize: step 0.4", flush=True)
Path(value("--blend")).write_bytes(b"BLENDER")
Path(value("--render")).write_bytes(b"PNG")
Path(value("--stats")).write_text({stats!r})
sys.exit({code})
"""


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    spec = importlib.util.spec_from_file_location("make_session", ROOT / "tests/blender/make_session.py")
    assert spec is not None and spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    root = maker.make_session(tmp_path / "set", 64, 36)
    session = Session.model_validate_json((root / "session.json").read_text(encoding="utf-8"))
    told: list[float] = []
    ctx = StageContext(SessionFolder(root), session, Options(), tmp_path / "set.png",
                       lambda fraction, note: told.append(fraction), blend.NOTICES)  # fmt: skip
    ctx.told = told  # type: ignore[attr-defined]
    return ctx


def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int = 0, **stats: object) -> None:
    program = tmp_path / "python-played"
    told = {"problems": [], "blender": "4.5.0", "objects": [], "psnr_db": 31.5} | stats
    program.write_text(FAKE.format(python=sys.executable, stats=json.dumps(told), code=code))
    program.chmod(0o755)
    monkeypatch.setenv("ASSETIZE_BLENDER", str(program))


needs_shebang = pytest.mark.skipif(os.name != "posix", reason="the played Blender is a script with a shebang")


@needs_shebang
def test_outputs_quality_and_progress(context, tmp_path, monkeypatch):
    play(tmp_path, monkeypatch)
    result = blend.run(context)
    assert result.outputs == [context.folder.blend, context.folder.blend_preview]
    assert context.folder.blend.read_bytes() == b"BLENDER" and result.quality == {"psnr_db": 31.5}
    assert context.told == [0.4, 1.0] and "step 0.4" in (context.folder.logs / "blender.log").read_text()


@needs_shebang
def test_parts_left_out_are_warnings_but_what_the_session_lacks_was_told_before(context, tmp_path, monkeypatch):
    problems = [{"code": "session.missing", "en": "a", "zh": "b"}, {"code": "glb.unreadable", "en": "c", "zh": "d"}]
    play(tmp_path, monkeypatch, code=1, problems=problems)
    blend.run(context)
    assert [(note.code, note.en) for note in context.warnings] == [("glb.unreadable", "c")] and context.degraded


@needs_shebang
def test_a_failed_blender_leaves_no_file(context, tmp_path, monkeypatch):
    play(tmp_path, monkeypatch, code=5)
    with pytest.raises(StageError, match="exit code 5"):
        blend.run(context)
    assert not context.folder.blend.exists() and not list(context.folder.root.glob(".part*"))


def test_no_blender_is_a_sentence_that_says_what_to_do(context, monkeypatch):
    monkeypatch.setattr(blend, "blender_command", lambda: None)
    with pytest.raises(StageError, match="bootstrap") as caught:
        blend.run(context)
    assert caught.value.code == "blend.no_blender" and "ASSETIZE_BLENDER" in caught.value.zh


def test_a_blender_that_does_not_start(context, monkeypatch):
    monkeypatch.setenv("ASSETIZE_BLENDER", str(context.folder.root / "nothing"))
    with pytest.raises(StageError, match="cannot be started"):
        blend.run(context)


def test_a_blender_gets_background_arguments_and_a_python_none(monkeypatch):
    monkeypatch.setenv("ASSETIZE_BLENDER", "/x/blender")
    assert blend.blender_command()[:2] == ["/x/blender", "--background"]
    monkeypatch.setenv("ASSETIZE_BLENDER", "/x/python3.11")
    assert blend.blender_command() == ["/x/python3.11"]


def test_the_played_session_keeps_the_contract(context):
    assert context.session.scene is not None and len(context.session.scene.props) == 2
