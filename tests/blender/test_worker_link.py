"""core: the non-blocking request, and finding and starting the worker, against a small stand-in service."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from stand_in_worker import found, until

from blender_addon.core import client, worker
from blender_addon.core.errors import WorkerMissing, WorkerRefused
from blender_addon.core.exchange import Exchange


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
    until(exchange._out.ready)
    still.write_bytes(b"short")
    with pytest.raises(OSError, match="shorter"):
        exchange.finish()
    with pytest.raises(FileNotFoundError):
        found(service).submit("none.png", tmp_path / "none.png", {}, None, False).finish()
    still.write_bytes(b"")
    found(service).submit("none.png", still, {}, None, False).finish()
    assert service.bodies[-1].endswith(b"octet-stream\r\n\r\n\r\n--" + service.bodies[-1][2:43] + b"--\r\n")


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
