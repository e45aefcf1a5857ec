# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding the running worker and speaking its protocol. Requests are Exchanges: begun here, driven by who owns them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from .errors import WorkerMissing
from .exchange import Exchange, multipart

NAME, API = "assetize", 1
ENDED_SHOWN = 20
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def default_state_dir(environment: Mapping[str, str] | None = None, platform: str = sys.platform) -> Path:
    """Where the worker announces itself: the user's state folder of each system, as the worker itself finds it."""
    environment = os.environ if environment is None else environment
    home = Path(environment.get("HOME") or environment.get("USERPROFILE") or Path.home())
    if platform == "win32":
        return Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local") / "assetize"
    if platform == "darwin":
        return home / "Library" / "Application Support" / "assetize"
    return Path(environment.get("XDG_STATE_HOME", "").strip() or home / ".local" / "state") / "assetize"


@dataclass(frozen=True)
class Worker:
    """Where a worker listens. `pid` is 0 for one that was entered by hand."""

    host: str
    port: int
    token: str
    pid: int = 0
    version: str = ""

    @property
    def is_own(self) -> bool:
        """Whether it announced itself on this machine: then its folders are ours too. Behind a tunnel they are not."""
        return self.pid != 0

    # --- requests; each returns a begun Exchange
    def health(self) -> Exchange:
        return self._request("GET", "/health", timeout_s=5.0)

    def jobs(self) -> Exchange:
        """All that wait or run, and the newest that have ended: a list of thousands would take long to read."""
        return self._request("GET", f"/jobs?ended={ENDED_SHOWN}")

    def files(self, job_id: str) -> Exchange:
        return self._request("GET", f"/jobs/{quote(job_id)}/files")

    def file(self, job_id: str, path: str, sink: Callable[[bytes], object] | None = None) -> Exchange:
        """One file of a session; without `sink` it must be JSON."""
        where = f"/jobs/{quote(job_id)}/files/{quote(path)}"
        return Exchange(self.host, self.port, "GET", where, self.token, timeout_s=30.0, sink=sink)

    def engines(self) -> Exchange:
        return self._request("GET", "/engines", timeout_s=30.0)

    def submit(
        self, name: str, data: bytes | Path, options: dict[str, Any], output_root: str | None, fresh: bool
    ) -> Exchange:
        """Send a still. A Path is read as it is sent: the exchange's steps raise OSError where it cannot be."""
        fields = {"options": json.dumps(options), "fresh": "true" if fresh else "false"}
        if output_root:
            fields["output_root"] = output_root
        kind, body = multipart(fields, "still", name, data)
        return Exchange(self.host, self.port, "POST", "/jobs", self.token, body, kind, timeout_s=60.0)

    def act(self, job_id: str, verb: str) -> Exchange:
        """`cancel`, `retry`, `up`, `down` (in the queue), or `remove` (which forgets the job, not its session)."""
        if verb == "remove":
            return self._request("DELETE", f"/jobs/{quote(job_id)}")
        if verb in ("up", "down"):
            return self._request("POST", f"/jobs/{quote(job_id)}/move", json.dumps({"to": verb}).encode())
        return self._request("POST", f"/jobs/{quote(job_id)}/{verb}")

    def shutdown(self) -> Exchange:
        return self._request("POST", "/shutdown", json.dumps({"pid": self.pid}).encode())

    def _request(self, method: str, path: str, body: bytes = b"", timeout_s: float = 10.0) -> Exchange:
        return Exchange(self.host, self.port, method, path, self.token, body, timeout_s=timeout_s)


def announced(state_dir: Path) -> Worker | None:
    """The worker that announced itself there, None where none did. Whether it lives, `health` tells."""
    try:
        record = json.loads((state_dir / "service.json").read_text(encoding="utf-8"))
        if record["name"] != NAME:
            return None
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(record["host"], record["host"])
        return Worker(host, int(record["port"]), str(record["token"]), int(record["pid"]), str(record["version"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def entered(url: str, token: str, online: bool) -> Worker:
    """A worker given by URL in the preferences. Off this machine only where Blender may go online.

    Raises WorkerMissing for an address that cannot be used, with the reason.
    """
    parts = urlsplit(url if "//" in url else f"http://{url}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme != "http" or not host or not port:
        raise WorkerMissing(
            "worker.address",
            f"“{url}” is no worker's address. It looks like http://127.0.0.1:8000; for another machine use a tunnel.",
            f"“{url}”不是有效的工作进程地址。格式如 http://127.0.0.1:8000；远程机器请使用隧道。",
            fix="assetize.preferences",
        )
    if host not in LOOPBACK and not online:
        raise WorkerMissing(
            "worker.offline",
            f"{host} is another machine, and Blender may not go online. Allow online access in Preferences > System.",
            f"{host} 是另一台机器，而 Blender 未获准联网。请在“偏好设置 > 系统”中允许在线访问。",
        )
    return Worker(host, port, token)


def check_health(answer: Any) -> str:
    """The version that /health tells. Raises WorkerMissing where it is somebody else, or speaks another protocol."""
    if not isinstance(answer, dict) or answer.get("name") != NAME:
        raise WorkerMissing(
            "worker.stranger",
            "Another program answers at the worker's address. Check it in the preferences.",
            "工作进程地址上是另一个程序。请在偏好设置中检查。",
            fix="assetize.preferences",
        )
    if answer.get("api") != API:
        raise WorkerMissing(
            "worker.version",
            f"The worker is version {answer.get('version')} and speaks another protocol than this add-on. "
            "Update the older of the two, then start the worker again.",
            f"工作进程版本为 {answer.get('version')}，与本插件的协议不一致。请更新较旧的一方并重启工作进程。",
            fix="assetize.worker_stop",
        )
    return str(answer.get("version", ""))
