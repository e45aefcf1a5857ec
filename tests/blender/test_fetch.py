"""core: sessions from another machine, and disks that do not answer."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from stand_in_worker import found, run, until

from blender_addon.core import far_disk, fetch
from blender_addon.core.errors import AddonError
from blender_addon.core.jobs import Board
from blender_addon.core.session import read_session


@pytest.fixture
def afar(service, session_folder, tmp_path) -> Board:
    """A board with one finished job on a worker that is not of this machine."""
    service.session = Path(shutil.copytree(session_folder, tmp_path / "afar" / "set"))
    service.jobs = [{"id": "e" * 32, "name": "set.png", "state": "done", "folder": "C:\\work\\out\\set"}]
    board = Board(lambda: found(service))
    run(board, lambda: len(board.jobs) == 1)
    return board


def fetched(board: Board, place: Path) -> Path | None:
    ended: list[Any] = []
    board.bring(board.jobs[0], place, ended.append)
    run(board, lambda: bool(ended) or board.problem is not None, 20)
    return board.jobs[0].here if ended else None


def test_a_session_is_fetched_whole_and_only_once(afar, service, session_folder, tmp_path):
    folder = fetched(afar, tmp_path / "here")
    assert folder == tmp_path / "here" / "set" and not list(folder.rglob(".part*"))
    session = read_session(folder)
    assert session.missing == [] and [prop.glb.name for prop in session.props] == ["prop_01.glb", "prop_02.glb"]
    assert (folder / "scene_visual/scene.ply").read_bytes() == (session_folder / "scene_visual/scene.ply").read_bytes()
    assert not (folder / "dust3r/pointmap.npz").exists()  # background.npz stands for it
    service.asked.clear()
    afar.jobs[0].here = None
    assert fetched(afar, tmp_path / "here") == folder
    names = [path.rpartition("/files/")[2] for path in service.asked if "/files/" in path]
    assert "scene_visual/scene.ply" not in names and "dust3r/points.ply" not in names


def test_another_session_of_that_name_is_left_alone(afar, tmp_path):
    other = tmp_path / "here" / "set"
    other.mkdir(parents=True)
    (other / "session.json").write_text('{"session_id": "another"}')
    assert fetched(afar, tmp_path / "here") == tmp_path / "here" / "set-2"
    assert (other / "session.json").read_text() == '{"session_id": "another"}'


def test_a_shared_disk_needs_no_fetching(afar, service, tmp_path):
    afar.jobs[0].folder = str(service.session)
    assert fetched(afar, tmp_path / "here") == service.session and not (tmp_path / "here").exists()


def test_what_changes_on_the_way_is_refused(afar, service, tmp_path):
    (service.session / "scene_visual/scene.ply").write_bytes(b"other bytes")
    assert fetched(afar, tmp_path / "here") is None and afar.problem.code == "fetch.changed"
    assert not (tmp_path / "here/set/session.json").exists()


def test_names_that_lead_out_are_not_followed(afar, service, tmp_path):
    path = service.session / "session.json"
    document = json.loads(path.read_text())
    document["scene"]["props"][0]["glb"] = "../../stolen.glb"
    document["scene"]["props"][1]["glb"] = "C:\\stolen.glb"
    path.write_text(json.dumps(document))
    service.lies = [{"path": "../../stolen.glb", "bytes": 1}, {"path": "C:\\stolen.glb", "bytes": 1}]
    assert fetched(afar, tmp_path / "here") is not None
    assert not any("stolen" in path for path in service.asked) and not list(tmp_path.rglob("*stolen*"))


def test_a_full_disk_is_a_sentence(afar, tmp_path):
    (tmp_path / "here").write_text("a file where the folder should be")
    assert fetched(afar, tmp_path / "here") is None and afar.problem.code == "fetch.disk"


def test_a_disk_that_fills_up_on_the_way_is_no_fault_of_the_worker(afar, service, tmp_path, monkeypatch):
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    real_open = Path.open

    def opened(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        stream = real_open(path, mode, *rest, **more)
        if mode == "wb":
            monkeypatch.setattr(stream, "write", full)
        return stream

    monkeypatch.setattr(Path, "open", opened)
    assert fetched(afar, tmp_path / "here") is None
    assert afar.problem.code == "fetch.disk" and "No space left" in afar.problem.en
    assert not list((tmp_path / "here").rglob(".part*"))


@pytest.mark.parametrize("answer", [[], {"files": [{"path": "a"}]}, {"files": [{"path": "a", "bytes": "much"}]}, {}])
def test_answers_of_another_shape_do_not_stop_the_timer(afar, service, tmp_path, answer):
    route = service.route
    service.route = lambda method, path, *rest: (
        (200, answer) if path.endswith("/files") else route(method, path, *rest)
    )
    assert fetched(afar, tmp_path / "here") is None and afar.problem.code == "worker.answer"
    service.route = lambda method, path, *rest: (200, []) if path.startswith("/jobs") else route(method, path, *rest)
    afar.problem = None
    afar.look_again()
    run(afar, lambda: afar.problem is not None)
    assert afar.problem.code == "worker.answer"


# --- disks that do not answer


def test_whoever_asks_a_dead_share_waits_a_bounded_time(dead, tmp_path):
    started = time.monotonic()
    with pytest.raises(AddonError) as told:
        far_disk.within(dead.root, (dead.root / "still.png").is_file, 0.1)
    assert time.monotonic() - started < 1.0 and told.value.code == "disk.silent"
    assert str(dead.root) in told.value.en and "share" in told.value.en and "没有响应" in told.value.zh
    assert far_disk.within(tmp_path, tmp_path.is_dir) is True
    with pytest.raises(FileNotFoundError):
        far_disk.within(tmp_path, (tmp_path / "none").stat)


def test_a_share_that_was_taken_away_is_not_there(tmp_path, monkeypatch):
    """What Windows answers then is no FileNotFoundError."""

    def gone(path: Path, **more: Any) -> None:
        raise OSError(22, "The specified network name is no longer available", str(path))

    monkeypatch.setattr(Path, "stat", gone)
    assert far_disk.exists(tmp_path) is False


def test_a_session_is_fetched_though_the_share_it_lies_on_is_off(afar, dead, tmp_path, monkeypatch):
    monkeypatch.setattr(far_disk, "PATIENCE_S", 0.2)
    afar.jobs[0].folder = str(dead.root / "set")
    assert fetched(afar, tmp_path / "here") == tmp_path / "here" / "set" and dead.asked


def test_an_output_folder_on_a_dead_share_is_a_sentence_and_no_tick_waits(afar, dead, monkeypatch):
    monkeypatch.setattr(fetch, "SILENT_S", 0.3)
    assert fetched(afar, dead.root / "here") is None
    assert afar.problem.code == "disk.silent" and str(dead.root) in afar.problem.en and afar.jobs[0].fetch is None
    dead.answer.set()  # the call that was left alone comes back, and nothing goes on
    time.sleep(0.1)
    assert not list(dead.root.rglob("*.ply"))


def test_a_fetch_that_nobody_wants_any_more_ends(afar, service, dead, tmp_path):
    afar.bring(afar.jobs[0], dead.root, lambda job: None)
    run(afar, lambda: dead.asked > 0)
    afar.jobs[0].fetch.close()
    dead.answer.set()
    until(lambda: afar.jobs[0].fetch._errand.done)
    assert not list(dead.root.rglob("session.json"))


def test_a_still_on_a_dead_share_is_a_sentence_and_the_board_goes_on(service, dead, monkeypatch):
    from blender_addon.core import exchange

    monkeypatch.setattr(exchange, "SILENT_S", 0.3)
    board = Board(lambda: found(service))
    board.submit("still.png", dead.root / "still.png", {}, None, False)
    run(board, lambda: board.problem is not None)
    assert board.problem.code == "disk.silent" and "still.png" in board.problem.en
    board.submit("other.png", b"data", {}, None, False)
    run(board, lambda: len(board.jobs) == 1)
    assert board.problem is None and len(service.bodies) == 1


def test_a_still_whose_disk_is_slow_arrives_whole(service, tmp_path, monkeypatch):
    still = tmp_path / "still.exr"
    still.write_bytes(bytes(range(256)) * 8_000)
    real_open = Path.open

    def slow(path: Path, *rest: Any, **more: Any) -> Any:
        time.sleep(0.3)
        return real_open(path, *rest, **more)

    monkeypatch.setattr(Path, "open", slow)
    exchange = found(service).submit(still.name, still, {}, None, False)
    started = time.perf_counter()
    exchange.step()
    assert time.perf_counter() - started < 0.1
    assert exchange.finish()["state"] == "queued" and still.read_bytes() in service.bodies[0]
