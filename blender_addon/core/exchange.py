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
import queue
import re
import select
import socket
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import AddonError, WorkerMissing, WorkerRefused
from .far_disk import SILENT_S, Errand, silent

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


class _FileAhead:
    """A file that is read in a thread, some pieces ahead of who sends it: its disk may stall, a panel may not."""

    def __init__(self, path: Path) -> None:
        self.path, self.size = path, -1  # -1: it is not open yet
        self._pieces: queue.Queue[bytes] = queue.Queue(maxsize=8)
        self._asked = time.monotonic()
        self._closed = False
        self._errand = Errand(self._read)

    def _read(self) -> None:
        with self.path.open("rb") as stream:
            self.size = stream.seek(0, io.SEEK_END)
            stream.seek(0)
            while piece := stream.read(_CHUNK):
                while not self._closed:
                    try:
                        self._pieces.put(piece, timeout=0.1)
                        break
                    except queue.Full:
                        continue
                if self._closed:
                    return

    def is_open(self) -> bool:
        """Raises OSError where it cannot be opened, AddonError where its disk is silent."""
        if self.size < 0:
            self._check()
        return self.size >= 0

    def next(self) -> bytes:
        """The next piece, nothing where it is not there yet. Raises OSError where the file ended too early."""
        try:
            piece = self._pieces.get_nowait()
        except queue.Empty:
            self._check()
            return b""
        self._asked = time.monotonic()
        return piece

    def _check(self) -> None:
        if self._errand.done and self._pieces.empty():
            self._errand.result()
            raise OSError(0, "the file became shorter while it was sent", str(self.path))
        if time.monotonic() - self._asked > SILENT_S:
            raise silent(self.path)

    def close(self) -> None:
        self._closed = True


class _Outgoing:
    """The request's bytes in pieces: what lies in memory as it is, files read as they are sent."""

    def __init__(self, parts: Body) -> None:
        self._parts: list[bytes | _FileAhead] = [_FileAhead(p) if isinstance(p, Path) else p for p in parts]
        self._left = -1
        self._piece = memoryview(b"")

    def ready(self) -> bool:
        """Whether the length is known. Raises OSError, AddonError of a file that cannot be opened."""
        if self._left < 0 and all(part.is_open() for part in self._parts if isinstance(part, _FileAhead)):
            self._left = sum(part.size if isinstance(part, _FileAhead) else len(part) for part in self._parts)
        return self._left >= 0

    def __len__(self) -> int:
        """Of what is left, once `ready`."""
        return self._left

    def lead(self, head: bytes) -> None:
        """Put `head` before everything."""
        self._parts.insert(0, head)
        self._left += len(head)

    def peek(self) -> memoryview:
        """The next piece, empty where a disk has not given it yet. Raises OSError, AddonError of the file."""
        while not len(self._piece) and self._left:
            part = self._parts[0]
            if isinstance(part, bytes):
                self._piece = memoryview(part)
            elif part.size:
                self._piece = memoryview(part.next()[: part.size])
                part.size -= len(self._piece)
                if part.size:
                    break
                part.close()
            self._parts.pop(0)
        return self._piece

    @property
    def dry(self) -> bool:
        return self._left != 0 and not len(self._piece)

    def sent(self, count: int) -> None:
        self._piece = self._piece[count:]
        self._left -= count

    def close(self) -> None:
        for part in self._parts:
            if isinstance(part, _FileAhead):
                part.close()


class _SourceFailed(Exception):
    """What is to be sent cannot be read: no fault of the worker's. The OSError is its cause."""


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
        self._head = f"{method} {path} HTTP/1.0\r\nHost: {host}:{port}\r\nAccept: application/json\r\n"
        if token:
            self._head += f"Authorization: Bearer {token}\r\n"
        self._has_body, self._content_type = bool(body) or method == "POST", content_type
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
        """Go on as far as possible without waiting, STEP_S at most; returns `done`.

        Raises the sink's OSError; OSError or AddonError of a file that is to be sent.
        """
        if self.done:
            return True
        end = time.monotonic() + STEP_S
        try:
            while not self.done and self._advance() and time.monotonic() < end:
                pass
        except (_SinkFailed, _SourceFailed) as failed:
            self.close()
            assert failed.__cause__ is not None
            raise failed.__cause__ from None
        except OSError as error:
            self._fail(error.strerror or str(error))
        except AddonError:  # of a disk that is silent
            self.close()
            raise
        if not self.done and not self._head and time.monotonic() > self._deadline:
            self._fail("it did not answer in time")
        return self.done

    def finish(self) -> Any:
        """Wait for the answer; for scripts, never for a panel."""
        while not self.step():
            self.wait()
        return self.result()

    def wait(self) -> None:
        """Until something may have happened, a moment at most."""
        if self._head or (self._connected and self._out.dry):
            time.sleep(0.002)  # for a disk
            return
        wants_write = not self._connected or len(self._out) > 0
        select.select([] if wants_write else [self._socket], [self._socket] if wants_write else [], [], 0.05)

    def _advance(self) -> bool:
        """One step of connect, send, receive; True where another may follow at once."""
        if self._head and not self._begin():
            return False
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
                if not len(piece := self._next_piece()):
                    return False
                self._out.sent(self._socket.send(piece))
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

    def _begin(self) -> bool:
        """Write the head, as soon as it is known how long the body is."""
        try:
            if not self._out.ready():
                return False
        except OSError as error:
            raise _SourceFailed from error
        if self._has_body:
            self._head += f"Content-Type: {self._content_type}\r\nContent-Length: {len(self._out)}\r\n"
        self._out.lead(self._head.encode("latin-1") + b"\r\n")
        self._head = ""
        self._deadline = time.monotonic() + self._patience
        return True

    def _next_piece(self) -> memoryview:
        try:
            return self._out.peek()
        except OSError as error:
            raise _SourceFailed from error

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
