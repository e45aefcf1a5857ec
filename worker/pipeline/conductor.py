"""Runs one still through the stages: plans, feeds the hosts, keeps session.json true, resumes, retries, cancels."""

from __future__ import annotations

import contextlib
import datetime
import threading
import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from worker import __version__
from worker.engines import registry
from worker.errors import AssetizeError, Cancelled, EngineUnavailable, ExitCode, InputError, OutputError
from worker.hardware.machine import Machine, this_machine
from worker.host import messages
from worker.host.pool import HostPool
from worker.host.process import HostDied, HostHung, Limits, Measured, StageRaised
from worker.pipeline import folder as folders
from worker.pipeline import sentences
from worker.pipeline.events import Event, JobProgress, Listener
from worker.pipeline.job import Job, Outcome, look_at, session_id
from worker.pipeline.pace import Pace
from worker.pipeline.plan import Plan, choose_engines, skipped_by_options
from worker.pipeline.tries import Tries
from worker.session import atomic
from worker.session.layout import SessionFolder
from worker.session.model import InputRecord, Notice, SceneRecord, Session, StageRecord, StageState
from worker.stages.base import StageSpec


class _StageFailed(Exception):
    """One stage came to its end without a result; `error` says why."""

    def __init__(self, error: AssetizeError) -> None:
        self.error = error


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


class Conductor:
    """One run of one job. `cancel` may be set from any thread; the run then ends within a second.

    `plan`, `machine`, `accepted` and `limits` have the product's values unless given.
    """

    def __init__(
        self,
        job: Job,
        pool: HostPool,
        on_event: Listener = lambda event: None,
        cancel: threading.Event | None = None,
        *,
        plan: Plan | None = None,
        machine: Machine | None = None,
        accepted: frozenset[str] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.job, self._pool, self._on_event = job, pool, on_event
        self.cancel = cancel or threading.Event()
        self._plan = plan or Plan()
        self._machine = machine or this_machine()
        self._accepted = registry.accepted_engines() if accepted is None else accepted
        self._limits = limits or Limits()
        self._session: Session
        self._pace: Pace
        self._folder: SessionFolder
        self._progress = JobProgress({})
        self._choices: dict[str, registry.Choice | EngineUnavailable] = {}
        self._errors: dict[str, AssetizeError] = {}  # of failed stages
        self._logs: dict[str, str] = {}  # what each stage printed

    # --- the run ----------------------------------------------------------------------------------------------------
    def run(self) -> Outcome:
        """Run the job to its end. Raises InputError, OutputError, EngineUnavailable, Cancelled before a session stands;
        afterwards what went wrong stands in the session, and the outcome's exit code tells."""
        start = time.monotonic()
        try:
            outcome = self._run()
        except AssetizeError as error:
            self._job_finished(start, "cancelled" if isinstance(error, Cancelled) else "failed", None, error)
            raise
        self._job_finished(start, outcome.session.state, outcome, None)
        return outcome

    def _job_finished(self, start: float, state: str, outcome: Outcome | None, error: AssetizeError | None) -> None:
        code = error.exit_code if error else outcome.exit_code if outcome else ExitCode.INTERNAL
        if outcome is not None:
            self._pace.keep()
        self._tell(
            "job.finished", state=state, folder=str(outcome.folder) if outcome else None, exit_code=int(code),
            error=error.as_dict() if error else None, seconds=round(time.monotonic() - start, 3),
        )  # fmt: skip

    def _run(self) -> Outcome:
        job = self.job
        record = look_at(job)
        self._choices = choose_engines(self._plan, job.options, self._machine, self._accepted)
        identity = session_id(record.sha256, job.options)
        root = job.output_root.absolute()
        standing = folders.find_session(root, job.image_name, identity)[1]
        if standing is None:
            folders.check_space(root)
            return self._run_new(root, record, identity)
        folders.lock(standing)
        try:
            return self._run_again(standing)
        finally:
            folders.unlock(standing)

    def _run_new(self, root: Path, record: InputRecord, identity: str) -> Outcome:
        """The first stage reads the still in a staging folder: a still it cannot read leaves nothing behind."""
        now = _now()
        self._session = Session(
            tool_version=__version__, session_id=identity, created=now, updated=now, input=record,
            options=self.job.options.model_dump(mode="json"),
            stages={spec.name: StageRecord() for spec in self._plan.specs},
        )  # fmt: skip
        first, *rest = self._plan.specs
        with folders.output_root(root):
            with folders.staging(root) as place:
                self._begin(SessionFolder(place), kept=())
                self._run_stage(first)
                if self._session.stages[first.name].state != StageState.DONE:
                    raise self._why_no_session()
                home = folders.settle(place, root, self.job.image_name, identity)
            try:
                self._folder = SessionFolder(home)
                self._tell("session", folder=str(home))
                return self._finish(rest)
            finally:
                folders.unlock(home)

    def _run_again(self, home: Path) -> Outcome:
        """Resume: finished stages stay as they are unless something that they were made from is made anew."""
        session = folders.read_session(home)
        assert session is not None, "the session was read a moment ago"
        kept: set[str] = set()
        skipped = skipped_by_options(self.job.options)
        before, session.stages = session.stages, {}
        for spec in self._plan.specs:
            record = before.get(spec.name, StageRecord())
            made_from = {*spec.requires, *spec.uses} - kept - set(skipped)
            known = {name for name in made_from if name in self._plan.names}
            whole = record.state == StageState.DONE and not known and folders.stands(home, record.outputs)
            if whole and not self.job.fresh:
                kept.add(spec.name)
            else:  # the old outputs stay listed until new ones take their place
                record = StageRecord(outputs=record.outputs)
            session.stages[spec.name] = record
        folders.remove_parts(home)
        self._session = session
        rest = [spec for spec in self._plan.specs if spec.name not in kept]
        if any(spec.name not in skipped for spec in rest):
            folders.check_space(home)
        self._begin(SessionFolder(home), tuple(spec.name for spec in self._plan.specs if spec.name in kept))
        self._tell("session", folder=str(home))
        return self._finish(rest)

    def _why_no_session(self) -> AssetizeError:
        """The first stage failed. Its own words where it has some; else the still broke the reader, and the log is
        kept outside, since there will be no session."""
        name = self._plan.names[0]
        error = self._errors[name]
        if isinstance(error, InputError | OutputError | EngineUnavailable):
            return error
        log = sentences.keep_failure_log(self._logs.get(name, ""))
        return sentences.input_broke_reader(self.job.source, error, log)

    def _begin(self, folder: SessionFolder, kept: tuple[str, ...]) -> None:
        self._folder = folder
        skipped = skipped_by_options(self.job.options)
        running = [spec for spec in self._plan.specs if spec.name not in kept and spec.name not in skipped]
        self._pace = Pace()
        weights = {spec.name: self._pace.of(spec, self._engine_name(spec)) for spec in running}
        self._progress = JobProgress(weights)
        self._session.state = "running"
        self._save()
        self._tell(
            "job.started", session_id=self._session.session_id, name=self.job.image_name, kept=list(kept),
            stages=[
                {"name": s.name, "title_en": s.title_en, "title_zh": s.title_zh, "weight": weights[s.name]}
                for s in running
            ],
        )  # fmt: skip

    def _engine_name(self, spec: StageSpec) -> str | None:
        choice = self._choices.get(spec.name)
        return choice.card.name if isinstance(choice, registry.Choice) else None

    def _finish(self, specs: list[StageSpec]) -> Outcome:
        try:
            for spec in specs:
                self._run_stage(spec)
        except Cancelled:
            self._session.state = "cancelled"
            self._save()
            return Outcome(self._folder.root, self._session)
        finally:
            folders.remove_parts(self._folder.root)  # of hosts that were ended while they wrote
        states = [record.state for record in self._session.stages.values()]
        if self._session.stages[self._plan.names[0]].state != StageState.DONE:
            self._session.state = "failed"
        else:
            self._session.state = "partial" if StageState.FAILED in states else "done"
        self._save()
        return Outcome(self._folder.root, self._session)

    # --- one stage --------------------------------------------------------------------------------------------------
    def _run_stage(self, spec: StageSpec) -> None:
        """Run one stage to DONE, FAILED or SKIPPED. Raises Cancelled, with the stage PENDING again."""
        old = self._session.stages[spec.name]
        if (reason := self._reason_to_skip(spec)) is not None:
            self._end_stage(spec, StageRecord(state=StageState.SKIPPED, warnings=[reason]), old)
            return
        record = StageRecord(state=StageState.RUNNING, outputs=old.outputs)
        self._session.stages[spec.name] = record
        try:
            choice = self._choices.get(spec.name)
            if isinstance(choice, EngineUnavailable):
                raise _StageFailed(choice)
            self._attempts(spec, record, choice)
        except _StageFailed as failure:
            error = failure.error
            self._errors[spec.name] = error
            record.state = StageState.FAILED
            record.error = Notice(code=error.code, en=error.en, zh=error.zh, params={"fix": error.fix})
            record.outputs = {}
        except Cancelled:
            self._session.stages[spec.name] = StageRecord(outputs=old.outputs)
            raise
        self._end_stage(spec, record, old)

    def _reason_to_skip(self, spec: StageSpec) -> Notice | None:
        if (wish := skipped_by_options(self.job.options).get(spec.name)) is not None:
            return wish
        for name in spec.requires:
            record = self._session.stages.get(name)
            if record is None or record.state != StageState.DONE:
                return sentences.skipped_without(name, record)
        return None

    def _end_stage(self, spec: StageSpec, record: StageRecord, old: StageRecord) -> None:
        for path in set(old.outputs) - set(record.outputs):  # of an earlier run, no longer true
            (self._folder.root / path).unlink(missing_ok=True)
        self._session.stages[spec.name] = record
        self._progress.end(spec.name)
        self._save()
        self._tell(
            "stage.finished", stage=spec.name, state=str(record.state), seconds=record.seconds,
            error=record.error.model_dump(mode="json") if record.error else None,
        )  # fmt: skip

    def _attempts(self, spec: StageSpec, record: StageRecord, choice: registry.Choice | None) -> None:
        """Try, and try again as Tries says. Raises _StageFailed with the last attempt's error."""
        tries = Tries(self._pool.tiers_left(choice.card, choice.tiers) if choice else ("",))
        self._describe_engine(record, choice)
        while True:
            tries.begin()
            if choice and tries.attempt == 1 and tries.tier != choice.tier:
                self._warn(spec, record, sentences.tier_kept(choice.tier, tries.tier))
            record.attempts, record.tier = tries.attempt, tries.tier or None
            self._save()
            self._tell("stage.started", stage=spec.name, attempt=tries.attempt, engine=record.engine, tier=record.tier)
            error: AssetizeError
            try:
                fields = self._attempt(spec, record, choice, tries.tier, tries.numbers_may_come)
            except (HostDied, HostHung) as end:
                kind, how, error = "Ended", end.how, sentences.stage_ended(spec, end)
            except StageRaised as raised:
                kind, error = raised.fields["type"], sentences.raised(spec, raised.fields)
                how = sentences.HOW.get(kind, "")
            else:
                self._take(spec, record, fields)
                if tries.attempt == 1:
                    self._pace.learn(spec, record.engine, record.seconds or 0.0)
                return
            if not tries.again(kind):
                raise _StageFailed(error)
            self._warn(spec, record, sentences.retried(how, tries.safer))

    def _describe_engine(self, record: StageRecord, choice: registry.Choice | None) -> None:
        if choice is None:
            return
        card = choice.card
        record.engine, record.engine_version, record.engine_choice = card.name, card.version, choice.why
        record.licence_code, record.licence_weights = card.licence.code, card.licence.weights
        record.commercial_use, record.device = card.licence.commercial, choice.device
        record.weights_sha256 = registry.weights_sha256(card)
        record.seed = self.job.options.seed

    def _attempt(
        self, spec: StageSpec, record: StageRecord, choice: registry.Choice | None, tier: str, safer_tier: bool
    ) -> Event:
        request = {
            "stage": spec.name,
            "module": self._plan.module(spec.name),
            "folder": str(self._folder.root),
            "source": str(self.job.source.absolute()),
            "options": self._session.options,
            "session": self._session.model_dump(mode="json", by_alias=True),
            "card": messages.card_to_json(choice.card) if choice else None,
            "device": choice.device if choice else None,
            "tier": tier,
            "safer_tier": safer_tier,
        }
        total_s = choice.card.timeout_s if choice and choice.card.timeout_s else spec.timeout_s
        limits = Limits(total_s, self._limits.silence_s, self._limits.idle_s)
        measured = Measured()
        if self.cancel.is_set():
            raise Cancelled
        card, device = (choice.card, choice.device) if choice else (None, "cpu")
        host = self._pool.host_for(card, tier, device)
        told: Event = {}

        def on_progress(fraction: float, note: str) -> None:
            whole = self._progress.within(spec.name, fraction)
            self._tell("progress", stage=spec.name, stage_fraction=fraction, fraction=whole, note=note)

        try:
            told = host.run(request, limits, on_progress, self.cancel, measured)
            return told
        except StageRaised as raised:
            told = raised.fields
            if told["type"] in ("OutOfMemory", "DeviceFault"):
                host.kill()  # what it holds, and what is broken in it, goes for sure only with the process
            if told["type"] == "OutOfMemory":
                self._pool.ran_out(host, tier)
            raise
        finally:
            record.seconds = round(measured.seconds, 3)
            record.peak_memory_mb = round(max(measured.peak_memory_mb, record.peak_memory_mb or 0.0), 1)
            if (gpu := told.get("peak_gpu_memory_mb")) is not None:
                record.peak_gpu_memory_mb = round(max(gpu, record.peak_gpu_memory_mb or 0.0), 1)
            self._keep_log(spec, record.attempts, measured.log)

    def _take(self, spec: StageSpec, record: StageRecord, fields: Event) -> None:
        """Put a stage's result into the session. Raises _StageFailed where an output is missing, or a record is none
        (a number that is not finite, where one is needed)."""
        try:
            # A file that its host could not read is tried again here, to fail with the system's own reason.
            outputs = {
                path: sha256 or atomic.sha256_of(self._folder.root / path) for path, sha256 in fields["outputs"].items()
            }
            warnings = [Notice.model_validate(warning) for warning in fields["warnings"]]
            scene = None if fields["scene"] is None else SceneRecord.model_validate(fields["scene"])
            still = None if fields["input"] is None else InputRecord.model_validate(fields["input"])
        except OSError as fault:
            raise _StageFailed(sentences.output_missing(spec, fault)) from None
        except ValidationError as invalid:
            where = ".".join(str(part) for part in invalid.errors()[0]["loc"])
            raise _StageFailed(sentences.fault(spec, f"its record is not valid at {where}")) from None
        for warning in warnings:
            self._warn(spec, record, warning)
        record.outputs = outputs
        record.degraded |= fields["degraded"]
        record.quality, record.details = fields["quality"], fields["details"]
        self._session.scene = scene or self._session.scene
        self._session.input = still or self._session.input
        record.state = StageState.DONE

    # --- small change -----------------------------------------------------------------------------------------------
    def _warn(self, spec: StageSpec, record: StageRecord, notice: Notice) -> None:
        record.warnings.append(notice)
        self._tell("warning", stage=spec.name, notice=notice.model_dump(mode="json"))

    def _keep_log(self, spec: StageSpec, attempt: int, text: str) -> None:
        """The log is a help, never a reason to fail. A second attempt adds to the first one's."""
        text = self._logs[spec.name] = text if attempt == 1 else self._logs.get(spec.name, "") + text
        with contextlib.suppress(OSError):
            if text:
                atomic.write_bytes(self._folder.logs / f"{spec.name}.log", text.encode("utf-8", "replace"))

    def _save(self) -> None:
        self._session.updated = _now()
        try:
            atomic.write_json(self._folder.manifest, self._session.model_dump(mode="json", by_alias=True))
        except OSError as fault:
            raise folders.unwritable(self._folder.root, fault) from None

    def _tell(self, event: str, **fields: Any) -> None:
        self._on_event({"event": event, **fields})
