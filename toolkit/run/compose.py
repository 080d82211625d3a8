"""A docker-compose file of a pipeline, and the run that its services' attempts belong to.

That run has no driver and no end: docker-compose runs its steps one by one, in any order and as often as its user asks. The
run's id follows from the plan and the parameters and not from the code. So a step can be fixed and run again, and finds what
the others have recorded.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit import secrets as providers
from toolkit.backends import compose, volumes
from toolkit.build.code.files import COMPOSE_TOP
from toolkit.build.image.build_record import BuiltImage
from toolkit.errors import BadInput
from toolkit.model.pipeline import Pipeline, Task
from toolkit.plan import planner
from toolkit.plan.plan import Plan, PlannedStep
from toolkit.project import Project
from toolkit.run.lacking import Lacks
from toolkit.run.launch import prepare_volumes
from toolkit.run.parameters import GivenParameters
from toolkit.run.preparation import Preparation, prepare
from toolkit.run.records import create_run, run_record, write_plan
from toolkit.run.reference import PipelineReference
from toolkit.run.request import Note, Request
from toolkit.runtime.shared.item_variables import item_variables
from toolkit.runtime.shared.protocol import RUN_RECORD
from toolkit.runtime.shared.tree import Tree
from toolkit.runtime.shared.whole_files import temporary_beside
from toolkit.spec.container import ContainerSpec, container_spec
from toolkit.store import writer

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import RunRecord

ENVIRONMENT = "compose"
_NOT_ALIKE = frozenset("$\\'\"\n")
"""Characters of a value in a .env file that Compose may read in another way than toolkit does."""


def compose_file(
    project: Project, reference: PipelineReference, given: GivenParameters, report: Note, explain: bool = False
) -> str:
    """The Compose file's text. Image, volumes and run exist when it returns.

    Args:
        report: is given progress and notes, one sentence each. explain: as of :class:`Request`.

    Raises:
        BadInput: configuration, pipeline or parameters are wrong.
        Infrastructure: engine or disk.
    """
    request = Request(
        project,
        "local",
        reference,
        given.values,
        spellings=given.spellings,
        explain=explain,
        typed=given.typed,
        given=given,
    )
    volumes.make_private_state(project)
    volumes.check(project)
    preparation = prepare(request, report)
    plan = preparation.plan
    # With the defaults of parameters that the pipeline declares.
    settled = preparation.request
    given = GivenParameters(dict(settled.parameters), dict(settled.spellings))
    if preparation.computed:
        report(f"the services run what the pipeline's file computed now: {preparation.computed}")
    run_id = run_id_of(plan, preparation.parameter_files())
    images = preparation.images()
    prepare_volumes(preparation)
    record = run_record(preparation, run_id, preparation.image_record())
    record["environment"], record["driver"] = ENVIRONMENT, None
    _open_run(project, record, preparation.user)
    _keep_plan(plan_folder(project, run_id), preparation)
    missing = _report_secrets(project, preparation.secret_names(), report)
    run_folder = volumes.host_path(project, project.config.run_log_store.log_folder) / run_id
    lacks = Lacks(plan, settled.parameters, settled.spellings, str(run_folder), missing)
    for service, lacking in lacks.of_services(service_names_of(plan)):
        report(f"note: the service {service} lacks {'; '.join(lacking)}")
    return render_compose_file(project, plan, run_id, images, preparation.user)


def run_id_of(plan: Plan, parameter_files: Mapping[str, bytes]) -> str:
    """The id of the run that a plan's services belong to."""
    hasher = hashlib.sha256(plan.to_json())
    for data in parameter_files.values():
        hasher.update(data)
    return f"compose-{hasher.hexdigest()[:12]}"


def service_names_of(plan: Plan) -> dict[str, str]:
    """The name of each task's service, by the task's path."""
    return compose.service_names([step.path for step in plan.tasks()])


def plan_folder(project: Project, run_id: str) -> Path:
    """The folder that the services see read-only."""
    return project.state / "compose" / run_id


def render_compose_file(
    project: Project, plan: Plan, run_id: str, images: Mapping[str | None, BuiltImage], user: int
) -> str:
    """The file's text: a pure function of its arguments.

    The services name their images by the engine's ids. A tag could be given to another image between two services. The file
    needs no other name: its volumes and its plan are folders of this machine, so it is of no use elsewhere.

    Args:
        images: by a step's own image; None is the pipeline's. user: where the settings name none.
    """
    home, config = project.home, project.config
    folders = compose.HostFolders(
        {name: compose.relative(folder, home) for name, folder in volumes.volume_folders(project).items()},
        compose.relative(plan_folder(project, run_id), home),
        compose.relative(project.root, home),
    )
    secrets = config.secrets
    names = compose.SecretNames(secrets.type != "do-nothing", secrets.prefix, secrets.suffix)

    def spec(step: PlannedStep) -> ContainerSpec:
        image = images[plan.settings_of(step).image]
        return container_spec(plan, step, run_id, 1, image.id, user, image.expectation)

    tasks = plan.tasks()
    service_names = service_names_of(plan)
    tree = Tree(plan.document())
    services = {
        service_names[step.path]: compose.step_service(
            spec(step),
            folders,
            names,
            {compose.RUN_LABEL: run_id, compose.STEP_LABEL: step.path},
            [variable for _, variable in item_variables(tree, step.path)],
        )
        for step in tasks
    }
    # The container of the dev shell is that of a step without overrides.
    shell = Task(name=compose.DEV, kind="shell", command="sh")
    shell_plan = planner.plan(Pipeline((shell,)), config, plan.import_roots)
    shell_spec = container_spec(shell_plan, shell_plan.tasks()[0], run_id, 1, images[None].id, user)
    services[compose.DEV] = compose.dev_service(shell_spec, folders, names, {compose.RUN_LABEL: run_id})
    references = list(dict.fromkeys(image.reference for image in images.values()))
    return compose.compose_file(services, _comments(project, run_id, list(service_names.values()), references))


def _comments(project: Project, run_id: str, services: Sequence[str], images: Sequence[str]) -> list[str]:
    location = project.config.secrets.location
    option = "" if location == ".env" else f"--env-file {location} "
    step = services[0] if services else compose.DEV
    return [
        f"{COMPOSE_TOP.decode().removeprefix('# ')} Its paths are relative to the configuration's folder, where this file belongs.",
        f"  docker-compose {option}run --rm {step}",
        f"  docker-compose {option}run --rm {compose.DEV}",
        f"  toolkit show {run_id}",
        f"Images, which the services name by their ids: {', '.join(images)}",
    ]


def _open_run(project: Project, record: RunRecord, user: int) -> None:
    """Makes the run's folder in the run log, where its attempts are recorded, unless it exists."""
    run_log = volumes.host_path(project, project.config.run_log_store.log_folder)
    folder = run_log / str(record["run_id"])
    if not folder.exists():
        try:
            create_run(run_log, folder.name, record, user)
            return
        except BadInput:
            # Another command made it in the meantime.
            pass
    if not (folder / RUN_RECORD).exists():
        writer.write_run(folder, record)


def _keep_plan(folder: Path, preparation: Preparation) -> None:
    """Writes plan and parameters, both or neither. A folder of this name holds the same ones, and is kept."""
    if folder.exists():
        return
    temporary = Path(temporary_beside(str(folder)))
    write_plan(temporary, preparation)
    try:
        temporary.rename(folder)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        if not folder.exists():
            raise


def _report_secrets(project: Project, secret_names: Sequence[str], report: Note) -> list[str]:
    """Reports secrets that Compose will not find, or may read in another way. The file holds no value, so nothing is an error.

    Returns:
        the names of those that have no value.
    """
    provider = providers.provider(project)
    if provider.type == "do-nothing":
        return []
    try:
        values = provider.lookup(secret_names)
    except BadInput as error:
        report(f"note: {error}")
        return []
    missing = [name for name in secret_names if name not in values]
    if missing:
        report(f"note: docker-compose refuses the file until these secrets are set: {', '.join(missing)}")
    from_file = [
        name
        for name, value in values.items()
        if f"{provider.prefix}{name}{provider.suffix}" not in os.environ and not _NOT_ALIKE.isdisjoint(value)
    ]
    if from_file:
        report(
            f"note: docker-compose reads a $, a backslash, a quote or a line end in .env by rules of its own: set these "
            f"as environment variables instead: {', '.join(from_file)}"
        )
    return missing
