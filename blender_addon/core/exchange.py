# SPDX-License-Identifier: GPL-3.0-or-later
"""One HTTP request that never waits: `step()` does what the socket allows now and returns at once.

So a panel can poll from Blender's main thread without a thread of its own and without a stall; a script that may wait
calls `finish()`. Plain HTTP/1.0 over TCP: the worker is on this machine, or behind a tunnel.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import select
import socket
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import WorkerMissing, WorkerRefused

_IN_PROGRESS = {0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY, errno.EISCONN, 10035, 10036, 10037, 10056}
_CHUNK = 1 << 17
_LARGEST_ANSWER = 64 << 20
STEP_S = 0.006  # a step ends after this long, though the socket would take or give more: the panel must stay alive

Body = tuple[bytes | Path, ...]


def multipart(fields: dict[str, str], file_field: str, file_name: str, data: bytes | Path) -> tuple[str, Body]:
    """(content type, body) of a multipart/form-data form with one file. RFC 7578."""
    boundary = f"assetize-{uuid.uuid4().hex}"
    quoted = file_name.replace("\\", "_").replace('"', "%22").replace("\r", " ").replace("\n", " ")
    head = b""
    for name, value in fields.items():
        head += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    head += (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{file_field}"; filename="{quoted}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    return f"multipart/form-data; boundary={boundary}", (head, data, f"\r\n--{boundary}--\r\n".encode())


class _Outgoing:
    """The request's bytes in pieces: what lies in memory as it is, files read as they are sent."""

    def __init__(self, parts: Body) -> None:
        self._streams = [part.open("rb") if isinstance(part, Path) else io.BytesIO(part) for part in parts]
        self._left = sum(stream.seek(0, io.SEEK_END) for stream in self._streams)
        for stream in self._streams:
            stream.seek(0)
        self._piece = memoryview(b"")

    def __len__(self) -> int:
        return self._left

    def lead(self, head: bytes) -> None:
        """Put `head` before everything."""
        self._streams.insert(0, io.BytesIO(head))
        self._left += len(head)

    def peek(self) -> memoryview:
        """The next piece; raises OSError where a file has become shorter than it was."""
        while not len(self._piece):
            if not self._streams:
                raise OSError(0, "the file became shorter while it was sent")
            self._piece = memoryview(self._streams[0].read(_CHUNK))
            if not len(self._piece):
                self._streams.pop(0).close()
        return self._piece[: self._left]

    def sent(self, count: int) -> None:
        self._piece = self._piece[count:]
        self._left -= count

    def close(self) -> None:
        for stream in self._streams:
            stream.close()


class _SinkFailed(Exception):
    """Where an answer's body goes cannot take it: no fault of the worker's. The OSError is its cause."""


class Exchange:
    """`done` turns True when an answer or an error is there; `result()` gives the JSON or raises.

    With `sink` the body of a good answer goes there as it comes, and `result()` is how many bytes it were.
    """

    def __init__(
        self,
        host: str,
        port: int,
        method: str,
        path: str,
        token: str = "",
        body: bytes | Body = b"",
        content_type: str = "application/json",
        timeout_s: float = 10.0,
        sink: Callable[[bytes], object] | None = None,
    ) -> None:
        self._out = _Outgoing((body,) if isinstance(body, bytes) else body)
        head = f"{method} {path} HTTP/1.0\r\nHost: {host}:{port}\r\nAccept: application/json\r\n"
        if token:
            head += f"Authorization: Bearer {token}\r\n"
        if len(self._out) or method == "POST":
            head += f"Content-Type: {content_type}\r\nContent-Length: {len(self._out)}\r\n"
        self._out.lead(head.encode("latin-1") + b"\r\n")
        self._in = bytearray()
        self._sink = sink
        self._sunk = -1  # bytes given to the sink; -1 while the answer's head is not through
        self._promised = 0  # Content-Length of what goes to the sink
        self._where = (host, port)
        self._connected = False
        self._deadline = time.monotonic() + timeout_s
        self._patience = timeout_s
        self._error: WorkerMissing | None = None
        self.done = False
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setblocking(False)

    def step(self) -> bool:
        """Go on as far as possible without waiting, STEP_S at most; returns `done`. Raises the sink's OSError."""
        if self.done:
            return True
        end = time.monotonic() + STEP_S
        try:
            while not self.done and self._advance() and time.monotonic() < end:
                pass
        except _SinkFailed as failed:
            self.close()
            assert failed.__cause__ is not None
            raise failed.__cause__ from None
        except OSError as error:
            self._fail(error.strerror or str(error))
        if not self.done and time.monotonic() > self._deadline:
            self._fail("it did not answer in time")
        return self.done

    def finish(self) -> Any:
        """Wait for the answer; for scripts, never for a panel."""
        while not self.step():
            wants_write = not self._connected or len(self._out) > 0
            select.select([] if wants_write else [self._socket], [self._socket] if wants_write else [], [], 0.05)
        return self.result()

    def _advance(self) -> bool:
        """One step of connect, send, receive; True where another may follow at once."""
        if not self._connected:
            code = self._socket.connect_ex(self._where)
            if code not in _IN_PROGRESS:
                raise OSError(code, _reason(code))
            _, writable, broken = select.select([], [self._socket], [self._socket], 0)
            if broken or writable:
                code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    raise OSError(code, _reason(code))
            self._connected = bool(writable)
            return self._connected
        try:
            if len(self._out):
                self._out.sent(self._socket.send(self._out.peek()))
                self._deadline = time.monotonic() + self._patience  # a large upload may take its time
                return True
            data = self._socket.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return False
        if data:
            self._deadline = time.monotonic() + self._patience
            self._take(data)
        elif self._sunk >= 0 and self._promised not in (-1, self._sunk):
            raise OSError(0, "the connection broke")
        else:
            self.close()
        return bool(data)

    def _take(self, data: bytes) -> None:
        if self._sunk >= 0:
            self._pour(data)
            return
        self._in += data
        if len(self._in) > _LARGEST_ANSWER:
            raise OSError(0, "its answer is too large")
        if self._sink is not None and b"\r\n\r\n" in self._in:
            head, _, body = bytes(self._in).partition(b"\r\n\r\n")
            if head.split(b" ", 2)[1:2] == [b"200"]:
                length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
                self._promised = int(length[1]) if length else -1
                self._in, self._sunk = bytearray(head + b"\r\n\r\n"), 0
                self._pour(body)

    def _pour(self, data: bytes) -> None:
        assert self._sink is not None
        try:
            self._sink(data)
        except OSError as error:
            raise _SinkFailed from error
        self._sunk += len(data)

    def _fail(self, reason: str) -> None:
        host, port = self._where
        self._error = WorkerMissing(
            "worker.unreachable",
            f"The Assetize worker does not answer on {host}:{port} ({reason}).",
            f"Assetize 工作进程在 {host}:{port} 无响应（{reason}）。",
            fix="assetize.worker_start",
        )
        self.close()

    def close(self) -> None:
        self.done = True
        self._out.close()
        with contextlib.suppress(OSError):
            self._socket.close()

    def result(self) -> Any:
        """The decoded JSON.

        Raises WorkerMissing where nobody (or somebody else) answered, WorkerRefused with the worker's own sentence.
        """
        if self._error is not None:
            raise self._error
        head, _, body = bytes(self._in).partition(b"\r\n\r\n")
        try:
            status = int(head.split(b" ", 2)[1])
            value = self._sunk if self._sunk >= 0 else json.loads(body.decode("utf-8")) if body else {}
        except (IndexError, ValueError) as error:
            host, port = self._where
            raise WorkerMissing(
                "worker.stranger",
                f"Something answers on {host}:{port}, but it is not Assetize. Check the worker's address.",
                f"{host}:{port} 有程序响应，但不是 Assetize。请检查工作进程地址。",
                fix="assetize.preferences",
            ) from error
        if status >= 400:
            said = value if isinstance(value, dict) else {}
            raise WorkerRefused(
                str(said.get("code") or f"http.{status}"),
                str(said.get("en") or f"The worker refused the request ({status})."),
                str(said.get("zh") or f"工作进程拒绝了请求（{status}）。"),
                said.get("fix"),
                status,
            )
        return value


def _reason(code: int) -> str:
    if code in (errno.ECONNREFUSED, 10061):
        return "nothing listens there"
    return os.strerror(code)
