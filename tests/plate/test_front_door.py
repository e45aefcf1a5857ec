"""Odd and bad files through the conductor and a real host: the session they get, or the one sentence and nothing else.

Only the plate and the records run; bench/hostile.py takes the same files through the whole command.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

import pytest

from bench.hostile import bad_files, odd_files
from worker.errors import InputError
from worker.host.pool import HostPool
from worker.pipeline.conductor import Conductor, Job
from worker.pipeline.plan import Plan
from worker.session.layout import SessionFolder
from worker.session.options import Options

PLAN = Plan(names=("plate", "package"))


@pytest.fixture(scope="module")
def pool():
    with HostPool() as hosts:
        yield hosts


def run(source, root, pool, **options):
    return Conductor(Job(source, Options(**options), root), pool, plan=PLAN).run()


def test_bad_files_leave_nothing(tmp_path, pool):
    for case in bad_files(tmp_path / "bad"):
        with pytest.raises(InputError) as caught:
            run(case.path, tmp_path / "out", pool)
        error = caught.value
        assert error.code == case.due, (case.path.name, error.en)
        assert error.en.rstrip(".").replace(case.path.name, "").count(". ") == 0
        assert not (tmp_path / "out").exists(), case.path.name


def test_odd_files_give_a_session_and_the_warning_they_are_due(tmp_path, pool):
    for case in odd_files(tmp_path / "odd", huge=False):
        outcome = run(case.path, tmp_path / "out", pool)
        assert outcome.session.state == "done", case.path.name
        told = {warning.code for warning in outcome.session.stages["plate"].warnings}
        assert case.due is None or case.due in told, (case.path.name, told)
        record = json.loads(SessionFolder(outcome.folder).scene_record.read_text("utf-8"))
        assert record["provenance"]["source"]["name"] == case.path.name == outcome.session.input.name
        assert outcome.session.input.format and outcome.session.input.width >= 64


@pytest.mark.slow
def test_sixty_megapixels_fit_in_memory(tmp_path):
    case = odd_files(tmp_path / "odd")[-1]
    with HostPool() as fresh:
        outcome = run(case.path, tmp_path / "out", fresh)
    plate = outcome.session.stages["plate"]
    assert plate.peak_memory_mb < 2048
    assert outcome.session.input.width * outcome.session.input.height > 60e6
    assert "plate.reduced" in {warning.code for warning in plate.warnings}


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only the superuser can become another")
def test_somebody_elses_file(pool):
    """The superuser may read everything, so a plain user asks, in a folder that all may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        source = Path(folder) / "locked.png"
        source.write_bytes(b"\x89PNG")
        source.chmod(0)
        os.seteuid(65534)
        try:
            with pytest.raises(InputError) as caught:
                run(source, Path(folder) / "out", pool)
        finally:
            os.seteuid(0)
        assert caught.value.code == "input.no_permission"
        assert sorted(path.name for path in Path(folder).iterdir()) == ["locked.png"]
