"""core: the non-blocking request, finding the worker, and the board of jobs, against a small stand-in service."""

from __future__ import annotations

import json
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from blender_addon.core import client, worker
from blender_addon.core.errors import AddonError, WorkerMissing, WorkerRefused
from blender_addon.core.exchange import Exchange
from blender_addon.core.jobs import Board, Link
from blender_addon.core.session import read_session
from blender_addon.core.waiting import Waiting

TOKEN = "secret"


class Service:
    """Answers as the worker's OpenAPI says: health, jobs, cancel, retry, delete, shutdown."""

    def __init__(self) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.health = {"name": "assetize", "version": "0.1.0", "api": 1}
        self.delay = 0.0
        self.session: Path | None = None  # the folder whose files are served
        self.lies: list[dict[str, Any]] = []
        self.asked: list[str] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                time.sleep(service.delay)
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                status, value = service.route(self.command, self.path, body, self.headers)
                data = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def route(self, method: str, path: str, body: bytes, headers: Any) -> tuple[int, Any]:
        path = path.partition("?")[0]
        self.asked.append(path)
        if path == "/health":
            return 200, self.health
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {"code": "service.token", "en": "This needs the token.", "zh": "需要令牌。", "fix": None}
        if method == "GET" and path == "/jobs":
            return 200, {"jobs": self.jobs}
        if method == "GET" and path == "/engines":
            return 200, {"engines": [{"name": "embedded", "stage": "geometry"}]}
        if method == "POST" and path == "/jobs":
            self.bodies.append(body)
            self.jobs.insert(0, {"id": f"{len(self.bodies):032x}", "name": "still.png", "state": "queued"})
            return 201, self.jobs[0]
        if path == "/shutdown":
            return 202, {"ok": True}
        verb = path.rpartition("/")[2]
        job = next((each for each in self.jobs if each["id"] in path), None)
        if job is None:
            return 404, {"code": "service.no_job", "en": "There is no such job.", "zh": "没有此任务。", "fix": None}
        if method == "DELETE":
            self.jobs.remove(job)
        elif self.session is not None and path.endswith("/files"):
            return 200, {"files": [{"path": file.relative_to(self.session).as_posix(), "bytes": file.stat().st_size}
                                   for file in self.session.rglob("*") if file.is_file()] + self.lies}  # fmt: skip
        elif self.session is not None and "/files/" in path:
            return 200, (self.session / path.partition("/files/")[2]).read_bytes()
        elif verb == "move":
            at = self.jobs.index(job)
            other = at + (1 if json.loads(body)["to"] == "up" else -1)  # newest first
            self.jobs[at], self.jobs[other] = self.jobs[other], job
        elif verb == "cancel":
            job["state"] = "cancelled"
        elif verb == "retry":
            job["state"] = "queued"
        return 200, job

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.close()


def found(service: Service, token: str = TOKEN) -> client.Worker:
    return client.Worker("127.0.0.1", service.port, token, 4711)


def run(board: Board, until, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not until() and time.monotonic() < end:
        board.tick()
        time.sleep(0.005)
    assert until(), (board.link, board.problem, board.jobs)


def test_a_step_never_waits_even_for_a_slow_answer(service):
    service.delay = 0.3
    exchange = found(service).jobs()
    slowest, steps = 0.0, 0
    while not exchange.done:
        started = time.perf_counter()
        exchange.step()
        slowest, steps = max(slowest, time.perf_counter() - started), steps + 1
        time.sleep(0.01)
    assert exchange.result() == {"jobs": []} and steps > 10
    assert slowest < 0.03


def test_a_large_upload_goes_piece_by_piece(service):
    data = bytes(range(256)) * 40_000  # 10 MB
    answer = found(service).submit('a"b.png', data, {"seed": 7}, None, False).finish()
    assert answer["state"] == "queued"
    assert data in service.bodies[0] and b'name="options"\r\n\r\n{"seed": 7}' in service.bodies[0]
    assert b'filename="a%22b.png"' in service.bodies[0]


def test_a_still_is_read_as_it_is_sent(service, tmp_path):
    still = tmp_path / "still.exr"
    still.write_bytes(bytes(range(256)) * 20_000)
    exchange = found(service).submit(still.name, still, {}, None, False)
    assert exchange.finish()["state"] == "queued" and still.read_bytes() in service.bodies[0]
    exchange = found(service).submit(still.name, still, {}, None, False)
    still.write_bytes(b"short")
    with pytest.raises(WorkerMissing, match="shorter"):
        exchange.finish()
    with pytest.raises(OSError):
        found(service).submit("none.png", tmp_path / "none.png", {}, None, False)


def test_a_step_ends_though_the_socket_has_more(service, tmp_path):
    """64 MB over loopback in pieces: no step may hold Blender's main thread, whatever the line gives."""
    service.session, service.jobs = tmp_path, [{"id": "f" * 32}]
    (tmp_path / "big").write_bytes(bytes(64 << 20))
    exchange = found(service).file("f" * 32, "big", sink=lambda data: None)
    spent, steps = [], 0
    while not exchange.done:
        started = time.thread_time()
        exchange.step()
        spent.append(time.thread_time() - started)
        steps += 1
        time.sleep(0.001)
    assert exchange.result() == 64 << 20 and steps > 3
    assert max(spent) < 0.03


def test_a_broken_download_is_no_file(service, tmp_path):
    listener = socket.create_server(("127.0.0.1", 0))

    def half() -> None:
        connection, _address = listener.accept()
        connection.recv(4096)
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        connection.close()

    threading.Thread(target=half, daemon=True).start()
    got = bytearray()
    with listener, pytest.raises(WorkerMissing, match="broke"):
        Exchange("127.0.0.1", listener.getsockname()[1], "GET", "/f", sink=got.extend).finish()


def test_refusals_speak_the_workers_sentence(service):
    with pytest.raises(WorkerRefused) as caught:
        found(service, "wrong").jobs().finish()
    assert caught.value.status == 401 and caught.value.zh == "需要令牌。"
    with pytest.raises(WorkerRefused, match="no such job"):
        found(service).act("0" * 32, "cancel").finish()


def test_nobody_there_and_somebody_else(service):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(WorkerMissing, match="does not answer"):
        Exchange("127.0.0.1", port, "GET", "/health").finish()
    listener = socket.create_server(("127.0.0.1", 0))
    with listener:
        silent = Exchange("127.0.0.1", listener.getsockname()[1], "GET", "/health", timeout_s=0.2)
        with pytest.raises(WorkerMissing, match="in time"):
            silent.finish()
        stranger = Exchange("127.0.0.1", listener.getsockname()[1], "GET", "/health", timeout_s=2)

        def shout() -> None:
            for _ in range(2):
                connection, _address = listener.accept()
                connection.sendall(b"SSH-2.0-hello\r\n")
                connection.close()

        threading.Thread(target=shout, daemon=True).start()
        with pytest.raises(WorkerMissing):
            stranger.finish()


def test_health_tells_strangers_and_other_versions():
    assert client.check_health({"name": "assetize", "version": "0.2", "api": 1}) == "0.2"
    for answer, code in (({"name": "comfy"}, "worker.stranger"), ([], "worker.stranger"),
                         ({"name": "assetize", "version": "9", "api": 2}, "worker.version")):  # fmt: skip
        with pytest.raises(WorkerMissing) as caught:
            client.check_health(answer)
        assert caught.value.code == code


def test_the_announce_file_is_found_and_distrusted(tmp_path):
    assert client.announced(tmp_path) is None
    record = {"name": "assetize", "version": "0.1.0", "api": 1, "pid": 5, "host": "0.0.0.0", "port": 81, "token": "t"}
    (tmp_path / "service.json").write_text(json.dumps(record))
    assert client.announced(tmp_path) == client.Worker("127.0.0.1", 81, "t", 5, "0.1.0")
    for text in ("", "{", "[]", json.dumps(record | {"name": "other"}), json.dumps(record | {"port": "x"})):
        (tmp_path / "service.json").write_text(text)
        assert client.announced(tmp_path) is None


def test_state_folders_of_each_system():
    linux = client.default_state_dir({"HOME": "/home/a"}, "linux")
    assert linux == Path("/home/a/.local/state/assetize")
    assert client.default_state_dir({"HOME": "/h", "XDG_STATE_HOME": "/x"}, "linux") == Path("/x/assetize")
    assert client.default_state_dir({"HOME": "/Users/a"}, "darwin").parts[-2:] == ("Application Support", "assetize")
    assert client.default_state_dir({"USERPROFILE": "c", "LOCALAPPDATA": "d"}, "win32") == Path("d/assetize")


@pytest.mark.parametrize("url", ["", "http://", "127.0.0.1", "https://a:1", "http://a:port"])
def test_addresses_that_cannot_be_used(url):
    with pytest.raises(WorkerMissing):
        client.entered(url, "", True)


def test_other_machines_only_online():
    assert client.entered("127.0.0.1:80", "t", False).port == 80
    assert client.entered("http://farm:80", "t", True).host == "farm"
    with pytest.raises(WorkerMissing, match="online"):
        client.entered("http://farm:80", "t", False)


# --- the board


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


# --- sessions from another machine


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


# --- the worker's command


def test_the_worker_is_found_by_folder_python_and_variable(tmp_path):
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("")
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "__main__.py").write_text("")
    for said, env in ((str(tmp_path), {}), (str(python), {}), ("", {"ASSETIZE_WORKER": str(tmp_path)})):
        command = worker.find_worker(said, env)
        assert command.line == (str(python), "-m", "worker") and command.folder == tmp_path
        assert command.environment()["PYTHONPATH"] == str(tmp_path)
    assert worker._command(tmp_path / "nothing") is None and worker._command(tmp_path / "worker") is None


def test_without_a_worker_the_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    with pytest.raises(WorkerMissing, match=r"x is no worker.*bootstrap\.py") as caught:
        worker.find_worker("x", {})
    assert caught.value.exit_code == 3 and caught.value.fix == "assetize.preferences"


def test_the_workers_events_are_heard(tmp_path):
    script = tmp_path / "fake.py"
    script.write_text('import sys\nprint(\'{"event": "session", "folder": "/f"}\')\nprint("noise")\nsys.exit(3)\n')
    events: list[dict[str, Any]] = []
    code = worker.run_worker(worker.WorkerCommand((sys.executable, str(script))), ["run"], events.append)
    assert code == 3 and events == [{"event": "session", "folder": "/f"}]
    with pytest.raises(WorkerMissing, match="could not be started"):
        worker.run_worker(worker.WorkerCommand((str(tmp_path / "none"),)), [], events.append)


def test_serve_writes_its_log(tmp_path):
    script = tmp_path / "fake.py"
    script.write_text("import sys\nprint('hello', sys.argv[1:])\n")
    process = worker.serve(worker.WorkerCommand((sys.executable, str(script))), ["--x"], tmp_path / "logs" / "w.log")
    assert process.wait(10) == 0 and "hello ['serve', '--x']" in (tmp_path / "logs" / "w.log").read_text()
