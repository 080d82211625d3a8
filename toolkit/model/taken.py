"""What a pipeline takes of the parameters that a run is given: which steps, under which names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from toolkit.model.pipeline import (
    Argument,
    Conditional,
    Constant,
    Loop,
    Map,
    Pipeline,
    Source,
    Step,
    Stub,
    Task,
    inner_pipelines,
)
from toolkit.runtime.shared.tree import ANY, ON_EXIT, TOLD, join

_IN_KEY = re.compile(r"\{\{|\}\}|\{(\w+)\}")
NOTHING_KNOWN = Argument()


@dataclass(frozen=True)
class Taker:
    """A step that takes a parameter.

    Attributes:
        path: the step's, in the plan. name: the parameter's. argument: what the step calls it; empty where that is the same.
        known: what is known of the argument. use: what a step that has no argument does with it, as a clause; else empty.
        required: whether the step needs a value, and finds it nowhere else than in the run.
        of_run: whether it is bound to the run's parameter, whatever steps return.
    """

    path: str
    name: str
    argument: str = ""
    known: Argument = NOTHING_KNOWN
    use: str = ""
    required: bool = False
    of_run: bool = False


@dataclass(frozen=True)
class Taken:
    """All takers of a pipeline, and the paths of the steps that take whatever there is."""

    takers: tuple[Taker, ...] = ()
    of_everything: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(taker.name for taker in self.takers))


def taken_by(pipeline: Pipeline) -> Taken:
    """What the steps of a pipeline take of the run's parameters, in their order, and those that are mocked.

    What a step always finds elsewhere is left out: an item of a map around it, or what a task before it returns. What a reducer
    takes are the items' values, and no parameters.
    """
    visit = _Visit()
    visit.sequence(pipeline, "", frozenset(), frozenset())
    if pipeline.written is not None:
        visit.sequence(pipeline.written, "", frozenset(), frozenset())
    if not visit.takers and not visit.of_everything and not visit.has_tasks:
        # Stubs alone stand for steps to come, and a name is no mistake yet.
        visit.of_everything.append("")
    # A step that is not mocked is in both.
    unique = {(taker.path, taker.name, taker.argument, taker.use): taker for taker in visit.takers}
    return Taken(tuple(unique.values()), tuple(dict.fromkeys(visit.of_everything)))


class _Visit:
    def __init__(self) -> None:
        self.takers: list[Taker] = []
        self.of_everything: list[str] = []
        self.has_tasks = False

    def sequence(self, pipeline: Pipeline, scope: str, certain: frozenset[str], possible: frozenset[str]) -> None:
        """Adds the takers of a sequence.

        Args:
            certain: names that its steps always find elsewhere than in the run. possible: those that they may find there.
        """
        is_graph = pipeline.order == "graph"
        # In a graph what takes a name runs after the step that returns it, wherever that stands, and never takes its own.
        certainly, perhaps = (
            _of_others(pipeline, certain, certainly=True),
            _of_others(pipeline, possible, certainly=False),
        )
        for step in pipeline.steps:
            if is_graph:
                certain, possible = next(certainly), next(perhaps)
            path = join(scope, step.name)
            inside: frozenset[str] = frozenset()
            if isinstance(step, Task):
                self.has_tasks = True
                found = list(_of_task(step, path))
                if step.kind == "shell" or step.takes is None or step.takes.everything:
                    self.of_everything.append(path)
            else:
                found, inside = _of_composite(step, path)
            for taker in found:
                if taker.of_run or taker.name not in certain:
                    is_required = taker.required and (taker.of_run or taker.name not in possible)
                    self.takers.append(replace(taker, required=is_required))
            for label, inner in inner_pipelines(step):
                items = inside if label == ANY else frozenset()
                self.sequence(inner, join(path, label) if label else path, certain | items, possible)
            certain |= _returned(step, certainly=True)
            possible |= _returned(step, certainly=False)
        if pipeline.on_exit is not None:
            # What the pipeline returns is none of the run's parameters there, although a failure may have come before it.
            self.sequence(pipeline.on_exit, ON_EXIT, possible | frozenset(TOLD), possible)


def _of_others(pipeline: Pipeline, around: frozenset[str], certainly: bool) -> Iterator[frozenset[str]]:
    """For each step of a graph the names that are around the graph, and those that the steps beside it return."""
    own = [_returned(step, certainly) for step in pipeline.steps]
    count = Counter(name for names in own for name in names)
    everything = around.union(count)
    for names in own:
        yield everything - {name for name in names if count[name] == 1 and name not in around}


def _of_composite(step: Step, path: str) -> tuple[list[Taker], frozenset[str]]:
    """The taker that a composite is, and the names that its branch finds in it."""
    if isinstance(step, Map):
        items = [Taker(path, step.iterate_on, use="iterates on it", required=True)] if step.source is None else []
        return items, frozenset({step.iterate_as})
    if isinstance(step, Conditional):
        chosen = [Taker(path, step.parameter, use="chooses a branch by it", required=True)]
        return chosen if step.source is None else [], frozenset()
    if isinstance(step, Loop):
        found = [Taker(path, step.break_on, use="ends by it")]
        return found, frozenset({step.index_as} if step.index_as else ())
    return [], frozenset()


def _returned(step: Step, certainly: bool) -> frozenset[str]:
    """The names that a step has returned when the next one runs: certainly, or perhaps."""
    if isinstance(step, Stub):
        return frozenset()
    is_handled = step.on_failure is not None and not step.keep_failure
    if certainly and (is_handled or isinstance(step, (Conditional, Map, Loop))):
        return frozenset()
    own = frozenset(declared.name for declared in step.returns) if isinstance(step, Task) else frozenset()
    inner = [below for _, pipeline in inner_pipelines(step) for below in pipeline.steps]
    return own.union(*(_returned(below, certainly) for below in inner))


def _of_task(task: Task, path: str) -> Iterator[Taker]:
    arguments = task.takes.names if task.takes is not None else ()
    for argument in dict.fromkeys((*arguments, *task.bind)):
        binding = task.bind.get(argument)
        if isinstance(binding, Constant) or (binding is not None and binding.step):
            continue
        name = argument if binding is None else binding.name
        known, required = NOTHING_KNOWN, False
        if task.takes is not None:
            known, required = task.takes.arguments.get(argument, known), argument in task.takes.required
        of_run = binding is not None and binding.step == Source.RUN
        yield Taker(path, name, "" if name == argument else argument, known, "", required, of_run)
    for key in (*task.catalog.get, *task.catalog.put):
        for match in _IN_KEY.finditer(key):
            # One that is bound is taken as its binding says.
            if match.group(1) and match.group(1) not in task.bind:
                yield Taker(path, match.group(1), use=f"has it in the key {key}")
