"""Describes a pipeline without importing user code into this process: in its own image, or in a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.backends.describer import NOTE, DescribeAnswer, Describer
from toolkit.config.located import shown
from toolkit.errors import BadInput
from toolkit.model import yaml_form
from toolkit.model.description import to_function, to_pipeline
from toolkit.model.pipeline import Function, Pipeline, Takes
from toolkit.project import Project
from toolkit.run.reference import PipelineReference
from toolkit.runtime.shared.protocol import PROTOCOL

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import PipelineDescription


def describe(project: Project, reference: PipelineReference, ask: Describer) -> Pipeline:
    """The model of a pipeline.

    Raises:
        BadInput: the file, or a function that it names, is not there or is not what a pipeline is made of.
    """
    file = shown(reference.file)
    if reference.is_yaml:
        description = yaml_form.read(reference.file)
        _resolve_functions(description, project, reference, ask)
    else:
        request = _request(project, reference)
        request.update(file=reference.relative(project), name=reference.name, nth=reference.nth)
        request["arguments"] = list(reference.arguments)
        description = _pipeline_of(ask(request), file)
    pipeline = to_pipeline(description, file)
    executor = project.config.executor
    if executor.type != "mocked":
        return pipeline
    from toolkit.model import mocks

    patches = {name: patch.command for name, patch in executor.config.patches.items()}

    def resolve(dotted: list[str]) -> dict[str, tuple[Function, Takes] | str]:
        answer = ask({**_request(project, reference), "functions": dotted})
        if "functions" not in answer:
            _pipeline_of(answer, file)
        found = answer["functions"]
        return {one: found[one].get("refused") or to_function(found[one]) for one in dotted}

    return mocks.apply_mocks(pipeline, patches, executor.patch_places, resolve)


def _request(project: Project, reference: PipelineReference) -> dict[str, Any]:
    return {"roots": list(reference.import_roots(project)), "file": None, "functions": []}


def _pipeline_of(answer: DescribeAnswer, file: str) -> PipelineDescription:
    if "refused" in answer:
        raise BadInput(answer["refused"], f"{file}:{answer['line']}" if answer.get("line") else file)
    if "raised" in answer:
        raise BadInput(f"the file raised {answer['raised']} {NOTE}\n{answer['traceback'].rstrip()}", file)
    found: PipelineDescription = answer["pipeline"]
    return found


def _resolve_functions(node: Any, project: Project, reference: PipelineReference, ask: Describer) -> None:
    for notebook in _tasks(node, "notebook"):
        if not (project.root / notebook["command"]).is_file():
            where = f"{shown(reference.file)}:{notebook['line']}"
            raise BadInput(f"there is no notebook {notebook['command']} in the project", where)
    # A map's reducer is looked up as a step's function is.
    tasks = list(_tasks(node, "python"))
    if not tasks:
        return
    dotted = sorted({_dotted_name(task) for task in tasks})
    answer = ask({**_request(project, reference), "functions": dotted})
    file = shown(reference.file)
    if "functions" not in answer:
        _pipeline_of(answer, file)
    for task in tasks:
        found = answer["functions"][_dotted_name(task)]
        if "refused" in found:
            raise BadInput(f"the step {task['name']!r}: {found['refused']}", f"{file}:{task['line']}")
        task["function"], task["takes"] = found["function"], found["takes"]


def _dotted_name(task: dict[str, Any]) -> str:
    function = task["function"]
    return f"{function['module']}.{function['qualname']}" if function["module"] else str(function["qualname"])


def _tasks(node: Any, kind: str) -> Any:
    if isinstance(node, dict):
        if node.get("kind") == kind and ("function" in node or "command" in node):
            yield node
        for value in node.values():
            yield from _tasks(value, kind)
    elif isinstance(node, list):
        for value in node:
            yield from _tasks(value, kind)


def cache_answers(folder: Path, image: str, ask: Describer) -> Describer:
    """Remembers answers by the image's digest and the request: the same file in the same image says the same."""

    def asked(request: dict[str, Any]) -> DescribeAnswer:
        key = json.dumps([PROTOCOL, image, request], sort_keys=True)
        file = folder / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
        try:
            found: DescribeAnswer = json.loads(file.read_bytes())
            return found
        except (OSError, ValueError):
            pass
        answer = ask(request)
        if "refused" not in answer and "raised" not in answer:
            folder.mkdir(parents=True, exist_ok=True)
            temporary = file.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_text(json.dumps(answer))
            temporary.replace(file)
        return answer

    return asked
