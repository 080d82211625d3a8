"""What differs between the environments of this machine before the steps run: the image, describing, volumes, the launcher."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

from toolkit.backends import describer, driver, process, volumes
from toolkit.backends.docker.describer import image_describer
from toolkit.backends.launcher import Launcher
from toolkit.build.image.builder import BuiltImage, build, code_files
from toolkit.model.pipeline import Pipeline
from toolkit.plan.plan import Plan, PlannedStep
from toolkit.run import describe
from toolkit.run.request import Note, Request
from toolkit.runtime.shared.protocol import CODE_FILE
from toolkit.runtime.shared.records import encode
from toolkit.spec.container import GROUP, container_spec, driver_user


class Environment:
    """What differs between the environments before the steps run."""

    user: int

    def __init__(self, request: Request, note: Note) -> None:
        self.request = request
        self.project = request.project
        self.note = note

    def describe(self) -> Pipeline:
        raise NotImplementedError

    def check(self, made: Plan) -> None:
        """Refuses what this environment can't honour, before anything is written."""

    def prepare_volumes(self, made: Plan) -> None:
        volumes.prepare(self.project, self.user)
        for path in filter(None, (made.run_log, made.catalog)):
            volumes.make_shared(volumes.host_path(self.project, path), self.user)

    def image_record(self) -> dict[str, Any] | None:
        return None

    def launcher(self, made: Plan, run_id: str, private: Path, secrets: tuple[str, ...]) -> Launcher:
        raise NotImplementedError


class LocalEnvironment(Environment):
    def __init__(self, request: Request, note: Note) -> None:
        super().__init__(request, note)
        configured = self.project.config.executor.config.user
        self.user = configured if configured is not None else driver_user()
        self._client: Any = None
        self._image: BuiltImage = build(self.project, report=note)
        self._step_images: dict[str, BuiltImage] = {}

    def client(self) -> Any:
        """docker-py's client of the engine; imported only when a container is really needed."""
        if self._client is None:
            from toolkit import engine

            self._client = engine.connect()
        return self._client

    def describe(self) -> Pipeline:
        labels = {"dev.toolkit.describe": "1", **driver.labels(self.project)}
        ask = image_describer(
            self.client,
            self._image.reference,
            dict(self.project.config.executor.config.environment),
            f"{self.user}:{GROUP}",
            labels,
        )
        folder = self.project.state / "cache" / "describe"
        return describe.describe(
            self.project, self.request.reference, describe.cache_answers(folder, self._image.digest, ask)
        )

    def check(self, made: Plan) -> None:
        for settings in made.settings:
            if settings.image is not None and settings.image not in self._step_images:
                self._step_images[settings.image] = build(self.project, report=self.note, image=settings.image)

    def images(self) -> dict[str | None, BuiltImage]:
        """All images of the plan that was checked, by a step's own image; None is the pipeline's."""
        images: dict[str | None, BuiltImage] = {None: self._image}
        images.update(self._step_images)
        return images

    def prepare_volumes(self, made: Plan) -> None:
        from toolkit.backends.docker import engine_check

        super().prepare_volumes(made)
        checked = engine_check.check_engine(self.client(), self.project, self._image.reference, self.user)
        for sentence in checked:
            self.note(sentence)

    def image_record(self) -> dict[str, Any]:
        return {"reference": self._image.reference, "digest": self._image.digest, "identity": self._image.identity}

    def launcher(self, made: Plan, run_id: str, private: Path, secrets: tuple[str, ...]) -> Launcher:
        from toolkit.backends.docker.launcher import LABEL, DockerLauncher

        def spec_of(step: PlannedStep, attempt: int) -> Any:
            own = made.settings_of(step).image
            image = self.images()[own].reference
            return container_spec(made, step, run_id, attempt, image, self.user)

        config = self.project.config.executor.config
        folders = {one.name: str(volumes.volume_folder(self.project, one.name)) for one in config.persistent_volumes}
        labels = {**config.labels, LABEL + "run": run_id, **driver.labels(self.project)}
        return DockerLauncher(self.client(), spec_of, folders, private, labels)


class ProcessEnvironment(Environment):
    def __init__(self, request: Request, note: Note) -> None:
        super().__init__(request, note)
        self.user = os.getuid()
        self._python = process.interpreter(self.project)
        note(f"these are plain processes of {self._python}, not containers: {', '.join(process.WAIVED)} do not apply")

    def describe(self) -> Pipeline:
        ask = describer.process_describer(self._python, process.MAIN, process.environment(self.project, {}))
        return describe.describe(self.project, self.request.reference, ask)

    def launcher(self, made: Plan, run_id: str, private: Path, secrets: tuple[str, ...]) -> Launcher:
        files = [[one.path, one.kind == "dir"] for one in code_files(self.project, self.note)]
        (private / CODE_FILE).write_bytes(gzip.compress(encode({"files": files}), compresslevel=1, mtime=0))
        return process.ProcessLauncher(self.project, made, run_id, private, secrets)
