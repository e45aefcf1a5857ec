"""A small stand-in for the worker's service, and how tests wait for what a board makes of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from blender_addon.core import client
from blender_addon.core.jobs import Board

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


def found(service: Service, token: str = TOKEN) -> client.Worker:
    return client.Worker("127.0.0.1", service.port, token, 4711)


def until(true: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.005)
    assert true()


def run(board: Board, until, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not until() and time.monotonic() < end:
        board.tick()
        time.sleep(0.005)
    assert until(), (board.link, board.problem, board.jobs)
