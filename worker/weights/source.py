"""From a weight file's `source` to an address that can be downloaded: a plain URL, or a file of the Hugging Face hub.

The hub's own library knows its addresses, its tokens and which repositories are gated; the bytes come the same way as
any other file's (worker.weights.download).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from worker.engines.card import WeightFile
from worker.errors import WeightsError
from worker.weights import sentences

# A film in the making is nobody's business: the hub is asked for files and told nothing else. Read at its first import.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

_HUB = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/]+))?/(?P<path>.+)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Remote:
    """Where a file is to be had. `bytes` and `sha256`: what the server publishes of it, None where it does not."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    bytes: int | None = None
    sha256: str | None = None

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc


def hub_endpoint(mirror: str | None) -> str:
    return (mirror or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def wants_offline() -> bool:
    """The hub library's own switch, which studios without network set for everything."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def address(file: WeightFile, mirror: str | None) -> str:
    """The URL of a file, without asking anybody. `mirror`: another hub for hub files; else a folder that has it."""
    if found := _HUB.fullmatch(file.source):
        from huggingface_hub import hf_hub_url

        return hf_hub_url(found["repo"], found["path"], revision=found["revision"], endpoint=hub_endpoint(mirror))
    if file.source.startswith(("https://", "http://")):
        return f"{mirror.rstrip('/')}/{file.name}" if mirror else file.source
    raise ValueError(f"{file.source} is no source of weights")


def look_up(file: WeightFile, mirror: str | None) -> Remote:
    """Where the file is now and, from the hub, its size and hash. Raises WeightsError."""
    url = address(file, mirror)
    return _on_the_hub(file, url, mirror) if file.source.startswith("hf://") else Remote(url)


def _on_the_hub(file: WeightFile, url: str, mirror: str | None) -> Remote:
    from huggingface_hub import errors, get_hf_file_metadata, get_token
    from huggingface_hub.utils import build_hf_headers

    host = urlsplit(url).netloc
    repo = _HUB.fullmatch(file.source)
    page = f"{hub_endpoint(mirror)}/{repo['repo']}" if repo else url
    token = get_token()
    try:
        told = get_hf_file_metadata(url, token=token, timeout=_TIMEOUT_S, endpoint=hub_endpoint(mirror))
    except errors.GatedRepoError:
        raise sentences.gated(page) from None
    except errors.HfHubHTTPError as fault:
        raise _by_status(file.name, host, url, getattr(fault.response, "status_code", 0)) from None
    except errors.HTTPError as fault:  # type: ignore[attr-defined]  # the transport's own, which the library passes on
        raise sentences.unreachable(host, _why(fault)) from None
    except OSError as fault:
        raise sentences.unreachable(host, _why(fault)) from None
    if told.commit_hash is None and told.etag is None:
        raise sentences.not_the_hub(host)
    sha256 = told.etag if told.etag and _SHA256.fullmatch(told.etag) else None  # small files have a git hash there
    headers = build_hf_headers(token=token) if token else {}
    return Remote(url, headers, told.size, sha256)


def _by_status(name: str, host: str, url: str, status: int) -> WeightsError:
    if status in (404, 410):
        return sentences.not_found(name, url, status)
    if status in (401, 403, 407, 451):
        return sentences.refused(name, host, status)
    return sentences.unreachable(host, f"HTTP {status}")


def _why(fault: Exception) -> str:
    return " ".join(f"{type(fault).__name__}: {fault}".split())[:160].rstrip(": ")
