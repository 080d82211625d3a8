"""One run in the ``local`` or ``process`` environment, from the command to its end record."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit import names
from toolkit import secrets as providers
from toolkit.backends import describing, driver, process, volumes
from toolkit.backends.launcher import Launcher
from toolkit.backends.scheduler import Cancel, Listener, Outcome, Scheduler
from toolkit.build.image import BuiltImage, build
from toolkit.config.effect import without_effect
from toolkit.config.settings import Environment
from toolkit.errors import BadInput, Infrastructure, ToolkitError
from toolkit.model.pipeline import Pipeline
from toolkit.plan.plan import Plan, PlannedStep, missing_parameters, plan
from toolkit.project import Project
from toolkit.run import describe
from toolkit.run.reference import PipelineReference
from toolkit.runtime.protocol import CODE_FILE, PARAMETERS_FILE, PLAN_FILE
from toolkit.runtime.records import encode, now
from toolkit.spec.container import GROUP, container_spec, driver_user
from toolkit.store import records
from toolkit.store.reader import NoRun, RunLog

_YOUNG = 3600.0
"""Seconds for which a folder without a record is left alone."""


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        parameters: the root parameters. run_id: None makes a fresh one. tag: a word to find the run by.
    """

    project: Project
    environment: Environment
    reference: PipelineReference
    parameters: Mapping[str, Any]
    run_id: str | None = None
    tag: str = ""


class Reporter(Listener):
    """A listener that is also told of the run as a whole."""

    def note(self, sentence: str) -> None:
        """A sentence about what is done or noticed before the steps."""

    def began(self, run_id: str, pipeline: str, plan: Plan, run_folder: Path) -> None:
        """The run exists from now on."""

    def finished(self, outcome: Outcome) -> None:
        """The run has ended."""


def execute(request: Request, reporter: Reporter) -> Outcome:
    """Runs a pipeline to its end.

    Raises:
        BadInput: configuration, pipeline, parameters or secrets are wrong; nothing was started.
        Infrastructure: engine or disk.
    """
    run_id = names.run_id(request.run_id) if request.run_id else names.new_run_id()
    project = request.project
    provider = providers.provider(project)
    provider.require(one.environment_variable for one in project.config.executor.config.secrets_from_k8s)
    volumes.make_private_state(project)
    side = _Local(request, reporter) if request.environment == "local" else _Process(request, reporter)
    run_log = volumes.on_host(project, project.config.run_log_store.log_folder)
    if (run_log / run_id).exists():
        raise BadInput(f"there is a run {run_id} already: choose another --run-id, or `toolkit show {run_id}`")
    _sweep(project, run_log)
    pipeline = side.describe()
    made = plan(pipeline, project.config, request.reference.import_roots(project))
    _check_parameters(made, request.parameters)
    needed = _secret_names(made)
    values = provider.require(needed)
    side.check(made)
    side.prepare_volumes(made)
    name = pipeline.name or request.reference.file.stem
    record = _run_record(request, side, made, run_id, name)
    run_folder = _create(run_log, run_id, record, side.user)
    private = project.state / "runs" / run_id
    _write_plan(private, made, request.parameters)
    reporter.began(run_id, name, made, run_folder)

    def own(step: PlannedStep) -> dict[str, str]:
        assert step.task is not None
        every = [one.environment_variable for one in made.settings_of(step).secrets]
        return {key: values[key] for key in [*every, *step.task.secrets] if key in values}

    try:
        return _follow(request, side.launcher(made, run_id, private, needed), made, run_folder, own, reporter)
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _follow(
    request: Request,
    launcher: Launcher,
    made: Plan,
    run_folder: Path,
    own: Callable[[PlannedStep], Mapping[str, str]],
    reporter: Reporter,
) -> Outcome:
    cancel = Cancel()
    limit = request.project.config.executor.config.max_workflow_duration_in_seconds
    scheduler = Scheduler(made, launcher, run_folder, own, reporter, cancel, limit)
    outcome = Outcome("failed", "the client failed", fault=True)
    try:
        with _signals(cancel, scheduler):
            outcome = scheduler.run()
    except ToolkitError as error:
        outcome = Outcome("failed", str(error), fault=True)
        raise
    finally:
        _write_end(run_folder, outcome)
    reporter.finished(outcome)
    return outcome


def _write_end(run_folder: Path, outcome: Outcome) -> None:
    record = {"version": 1, "ended": now(), "status": outcome.status, "reason": outcome.reason}
    try:
        records.write_end(run_folder, record)
    except OSError as error:
        if outcome.status == "succeeded":
            raise Infrastructure(f"the run's end can't be recorded in {run_folder}: {error.strerror}") from None


@contextmanager
def _signals(cancel: Cancel, scheduler: Scheduler) -> Iterator[None]:
    """Ctrl-C and SIGTERM cancel; the second kills; the third leaves and names what remains."""

    def on_signal(*_: object) -> None:
        cancel()
        if cancel.count >= 3:
            left = ", ".join(scheduler.unfinished()) or "nothing"
            os.write(2, f"toolkit: left at once; what may still be there: {left}\n".encode())
            os._exit(130)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_parameters(made: Plan, given: Mapping[str, Any]) -> None:
    missing = missing_parameters(made, given)
    if missing:
        step, name = missing[0]
        where = step.task.line if step.task is not None else None
        raise BadInput(
            f"the step {step.path!r} takes {name}, which no step before it returns and the run was not given: "
            f"give it with --param {name}=… or a parameters file",
            where,
        )


def _secret_names(made: Plan) -> tuple[str, ...]:
    """All the secrets that any step gets, each once."""
    found: dict[str, None] = {}
    for step in made.tasks():
        assert step.task is not None
        for reference in made.settings_of(step).secrets:
            found[reference.environment_variable] = None
        for name in step.task.secrets:
            found[name] = None
    return tuple(found)


def _run_record(request: Request, side: _Side, made: Plan, run_id: str, name: str) -> dict[str, Any]:
    return {
        "version": 1,
        "run_id": run_id,
        "pipeline": name,
        "environment": request.environment,
        "context": {},
        "without_effect": list(without_effect(request.project.config.executor.config, request.environment)),
        "tag": request.tag,
        "started": now(),
        "image": side.image_record(),
        "parameters": dict(request.parameters),
        "plan_hash": made.hash(),
        "plan": made.to_json().decode("ascii"),
        "driver": {"host": socket.gethostname(), **driver.identity()},
    }


def _create(run_log: Path, run_id: str, record: dict[str, Any], user: int) -> Path:
    def own(folder: Path) -> None:
        if os.geteuid() == 0:
            os.chown(folder, user, GROUP)
        os.chmod(folder, volumes.SHARED)

    try:
        return records.create_run(run_log, run_id, record, own)
    except records.Taken:
        raise BadInput(f"there is a run {run_id} already: choose another --run-id") from None
    except OSError as error:
        raise Infrastructure(f"the run log {run_log} can't be written: {error.strerror}") from None


def _sweep(project: Project, run_log: Path) -> None:
    """Removes the private folders of runs whose client was killed before it could."""
    log = RunLog(run_log, driver.drives)
    for kind in ("runs", "work"):
        for folder in (project.state / kind).glob("*"):
            try:
                active = log.run(folder.name).active
            except NoRun:
                # Another client may be just about to publish its record.
                active = time.time() - folder.stat().st_mtime < _YOUNG
            if not active:
                shutil.rmtree(folder, ignore_errors=True)


def _write_plan(folder: Path, made: Plan, parameters: Mapping[str, Any]) -> None:
    """The folder that every container of the run sees read-only."""
    try:
        folder.mkdir(parents=True)
        for name, data in ((PLAN_FILE, made.to_json()), (PARAMETERS_FILE, encode(dict(parameters)))):
            (folder / name).write_bytes(gzip.compress(data, compresslevel=1, mtime=0))
            (folder / name).chmod(0o644)
        folder.chmod(0o755)
    except OSError as error:
        raise Infrastructure(f"{folder} can't be written: {error.strerror}") from None


class _Side:
    """What differs between the environments before the steps run."""

    user: int

    def __init__(self, request: Request, reporter: Reporter) -> None:
        self.request = request
        self.project = request.project
        self.reporter = reporter

    def describe(self) -> Pipeline:
        raise NotImplementedError

    def check(self, made: Plan) -> None:
        """Refuses what this environment can't honour, before anything is written."""

    def prepare_volumes(self, made: Plan) -> None:
        volumes.prepare(self.project, self.user)
        for path in filter(None, (made.run_log, made.catalog)):
            volumes.make_shared(volumes.on_host(self.project, path), self.user)

    def image_record(self) -> dict[str, Any] | None:
        return None

    def launcher(self, made: Plan, run_id: str, private: Path, secrets: tuple[str, ...]) -> Launcher:
        raise NotImplementedError


class _Local(_Side):
    def __init__(self, request: Request, reporter: Reporter) -> None:
        super().__init__(request, reporter)
        configured = self.project.config.executor.config.user
        self.user = configured if configured is not None else driver_user()
        self._client: Any = None
        self._image: BuiltImage = build(self.project, report=reporter.note)
        self._step_images: dict[str, str] = {}

    def client(self) -> Any:
        """docker-py's client of the engine; imported only when a container is really needed."""
        if self._client is None:
            from toolkit import engine

            self._client = engine.connect()
        return self._client

    def describe(self) -> Pipeline:
        labels = {"dev.toolkit.describe": "1", **driver.labels(self.project)}
        ask = describing.in_image(
            self.client,
            self._image.reference,
            dict(self.project.config.executor.config.environment),
            f"{self.user}:{GROUP}",
            labels,
        )
        folder = self.project.state / "cache" / "describe"
        return describe.describe(self.project, self.request.reference, describe.cached(folder, self._image.digest, ask))

    def check(self, made: Plan) -> None:
        for settings in made.settings:
            if settings.image is not None and settings.image not in self._step_images:
                built = build(self.project, report=self.reporter.note, image=settings.image)
                self._step_images[settings.image] = built.reference

    def prepare_volumes(self, made: Plan) -> None:
        from toolkit.backends import engine_check

        super().prepare_volumes(made)
        checked = engine_check.check(self.client(), self.project, self._image.reference, self.user)
        for sentence in checked:
            self.reporter.note(sentence)

    def image_record(self) -> dict[str, Any]:
        return {"reference": self._image.reference, "digest": self._image.digest, "identity": self._image.identity}

    def launcher(self, made: Plan, run_id: str, private: Path, secrets: tuple[str, ...]) -> Launcher:
        from toolkit.backends.local import LABEL, LocalLauncher

        def spec_of(step: PlannedStep, attempt: int) -> Any:
            own = made.settings_of(step).image
            image = self._step_images[own] if own is not None else self._image.reference
            return container_spec(made, step, run_id, attempt, image, self.user)

        config = self.project.config.executor.config
        folders = {one.name: str(volumes.volume_folder(self.project, one.name)) for one in config.persistent_volumes}
        labels = {**config.labels, LABEL + "run": run_id, **driver.labels(self.project)}
        return LocalLauncher(self.client(), spec_of, folders, private, labels)


class _Process(_Side):
    def __init__(self, request: Request, reporter: Reporter) -> None:
        super().__init__(request, reporter)
        self.user = os.getuid()
        self._python = process.interpreter(self.project)
        reporter.note(
            f"these are plain processes of {self._python}, not containers: {', '.join(process.WAIVED)} do not apply"
        )

    def describe(self) -> Pipeline:
        ask = describing.in_process(self._python, process.MAIN, process.environment(self.project, {}))
        return describe.describe(self.project, self.request.reference, ask)

    def launcher(self, made: Plan, run_id: str, private: Path, secrets: tuple[str, ...]) -> Launcher:
        from toolkit.build.ignore import project_files

        files = [[one.path, one.kind == "dir"] for one in project_files(self.project.root, warn=self.reporter.note)]
        (private / CODE_FILE).write_bytes(gzip.compress(encode({"files": files}), compresslevel=1, mtime=0))
        return process.ProcessLauncher(self.project, made, run_id, private, secrets)
