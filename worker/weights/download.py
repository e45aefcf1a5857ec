"""Brings one file over HTTP into a partial file, going on where an earlier try ended.

What was received stays in the partial file whatever happens, unless the server shows that it belongs to another
version: then it begins anew. The server's mark of the version (ETag, else the date of its last change) lies beside it
for that; a server that gives no mark is never asked for the rest of a file.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import re
import time
from collections.abc import Callable
from pathlib import Path

import requests
from requests import exceptions

from worker import __version__
from worker.weights import sentences
from worker.weights.source import Remote

TRIES = 5  # without a single new byte in between
PAUSE_S = 1.0  # before the second try; doubled for each further one
TIMEOUT_S = (20.0, 30.0)  # to connect; between two pieces of a file
_PIECE = 1 << 18  # what a break loses at most
_BUSY = {408, 425, 429, 500, 502, 503, 504}
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}

OnBytes = Callable[[int, int | None], None]  # bytes that are here, bytes of the whole where known


class _BrokeOff(Exception):
    """The connection ended early; what came is kept."""


class _StartAnew(Exception):
    """The partial file does not belong to what the server has now."""


def download(remote: Remote, part: Path, name: str, wanted_bytes: int | None, on_bytes: OnBytes) -> str:
    """Fill `part` with the whole file; returns its sha256.

    `wanted_bytes`: the exact size where it is known; a server that offers another size is refused before anything is
    received. Raises WeightsError; `part` then holds what came so far, for the next try.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    tries, pause, begun_anew = 0, PAUSE_S, False
    while True:
        before = _size(part)
        try:
            return _attempt(remote, part, name, wanted_bytes, on_bytes)
        except _StartAnew:
            _forget(part)
            if begun_anew:
                raise sentences.refused(name, remote.host, 416) from None
            begun_anew = True
        except (_BrokeOff, exceptions.RequestException) as fault:
            gained = _size(part) > before
            tries, pause = (1, PAUSE_S) if gained else (tries + 1, pause * 2)
            if tries >= TRIES:
                done = _size(part)
                if done or isinstance(fault, _BrokeOff):
                    raise sentences.broke_off(name, tries, _plainly(fault), done) from None
                raise sentences.unreachable(remote.host, _plainly(fault)) from None
            time.sleep(pause)


def _attempt(remote: Remote, part: Path, name: str, wanted_bytes: int | None, on_bytes: OnBytes) -> str:
    done = _size(part)
    if wanted_bytes is not None and done > wanted_bytes:
        raise _StartAnew
    if wanted_bytes is not None and done == wanted_bytes:
        return _hash_of(part).hexdigest()
    headers = {"Accept-Encoding": "identity", "User-Agent": f"assetize/{__version__}", **remote.headers}
    if done and (mark := _read(_mark(part))):
        headers |= {"Range": f"bytes={done}-", "If-Range": mark}
    with requests.get(remote.url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
        if answer.status_code == 416 and answer.headers.get("Content-Range") == f"bytes */{done}":
            return _hash_of(part).hexdigest()  # of this very version (If-Range), and all of it is here
        start = _start_of(answer, done, remote, name)
        length = answer.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else None
        if wanted_bytes is not None and total is not None and total != wanted_bytes:
            raise sentences.wrong_size(name, total, wanted_bytes)
        total = total if wanted_bytes is None else wanted_bytes
        return _receive(answer, part, start, total, on_bytes)


def _start_of(answer: requests.Response, done: int, remote: Remote, name: str) -> int:
    """The offset that this answer's bytes begin at. Raises for every answer that brings none of the file."""
    status = answer.status_code
    if status == 416:
        raise _StartAnew
    if status in _BUSY:
        raise _BrokeOff(f"HTTP {status}")
    if status in (401, 403, 407, 451):
        raise sentences.refused(name, remote.host, status)
    if status not in (200, 206):
        raise sentences.not_found(name, remote.url, status)
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        raise sentences.web_page(name, remote.host)
    if status == 200:  # from the beginning: asked so, or the server knows no ranges, or has another version now
        return 0
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != done:
        raise _StartAnew
    return done


def _receive(answer: requests.Response, part: Path, start: int, total: int | None, on_bytes: OnBytes) -> str:
    digest = _hash_of(part) if start else hashlib.sha256()
    done = start
    etag = answer.headers.get("ETag", "W/")  # a weak mark does not vouch for bytes
    _write(_mark(part), answer.headers.get("Last-Modified", "") if etag.startswith("W/") else etag)
    on_bytes(done, total)
    with part.open("ab" if start else "wb") as file:
        try:
            for piece in answer.iter_content(_PIECE):
                file.write(piece)
                digest.update(piece)
                done += len(piece)
                on_bytes(done, total)
            file.flush()
        except OSError as fault:  # requests' own are OSErrors too, but carry no such number
            if fault.errno in _FULL:
                with contextlib.suppress(OSError):
                    file.close()
                raise sentences.disk_full(part.parent, _size(part)) from None
            raise
    if total is not None and done < total:
        raise _BrokeOff(f"{done} of {total} bytes came")
    return digest.hexdigest()


def _hash_of(path: Path) -> hashlib._Hash:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest


def _mark(part: Path) -> Path:
    return part.with_name(part.name + ".mark")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _mark(part).unlink(missing_ok=True)


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text("utf-8").strip()
    return ""


def _write(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    if text:
        path.write_text(text, "utf-8")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _plainly(fault: Exception) -> str:
    """Why, in words of a person: requests nests three exceptions' texts into one another."""
    if isinstance(fault, exceptions.ProxyError):
        return "the proxy does not answer"
    if isinstance(fault, exceptions.SSLError):
        return "its certificate is not trusted here; REQUESTS_CA_BUNDLE may name your studio's own"
    if isinstance(fault, exceptions.Timeout):
        return "no answer in time"
    if isinstance(fault, exceptions.ConnectionError | exceptions.ChunkedEncodingError):
        return "no connection" if "Max retries" in str(fault) else "the connection was closed"
    return " ".join(str(fault).split())[:160] or type(fault).__name__
