"""The HTTP service: jobs, events, files. See docs/service.md; /openapi.json is complete."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Header, Query, Request
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from worker import __version__
from worker.engines import registry
from worker.errors import AssetizeError, InputError
from worker.hardware.machine import this_machine
from worker.pipeline.plan import Plan, choose_engines
from worker.service import paths
from worker.service.answers import Busy, Conflict, UnsupportedBody, complete_openapi, errors, on_error, sentence
from worker.service.guard import LOOPBACK, Guard
from worker.service.models import (
    API_VERSION,
    SERVICE_NAME,
    Accepted,
    EngineList,
    Error,
    EventList,
    FileList,
    Health,
    JobList,
    JobRecord,
    JobState,
    LocalJob,
    MoveJob,
    SessionFile,
    Shutdown,
    UploadedJob,
)
from worker.service.runner import Runner
from worker.service.store import JobStore
from worker.session.layout import SessionFolder
from worker.session.options import Options

MAX_QUEUED = 1000
_POLL_S = 0.1
_KEEP_ALIVE_S = 15.0
_CHUNK = 1 << 20


@dataclass
class Settings:
    """How one service was started. `allow`: folders whose files a client may name by path."""

    state_dir: Path
    output_root: Path
    token: str
    allow: Sequence[Path] = ()
    hosts: frozenset[str] = LOOPBACK
    max_upload_bytes: int = 512 << 20
    workers: int = 1


JobId = Annotated[str, PathParameter(pattern="^[0-9a-f]{32}$")]


class Service:
    """What the routes work on."""

    def __init__(self, settings: Settings, plan: Plan, on_shutdown: Callable[[], None]) -> None:
        self.settings, self.plan, self.on_shutdown = settings, plan, on_shutdown
        self.store = JobStore(settings.state_dir / "queue.sqlite")
        self.runner = Runner(self.store, plan, settings.workers)
        self.uploads = settings.state_dir / "uploads"

    def job(self, job_id: str) -> JobRecord:
        record = self.store.get(job_id)
        if record is None:
            raise paths.NotFound("service.no_job", "There is no such job.", "没有此任务。")
        return record

    def roots(self) -> list[Path]:
        return [*self.settings.allow, self.settings.output_root]

    def output_root(self, text: str | None) -> Path:
        return self.settings.output_root if text is None else paths.allowed(text, self.roots())

    def submit(self, name: str, source: Path, root: Path, options: Options, fresh: bool, job_id: str = "") -> JobRecord:
        """Queue a job. Raises EngineUnavailable at once where a named engine is not here."""
        choose_engines(self.plan, options, this_machine(), registry.accepted_engines())
        if self.store.count(JobState.QUEUED) >= MAX_QUEUED:
            raise Busy("service.queue_full", f"{MAX_QUEUED} jobs are waiting; try later.", "队列已满，请稍后再试。")
        job_id = self.store.add(name, source, root, options, fresh, job_id)
        self.runner.wake()
        return self.job(job_id)


def create_app(settings: Settings, plan: Plan | None = None, on_shutdown: Callable[[], None] = lambda: None) -> FastAPI:
    """The service as an ASGI app; its queue runs while the app's lifespan does."""
    service = Service(settings, plan or Plan(), on_shutdown)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.runner.start()
        yield
        await asyncio.to_thread(service.runner.stop)
        service.store.close()

    app = FastAPI(
        title="Assetize", version=__version__, summary="A film still becomes a Blender scene.", lifespan=lifespan,
        docs_url=None, redoc_url=None, openapi_url="/openapi.json",
    )  # fmt: skip
    app.state.service = service
    app.add_middleware(Guard, token=settings.token, hosts=settings.hosts, max_bytes=settings.max_upload_bytes)
    for kind in (AssetizeError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, on_error)
    app.include_router(_routes(service))
    complete_openapi(app)
    return app


async def _save_upload(still: UploadFile, target: Path) -> None:
    target.parent.mkdir(parents=True)
    with target.open("wb") as stream:
        while chunk := await still.read(_CHUNK):
            await asyncio.to_thread(stream.write, chunk)


def _routes(service: Service) -> APIRouter:
    routes = APIRouter()
    store, runner = service.store, service.runner

    @routes.get("/health", responses={403: {"model": Error}, 413: {"model": Error}})
    def health(request: Request) -> Health:
        """Who is here. Without the token: name and version only."""
        answer = Health(name=SERVICE_NAME, version=__version__, api=API_VERSION)
        if request.scope["assetize.authorized"]:
            answer.pid = os.getpid()
            answer.queued, answer.running = store.count(JobState.QUEUED), store.count(JobState.RUNNING)
        return answer

    bodies = {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": {"$ref": "#/components/schemas/UploadedJob"}},
            "application/json": {"schema": {"$ref": "#/components/schemas/LocalJob"}},
        },
    }

    @routes.post(
        "/jobs",
        status_code=201,
        openapi_extra={"requestBody": bodies},
        responses=errors(400, 409, 415, 422, 429),
    )
    async def submit(request: Request) -> JobRecord:
        """Queue a still: uploaded, or by a path inside a folder that the service was allowed to use."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            return await _submit_upload(service, request)
        if kind == "application/json":
            return await asyncio.to_thread(_submit_local, service, await request.body())
        raise UnsupportedBody(
            "service.body",
            "Send multipart/form-data or application/json.",
            "请发送 multipart/form-data 或 application/json。",
        )

    @routes.get("/jobs", responses=errors(422))
    def list_jobs(
        ended: Annotated[int, Query(ge=-1, le=2**31, description="how many of the jobs that have ended; -1: all")] = -1,
    ) -> JobList:
        """All jobs, newest first."""
        return JobList(jobs=store.all(ended))

    @routes.get("/jobs/{job_id}", responses=errors(404, 422))
    def get_job(job_id: JobId) -> JobRecord:
        return service.job(job_id)

    @routes.post("/jobs/{job_id}/cancel", responses=errors(404, 422))
    def cancel(job_id: JobId) -> JobRecord:
        """Stop a job; within a second nothing of it runs any more. A job that has ended stays as it is."""
        service.job(job_id)
        runner.cancel(job_id)
        return service.job(job_id)

    @routes.post("/jobs/{job_id}/retry", responses=errors(404, 409, 422))
    def retry(job_id: JobId) -> JobRecord:
        """Queue a job that has ended once more; finished stages are kept."""
        service.job(job_id)
        ended = [state for state in JobState if state.final]
        if not store.change(job_id, ended, JobState.QUEUED):
            raise Conflict("service.not_ended", "This job has not ended yet.", "任务尚未结束。")
        store.tell(job_id, "job.queued", {})
        runner.wake()
        return service.job(job_id)

    @routes.post("/jobs/{job_id}/move", responses=errors(404, 409, 422))
    def move(job_id: JobId, body: MoveJob) -> JobRecord:
        """Give a waiting job another place in the queue."""
        service.job(job_id)
        if not store.move(job_id, body.to):
            raise Conflict("service.not_waiting", "This job is not waiting any more.", "任务已不在等待队列中。")
        return service.job(job_id)

    @routes.delete("/jobs/{job_id}", responses=errors(404, 409, 422))
    def delete(
        job_id: JobId, files: Annotated[bool, Query(description="the session folder as well")] = False
    ) -> Accepted:
        """Forget a job that is not running, and its upload. Its session stays, unless `files` is true."""
        record = service.job(job_id)
        if record.state is JobState.RUNNING:
            raise Conflict("service.running", "This job is running; cancel it first.", "任务正在运行，请先取消。")
        runner.cancel(job_id)
        if files and record.folder is not None:
            _remove_session(service, Path(record.folder))
        store.delete(job_id)
        shutil.rmtree(service.uploads / job_id, ignore_errors=True)
        return Accepted()

    @routes.get(
        "/jobs/{job_id}/events",
        response_model=EventList,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}, **errors(404, 422)},
    )
    async def events(
        request: Request,
        job_id: JobId,
        since: Annotated[int, Query(ge=0, le=2**53)] = 0,
        wait: Annotated[float, Query(ge=0, le=60, description="seconds to wait for news")] = 0.0,
        last_event_id: Annotated[str | None, Header()] = None,
        accept: Annotated[str, Header()] = "",
    ) -> Any:
        """Events after `since`. With `Accept: text/event-stream` a stream of server-sent events until the job's end."""
        await asyncio.to_thread(service.job, job_id)
        if "text/event-stream" in accept:
            if last_event_id is not None and last_event_id.isascii() and last_event_id.isdigit():
                since = min(int(last_event_id[:16]), 2**53)
            return StreamingResponse(_stream(service, job_id, since), media_type="text/event-stream")
        end = asyncio.get_running_loop().time() + wait
        while True:
            news = await asyncio.to_thread(_news, service, job_id, since)
            late = asyncio.get_running_loop().time() >= end
            if news.events or news.final or late or runner.stopping:
                return news
            await asyncio.sleep(_POLL_S)

    @routes.get("/jobs/{job_id}/files", responses=errors(404, 422))
    def list_files(job_id: JobId) -> FileList:
        """The files of the session that can be had, with their sizes."""
        return FileList(files=[SessionFile(path=path, bytes=size) for path, size in paths.files(_session(job_id))])

    @routes.get(
        "/jobs/{job_id}/files/{path:path}",
        response_class=FileResponse,
        responses={200: {"content": {"application/octet-stream": {}}}, **errors(404, 422)},
    )
    def get_file(job_id: JobId, path: str) -> FileResponse:
        """One file of the session, by its path in the folder."""
        return FileResponse(paths.inside(_session(job_id), path))

    def _session(job_id: str) -> Path:
        folder = service.job(job_id).folder
        if folder is None:
            raise paths.NotFound("service.no_session", "This job has no session yet.", "此任务尚无会话。")
        return Path(folder)

    @routes.get("/engines", responses=errors())
    def engines() -> EngineList:
        machine, accepted = this_machine(), registry.accepted_engines()
        rows = [registry.describe(card, machine, accepted) for card in service.plan.cards]
        return EngineList.model_validate({"engines": rows})

    @routes.post("/shutdown", status_code=202, responses=errors(409, 422))
    def shutdown(body: Shutdown) -> Accepted:
        """End the service. What is running is queued again and goes on at the next start."""
        if body.pid != os.getpid():
            raise Conflict("service.other_pid", "This is not the service you mean.", "进程号不符，不是目标服务。")
        service.on_shutdown()
        return Accepted()

    return routes


async def _submit_upload(service: Service, request: Request) -> JobRecord:
    # Starlette spools files to disk as they stream in.
    async with request.form(max_files=1, max_fields=8) as form:
        still, options = form.get("still"), form.get("options", "{}")
        if not isinstance(still, UploadFile) or not isinstance(options, str):
            raise InputError("service.no_still", "The upload needs a file “still”.", "上传内容须包含文件“still”。")
        fields = {"options": "{}", "still": "-"} | {k: v for k, v in form.multi_items() if isinstance(v, str)}
        try:
            meant = UploadedJob.model_validate({**fields, "still": "-"})
            wanted = Options.model_validate_json(meant.options)
        except ValidationError as fault:
            raise sentence(fault) from None
        root = service.output_root(meant.output_root)
        name = paths.upload_name(still.filename)
        job_id = uuid.uuid4().hex
        target = service.uploads / job_id / name
        try:
            await _save_upload(still, target)
            return await asyncio.to_thread(service.submit, name, target, root, wanted, meant.fresh, job_id)
        except BaseException:
            shutil.rmtree(target.parent, ignore_errors=True)
            raise


def _submit_local(service: Service, body: bytes) -> JobRecord:
    try:
        meant = LocalJob.model_validate_json(body)
    except ValidationError as fault:
        raise sentence(fault) from None
    source = paths.allowed(meant.path, service.roots())
    return service.submit(source.name, source, service.output_root(meant.output_root), meant.options, meant.fresh)


def _remove_session(service: Service, folder: Path) -> None:
    """Only what is a session, and lies where sessions may lie."""
    if SessionFolder(folder).manifest.is_file():
        shutil.rmtree(paths.allowed(str(folder), service.roots()), ignore_errors=True)


def _news(service: Service, job_id: str, since: int) -> EventList:
    # The state is read first: events told after it can only make the list longer, never lose the last one.
    record = service.store.get(job_id)
    events = service.store.events(job_id, since)
    ended = record is None or (record.state.final and (not events or events[-1].event == "job.finished"))
    return EventList(events=events, next=events[-1].seq if events else since, final=ended)


async def _stream(service: Service, job_id: str, since: int) -> AsyncIterator[str]:
    quiet = 0.0
    while not service.runner.stopping:
        news = await asyncio.to_thread(_news, service, job_id, since)
        for event in news.events:
            yield f"id: {event.seq}\nevent: {event.event}\ndata: {event.model_dump_json()}\n\n"
        if news.final:
            return
        since = news.next
        quiet = 0.0 if news.events else quiet + _POLL_S
        if quiet > _KEEP_ALIVE_S:
            quiet = 0.0
            yield ": still here\n\n"
        await asyncio.sleep(_POLL_S)
