"""core: the board of jobs, against a small stand-in service."""

from __future__ import annotations

import pytest
from stand_in_worker import Service, found, run

from blender_addon.core.errors import AddonError
from blender_addon.core.jobs import Board, Link
from blender_addon.core.waiting import Waiting


def test_a_job_from_submit_to_done(service):
    board = Board(lambda: found(service))
    board.submit("still.png", b"data", {"seed": 1}, None, False)
    run(board, lambda: len(board.jobs) == 1)
    assert board.link is Link.READY and board.version == "0.1.0" and board.jobs[0].id in board.mine
    service.jobs[0] |= {"state": "running", "fraction": 0.25, "stage": "geometry", "warnings": 2}
    run(board, lambda: board.jobs[0].state == "running")
    assert (board.jobs[0].fraction, board.jobs[0].stage, board.jobs[0].warnings) == (0.25, "geometry", 2)
    assert board.take_finished() == []
    service.jobs[0] |= {"state": "done", "fraction": 1.0, "folder": "/out/still"}
    run(board, lambda: bool(board.finished))
    assert [job.folder for job in board.take_finished()] == ["/out/still"] and board.take_finished() == []


def test_cancel_retry_remove(service):
    board = Board(lambda: found(service))
    board.submit("still.png", b"x", {}, None, False)
    run(board, lambda: len(board.jobs) == 1)
    job_id = board.jobs[0].id
    board.act(job_id, "cancel")
    run(board, lambda: board.jobs[0].state == "cancelled")
    board.act(job_id, "retry")
    run(board, lambda: board.jobs[0].state == "queued")
    board.act(job_id, "remove")
    run(board, lambda: not board.jobs)


def test_waiting_jobs_change_places_and_engines_are_known(service):
    board = Board(lambda: found(service))
    for name in "ab":
        board.submit(f"{name}.png", b"x", {}, None, False)
    run(board, lambda: len(board.jobs) == 2 and board.engines != [])
    newest, oldest = (job.id for job in board.jobs)  # the list is newest first, the queue runs from its end
    board.act(newest, "up")
    run(board, lambda: [job.id for job in board.jobs] == [oldest, newest])
    board.act(newest, "down")
    run(board, lambda: [job.id for job in board.jobs] == [newest, oldest])
    assert board.engines == [{"name": "embedded", "stage": "geometry"}]


def test_jobs_sent_before_a_restart_are_finished_after_it(service, tmp_path):
    store = tmp_path / "kept" / "waiting.json"
    board = Board(lambda: found(service), mine=Waiting(store))
    board.submit("still.png", b"data", {}, None, False, {"file": "a", "blend": "/shot.blend"})
    run(board, lambda: len(board.jobs) == 1)
    board.close()
    service.jobs[0] |= {"state": "done", "folder": "/out/still"}
    again = Board(lambda: found(service), mine=Waiting(store))
    run(again, lambda: bool(again.finished))
    (job,) = again.take_finished()
    assert again.mine[job.id] == {"file": "a", "blend": "/shot.blend"}
    del again.mine[job.id]
    assert len(Waiting(store)) == 0
    store.write_text("{")
    assert len(Waiting(store)) == 0


def test_jobs_left_by_a_dead_worker_are_told(service):
    board = Board(lambda: found(service))
    board.submit("still.png", b"x", {}, None, False)
    run(board, lambda: len(board.jobs) == 1)
    service.close()
    board.look_again()
    run(board, lambda: board.link is Link.ABSENT)
    assert board.problem.code == "worker.lost" and board.problem.fix == "assetize.worker_start"


def test_a_still_that_is_gone_is_told(service, tmp_path):
    board = Board(lambda: found(service))
    board.submit("gone.png", tmp_path / "gone.png", {}, None, False)
    run(board, lambda: board.problem is not None)
    assert board.problem.code == "still.unreadable" and "gone.png" in board.problem.en


def test_old_jobs_are_not_imported_again_after_a_restart(service):
    service.jobs = [{"id": "a" * 32, "name": "x", "state": "done", "fraction": 1.0, "folder": "/f"}]
    board = Board(lambda: found(service))
    run(board, lambda: len(board.jobs) == 1)
    assert board.take_finished() == []


def test_a_lost_worker_is_told_and_found_again(service):
    where = [found(service)]
    board = Board(lambda: where[0])
    run(board, lambda: board.link is Link.READY)
    service.close()
    board._poll_soon()
    run(board, lambda: board.link is Link.ABSENT and board.problem is not None)
    assert board.problem.fix == "assetize.worker_start"
    board.act("0" * 32, "cancel")  # asked for while it is away: goes out when it is back
    again = Service()
    try:
        again.jobs = [{"id": "0" * 32, "name": "x", "state": "running", "fraction": 0.5}]
        where[0] = found(again)
        run(board, lambda: board.link is Link.READY and bool(board.jobs) and board.jobs[0].state == "cancelled")
        assert board.problem is None
    finally:
        again.close()


def test_a_stranger_on_the_port_is_told(service):
    service.health = {"name": "other"}
    board = Board(lambda: found(service))
    run(board, lambda: board.problem is not None)
    assert board.problem.code == "worker.stranger" and board.link is Link.ABSENT


def test_a_worker_of_another_protocol_can_be_ended(service):
    service.health = {"name": "assetize", "version": "9", "api": 2}
    board = Board(lambda: found(service))
    run(board, lambda: board.problem is not None)
    assert board.problem.code == "worker.version" and board.problem.fix == "assetize.worker_stop"
    board.stop_worker()
    run(board, lambda: "/shutdown" in service.asked and board.problem is None)


def test_a_worker_that_never_comes_up_is_told():
    now = [0.0]
    board = Board(lambda: None, clock=lambda: now[0])
    board.expect_worker(10)
    board.tick()
    assert board.link is Link.STARTING and board.busy
    now[0] = 11.0
    board.tick()
    assert board.link is Link.ABSENT and board.problem.code == "worker.silent"


def test_errors_of_the_search_are_shown():
    def find() -> None:
        raise AddonError("worker.offline", "no")

    board = Board(find)
    assert board.tick() and board.problem.code == "worker.offline"


def test_time_left_from_the_pace(service):
    now = [0.0]
    board = Board(lambda: None, clock=lambda: now[0])
    record = {"id": "a", "name": "x", "state": "running", "fraction": 0.0}
    for second in range(5):
        now[0] = float(second)
        board._listed({"jobs": [record | {"fraction": 0.1 * second}]})
    assert board.jobs[0].seconds_left() == pytest.approx(6.0)
    board._listed({"jobs": [record | {"state": "queued"}]})
    assert board.jobs[0].seconds_left() is None
