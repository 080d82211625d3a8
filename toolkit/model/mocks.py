"""The ``mocked`` executor: every task becomes a stub, except those for which the configuration has a patch with a command."""

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
from toolkit.runtime.shared.keys import escape_braces
from toolkit.runtime.shared.notebooks import executed_name, html_name
from toolkit.runtime.shared.tree import ANY, DEFAULT, HANDLER, join

Resolve = Callable[[list[str]], Mapping[str, tuple[Function, Takes] | str]]
"""Finds functions by their dotted paths; for one that can't be found it returns a sentence that says why."""


def apply_mocks(
    pipeline: Pipeline, patches: Mapping[str, str], places: Mapping[str, str], resolve: Resolve
) -> Pipeline:
    """The pipeline with a stub in place of each task that has no patch.

    Args:
        patches: commands by a task's name, or by its path where several tasks have that name. Each is of the task's own kind: a
            function's dotted path, a shell command or a notebook. places: where each patch stands, for messages.

    Raises:
        BadInput: a patch names no task or no function, or a patched task is bound to a return of a step that is now a stub.
    """
    tasks = dict(_tasks(pipeline, ""))
    matches = {key: [path for path, task in tasks.items() if key in (path, task.name)] for key in patches}
    for key, paths in matches.items():
        if not paths:
            hint = nearest(key, [*tasks, *(task.name for task in tasks.values())])
            raise BadInput(
                f"executor.config.patches names the step {key!r}, and the pipeline has no task of that name"
                + (f"; did you mean {hint!r}?" if hint else ""),
                places.get(key),
            )
    # A patch by path comes before one by name.
    patch_of = {path: key for key, paths in matches.items() for path in paths if key != path}
    patch_of.update({key: key for key in patches if key in tasks})
    dotted = sorted({patches[key] for path, key in patch_of.items() if tasks[path].kind == "python"})
    functions = resolve(dotted) if dotted else {}
    patched: dict[str, Task] = {}
    for path, key in patch_of.items():
        patched[path] = _apply_patch(tasks[path], patches[key], functions, places.get(key))
    return replace(_mock_pipeline(pipeline, "", patched), written=pipeline)


def _apply_patch(
    task: Task, command: str, functions: Mapping[str, tuple[Function, Takes] | str], place: str | None
) -> Task:
    if task.kind == "python":
        resolved = functions[command]
        if isinstance(resolved, str):
            raise BadInput(f"the patch of the step {task.name!r}: {resolved}", place)
        function, takes = resolved
        return replace(task, function=function, takes=takes)
    if task.kind == "notebook":
        assert task.command is not None
        before, after = (executed_name(name) for name in (task.command, command))
        other = {before: after, html_name(before): html_name(after)} if task.html else {before: after}
        other = {escape_braces(key): escape_braces(name) for key, name in other.items()}
        put = [other.get(key, key) for key in task.catalog.put]
        return replace(task, command=command, catalog=replace(task.catalog, put=tuple(put)))
    return replace(task, command=command)


def _tasks(pipeline: Pipeline, scope: str) -> Iterator[tuple[str, Task]]:
    """All tasks by their paths in the plan."""
    for step in pipeline.steps:
        path = join(scope, step.name)
        if isinstance(step, Task):
            yield path, step
        for label, inner in inner_pipelines(step):
            yield from _tasks(inner, join(path, label) if label else path)


def inner_pipelines(step: Step) -> list[tuple[str, Pipeline]]:
    """The pipelines inside a step, each with the label that its path has below the step's; the label may be empty."""
    pipelines: list[tuple[str, Pipeline]] = []
    if isinstance(step, Nested):
        pipelines = [("", step.pipeline)]
    elif isinstance(step, (Map, Loop)):
        pipelines = [(ANY, step.branch)]
    elif isinstance(step, (Parallel, Conditional)):
        pipelines = list(step.branches)
        if isinstance(step, Conditional) and step.default is not None:
            pipelines.append((DEFAULT, step.default))
    if not isinstance(step, Stub) and step.on_failure is not None:
        pipelines.append((HANDLER, step.on_failure))
    return pipelines


def _mock_pipeline(pipeline: Pipeline, scope: str, patched: Mapping[str, Task]) -> Pipeline:
    """The pipeline with the patched tasks, by their paths, and a stub for any other task."""
    steps = tuple(_mock_step(step, join(scope, step.name), patched) for step in pipeline.steps)
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


def _mock_step(step: Step, path: str, patched: Mapping[str, Task]) -> Step:
    def inner(pipeline: Pipeline, label: str) -> Pipeline:
        return _mock_pipeline(pipeline, join(path, label) if label else path, patched)

    if isinstance(step, Stub):
        return step
    if isinstance(step, Task) and path not in patched:
        # A stub can't fail, so it needs no handler.
        return Stub(step.name, step.terminate_with_success, step.terminate_with_failure, step.line)
    handler = inner(step.on_failure, HANDLER) if step.on_failure is not None else None
    if isinstance(step, Task):
        return replace(patched[path], on_failure=handler)
    if isinstance(step, Nested):
        return replace(step, pipeline=inner(step.pipeline, ""), on_failure=handler)
    if isinstance(step, (Map, Loop)):
        return replace(step, branch=inner(step.branch, ANY), on_failure=handler)
    branches = tuple((label, inner(branch, label)) for label, branch in step.branches)
    if isinstance(step, Parallel):
        return replace(step, branches=branches, on_failure=handler)
    default = inner(step.default, DEFAULT) if step.default is not None else None
    return replace(step, branches=branches, default=default, on_failure=handler)
