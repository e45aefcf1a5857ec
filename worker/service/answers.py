"""What the service answers when something is wrong, and how its OpenAPI says so."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from worker.errors import AssetizeError, InputError
from worker.service.models import Error, LocalJob, UploadedJob

_log = logging.getLogger("assetize.service")


class Conflict(AssetizeError):
    http_status = 409


class Busy(AssetizeError):
    http_status = 429


class UnsupportedBody(AssetizeError):
    http_status = 415


def _clean(text: str) -> str:
    """JSON may carry half characters; an answer may not."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _answer(error: AssetizeError, status: int | None = None) -> JSONResponse:
    body = {key: value if value is None else _clean(value) for key, value in error.as_dict().items()}
    return JSONResponse(body, status or error.http_status)


def sentence(fault: ValidationError | RequestValidationError) -> InputError:
    first = fault.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "body"
    return InputError("service.invalid", f"{where}: {first['msg']}.", f"{where}：{first['msg']}。")


def errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    """401, 403 and 413 come from the guard, 400 from the body's parser: every route has them."""
    return {code: {"model": Error} for code in sorted({400, 401, 403, 413, *codes})}


async def on_error(request: Request, fault: Exception) -> Response:
    if isinstance(fault, AssetizeError):
        return _answer(fault)
    if isinstance(fault, RequestValidationError):
        return _answer(sentence(fault))
    if not isinstance(fault, HTTPException):
        _log.error("%s %s", request.method, request.url.path, exc_info=fault)
        return _answer(AssetizeError("service.fault", "An unexpected fault of the service; its log has the details.",
                                     "服务内部错误，详情见日志。"))
    error = AssetizeError(f"http.{fault.status_code}", f"{fault.detail}.", f"请求无效（{fault.status_code}）。")
    response = _answer(error, fault.status_code)
    response.headers.update(fault.headers or {})
    if fault.status_code == 405:  # Starlette names the methods of the first route of this path only
        matching = [route for route in request.app.routes if getattr(route, "path_regex", None)]
        methods = {m for route in matching if route.path_regex.match(request.url.path) for m in route.methods or ()}
        response.headers["allow"] = ", ".join(sorted(methods))
    return response


def complete_openapi(app: FastAPI) -> None:
    """Adds what FastAPI cannot see: the bearer token, and the two bodies of POST /jobs."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = generate()
            schemas = schema["components"]["schemas"]
            for model in (LocalJob, UploadedJob):
                made = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas.update(made.pop("$defs", {}))
                schemas[model.__name__] = made
            schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            for path, methods in schema["paths"].items():
                for operation in methods.values():
                    operation["security"] = [{}, {"token": []}] if path == "/health" else [{"token": []}]
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]
