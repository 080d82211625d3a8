"""What the steps of a run on this machine need just before they start: the volumes' folders, and a launcher."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.backends import driver, process, volumes
from toolkit.backends.launcher import Launcher
from toolkit.plan.plan import PlannedStep
from toolkit.run.ground import Ground
from toolkit.run.preparation import Preparation
from toolkit.runtime.shared.protocol import CODE_FILE
from toolkit.runtime.shared.records import encode
from toolkit.spec.container import ContainerSpec, container_spec

if TYPE_CHECKING:
    from toolkit.backends.debug_terminal import DebugTerminal


def prepare_volumes(preparation: Preparation) -> None:
    """Makes the folders of the volumes, and checks that the engine sees them and that the steps' user can write there.

    Raises:
        BadInput: as of :func:`volumes.prepare`.
        Infrastructure: a folder can't be made or used, or the engine is on another machine.
    """
    project, plan = preparation.request.project, preparation.plan
    volumes.prepare(project, preparation.user)
    for path in filter(None, (plan.run_log, plan.catalog)):
        volumes.make_store(project, path, preparation.user)
    if preparation.image is None:
        volumes.check_access(project)
    else:
        from toolkit.backends.docker import engine_check

        for sentence in engine_check.check_engine(
            preparation.connect(), project, preparation.image.id, preparation.user
        ):
            preparation.note(sentence)


def make_launcher(
    preparation: Preparation,
    run_id: str,
    private: Path,
    secrets: tuple[str, ...],
    ground: Ground | None,
    terminal: DebugTerminal | None = None,
) -> Launcher:
    """What starts the attempts of a run: as containers, or as plain processes.

    Args:
        private: the run's folder in the private state, with the plan. secrets: the names of all secrets of the run.
        ground: of plain processes; None for containers. terminal: for the debuggers of plain processes.
    """
    if ground is not None:
        return _process_launcher(preparation, run_id, private, secrets, ground, terminal)
    return _docker_launcher(preparation, run_id, private)


def _process_launcher(
    preparation: Preparation,
    run_id: str,
    private: Path,
    secrets: tuple[str, ...],
    ground: Ground,
    terminal: DebugTerminal | None,
) -> Launcher:
    document = encode({"files": ground.files, "hidden": ground.hidden or []})
    (private / CODE_FILE).write_bytes(gzip.compress(document, compresslevel=1, mtime=0))
    overlay = ground.hidden is not None
    places = {"run": str(private), "hidden": secrets, "mounts": dict(ground.mounts), "overlay": overlay}
    return process.ProcessLauncher(preparation.request.project, preparation.plan, run_id, places, terminal)


def _docker_launcher(preparation: Preparation, run_id: str, private: Path) -> Launcher:
    from toolkit.backends.docker.launcher import LABEL, DockerLauncher

    project, plan = preparation.request.project, preparation.plan

    images = preparation.images()

    def spec_of(step: PlannedStep, attempt: int) -> ContainerSpec:
        image = images[plan.settings_of(step).image]
        return container_spec(plan, step, run_id, attempt, image.id, preparation.user, image.expectation)

    config = project.config.executor.config
    labels = {**config.labels, LABEL + "run": run_id, **driver.labels(project)}
    references = {image.id: image.reference for image in images.values()}
    return DockerLauncher(preparation.connect(), spec_of, volumes.volume_folders(project), private, references, labels)
