"""A pipeline made ready to run. Every environment begins here: the image, the description, the plan, the steps' own images."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from toolkit import engine
from toolkit.backends import describer, driver, process
from toolkit.build.image.builder import BuiltImage, build
from toolkit.errors import BadInput
from toolkit.plan import planner
from toolkit.plan.plan import Plan
from toolkit.run.describe import cache_answers, describe
from toolkit.run.request import Note, Request
from toolkit.runtime.shared import scope
from toolkit.runtime.shared.controls import Controls
from toolkit.spec.container import GROUP, steps_user

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import ControlValues, FunctionRow, ImageRecord, Parameters, StoredValue


@dataclass(frozen=True)
class Preparation:
    """A pipeline that is planned, and the images that its steps run in.

    Attributes:
        request: what was asked for.
        name: the pipeline's name; the name of its file where it has none.
        plan: what runs. Its python steps get all their parameters, unless :func:`prepare` left that unchecked.
        user: id of the steps' user, where no setting of a step names one.
        image: the image that the pipeline was described in; None for plain processes.
        connect: returns docker-py's client of the engine, the same one each time.
        note: is given a sentence for each image that is built.
    """

    request: Request
    name: str
    plan: Plan
    user: int
    image: BuiltImage | None
    connect: Callable[[], Any]
    note: Note
    _images: dict[str | None, BuiltImage] = field(default_factory=dict)

    def images(self) -> Mapping[str | None, BuiltImage]:
        """All images of the plan by the setting that names them; None is the pipeline's own. Empty for plain processes.

        Those that single steps name are built at the first call, so that what is wrong with the plan is found before.

        Raises:
            BadInput: a reference or a lock is wrong. Infrastructure: the engine.
        """
        if self.image is not None:
            self._images[None] = self.image
            for settings in self.plan.settings:
                if settings.image not in self._images:
                    self._images[settings.image] = build(self.request.project, report=self.note, image=settings.image)
        return self._images

    def image_record(self) -> ImageRecord | None:
        """The pipeline's image, as run.json has it."""
        if self.image is None:
            return None
        return {"reference": self.image.reference, "digest": self.image.digest, "identity": self.image.identity}

    def secret_names(self) -> tuple[str, ...]:
        """All the secrets that any step gets, each once."""
        names: dict[str, None] = {}
        for step in self.plan.tasks():
            assert step.task is not None
            for reference in self.plan.settings_of(step).secrets:
                names[reference.environment_variable] = None
            for name in step.task.secrets:
                names[name] = None
        return tuple(names)


def prepare(request: Request, note: Note, parameters_given: bool = True) -> Preparation:
    """Builds the pipeline's image, describes the pipeline in it, and plans it.

    Args:
        note: is given progress and what is noticed, one sentence each.
        parameters_given: whether the request has the run's parameters, so that a missing one is an error.

    Raises:
        BadInput: configuration, pipeline or parameters are wrong. Infrastructure: the engine.
    """
    project, reference = request.project, request.reference
    connect = cache(engine.connect)
    image: BuiltImage | None = None
    if request.environment == "process":
        user = os.getuid()
        python = process.interpreter(project)
        note(f"these are plain processes of {python}, not containers: {', '.join(process.WAIVED)} do not apply")
        ask = describer.process_describer(python, process.MAIN, process.environment(project, {}))
    else:
        from toolkit.backends.docker.describer import image_describer

        executor = project.config.executor.config
        user = steps_user(executor)
        image = build(project, report=note)
        labels = {"dev.toolkit.describe": "1", **driver.labels(project)}
        in_image = image_describer(connect, image.reference, dict(executor.environment), f"{user}:{GROUP}", labels)
        ask = cache_answers(project.state / "cache" / "describe", image.digest, in_image)
    pipeline = describe(project, reference, ask)
    plan = planner.plan(pipeline, project.config, reference.import_roots(project))
    if parameters_given:
        check_parameters(plan, request.parameters)
    return Preparation(request, pipeline.name or reference.file.stem, plan, user, image, connect, note)


def check_parameters(plan: Plan, parameters: Parameters) -> None:
    """Refuses a run whose python steps take what nothing gives.

    Raises:
        BadInput: naming the first such step and parameter.
    """
    missing = planner.missing_parameters(plan, parameters)
    if missing:
        step, name = missing[0]
        line = step.task.line if step.task is not None else None
        has_stubs = any(row.type == "stub" for row in plan.steps)
        raise BadInput(
            f"the step {step.path!r} takes {name}, which no step before it returns and the run was not given: "
            f"give it with --param {name}=… or a parameters file"
            + (" (a stub, as each mocked step is, returns nothing)" if has_stubs else ""),
            line,
        )


def initial_controls(
    plan: Plan, parameters: Parameters, spellings: Mapping[str, str] | None = None
) -> tuple[ControlValues, dict[str, str]]:
    """The control values that follow from the run's parameters alone: by instance path, and as a cluster takes them.

    Args:
        spellings: the texts that spelled the parameters, as far as they are kept.
    """
    tree = scope.RunPlan(plan.document(), parameters, spellings)

    def reduce(reducer: FunctionRow, _: list[StoredValue]) -> NoReturn:
        raise AssertionError(f"nothing has run that {reducer['qualname']} could reduce")

    return Controls(tree, scope.RecordReader(""), reduce).given(list(plan.given)) if plan.given else ({}, {})
