"""Patched tasks: they run another command, or give returns and files and run nothing.

With the ``mocked`` executor, every task that has no patch becomes a stub.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from toolkit.config.decode import nearest
from toolkit.errors import BadInput
from toolkit.model.pipeline import (
    CatalogUse,
    Conditional,
    Function,
    Loop,
    Map,
    Nested,
    Parallel,
    Patched,
    Pipeline,
    Source,
    Step,
    Stub,
    Takes,
    Task,
    inner_pipelines,
)
from toolkit.runtime.shared.catalog import BadKey, is_pattern, matches
from toolkit.runtime.shared.keys import escape_braces, names_in_key
from toolkit.runtime.shared.notebooks import executed_name, html_name
from toolkit.runtime.shared.tree import ANY, DEFAULT, HANDLER, ON_EXIT, join
from toolkit.runtime.shared.values import short_json

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import PatchRow

Resolve = Callable[[list[str]], Mapping[str, tuple[Function, Takes] | str]]
"""Finds functions by their dotted paths; for one that can't be found it returns a sentence that says why."""


@dataclass(frozen=True)
class AppliedPatch:
    """A patch as it is applied.

    Attributes:
        row: a command is of the task's own kind: a function's dotted path, a shell command or a notebook.
        name: as it is written. places: where it stands and what is in it, for messages.
        marked: whether a task that it gives another command says so in the plan. One that runs nothing always does.
    """

    row: PatchRow
    name: str
    places: Mapping[str, str]
    marked: bool = False

    def place(self, part: str = "", key: str = "") -> str | None:
        """Where it stands, or a value or a file of it."""
        return self.places.get(f"{self.name}: {part}: {key}", self.places.get(self.name))


def apply_mocks(
    pipeline: Pipeline, patches: Mapping[str, AppliedPatch], resolve: Resolve, others_are_stubs: bool
) -> Pipeline:
    """The pipeline with patched tasks.

    Args:
        patches: by a task's name, or by its path where several tasks have that name.
        others_are_stubs: whether a task without a patch becomes a stub.

    Raises:
        BadInput: a patch names no task, no function, a return that its task does not declare or a key that it does not put, or it
            lacks one; or a patched task is bound to a return of a step that is now a stub.
    """
    tasks = dict(_tasks(pipeline, ""))
    matches = {key: [path for path, task in tasks.items() if key in (path, task.name)] for key in patches}
    for key, paths in matches.items():
        if not paths:
            hint = nearest(key, [*tasks, *(task.name for task in tasks.values())])
            raise BadInput(
                f"a patch names the step {key!r}, and the pipeline has no task of that name"
                + (f"; did you mean {hint!r}?" if hint else ""),
                patches[key].place(),
            )
    # A patch by path comes before one by name.
    patch_of = {path: key for key, paths in matches.items() for path in paths if key != path}
    patch_of.update({key: key for key in patches if key in tasks})
    commands = {key: patch.row["command"] for key, patch in patches.items() if "command" in patch.row}
    dotted = sorted(
        {commands[key] for path, key in patch_of.items() if key in commands and tasks[path].kind == "python"}
    )
    functions = resolve(dotted) if dotted else {}
    # A task without a patch stays as it is, as if it were patched by itself.
    patched: dict[str, Task] = {} if others_are_stubs else dict(tasks)
    for path, key in patch_of.items():
        if key in commands:
            made = _with_command(tasks[path], commands[key], functions, patches[key].place())
            patched[path] = replace(made, patched=Patched() if patches[key].marked else None)
        else:
            patched[path] = _giving(tasks[path], patches[key])
    mocked = replace(_mock_pipeline(pipeline, "", patched), written=pipeline)
    if pipeline.on_exit is None:
        return mocked
    return replace(mocked, on_exit=_mock_pipeline(pipeline.on_exit, ON_EXIT, patched))


def _giving(task: Task, patch: AppliedPatch) -> Task:
    """A task that gives what a patch says. It needs no code, no secrets, no files and no arguments."""
    returns, files = patch.row["returns"], patch.row["files"]
    whose = f"the patch of the step {task.name!r}"
    declared = [each.name for each in task.returns]
    own: set[str] = set()
    if task.kind == "notebook" and task.command:
        # What the notebook becomes is not there, unless the patch has it.
        executed = executed_name(task.command)
        own = {escape_braces(executed), escape_braces(html_name(executed))}
    for name in returns:
        if name not in declared:
            raise BadInput(
                f"{whose} returns {name}, which the step does not declare{_known(name, declared)}",
                patch.place("returns", name),
            )
    for name in declared:
        if name not in returns:
            raise BadInput(f"{whose} has no value for {name}, which the step returns", patch.place())
    for each in task.returns:
        value = returns[each.name]
        if each.kind == "metric" and (isinstance(value, bool) or not isinstance(value, (int, float, dict))):
            raise BadInput(
                f"{whose} returns the metric {each.name} as {short_json(value)}: a metric is a number, or a dict of them",
                patch.place("returns", each.name),
            )
    put = task.catalog.put
    for name in files:
        if not any(_is_under(name, key) for key in put):
            raise BadInput(
                f"{whose} has the file {name!r}, which the step does not put{_known(name, put)}",
                patch.place("files", name),
            )
    for key in put:
        if key not in own and not any(_is_under(name, key) for name in files):
            raise BadInput(f"{whose} has no file for {key!r}, which the step puts", patch.place())
    kept = tuple(key for key in put if key not in own or key in files)
    return replace(
        task,
        takes=Takes((), (), False) if task.kind == "python" else None,
        shell="sh",
        strict=False,
        html=False,
        secrets=(),
        catalog=CatalogUse((), kept, task.catalog.store_copy),
        bind={name: bound for name, bound in task.bind.items() if name in _names_in(kept)},
        patched=Patched(returns, files),
    )


def _names_in(keys: Collection[str]) -> set[str]:
    names: set[str] = set()
    for key in keys:
        try:
            names.update(names_in_key(key))
        except BadKey:
            # The planner refuses it, with its place.
            continue
    return names


def _known(name: str, known: Collection[str]) -> str:
    hint = nearest(name, known)
    return f"; did you mean {hint!r}?" if hint else f": there is {', '.join(known)}" if known else ""


def _is_under(name: str, key: str) -> bool:
    """Whether a key stands for a file, by itself, as a folder or as a pattern."""
    folder = key.rstrip("/") + "/"
    return name == key or name.startswith(folder) or key == "." or (is_pattern(key) and matches(key, name))


def _with_command(
    task: Task, command: str, functions: Mapping[str, tuple[Function, Takes] | str], place: str | None
) -> Task:
    if task.kind == "python":
        resolved = functions[command]
        if isinstance(resolved, str):
            raise BadInput(f"the patch of the step {task.name!r}: {resolved}", place)
        function, takes = resolved
        # What stands in for a function needs not take all that is bound for it.
        taken = {*takes.names, *_names_in((*task.catalog.get, *task.catalog.put))}
        bind = {name: bound for name, bound in task.bind.items() if takes.everything or name in taken}
        return replace(task, function=function, takes=takes, bind=bind)
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
    if pipeline.on_exit is not None:
        yield from _tasks(pipeline.on_exit, ON_EXIT)


def _mock_pipeline(
    pipeline: Pipeline, scope: str, patched: Mapping[str, Task], around: tuple[Mapping[str, bool], ...] = ()
) -> Pipeline:
    """The pipeline with the patched tasks, by their paths, and a stub for any other task.

    Args:
        around: the steps of each pipeline around it, the nearest first: by name, whether a stub takes the step's place.
    """
    own = {step.name: isinstance(step, Task) and join(scope, step.name) not in patched for step in pipeline.steps}
    sequences = (own, *around)
    steps = tuple(_mock_step(step, join(scope, step.name), patched, sequences) for step in pipeline.steps)
    for step in steps:
        for use, source in _sources(step):
            if source.step and next((sequence for sequence in sequences if source.step in sequence), {}).get(
                source.step
            ):
                raise BadInput(
                    f"the step {step.name!r} {use} {source.name} of {source.step!r}, which is mocked and returns "
                    f"nothing: patch {source.step!r} too",
                    step.line,
                )
    return replace(pipeline, steps=steps)


def _sources(step: Step) -> Iterator[tuple[str, Source]]:
    """What a step takes by a name that it is given, each with the use that it makes of it."""
    if isinstance(step, Task):
        for argument, binding in step.bind.items():
            if isinstance(binding, Source):
                yield f"binds {argument} to", binding
    elif isinstance(step, Map):
        yield "iterates on", Source(step.iterate_on, step.source)
    elif isinstance(step, Conditional):
        yield "chooses a branch by", Source(step.parameter, step.source)


def _mock_step(step: Step, path: str, patched: Mapping[str, Task], around: tuple[Mapping[str, bool], ...]) -> Step:
    def inner(pipeline: Pipeline, label: str) -> Pipeline:
        return _mock_pipeline(pipeline, join(path, label) if label else path, patched, around)

    if isinstance(step, Stub):
        return step
    if isinstance(step, Task) and path not in patched:
        # A stub can't fail, so it needs no handler.
        return Stub(step.name, step.terminate_with_success, step.terminate_with_failure, step.line, step.after)
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
