"""What stands before every request: host name, origin, token, size. Pure ASGI, so that bodies stream."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from worker.errors import AssetizeError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
OPEN_PATHS = frozenset({"/health"})

_UNAUTHORIZED = AssetizeError(
    "service.token",
    "This needs the service's token (Authorization: Bearer ...), which stands in its announce file.",
    "需要服务令牌（Authorization: Bearer ...），见服务的公告文件。",
)
_FOREIGN = AssetizeError(
    "service.foreign",
    "Requests are only taken under this service's own address, not from other sites.",
    "仅接受以本服务地址发出的请求，不接受其他站点的请求。",
)


def too_large(limit: int) -> AssetizeError:
    size = f"{limit / 2**20:.0f} MB"
    return AssetizeError("service.too_large", f"The request is larger than {size}.", f"请求超过 {size}。")


def _header(scope: Scope, name: bytes) -> str | None:
    values = [value for key, value in scope["headers"] if key == name]
    return values[0].decode("latin-1") if values else None


def _host_of(netloc: str) -> str | None:
    try:
        return urlsplit(f"//{netloc}").hostname
    except ValueError:
        return None


class Guard:
    """`hosts`: names under which the service may be called; a page of another site that had its name point here
    (DNS rebinding) is refused because it brings its own name."""

    def __init__(self, app: App, token: str, hosts: frozenset[str] = LOOPBACK, max_bytes: int = 512 << 20) -> None:
        self._app, self._hosts, self._max_bytes = app, hosts, max_bytes
        self._token = token.encode("latin-1")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if not self._is_ours(scope):
            await _refuse(send, 403, _FOREIGN)
            return
        scope["assetize.authorized"] = self._has_token(scope)
        if not scope["assetize.authorized"] and scope["path"] not in OPEN_PATHS:
            await _refuse(send, 401, _UNAUTHORIZED, [(b"www-authenticate", b"Bearer")])
            return
        length = _header(scope, b"content-length")
        if length is not None and length.isascii() and length.isdigit() and int(length) > self._max_bytes:
            await _refuse(send, 413, too_large(self._max_bytes), [(b"connection", b"close")])
            return
        await self._limited(scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        host = _host_of(_header(scope, b"host") or "")
        if host not in self._hosts:
            return False
        origin = _header(scope, b"origin")
        return origin is None or _host_of(origin.partition("://")[2]) in self._hosts

    def _has_token(self, scope: Scope) -> bool:
        kind, _, token = (_header(scope, b"authorization") or "").partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(token.strip().encode("latin-1"), self._token)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A body without a length is counted as it streams; past the limit the answer becomes 413."""
        received = 0
        answered = False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self._max_bytes:
                    return {"type": "http.disconnect"}
            return message

        async def guarded(message: Message) -> None:
            nonlocal answered
            if received <= self._max_bytes:
                await send(message)
            elif not answered:
                answered = True
                await _refuse(send, 413, too_large(self._max_bytes), [(b"connection", b"close")])

        try:
            await self._app(scope, counted, guarded)
        except Exception:
            if received <= self._max_bytes:
                raise
            if not answered:
                await _refuse(send, 413, too_large(self._max_bytes), [(b"connection", b"close")])


async def _refuse(
    send: Send, status: int, error: AssetizeError, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    body = json.dumps(error.as_dict(), ensure_ascii=False).encode("utf-8")
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})
