"""`assetize serve` as a process: announce file, one a state folder, restart, the end of its parent."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

Still = Callable[..., Path]


def wait_for(what: Callable[[], Any], seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := what():
            return value
        time.sleep(0.03)
    raise AssertionError("waited in vain")


class Service:
    def __init__(self, state: Path, *words: object) -> None:
        self.state = state
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fake_plan", "serve", "--state_dir", str(state), "--output_root", str(state / "out"),
             *map(str, words)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        wait_for(lambda: self.announced.get("pid") == self.process.pid or self.process.poll() is not None)
        assert self.process.poll() is None, self.process.communicate()[0]
        wait_for(self.answers)

    @property
    def announced(self) -> dict[str, Any]:
        try:
            return json.loads((self.state / "service.json").read_text())
        except OSError:
            return {}

    def answers(self) -> bool:
        try:
            return self("GET", "/health").ok
        except requests.ConnectionError:
            return False

    def __call__(self, method: str, path: str, **how: Any) -> requests.Response:
        told = self.announced
        url = f"http://{told['host']}:{told['port']}{path}"
        return requests.request(method, url, headers={"Authorization": f"Bearer {told['token']}"}, timeout=30, **how)

    def upload(self, still: Path) -> str:
        with still.open("rb") as stream:
            return self("POST", "/jobs", files={"still": stream}).json()["id"]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    started: list[Service] = []

    def start(*words: object) -> Service:
        started.append(Service(tmp_path / "state", *words))
        return started[-1]

    yield start
    for service in started:
        service.process.kill()
        service.process.wait()
        if service.process.stdout:
            service.process.stdout.close()


def test_announce_file_is_private_true_and_withdrawn(serve: Callable[..., Service]) -> None:
    service = serve()
    path = service.state / "service.json"
    assert set(service.announced) == {"name", "version", "api", "pid", "host", "port", "token"}
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(service.state.stat().st_mode) == 0o700
    assert service("GET", "/health").json()["pid"] == service.process.pid
    listening = {c.laddr.ip for c in psutil.Process(service.process.pid).net_connections() if c.status == "LISTEN"}
    assert listening == {"127.0.0.1"}, "loopback only"
    assert service("POST", "/shutdown", json={"pid": service.process.pid}).status_code == 202
    assert service.process.wait(timeout=10) == 0
    assert not path.exists()


def test_a_kept_token_outlives_the_service_and_is_told_nowhere_else(
    serve: Callable[..., Service], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    tokens = []
    for words in (["--token-file"], ["--token_file", tmp_path / "farm"], ["--token_file"], []):
        service = serve(*words)
        tokens.append(service.announced["token"])
        assert service("GET", "/jobs").status_code == 200
        service("POST", "/shutdown", json={"pid": service.process.pid})
        said, _ = service.process.communicate(timeout=10)
        assert tokens[-1] not in said
    assert tokens[0] == tokens[2] and len(set(tokens)) == 3
    assert (tmp_path / "farm").read_text().strip() == tokens[1]
    if sys.platform == "linux":
        assert (tmp_path / "config" / "assetize" / "service_token").read_text().strip() == tokens[0]
        (tmp_path / "farm").chmod(0o644)
        words = ["serve", "--state_dir", tmp_path / "s", "--token_file", tmp_path / "farm"]
        line = [sys.executable, "-m", "fake_plan", *words]
        open_to_all = subprocess.run(line, capture_output=True, text=True, timeout=20)
        assert open_to_all.returncode == 2 and "chmod 600" in open_to_all.stderr and tokens[1] not in open_to_all.stderr


def test_one_service_a_state_folder(serve: Callable[..., Service], tmp_path: Path) -> None:
    serve()
    second = subprocess.run(
        [sys.executable, "-m", "fake_plan", "serve", "--state_dir", tmp_path / "state"],
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    assert second.returncode == 2 and "already runs" in second.stderr


def test_a_port_that_is_taken_is_a_sentence(serve: Callable[..., Service], tmp_path: Path) -> None:
    port = serve().announced["port"]
    words = [sys.executable, "-m", "fake_plan", "serve", "--state_dir", tmp_path / "other", "--port", str(port)]
    second = subprocess.run(words, capture_output=True, text=True, timeout=20)
    assert second.returncode == 2 and "Cannot listen" in second.stderr and "Traceback" not in second.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_queue_survives_the_service(
    serve: Callable[..., Service], still: Still, tmp_path: Path, number: int
) -> None:
    service = serve()
    running = service.upload(still("running.png", scene=["child", "ok"]))
    waiting = service.upload(still("waiting.png"))
    gone = service.upload(still("gone.png"))
    service("POST", f"/jobs/{gone}/cancel")
    grandchild = tmp_path / "scratch" / "grandchild"
    wait_for(lambda: grandchild.exists() and grandchild.read_text())
    host = int((tmp_path / "scratch" / "scene.attempt-0").read_text())
    service.process.send_signal(number)
    service.process.wait(timeout=10)
    for pid in (host, int(grandchild.read_text())):
        wait_for(lambda pid=pid: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", 3.0)
    again = serve()
    wait_for(lambda: {j["state"] for j in again("GET", "/jobs").json()["jobs"]} == {"done", "cancelled"})
    jobs = {job["id"]: job for job in again("GET", "/jobs").json()["jobs"]}
    assert [jobs[i]["state"] for i in (running, waiting, gone)] == ["done", "done", "cancelled"]
    assert jobs[running]["started"] < jobs[waiting]["started"]
    events = again("GET", f"/jobs/{running}/events").json()["events"]
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert [e["data"]["kept"] for e in events if e["event"] == "job.started"] == [[], ["plate", "geometry"]]


def test_it_ends_with_its_parent(serve: Callable[..., Service]) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as parent:
        service = serve("--parent_pid", parent.pid)
        parent.kill()
        parent.wait()
        assert service.process.wait(timeout=10) == 0
    assert not (service.state / "service.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_the_announce_file(serve: Callable[..., Service], number: int) -> None:
    service = serve()
    service.process.send_signal(number)
    assert service.process.wait(timeout=10) == 0
    assert not (service.state / "service.json").exists() and not (service.state / ".lock").exists()
    assert service.process.stdout and "Traceback" not in service.process.stdout.read()


def test_an_open_event_stream_does_not_hold_up_the_end(serve: Callable[..., Service], still: Still) -> None:
    service = serve()
    job = service.upload(still(scene=["idle"]))
    told = service.announced
    stream = requests.get(
        f"http://127.0.0.1:{told['port']}/jobs/{job}/events", stream=True, timeout=20,
        headers={"Authorization": f"Bearer {told['token']}", "Accept": "text/event-stream"},
    )  # fmt: skip
    assert next(stream.iter_lines()).startswith(b"id: ")
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(timeout=8) == 0
