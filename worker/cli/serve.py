"""`assetize serve`: the HTTP service, for Blender and for scripts of this machine."""

from __future__ import annotations

import argparse
import logging
import secrets
import signal
import socket
import threading
import time
from pathlib import Path

import psutil

from worker.cli.arguments import DEFAULT_OUTPUT_ROOT
from worker.cli.show import write_json_line
from worker.errors import ExitCode, InputError, OutputError
from worker.pipeline import folder as folders
from worker.pipeline.plan import Plan
from worker.service.announce import announce, default_state_dir, make_private, withdraw
from worker.service.kept_token import default_file, kept

_PARENT_POLL_S = 0.5


def add_to(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    parser = commands.add_parser("serve", help="take jobs over HTTP on this machine")
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine only)")
    add("--port", type=int, default=0, help="port to listen on (default: a free one, told in the announce file)")
    add("--output_root", type=Path, default=DEFAULT_OUTPUT_ROOT, metavar="FOLDER", help="sessions are made in here")
    add("--allow", type=Path, action="append", default=[], metavar="FOLDER",
        help="clients may name stills and output folders in here by path (repeatable)")  # fmt: skip
    add("--state_dir", type=Path, default=None, metavar="FOLDER", help="where queue, uploads and announce file lie")
    add("--max_upload_mb", type=int, default=512, metavar="MB", help="the largest request (default 512)")
    add("--workers", type=int, default=1, metavar="N", help="jobs at the same time (default 1)")
    add("--parent_pid", type=int, default=None, metavar="PID", help="end when this process ends")
    add("--token_file", type=Path, nargs="?", const=default_file(), default=None, metavar="FILE",
        help="keep one token over restarts, in this file or, without FILE, in the settings folder; made where there "
        "is none (default: a new token at each start)")  # fmt: skip
    add("--json", action="store_true", help="announce as a JSON line on standard output")
    parser.set_defaults(do=do)


def do(arguments: argparse.Namespace, plan: Plan) -> int:
    # Here, not above: FastAPI costs every other command half a second.
    import uvicorn

    from worker.service.app import Settings, create_app
    from worker.service.guard import LOOPBACK

    if not 1 <= arguments.workers <= 64 or not 1 <= arguments.max_upload_mb <= 2**20:
        raise InputError("options.invalid", "--workers and --max_upload_mb are positive numbers.", "参数须为正数。")
    state_dir = (arguments.state_dir or default_state_dir()).absolute()
    _claim(state_dir)
    try:
        listener = _bind(arguments.host, arguments.port)
        port = listener.getsockname()[1]
        token = kept(arguments.token_file.absolute()) if arguments.token_file else secrets.token_urlsafe(32)
        settings = Settings(
            state_dir, arguments.output_root.absolute(), token, [path.absolute() for path in arguments.allow],
            LOOPBACK | {arguments.host}, arguments.max_upload_mb << 20, arguments.workers,
        )  # fmt: skip

        def end(*_: object) -> None:
            server.should_exit = True

        # uvicorn ends on these signals and then raises them anew: by then they must not kill what tidies up.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        app = create_app(settings, plan, end)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=3))
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
        if arguments.parent_pid is not None:
            threading.Thread(target=_end_with, args=(arguments.parent_pid, end), daemon=True).start()
        path = announce(state_dir, arguments.host, port, token)
        if arguments.json:
            write_json_line({"event": "service.started", "host": arguments.host, "port": port, "announce": str(path)})
        else:
            print(f"Assetize listens on http://{arguments.host}:{port}; the token is in {path}", flush=True)
        try:
            server.run(sockets=[listener])
        finally:
            withdraw(state_dir)
            listener.close()
    finally:
        folders.unlock(state_dir)
    return int(ExitCode.OK)


def _claim(state_dir: Path) -> None:
    """One service a state folder: two would run the same queue twice."""
    try:
        make_private(state_dir)
        folders.lock(state_dir)
    except OSError as fault:
        raise folders.unwritable(state_dir, fault) from None
    except OutputError:
        raise InputError(
            "service.running",
            f"A service already runs for {state_dir}; its announce file tells where. "
            "End that one, or use another --state_dir.",
            f"{state_dir} 已有服务在运行，地址见公告文件。请先结束它，或指定其他 --state_dir。",
        ) from None


def _bind(host: str, port: int) -> socket.socket:
    """Raises InputError where the address cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as fault:
        raise InputError(
            "service.address",
            f"Cannot listen on {host}, port {port} ({fault}). Choose another --port.",
            f"无法在 {host} 端口 {port} 监听（{fault}）。请更换 --port。",
        ) from None


def _end_with(pid: int, end: object) -> None:
    assert callable(end)
    try:
        parent = psutil.Process(pid)
        while parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:
            time.sleep(_PARENT_POLL_S)
    except psutil.Error:
        pass
    end()
