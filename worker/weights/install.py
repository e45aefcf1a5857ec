"""Puts an engine's weights in place, takes them away, and checks them.

A file is brought into a partial one, checked there (size, hash, every tensor), and only then renamed into its place:
what lies in place is whole and is what it should be.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import filelock

from worker.engines.card import EngineCard, WeightFile
from worker.errors import WeightsError
from worker.nn.checkpoint import TensorSpec, missing, open_checkpoint, refuse_other_content, require_equal
from worker.session import atomic
from worker.weights import sentences, source, store
from worker.weights.download import download
from worker.weights.store import Receipt

# ERROR_ACCESS_DENIED (what a mapped file answers), SHARING_VIOLATION, LOCK_VIOLATION, USER_MAPPED_FILE
_HELD_WINDOWS = {5, 32, 33, 1224}
_SPARE_BYTES = 200 * 2**20  # a disk filled to the last byte troubles everything else on it
_PARTS = ".partial"
_TENSOR_FILES = (".safetensors", ".pt", ".pth")

OnBytes = Callable[[str, int, int], None]  # file name, bytes that are here, bytes of the whole


@dataclass(frozen=True)
class Way:
    """How files come: over the network (from a mirror), or from a file or folder of the user's."""

    mirror: str | None = None
    taken_from: Path | None = None
    offline: bool = False


def files_of(cards: Iterable[EngineCard]) -> dict[str, WeightFile]:
    """The files that must be brought for these cards (one engine's, of one or more stages), by name."""
    return {file.name: file for card in cards for file in card.weights if file.source != store.SHIPPED}


def bring(engine: str, files: Iterable[WeightFile], way: Way, on_bytes: OnBytes) -> list[str]:
    """Put in place what is missing; returns the names of the files brought. Raises WeightsError, leaving in place
    only whole files and in `.partial` what came of the next one."""
    absent = [file for file in files if not store.is_there(engine, file)]
    if not absent:
        return []
    folder = store.root() / engine
    with _writing(folder, "install", "安装"), _alone(engine, folder):
        _check_space(folder, absent)
        if way.taken_from is not None:
            found = _found_in(way.taken_from, absent)
            for file in absent:
                _copy(engine, file, found[file.name], on_bytes)
        elif way.offline or source.wants_offline():
            raise sentences.offline([(f.name, source.address(f, None), store.path_of(engine, f)) for f in absent])
        else:
            for file in absent:
                _download(engine, file, way.mirror, on_bytes)
        with contextlib.suppress(OSError):
            (folder / _PARTS).rmdir()
    return [file.name for file in absent]


def remove(engine: str) -> int:
    """Take an engine's weights away; returns the bytes freed. The receipts stay: what comes later is held to them."""
    folder, freed = store.root() / engine, 0
    if not folder.is_dir():
        return 0
    with _writing(folder, "remove", "移除"), _alone(engine, folder):
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.is_file() and not (path.suffix == ".json" and store.receipt_of(path.with_suffix(""))):
                if path.name != _LOCK:
                    freed += path.stat().st_size
                    path.unlink()
            elif path.is_dir():
                with contextlib.suppress(OSError):
                    path.rmdir()
    return freed


def check(engine: str, file: WeightFile, on_bytes: OnBytes) -> Receipt:
    """Read a file that is in place from end to end and compare it. A file put there by hand gets its receipt now."""
    path = store.path_of(engine, file)
    if not path.is_file():
        raise missing(path)
    with path.open("rb") as stream:
        sha256 = _hash(stream, lambda done: on_bytes(file.name, done, path.stat().st_size))
    receipt = Receipt(path.stat().st_size, sha256, file.source)
    _verify(engine, file, path, receipt, None)
    if store.receipt_of(path) is None:
        with contextlib.suppress(OSError):  # a share that others look after may be for reading only
            _write_receipt(path, receipt)
    return receipt


def manifest_of(file: WeightFile) -> Mapping[str, TensorSpec] | None:
    """The tensors that the engine says this file holds; None where it says nothing."""
    if file.manifest is None:
        return None
    module, _, name = file.manifest.partition(":")
    found: Mapping[str, TensorSpec] = getattr(importlib.import_module(module), name)()
    return found


# --- one file -------------------------------------------------------------------------------------------------------
def _part_of(engine: str, file: WeightFile) -> Path:
    return store.root() / engine / _PARTS / Path(file.name).name


def _download(engine: str, file: WeightFile, mirror: str | None, on_bytes: OnBytes) -> None:
    remote = source.look_up(file, mirror)
    part = _part_of(engine, file)
    wanted = file.bytes if file.bytes_exact else remote.bytes
    if file.bytes_exact and remote.bytes not in (None, file.bytes):
        raise sentences.wrong_size(file.name, remote.bytes or 0, file.bytes)

    def on(done: int, total: int | None) -> None:
        on_bytes(file.name, done, total or file.bytes)

    sha256 = download(remote, part, file.name, wanted, on)
    _settle(engine, file, part, Receipt(part.stat().st_size, sha256, remote.url), remote.sha256)


def _copy(engine: str, file: WeightFile, origin: Path, on_bytes: OnBytes) -> None:
    part = _part_of(engine, file)
    part.parent.mkdir(parents=True, exist_ok=True)
    part.unlink(missing_ok=True)
    try:
        refuse_other_content(origin)
        total = origin.stat().st_size
    except OSError as fault:
        raise sentences.unreadable(origin, fault.strerror or str(fault)) from None
    try:
        with origin.open("rb") as stream, part.open("wb") as copy:
            sha256 = _hash(stream, lambda done: on_bytes(file.name, done, total), copy.write)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _settle(engine, file, part, Receipt(total, sha256, str(origin)), None)


def _hash(stream: IO[bytes], on_done: Callable[[int], None], write: Callable[[bytes], object] | None = None) -> str:
    digest, done = hashlib.sha256(), 0
    while piece := stream.read(1 << 22):
        if write:
            write(piece)
        digest.update(piece)
        done += len(piece)
        on_done(done)
    return digest.hexdigest()


def _settle(engine: str, file: WeightFile, part: Path, receipt: Receipt, published: str | None) -> None:
    """Check the partial file and rename it into place. What is wrong is deleted: going on from it would not help."""
    path, failure = store.path_of(engine, file), None
    try:
        _verify(engine, file, part, receipt, published)
    except WeightsError as error:
        failure = error.with_traceback(None)
        failure.__context__ = None  # frames in it may still hold the file, and Windows deletes no file that is held
    if failure is not None:
        part.unlink(missing_ok=True)
        part.with_name(part.name + ".mark").unlink(missing_ok=True)
        raise failure
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_receipt(path, receipt)  # first, so that a file in place is never without
    part.replace(path)
    part.with_name(part.name + ".mark").unlink(missing_ok=True)


def _write_receipt(path: Path, receipt: Receipt) -> None:
    atomic.write_bytes(store.receipt_path(path), store.receipt_text(receipt).encode())


def _verify(engine: str, file: WeightFile, path: Path, found: Receipt, published: str | None) -> None:
    """Size, hash (of the card, of the hub, of the first use here), then every tensor. Raises WeightsError."""
    refuse_other_content(path)
    if file.bytes_exact and found.bytes != file.bytes:
        raise sentences.wrong_size(file.name, found.bytes, file.bytes)
    for wanted in (file.sha256, published):
        if wanted and wanted != found.sha256:
            raise sentences.wrong_hash(file.name, found.sha256, wanted, None)
    place = store.path_of(engine, file)
    first = store.receipt_of(place)
    if first is not None and file.sha256 is None and first.sha256 != found.sha256:
        raise sentences.wrong_hash(file.name, found.sha256, first.sha256, store.receipt_path(place))
    if path.suffix in _TENSOR_FILES:
        specs = dict(open_checkpoint(path).specs())
        if (wanted_specs := manifest_of(file)) is not None:
            require_equal(file.name, specs, wanted_specs)


def _found_in(place: Path, files: list[WeightFile]) -> dict[str, Path]:
    """Which of the user's files is which of ours: by name in a folder; a single file may have any name."""
    if place.is_file() and len(files) == 1:
        return {files[0].name: place}
    folder = place.parent if place.is_file() else place
    found = {file.name: path for file in files for path in (folder / file.name, folder / Path(file.name).name)
             if path.is_file()}  # fmt: skip
    if absent := [file.name for file in files if file.name not in found]:
        raise sentences.not_in(folder, absent)
    return found


# --- the folder -----------------------------------------------------------------------------------------------------
_LOCK = ".lock"


@contextlib.contextmanager
def _alone(engine: str, folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / _LOCK, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise sentences.busy(engine) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _writing(folder: Path, verb: str, zh: str) -> Iterator[None]:
    """A folder that cannot be written, a full disk, a file that is held: told in a sentence."""
    try:
        yield
    except OSError as fault:
        if fault.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
            raise sentences.disk_full(folder, 0) from None
        if (held := _held(fault)) is not None:
            raise sentences.in_use(held, verb, zh) from None
        raise sentences.unwritable(folder, fault.strerror or str(fault)) from None


def _held(fault: OSError) -> Path | None:
    """The file that a process has open, where Windows refused to delete or replace it for that."""
    if getattr(fault, "winerror", None) not in _HELD_WINDOWS:
        return None
    paths = [Path(name) for name in (fault.filename2, fault.filename) if isinstance(name, str)]
    return next((path for path in paths if path.is_file()), None)


def _check_space(folder: Path, files: list[WeightFile]) -> None:
    parts = [folder / _PARTS / Path(file.name).name for file in files]
    here = sum(part.stat().st_size for part in parts if part.is_file())
    need = sum(file.bytes for file in files) - here + _SPARE_BYTES
    free = shutil.disk_usage(folder).free
    if need > free:
        raise sentences.no_space(folder, need, free)
