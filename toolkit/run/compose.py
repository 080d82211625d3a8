"""A docker-compose file of a pipeline, and the run that its services' attempts belong to.

That run has no driver and no end: whoever calls docker-compose runs its steps, singly, in any order and again. Its id
follows from the plan and the parameters and not from the code, so that a step can be mended and run again upon what
the others have recorded.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit import secrets as providers
from toolkit.backends import compose, volumes
from toolkit.build.code.files import PRINTED
from toolkit.errors import BadInput
from toolkit.model.pipeline import Pipeline, Task
from toolkit.plan import planner
from toolkit.plan.plan import Plan, PlannedStep
from toolkit.project import Project
from toolkit.run.launch import prepare_volumes
from toolkit.run.preparation import prepare
from toolkit.run.records import create_run, run_record, write_plan
from toolkit.run.reference import PipelineReference
from toolkit.run.request import Note, Request
from toolkit.runtime.shared.protocol import RUN_RECORD
from toolkit.runtime.shared.records import encode, write
from toolkit.spec.container import ContainerSpec, container_spec

ENVIRONMENT = "compose"
_NOT_ALIKE = frozenset("$\\'\"\n")
"""Characters of a .env file's value that Compose may read otherwise."""


def compose_file(project: Project, reference: PipelineReference, parameters: Mapping[str, Any], report: Note) -> str:
    """The Compose file's text; image, volumes and run are there when it returns.

    Args:
        report: is given progress and notes, one sentence each.

    Raises:
        BadInput: configuration, pipeline or parameters are wrong.
        Infrastructure: engine or disk.
    """
    request = Request(project, "local", reference, parameters)
    volumes.make_private_state(project)
    preparation = prepare(request, report)
    plan = preparation.plan
    check_composable(plan)
    run_id = run_id_of(plan, parameters)
    images = {setting: image.reference for setting, image in preparation.images().items()}
    prepare_volumes(preparation)
    record = run_record(preparation, run_id, preparation.image_record())
    _open_run(project, {**record, "environment": ENVIRONMENT, "driver": None}, preparation.user)
    _keep_plan(plan_folder(project, run_id), plan, parameters)
    _report_secrets(project, preparation.secret_names(), report)
    return render_compose_file(project, plan, run_id, images, preparation.user)


def check_composable(plan: Plan) -> None:
    """Refuses what has no services of its own: each of those is one task, and which there are has to be known now.

    Raises:
        BadInput: how often a step runs, or whether it does, is decided while the pipeline runs.
    """
    for step in plan.steps:
        if step.type in ("map", "loop", "conditional"):
            raise BadInput(
                f"docker-compose can't run the {step.type} {step.path!r}, in which steps run as the ones before them decide: "
                "`toolkit run` does",
                step.line,
            )


def run_id_of(plan: Plan, parameters: Mapping[str, Any]) -> str:
    """The id of the run that a plan's services belong to."""
    return f"compose-{hashlib.sha256(plan.to_json() + encode(dict(parameters))).hexdigest()[:12]}"


def plan_folder(project: Project, run_id: str) -> Path:
    """The folder that the services see read-only."""
    return project.state / "compose" / run_id


def render_compose_file(project: Project, plan: Plan, run_id: str, images: Mapping[str | None, str], user: int) -> str:
    """The file's text: a pure function of its arguments.

    Args:
        images: reference by a step's own image; None is the pipeline's. user: where the settings name none.
    """
    home, config = project.home, project.config
    places = compose.HostFolders(
        {
            one.name: compose.relative(volumes.volume_folder(project, one.name), home)
            for one in config.executor.config.persistent_volumes
        },
        compose.relative(plan_folder(project, run_id), home),
        compose.relative(project.root, home),
    )
    secrets = config.secrets
    names = compose.SecretNames(secrets.type != "do-nothing", secrets.prefix, secrets.suffix)

    def spec(of: Plan, step: PlannedStep) -> ContainerSpec:
        return container_spec(of, step, run_id, 1, images[of.settings_of(step).image], user)

    tasks = plan.tasks()
    called = compose.service_names([step.path for step in tasks])
    services = {
        called[step.path]: compose.step_service(
            spec(plan, step), places, names, {compose.RUN_LABEL: run_id, compose.STEP_LABEL: step.path}
        )
        for step in tasks
    }
    # The shell's container is what a step without overrides would have.
    shell = Task(name=compose.DEV, kind="shell", command="sh")
    alone = planner.plan(Pipeline((shell,)), config, plan.import_roots)
    services[compose.DEV] = compose.dev_service(
        spec(alone, alone.tasks()[0]), places, names, {compose.RUN_LABEL: run_id}
    )
    return compose.compose_file(services, _comments(project, run_id, list(called.values())))


def _comments(project: Project, run_id: str, services: Sequence[str]) -> list[str]:
    location = project.config.secrets.location
    option = "" if location == ".env" else f"--env-file {location} "
    step = services[0] if services else compose.DEV
    return [
        f"{PRINTED.decode().removeprefix('# ')} Its paths are relative to the configuration's folder, where this file belongs.",
        f"  docker-compose {option}run --rm {step}",
        f"  docker-compose {option}run --rm {compose.DEV}",
        f"  toolkit show {run_id}",
    ]


def _open_run(project: Project, record: dict[str, Any], user: int) -> None:
    """Makes the run's folder in the run log, unless it is there: its attempts are what this is for."""
    run_log = volumes.host_path(project, project.config.run_log_store.log_folder)
    folder = run_log / str(record["run_id"])
    if not folder.exists():
        try:
            create_run(run_log, folder.name, record, user)
            return
        except BadInput:
            # Another one was quicker.
            pass
    if not (folder / RUN_RECORD).exists():
        write(str(folder / RUN_RECORD), record)


def _keep_plan(folder: Path, plan: Plan, parameters: Mapping[str, Any]) -> None:
    """Writes plan and parameters, whole or not at all; what is there under this name is the same already."""
    if folder.exists():
        return
    fresh = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(fresh, ignore_errors=True)
    write_plan(fresh, plan, parameters)
    try:
        fresh.rename(folder)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        if not folder.exists():
            raise


def _report_secrets(project: Project, wanted: Sequence[str], report: Note) -> None:
    """Says which secrets Compose will miss or may read otherwise; the file needs no value, so none of it is an error."""
    provider = providers.provider(project)
    if provider.type == "do-nothing":
        return
    try:
        found = provider.lookup(wanted)
    except BadInput as error:
        report(f"note: {error}")
        return
    missing = [name for name in wanted if name not in found]
    if missing:
        report(f"note: docker-compose will refuse the file until there is a value for {', '.join(missing)}")
    from_file = [
        name
        for name, value in found.items()
        if f"{provider.prefix}{name}{provider.suffix}" not in os.environ and not _NOT_ALIKE.isdisjoint(value)
    ]
    if from_file:
        report(
            f"note: docker-compose reads a $, a backslash, a quote or a line's end in .env by rules of its own: put "
            f"{', '.join(from_file)} into the environment instead"
        )
