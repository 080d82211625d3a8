"""A pipeline made ready to run. Every environment begins here: the image, the description, the plan, the steps' own images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from toolkit import engine
from toolkit.backends import driver, process
from toolkit.backends.interpreter import interpreter
from toolkit.build.image.builder import BuiltImage, build, is_code
from toolkit.build.revision import Revision, ask_revision
from toolkit.engine import EngineApi
from toolkit.errors import BadInput, ToolkitError
from toolkit.model.pipeline import DeclaredParameter
from toolkit.model.taken import Taken, taken_by
from toolkit.plan import planner
from toolkit.plan.plan import Plan
from toolkit.plan.step_settings import overrides_without_effect, retries_without_effect
from toolkit.project import Project
from toolkit.run.bash import Asked, check_bash
from toolkit.run.describe import KeptAnswers, describe
from toolkit.run.notebooks import check_notebooks
from toolkit.run.parameter_checks import check_parameters, controls_before_steps, settle
from toolkit.run.parameters_file import read_parameters_file
from toolkit.run.platform import for_this_machine, runs_here, wrong_platform
from toolkit.run.request import Note, Request
from toolkit.runtime.shared.records import parameter_files
from toolkit.spec.container import GROUP, steps_user

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import (
        ControlValues,
        DescribeRequest,
        DescribeResponse,
        ImageRecord,
        Parameters,
    )


def _check_needs(plan: Plan, setting: str | None, asked: Asked, image: BuiltImage | None, python: str = "") -> None:
    """Refuses a plan whose steps need what is not there.

    Args:
        setting: the setting that names the steps' image. image: that image; None for plain processes. python: their interpreter.
    """
    where = f"the image {image.reference}" if image is not None else "this machine"
    check_bash(plan, setting, asked.has_bash, where)
    remedy = "name {} in the project's requirements"
    if image is None:
        where, remedy = python, f"{remedy}, and install it into the environment of that Python"
    elif image.existing:
        remedy = "install {} in that image"
    check_notebooks(plan, setting, asked, where, remedy)


def _no_revision() -> Revision | None:
    return None


@dataclass(frozen=True)
class Preparation:
    """A pipeline that is planned, and the images that its steps run in.

    Attributes:
        request: what was asked for. Its parameters are those of the run, with the defaults of declared ones.
        name: the pipeline's name; the name of its file where it has none.
        plan: what runs. Its python steps get all their parameters, unless :func:`prepare` left that unchecked.
        user: id of the steps' user, where no setting of a step names one.
        image: the image that the pipeline was described in; None for plain processes.
        computed: what in the pipeline's code gives something else for each run, with file and line; empty where the description
            depends on the image and its environment variables alone.
        described: the runtime's answers that the plan was made of, in that case.
        rewritten: the text of each file that steps find written anew with the run's values, by its path.
        connect: returns docker-py's client of the engine, the same one each time.
        note: is given a sentence for each image that is built. asked: asks an image what it has.
        revision: gives the commit that the code is of, which is asked for beside the preparation; None where nobody asks.
        declared: the parameters that the pipeline declares; None where it declares none. taken: what its steps take.
    """

    request: Request
    name: str
    plan: Plan
    user: int
    image: BuiltImage | None
    connect: Callable[[], Any]
    note: Note
    asked: Callable[[BuiltImage], Asked]
    computed: str = ""
    described: Mapping[str, DescribeResponse] = field(default_factory=dict)
    rewritten: Mapping[str, str] = field(default_factory=dict)
    declared: tuple[DeclaredParameter, ...] | None = None
    taken: Taken = field(default_factory=Taken)
    revision: Callable[[], Revision | None] = _no_revision
    _images: dict[str | None, BuiltImage] = field(default_factory=dict)

    def images(self) -> Mapping[str | None, BuiltImage]:
        """All images of the plan by the setting that names them; None is the pipeline's own. Empty for plain processes.

        Those that single steps name are built at the first call, so that what is wrong with the plan is found before. Each is
        resolved once: the run keeps to it, whatever becomes of its name.

        Raises:
            BadInput: a reference or a lock is wrong, or the code changed meanwhile; or a step of plain processes has an image of
                its own. Infrastructure: the engine.
        """
        if self.image is None:
            for step in self.plan.tasks():
                if self.plan.settings_of(step).image is not None:
                    raise BadInput(
                        f"the step {step.path!r} has an image of its own, which --env process can't honour: use --env local",
                        step.line,
                    )
        if self.image is not None and not self._images:
            project = self.request.project
            images: dict[str | None, BuiltImage] = {None: self.image, project.config.executor.config.image: self.image}
            for settings in self.plan.settings:
                if settings.image not in images:
                    with self._naming_the_step(settings.image):
                        images[settings.image] = build(project, report=self.note, image=settings.image)
                    if self.request.environment == "local" and not runs_here(
                        EngineApi(), images[settings.image], self.note
                    ):
                        raise wrong_platform(EngineApi(), images[settings.image])
            if len({built.content for built in images.values() if not built.existing}) > 1:
                raise BadInput("a file of the project changed while the images of this run were built: run it again")
            used = {None, *(settings.image for settings in self.plan.settings)}
            for setting in used - {None}:
                built = images[setting]
                _check_needs(self.plan, setting, self.asked(built), built)
            self._images.update((setting, built) for setting, built in images.items() if setting in used)
        return self._images

    @contextmanager
    def _naming_the_step(self, image: str | None) -> Iterator[None]:
        """Gives an error the place of the step that has said this image beside it, unless it has a place."""
        try:
            yield
        except ToolkitError as error:
            for step in self.plan.tasks():
                own = step.task.settings if step.task is not None else None
                if own is not None and own.image == image and error.where is None:
                    error.where = step.line
            raise

    def parameter_files(self) -> dict[str, bytes]:
        """The files, by name, that give the run's parameters to its steps."""
        return parameter_files(self.request.parameters, self.request.spellings, self.rewritten)

    def image_record(self) -> ImageRecord | None:
        """The pipeline's image, as run.json has it."""
        return _image_record(self.image) if self.image is not None else None

    def step_image_records(self) -> dict[str, ImageRecord]:
        """The images that single steps name, by the setting that names them, as run.json has them."""
        return {setting: _image_record(built) for setting, built in self.images().items() if setting is not None}

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


Described = Callable[[], Mapping[str, "DescribeResponse"]]
"""Gives what the run that is asked for was made of, where there is such a run (``described`` of its record)."""


def prepare(
    request: Request,
    note: Note,
    parameters_given: bool = True,
    described: Described = lambda: {},
    with_revision: bool = False,
) -> Preparation:
    """Builds the pipeline's image, describes the pipeline in it, and plans it.

    Args:
        note: is given progress and what is noticed, one sentence each.
        parameters_given: whether the request has the run's parameters, so that a missing one is an error.
        described: called where the pipeline's code computes something for each run: a run that exists keeps its own.
        with_revision: whether Git is asked, meanwhile, for the commit that the code is of.

    Raises:
        BadInput: configuration, pipeline or parameters are wrong. Infrastructure: the engine.
    """
    project, reference = request.project, request.reference
    # Checked first: nothing of a file that steps can write is read, or run.
    reference.relative(project)
    revision = ask_revision(project.root, partial(is_code, project)) if with_revision else _no_revision
    connect = cache(engine.connect)
    image: BuiltImage | None = None
    kept: KeptAnswers | None = None
    python = ""
    if request.environment == "process":
        user = os.getuid()
        python = interpreter(project)
        note(f"these are plain processes of {python}, not containers: {', '.join(process.WAIVED)} do not apply")
        variables = process.environment(project, project.config.executor.config.environment, {})
        asked = Asked(process.process_describer(project, variables))
        asked_of: Callable[[BuiltImage], Asked] = lambda _: asked  # noqa: E731
    else:
        from toolkit.backends.docker.describer import image_describer

        executor = project.config.executor.config
        user = steps_user(executor)
        image = asked_image = build(project, report=note, explain=request.explain)
        if not runs_here(EngineApi(), image, note):
            if request.environment == "local" or image.existing:
                raise wrong_platform(EngineApi(), image)
            note(
                "the pipeline is described in an image of the same code for this engine, which does not run the cluster's"
            )
            asked_image = build(for_this_machine(project), report=note)
        labels = {"dev.toolkit.describe": "1", **driver.labels(project)}
        environment = dict(executor.environment)

        def answers_of(image: BuiltImage) -> KeptAnswers:
            return KeptAnswers(
                project.state / "cache" / "describe",
                image_describer(connect, image.id, environment, f"{user}:{GROUP}", labels, image.reference),
                image.digest,
                user,
                executor.environment,
                partial(_obstacle, project, image),
                described,
            )

        kept = answers_of(asked_image)
        asked = Asked(kept)
        asked_of = lambda image: Asked(answers_of(image))  # noqa: E731
    pipeline = describe(project, reference, asked, python, request.patches, request.patch_places)
    taken = taken_by(pipeline)
    if request.patches:
        note(f"patched, so not what the pipeline says: {', '.join(request.patches)}")
    if request.explain:
        note(_explanation(kept))
    plan = planner.plan(pipeline, project.config, reference.import_roots(project))
    for sentence in (*overrides_without_effect(plan, project.config.executor), *retries_without_effect(plan)):
        note(sentence)
    _check_needs(plan, None, asked, image, python)
    file = read_parameters_file(project, pipeline.parameters_file) if pipeline.parameters_file is not None else None
    if request.given is not None:
        declared = pipeline.parameters or ()
        defaults = {one.name: one.default[0] for one in declared if one.default is not None}
        given = request.given.complete(note, file.values if file is not None else {}, defaults)
        request = replace(request, parameters=given.values, spellings=given.spellings)
    if parameters_given:
        own = file.values if file is not None else {}
        request = settle(request, pipeline.parameters, taken, note, own)
        check_parameters(plan, request.parameters, request.spellings, pipeline.parameters is not None)
    name = pipeline.name or reference.file.stem
    preparation = Preparation(
        request,
        name,
        plan,
        user,
        image,
        connect,
        note,
        asked=asked_of,
        declared=pipeline.parameters,
        taken=taken,
        # The code of an image that is used as it is may be of any commit.
        revision=_no_revision if image is not None and image.existing else revision,
    )
    if file is not None:
        text = file.rewritten(request.parameters)
        # The files of an image that is used as it is may be other ones.
        is_known = image is None or not (image.existing or any(settings.image for settings in plan.settings))
        preparation = replace(preparation, rewritten={file.path: text} if text != file.text or not is_known else {})
    return preparation if kept is None else replace(preparation, computed=kept.computed, described=kept.described)


def _obstacle(project: Project, image: BuiltImage, request: DescribeRequest) -> str:
    """What keeps an answer from being the same each time; empty for nothing."""
    if request["file"] is None and not request["functions"]:
        return ""
    if image.existing:
        return f"the code in the existing image {image.reference} is not read"
    # Most runs have a verdict that was kept.
    from toolkit.run.repeatable.verdict import obstacle

    return obstacle(project.root, request, project.config.executor.config.environment)


def _explanation(kept: KeptAnswers | None) -> str:
    if kept is None:
        return "a pipeline of plain processes is described for each run"
    if kept.computed:
        return f"the pipeline is described for each run, because it may be another one each time: {kept.computed}"
    return "the description is kept, because it depends on the image and its environment variables alone"


def _image_record(image: BuiltImage) -> ImageRecord:
    record: ImageRecord = {"reference": image.reference, "digest": image.digest, "identity": image.identity}
    if image.id != image.digest:
        # An engine with containerd's image store knows an image by its manifest.
        record["manifest"] = image.id
    return record


def initial_controls(
    plan: Plan, parameters: Parameters, spellings: Mapping[str, str] | None = None
) -> tuple[ControlValues, dict[str, str]]:
    """The control values that follow from the run's parameters alone: by instance path, and as a cluster takes them.

    Args:
        spellings: the texts that spelled the parameters, as far as they are kept.
    """
    if not plan.given:
        return {}, {}
    return controls_before_steps(plan, parameters, spellings).given(list(plan.given))
