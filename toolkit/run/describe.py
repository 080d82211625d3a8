"""Describes a pipeline without importing user code into this process: in its own image, or in a process of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from toolkit.backends.describer import Describer
from toolkit.config.located import shown
from toolkit.errors import BadInput
from toolkit.model.description import to_function, to_pipeline
from toolkit.model.pipeline import Function, Pipeline, Takes
from toolkit.project import Project
from toolkit.run.raised import raised_error, shown_place
from toolkit.run.reference import PipelineReference
from toolkit.run.repeatable import VERSION
from toolkit.runtime.shared.protocol import PROTOCOL
from toolkit.runtime.shared.whole_files import write_whole

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import DescribeRequest, DescribeResponse, PatchRow

NO_PATCHES: Mapping[str, PatchRow] = MappingProxyType({})
NO_PLACES: Mapping[str, str] = MappingProxyType({})


def describe(
    project: Project,
    reference: PipelineReference,
    ask: Describer,
    python: str = "",
    patches: Mapping[str, PatchRow] = NO_PATCHES,
    patch_places: Mapping[str, str] = NO_PLACES,
) -> Pipeline:
    """The model of a pipeline.

    Args:
        ask: asks the runtime about the user's code. python: the interpreter that it asks; empty where it asks an image.
        patches: the run's own, by tasks' paths or names. patch_places: where each stands, for messages.

    Raises:
        BadInput: the file, or a function or a notebook that it names, does not exist or can't be part of a pipeline.
    """
    file = shown(reference.file)
    if reference.is_yaml:
        from toolkit.model.yaml_form import pipeline_file

        description = pipeline_file.read(reference.file)
        _resolve_functions(description, project, reference, ask, python)
    else:
        package = reference.package(project)
        answer = ask({**_request(project, reference), **reference.recorded(project), "package": package})
        _check_answer(answer, file, project, python)
        description = answer["pipeline"]
    pipeline = to_pipeline(description, file)
    executor = project.config.executor
    is_mocked = executor.type == "mocked"
    if not is_mocked and not patches:
        return pipeline
    from toolkit.model import mocks
    from toolkit.run.patches import rows_of

    # The run's own come before those of the configuration.
    own = rows_of(executor.config.patches, executor.patch_places, project.home) if is_mocked else {}
    of_run = {name: mocks.AppliedPatch(row, name, patch_places, marked=True) for name, row in patches.items()}
    all_patches = {name: mocks.AppliedPatch(row, name, executor.patch_places) for name, row in own.items()}
    all_patches.update(of_run)

    def resolve(dotted: list[str]) -> dict[str, tuple[Function, Takes] | str]:
        answer = ask(_request(project, reference, dotted))
        _check_answer(answer, file, project, python)
        functions = answer["functions"]
        return {name: functions[name].get("refused") or to_function(functions[name]) for name in dotted}

    return mocks.apply_mocks(pipeline, all_patches, resolve, is_mocked)


def _request(project: Project, reference: PipelineReference, functions: Sequence[str] = ()) -> DescribeRequest:
    """What the runtime is asked about functions, by their dotted paths."""
    return {"roots": list(reference.import_roots(project)), "file": None, "functions": list(functions)}


def _check_answer(answer: DescribeResponse, file: str, project: Project, python: str) -> None:
    """Passes an answer that the runtime could give.

    Raises:
        BadInput: the user's code was refused, or raised an exception.
    """
    if "refused" in answer:
        raise BadInput(answer["refused"], shown_place(project, answer, file))
    if "raised" in answer:
        raise raised_error(project, answer, file, python)


def _resolve_functions(
    description: Any, project: Project, reference: PipelineReference, ask: Describer, python: str
) -> None:
    """Adds to the tasks of a description what they take: to a python task its function, and to a notebook its parameters."""
    notebooks = list(_tasks(description, "notebook"))
    # The reducer of a map is among them.
    tasks = list(_tasks(description, "python"))
    if not tasks and not notebooks:
        return
    dotted = sorted({_dotted_name(task["function"]) for task in tasks})
    request = _request(project, reference, dotted)
    if notebooks:
        request["notebooks"] = sorted({task["command"] for task in notebooks})
    answer = ask(request)
    file = shown(reference.file)
    _check_answer(answer, file, project, python)
    for task in notebooks:
        task["takes"] = answer.get("notebooks", {}).get(task["command"], {}).get("takes")
    for task in tasks:
        resolved = answer["functions"][_dotted_name(task["function"])]
        if "refused" in resolved:
            raise BadInput(f"the step {task['name']!r}: {resolved['refused']}", f"{file}:{task['line']}")
        task["function"], task["takes"] = resolved["function"], resolved["takes"]


def _dotted_name(function: Mapping[str, object]) -> str:
    return f"{function['module']}.{function['qualname']}" if function["module"] else str(function["qualname"])


def _tasks(node: Any, kind: str) -> Iterator[Any]:
    """The tasks of a kind, at any depth of a description, and the reducers that are written like tasks."""
    if isinstance(node, dict):
        if node.get("kind") == kind and ("function" in node or "command" in node):
            yield node
        for value in node.values():
            yield from _tasks(value, kind)
    elif isinstance(node, list):
        for value in node:
            yield from _tasks(value, kind)


class KeptAnswers:
    """A describer of an image that keeps its answers, as far as they are the same whenever they are asked for.

    Args:
        folder: where they are kept. ask: asks the runtime in the image.
        image: the image's digest. user: the id of the user that asks. environment: the variables beside the image's own. Equal
            ones give equal answers, unless the project's code depends on something else.
        obstacle: finds that, as a clause with file and line; empty where there is nothing.
        recorded: the answers that a run which exists was made of, by the same keys as those in ``described``. Such a run resumes
            with them.

    Attributes:
        computed: why the answers had to be computed anew; empty where they are kept.
        described: the answers that were computed, by what they depend on.
    """

    def __init__(
        self,
        folder: Path,
        ask: Describer,
        image: str,
        user: int,
        environment: Mapping[str, str],
        obstacle: Callable[[DescribeRequest], str],
        recorded: Callable[[], Mapping[str, DescribeResponse]],
    ) -> None:
        self._folder = folder
        self._ask = ask
        self._kept_by = [PROTOCOL, VERSION, image, user, dict(environment)]
        self._obstacle = obstacle
        self._recorded = recorded
        self.computed = ""
        self.described: dict[str, DescribeResponse] = {}

    def __call__(self, request: DescribeRequest) -> DescribeResponse:
        key = hashlib.sha256(json.dumps([*self._kept_by, request], sort_keys=True).encode()).hexdigest()
        file = self._folder / f"{key}.json"
        try:
            kept = json.loads(file.read_bytes())
            computed: str = kept.get("computed", "")
            if not computed:
                answer: DescribeResponse = kept
                return answer
        except (OSError, ValueError):
            computed = self._obstacle(request)
        answer = (self._recorded().get(key) if computed else None) or self._ask(request)
        if computed or not ("refused" in answer or "raised" in answer):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(str(file), json.dumps({"computed": computed} if computed else answer).encode())
        if computed:
            self.computed = computed
            self.described[key] = answer
        return answer
