"""The ``mocked`` executor: every task is a stub, but for those that the configuration patches with a command of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from toolkit.config.decode import nearest
from toolkit.errors import BadInput
from toolkit.model.pipeline import (
    Conditional,
    Function,
    Loop,
    Map,
    Nested,
    Parallel,
    Pipeline,
    Source,
    Step,
    Stub,
    Takes,
    Task,
)
from toolkit.runtime.shared.catalog import executed_name
from toolkit.runtime.shared.tree import ANY, DEFAULT, HANDLER, join

Resolve = Callable[[list[str]], Mapping[str, tuple[Function, Takes] | str]]
"""Finds functions by their dotted paths; gives a sentence in place of one that can't be found."""


def apply_mocks(
    pipeline: Pipeline, patches: Mapping[str, str], places: Mapping[str, str], resolve: Resolve
) -> Pipeline:
    """The pipeline with a stub in place of each task that no patch keeps.

    Args:
        patches: commands by a task's name, or by its path where several have that name: a function's dotted path, a shell
            command or a notebook, as the task's own is. places: where each patch stands, for messages.

    Raises:
        BadInput: a patch names no task, or no function; or a patched task is bound to what a stub would have to return.
    """
    tasks = dict(_tasks(pipeline, ""))
    used = {key: [path for path, task in tasks.items() if key in (path, task.name)] for key in patches}
    for key, paths in used.items():
        if not paths:
            known = [*tasks, *(task.name for task in tasks.values())]
            hint = nearest(key, known)
            raise BadInput(
                f"executor.config.patches names the step {key!r}, and the pipeline has no task of that name"
                + (f"; did you mean {hint!r}?" if hint else ""),
                places.get(key),
            )
    of_path = {path: key for key, paths in used.items() for path in paths if key != path}
    of_path.update({key: key for key in patches if key in tasks})
    wanted = sorted({patches[key] for path, key in of_path.items() if tasks[path].kind == "python"})
    found = resolve(wanted) if wanted else {}
    commands: dict[str, Task] = {}
    for path, key in of_path.items():
        commands[path] = _patched(tasks[path], patches[key], found, places.get(key))
    return _replaced(pipeline, "", commands)


def _patched(task: Task, command: str, found: Mapping[str, tuple[Function, Takes] | str], place: str | None) -> Task:
    if task.kind == "python":
        answer = found[command]
        if isinstance(answer, str):
            raise BadInput(f"the patch of the step {task.name!r}: {answer}", place)
        function, takes = answer
        return replace(task, function=function, takes=takes)
    if task.kind == "notebook":
        assert task.command is not None
        put = [executed_name(command) if key == executed_name(task.command) else key for key in task.catalog.put]
        return replace(task, command=command, catalog=replace(task.catalog, put=tuple(put)))
    return replace(task, command=command)


def _tasks(pipeline: Pipeline, scope: str) -> Iterator[tuple[str, Task]]:
    """All tasks by their paths in the plan."""
    for step in pipeline.steps:
        path = join(scope, step.name)
        if isinstance(step, Task):
            yield path, step
        for label, inner in _inside(step):
            yield from _tasks(inner, join(path, label) if label else path)


def _inside(step: Step) -> list[tuple[str, Pipeline]]:
    """The pipelines inside a step, by what is between its path and theirs."""
    found: list[tuple[str, Pipeline]] = []
    if isinstance(step, Nested):
        found = [("", step.pipeline)]
    elif isinstance(step, (Map, Loop)):
        found = [(ANY, step.branch)]
    elif isinstance(step, (Parallel, Conditional)):
        found = list(step.branches)
        if isinstance(step, Conditional) and step.default is not None:
            found.append((DEFAULT, step.default))
    if not isinstance(step, Stub) and step.on_failure is not None:
        found.append((HANDLER, step.on_failure))
    return found


def _replaced(pipeline: Pipeline, scope: str, commands: Mapping[str, Task]) -> Pipeline:
    steps = tuple(_step(step, join(scope, step.name), commands) for step in pipeline.steps)
    stubs = {
        step.name
        for step, before in zip(steps, pipeline.steps, strict=True)
        if step is not before and isinstance(step, Stub)
    }
    for step in steps:
        for argument, binding in step.bind.items() if isinstance(step, Task) else ():
            if isinstance(binding, Source) and binding.step in stubs:
                raise BadInput(
                    f"the step {step.name!r} binds {argument} to {binding.name} of {binding.step!r}, which is mocked and returns "
                    f"nothing: patch {binding.step!r} too",
                    step.line,
                )
    return replace(pipeline, steps=steps)


def _step(step: Step, path: str, commands: Mapping[str, Task]) -> Step:
    def inner(pipeline: Pipeline, label: str) -> Pipeline:
        return _replaced(pipeline, join(path, label) if label else path, commands)

    if isinstance(step, Stub):
        return step
    if isinstance(step, Task) and path not in commands:
        # It can't fail, so that its handler would never run.
        return Stub(step.name, step.terminate_with_success, step.terminate_with_failure, step.line)
    handler = inner(step.on_failure, HANDLER) if step.on_failure is not None else None
    if isinstance(step, Task):
        return replace(commands[path], on_failure=handler)
    if isinstance(step, Nested):
        return replace(step, pipeline=inner(step.pipeline, ""), on_failure=handler)
    if isinstance(step, (Map, Loop)):
        return replace(step, branch=inner(step.branch, ANY), on_failure=handler)
    branches = tuple((label, inner(branch, label)) for label, branch in step.branches)
    if isinstance(step, Parallel):
        return replace(step, branches=branches, on_failure=handler)
    default = inner(step.default, DEFAULT) if step.default is not None else None
    return replace(step, branches=branches, default=default, on_failure=handler)
