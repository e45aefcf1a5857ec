"""A file server on the loopback that misbehaves as told: breaks off, stalls, refuses, lies.

`files[path]` is what it has. `acts[path]` is a list of behaviours, one a request, the last for all further ones:
"ok", "cut:N" (N bytes, then it hangs up), "stall:N" (N bytes, then silence), "html", "no_range", "short", or a status.
A path with /resolve/ also answers as the Hugging Face hub does.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STALL_S = 3.0


class WeightServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.acts: dict[str, list[str]] = {}
        self.marks: dict[str, str] = {}  # ETag; "" for none
        self.asked: list[tuple[str, str, str | None]] = []  # method, path, Range
        self.tokens: list[str | None] = []
        self.stop = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client: object) -> None:
        """A client that hung up is no news."""

    def gets(self) -> list[str | None]:
        return [asked for method, _, asked in self.asked if method == "GET"]


class _Handler(BaseHTTPRequestHandler):
    server: WeightServer

    def log_message(self, *words: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _act(self) -> str:
        acts = self.server.acts.get(self.path, ["ok"])
        return acts.pop(0) if len(acts) > 1 else acts[0]

    def _plain(self, status: int, text: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(text)

    def _answer(self) -> None:
        server = self.server
        server.asked.append((self.command, self.path, self.headers.get("Range")))
        server.tokens.append(self.headers.get("Authorization"))
        act = self._act() if self.command == "GET" or "/resolve/" not in self.path else self._head_act()
        if act == "html":
            return self._plain(200, b"<html>Sign in</html>", "text/html; charset=utf-8")
        if act.startswith("gated"):
            self.send_response(403)
            self.send_header("X-Error-Code", "GatedRepo")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if act.isdigit():
            return self._plain(int(act), b"no", "text/plain")
        data = server.files.get(self.path)
        if data is None:
            return self._plain(404, b"no such file", "text/plain")
        self._file(data, act)
        return None

    def _head_act(self) -> str:
        first = self.server.acts.get(self.path, ["ok"])[0]
        return first if first in ("html", "gated") or first.isdigit() else "ok"

    def _file(self, data: bytes, act: str) -> None:
        mark = self.server.marks.get(self.path, '"v1"')
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(found[1]) if found and act != "no_range" else 0
        if start and self.headers.get("If-Range", mark) != mark:
            start = 0
        if start >= len(data) > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("Content-Type", "application/octet-stream")
        if mark:
            self.send_header("ETag", mark)
        if "/resolve/" in self.path:
            self.send_header("X-Repo-Commit", "c0ffee")
            self.send_header("X-Linked-Size", str(len(data)))
            self.send_header("X-Linked-Etag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.end_headers()
        if self.command == "HEAD":
            return
        body, (kind, _, count) = data[start:], act.partition(":")
        if kind in ("cut", "stall"):
            body = body[: int(count)]
        if kind == "flip":
            body = bytes([body[0] ^ 1]) + body[1:]
        self.wfile.write(body)
        self.wfile.flush()
        if kind == "stall":
            self.server.stop.wait(STALL_S)
        if kind in ("cut", "stall"):
            self.close_connection = True


@contextlib.contextmanager
def weight_server() -> Iterator[WeightServer]:
    server = WeightServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop.set()
        server.shutdown()
        server.server_close()
        thread.join(timeout=2.0)
