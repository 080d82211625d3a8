"""Reads the YAML form of a pipeline, ``dag: {start_at, steps: {NAME: {type, next, …}}}``, as a description.

Beside the dag, ``parameters`` declares what a run of it can be given.

The description lists the steps in the order in which they run. Those of a graph, ``dag: {order: graph, steps: …}``, are listed as
they stand in the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.config.decode import nearest
from toolkit.config.located import Located, read_yaml
from toolkit.config.settings import StepSettings
from toolkit.errors import BadInput
from toolkit.model import step_settings
from toolkit.model.argument_types import WRITTEN, parse_type
from toolkit.model.description import ON_EXIT_INSIDE
from toolkit.model.pipeline import ORDERS, REDUCERS, RETURN_KINDS, TASK_KINDS
from toolkit.runtime.shared.values import is_plain

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import (
        CatalogDescription,
        ParameterRow,
        PipelineDescription,
        ReducerDescription,
        ReturnRow,
        StepDescription,
    )

_TYPES = ("task", "stub", "pipeline", "parallel", "map", "conditional", "loop", "success", "fail")
_ENDS = ("success", "fail")
_COMMON = (
    "type",
    "next",
    "next_node",
    "after",
    "on_failure",
    "keep_failure",
    "terminate_with_success",
    "terminate_with_failure",
)
_KEYS = {
    "task": (
        *_COMMON,
        "command_type",
        "command",
        "shell",
        "strict",
        "html",
        "returns",
        "catalog",
        "secrets",
        "overrides",
        "bind",
        "max_attempts",
        *StepSettings._fields,
    ),
    "pipeline": (*_COMMON, "branch", "dag", "pipeline"),
    "parallel": (*_COMMON, "branches"),
    "map": (*_COMMON, "branch", "iterate_on", "iterate_as", "reducer", "concurrency"),
    "conditional": (*_COMMON, "parameter", "branches", "default"),
    "loop": (*_COMMON, "branch", "max_iterations", "break_on", "index_as"),
    "success": ("type",),
    "fail": ("type",),
}
_OF_TASKS = (*StepSettings._fields, "overrides", "max_attempts")
_PARAMETERS_FILE = "parameters_file"
_LONGEST_COMMAND = 100_000
"""Characters."""
_MOST_STEPS = 10_000
"""A branch behind an anchor and a handler are counted as often as they are used."""


def read(path: Path) -> PipelineDescription:
    """The description of a pipeline's YAML file; its Python functions are dotted paths that are not resolved yet.

    Raises:
        BadInput: the file is not a pipeline: it has an unknown key, a missing step, a step that is never reached, or a cycle.
            The message has file and line.
    """
    tree = read_yaml(path)
    if not isinstance(tree.value, dict) or "dag" not in tree.value:
        raise BadInput("this file has no `dag:`, so it is not a pipeline", tree.where)
    named = tree.value.get(_PARAMETERS_FILE)
    for key in tree.value:
        # A file may keep anchors for branches beside the dag, under keys of the author's choice.
        if key not in ("dag", "parameters", _PARAMETERS_FILE) and not isinstance(tree.value[key].value, dict):
            inside = ": it stands in the dag" if key in _OF_DAG else ""
            raise BadInput(f"unknown key {key!r} beside dag{inside}", tree.key_where(key))
    description = _DagReader().dag(tree.value["dag"], whole=True)
    if named is not None:
        description["parameters_file"] = {"path": _text(named, _PARAMETERS_FILE), "line": _line_of(named.where)}
    if "parameters" in tree.value:
        description["parameters"] = _describe_parameters(tree.value["parameters"])
    return description


_OF_PARAMETER = ("type", "default", "description")


def _describe_parameters(tree: Located) -> list[ParameterRow]:
    """The parameters that a pipeline declares: ``n: 3``, ``n: {type: int, default: 3, description: …}``, or just ``n:``."""
    rows = []
    for name, declared in _mapping(tree, "parameters").items():
        row: ParameterRow = {"name": name, "line": tree.key_lines.get(name, tree.line)}
        if not isinstance(declared.value, dict):
            entries = {"default": declared} if declared.value is not None else {}
        else:
            entries = declared.value
            if entries and not any(nearest(key, _OF_PARAMETER) for key in entries):
                raise BadInput(
                    f"the parameter {name} has none of the keys {', '.join(_OF_PARAMETER)}: where this dictionary is its default, "
                    f"write {name}: {{default: {{…}}}}",
                    declared.key_where(next(iter(entries))),
                )
            _check_keys(declared, entries, _OF_PARAMETER, f"the parameter {name}")
        if "type" in entries:
            text = _text(entries["type"], "type")
            kind = parse_type(text)
            if kind is None:
                hint = nearest(text, WRITTEN)
                raise BadInput(
                    f"{text!r} is not a type of parameter"
                    + (f" (did you mean {hint!r}?)" if hint else "")
                    + f": use {', '.join(WRITTEN)}, or what is made of them, as list[int] or str | None",
                    entries["type"].where,
                )
            row["type"] = kind
        if "default" in entries:
            default = entries["default"]
            is_spelled = (
                row.get("type") == "str" and isinstance(default.value, (int, float)) and default.text is not None
            )
            # 1.10 is a text here, as it is where --param gives it.
            row["default"] = default.text if is_spelled else default.plain()
        if "description" in entries:
            row["description"] = _text(entries["description"], "description")
        if not is_plain(row.get("default")):
            raise BadInput(f"the default of the parameter {name} is none that JSON can hold", declared.where)
        rows.append(row)
    return rows


_OF_DAG = ("name", "description", "start_at", "order", "steps", "max_time", "internal_branch_name")


def _order(dag: dict[str, Located]) -> str:
    if "order" not in dag:
        return "line"
    name = _text(dag["order"], "order")
    if name not in ORDERS:
        hint = nearest(name, ORDERS)
        raise BadInput(
            f"{name!r} is not an order of steps"
            + (f" (did you mean {hint!r}?)" if hint else f": use {' or '.join(ORDERS)}"),
            dag["order"].where,
        )
    return name


class _DagReader:
    """Reads dags, and counts their steps: anchors and handlers may multiply them."""

    def __init__(self) -> None:
        self._count = 0

    def dag(self, tree: Located, whole: bool = False) -> PipelineDescription:
        """The description of a dag and of all dags inside it.

        Args:
            whole: whether it is the dag of the pipeline that is run.
        """
        entries = _mapping(tree, "dag")
        if set(entries) == {"dag"}:
            return self.dag(entries["dag"], whole)
        on_exit = entries.pop("on_exit", None)
        if on_exit is not None and not whole:
            raise BadInput(ON_EXIT_INSIDE, on_exit.where)
        _check_keys(tree, entries, _OF_DAG, "dag")
        is_graph = _order(entries) == "graph"
        for key in ("steps",) if is_graph else ("start_at", "steps"):
            if key not in entries:
                hint = ", the step that it begins with, nor order: graph" if key == "start_at" else ""
                raise BadInput(f"the dag has no {key}{hint}", tree.where)
        steps = _mapping(entries["steps"], "steps")
        name = _text(entries["name"], "name") if "name" in entries else ""
        if is_graph:
            if "start_at" in entries:
                raise BadInput(
                    "a graph has no start_at: each of its steps starts as soon as what it needs has ended; leave it out",
                    tree.key_where("start_at"),
                )
            graph = _Graph(self, entries["steps"], steps, on_exit)
            described: PipelineDescription = {"name": name, "steps": graph.in_order(), "order": "graph"}
            if on_exit is not None:
                described["on_exit"] = graph.on_exit(on_exit)
            return described
        sequence = _Sequence(self, entries["steps"], steps)
        order = sequence.from_step(_text(entries["start_at"], "start_at"), entries["start_at"].where, ())
        if not order:
            raise BadInput("the dag has no step before its end", tree.where)
        described = {"name": name, "steps": order}
        if on_exit is not None:
            described["on_exit"] = sequence.on_exit(on_exit)
        sequence.check_all_reached()
        return described

    def count_step(self, where: str) -> None:
        """Counts one more step.

        Raises:
            BadInput: there are too many.
        """
        self._count += 1
        if self._count > _MOST_STEPS:
            raise BadInput(
                f"the pipeline has more than {_MOST_STEPS} steps; a handler counts again for each step that names it",
                where,
            )


class _Steps:
    """The steps of one dag, by name."""

    def __init__(self, reader: _DagReader, tree: Located, steps: dict[str, Located]) -> None:
        self._reader = reader
        self._tree = tree
        self._steps = steps
        self._reached: set[str] = set()

    def from_step(self, name: str, place: str, handlers: tuple[str, ...]) -> list[StepDescription]:
        """The steps from ``name`` on, where a handler begins with it.

        Args:
            place: where the step is named. handlers: the first steps of the handlers around these steps.
        """
        raise NotImplementedError

    def _step_entries(self, name: str, place: str) -> tuple[str, dict[str, Located]]:
        if name not in self._steps:
            if name in _ENDS:
                # These two need no step of their own.
                return name, {}
            hint = nearest(name, [*self._steps, *_ENDS])
            raise BadInput(f"there is no step {name!r}" + (f" (did you mean {hint!r}?)" if hint else ""), place)
        tree = self._steps[name]
        node = _mapping(tree, f"the step {name}")
        kind = _step_type(tree, node)
        _check_keys(tree, node, _KEYS.get(kind, ()), f"a {kind} step", open_ended=kind == "stub")
        return kind, node

    def _describe_handler(
        self, name: str, node: dict[str, Located], handlers: tuple[str, ...]
    ) -> PipelineDescription | None:
        """The pipeline of an ``on_failure``, which is a dag or names the step at which the handler begins."""
        tree = node.get("on_failure")
        if tree is None or tree.value in (None, ""):
            return None
        if isinstance(tree.value, dict):
            return self._reader.dag(tree)
        first = _text(tree, "on_failure")
        kind, _ = self._step_entries(first, tree.where)
        if first in handlers:
            raise BadInput(f"the on_failure of {name!r} forms a cycle: it leads back to {first!r}", tree.where)
        if kind == "fail":
            # The step's failure remains a failure, which is what happens without a handler.
            return None
        return {"name": "", "steps": self.from_step(first, tree.where, (*handlers, first))}

    def on_exit(self, tree: Located) -> PipelineDescription:
        """The pipeline of the dag's ``on_exit``, which is a dag or names the step at which it begins."""
        if isinstance(tree.value, dict):
            return self._reader.dag(tree)
        first = _text(tree, "on_exit")
        kind, _ = self._step_entries(first, tree.where)
        if kind in _ENDS:
            raise BadInput(
                f"on_exit names {first!r}, which does nothing: leave it out, or name a step that runs", tree.where
            )
        if first in self._reached:
            raise BadInput(
                f"on_exit names the step {first!r}, which runs in the pipeline itself: name a step that no `next` leads to",
                tree.where,
            )
        return {"name": "", "steps": self.from_step(first, tree.where, (first,))}

    def _describe_step(
        self, name: str, kind: str, node: dict[str, Located], line: int, handlers: tuple[str, ...]
    ) -> StepDescription:
        if kind in ("stub", *_ENDS):
            return _describe_stub(name, kind, node, line)
        if kind == "task":
            handler = self._describe_handler(name, node, handlers)
            task = _describe_task(name, node, line)
            task["on_failure"] = handler
            _copy_kept_failure(node, task)
            return task
        return self._describe_composite(name, kind, node, line, handlers)

    def _describe_composite(
        self, name: str, kind: str, node: dict[str, Located], line: int, handlers: tuple[str, ...]
    ) -> StepDescription:
        handler = self._describe_handler(name, node, handlers)
        step: StepDescription = {"type": kind, "name": name, "line": line, "on_failure": handler}
        _copy_flags(node, step)
        _copy_kept_failure(node, step)
        if "parameter" in node:
            step["parameter"] = _text(node["parameter"], "parameter")
        if "iterate_on" in node:
            step["iterate_on"] = _text(node["iterate_on"], "iterate_on")
        if "iterate_as" in node:
            step["iterate_as"] = _text(node["iterate_as"], "iterate_as")
        if "break_on" in node:
            step["break_on"] = _text(node["break_on"], "break_on")
        if "index_as" in node:
            step["index_as"] = _text(node["index_as"], "index_as")
        if "max_iterations" in node:
            step["max_iterations"] = _whole_number(node["max_iterations"], "max_iterations")
        if "concurrency" in node:
            step["concurrency"] = _whole_number(node["concurrency"], "concurrency")
        if "reducer" in node:
            step["reducer"] = _describe_reducer(name, node["reducer"])
        if "branches" in node:
            branches = _mapping(node["branches"], "branches")
            step["branches"] = {key: self._reader.dag(branch) for key, branch in branches.items()}
        if kind == "pipeline":
            spellings = [key for key in node if key in ("branch", "dag", "pipeline")]
            if len(spellings) > 1:
                first, second = spellings[:2]
                raise BadInput(f"{second!r} and {first!r} mean the same: keep one of them", node[second].where)
            if spellings:
                step["pipeline"] = self._reader.dag(node[spellings[0]])
        elif "branch" in node:
            step["branch"] = self._reader.dag(node["branch"])
        if "default" in node:
            step["default"] = self._reader.dag(node["default"])
        for key in _REQUIRED[kind]:
            if key not in step:
                missing = "branch" if kind == "pipeline" else key
                raise BadInput(f"the {kind} step {name!r} has no {missing}", node["type"].where)
        return step


class _Sequence(_Steps):
    """The steps of a line, followed along ``next``: from the dag's start, and from each step that an ``on_failure`` names."""

    def from_step(self, name: str, place: str, handlers: tuple[str, ...]) -> list[StepDescription]:
        """The steps from ``name`` to a success, a fail, or a step without a ``next``.

        Args:
            place: where the step is named. handlers: the first steps of the handlers around these steps.
        """
        order: list[StepDescription] = []
        seen: set[str] = set()
        while True:
            kind, node = self._step_entries(name, place)
            if name in seen:
                raise BadInput(f"the steps form a cycle: {name!r} comes again after {order[-1]['name']!r}", place)
            seen.add(name)
            if "after" in node:
                raise BadInput(
                    f"the step {name!r} has `after`, but its dag is a line, whose steps run along `next`: say `order: graph` "
                    "beside `steps`, or leave it out",
                    node["after"].where,
                )
            line = _name_line(self._tree, name) if name in self._steps else _line_of(place)
            if kind == "success" and (order or not handlers):
                break
            self._reader.count_step(place)
            order.append(self._describe_step(name, kind, node, line, handlers))
            following = node.get("next") or node.get("next_node")
            if following is None:
                break
            if isinstance(following.value, tuple):
                raise BadInput(
                    f"the step {name!r} has a list as its `next`, but its dag is a line, in which one step follows another: say "
                    "`order: graph` beside `steps`",
                    following.where,
                )
            name, place = _text(following, "next"), following.where
        self._reached |= seen
        return order

    def check_all_reached(self) -> None:
        """Refuses steps that nothing leads to, unless they are an end (success or fail)."""
        for name, step in self._steps.items():
            is_end = _step_type(step, _mapping(step, name)) in _ENDS
            if name not in self._reached and not is_end and not _belongs_to_handler(name, self._steps):
                raise BadInput(
                    f"the step {name!r} is never reached: no `next` leads to it", _name_where(self._tree, name)
                )


class _Graph(_Steps):
    """The steps of a graph, as they stand in the file. What an ``on_failure`` or the ``on_exit`` names is no part of the graph."""

    def __init__(self, reader: _DagReader, tree: Located, steps: dict[str, Located], on_exit: Located | None) -> None:
        super().__init__(reader, tree, steps)
        self._apart = {
            handler: f"the on_failure of {name!r}"
            for name, step in steps.items()
            if (handler := _step_named_under(step, "on_failure")) in steps
        }
        """For each step that is no part of the graph, what it is."""
        if on_exit is not None and isinstance(on_exit.value, str):
            self._apart[on_exit.value] = "the on_exit"

    def in_order(self) -> list[StepDescription]:
        """The steps of the graph, each after those that it names and those whose ``next`` names it."""
        if not self._steps:
            raise BadInput("the dag has no steps", self._tree.where)
        order: dict[str, StepDescription] = {}
        after: dict[str, list[str]] = {name: [] for name in self._steps}
        for name in self._steps:
            place = _name_where(self._tree, name)
            kind, node = self._step_entries(name, place)
            if name in self._apart:
                self._check_handler(name, node)
                continue
            if kind in _ENDS:
                raise BadInput(
                    f"the step {name!r} is a {kind}, which would end its pipeline, but in a graph other steps may run beside it: "
                    + ("leave it out" if kind == "success" else "let a step fail"),
                    node["type"].where,
                )
            self._reader.count_step(place)
            order[name] = self._describe_step(name, kind, node, _name_line(self._tree, name), ())
            after[name] += [self._named(item, name, "after") for item in _one_or_more(node.get("after"), "after")]
            for key in ("next", "next_node"):
                for item in _one_or_more(node.get(key), key):
                    after[self._named(item, name, key)].append(name)
        if not order:
            raise BadInput("the graph has no step that is no handler", self._tree.where)
        for name, step in order.items():
            if after[name]:
                step["after"] = after[name]
        return list(order.values())

    def _named(self, tree: Located, name: str, key: str) -> str:
        """The step of the graph that a step names under a key."""
        other = _text(tree, key)
        if other in self._apart:
            raise BadInput(
                f"the step {name!r} has {other!r} in its {key}, which is {self._apart[other]} and so no part of the graph",
                tree.where,
            )
        if other in _ENDS and other not in self._steps:
            raise BadInput(
                f"the step {name!r} has {other!r} in its {key}, which would end the pipeline, but in a graph other steps may run "
                "beside it: leave it out",
                tree.where,
            )
        if other not in self._steps:
            hint = nearest(other, self._steps)
            raise BadInput(f"there is no step {other!r}" + (f" (did you mean {hint!r}?)" if hint else ""), tree.where)
        return other

    def _check_handler(self, name: str, node: dict[str, Located]) -> None:
        for key in ("next", "next_node", "after"):
            if key in node:
                raise BadInput(
                    f"the step {name!r} is {self._apart[name]} and so no part of the graph, where nothing is before or after it: "
                    f"leave out its {key}, and write a dag in place of its name where it has several steps",
                    node[key].where,
                )

    def from_step(self, name: str, place: str, handlers: tuple[str, ...]) -> list[StepDescription]:
        kind, node = self._step_entries(name, place)
        self._reader.count_step(place)
        line = _name_line(self._tree, name) if name in self._steps else _line_of(place)
        return [self._describe_step(name, kind, node, line, handlers)]


def _one_or_more(tree: Located | None, name: str) -> tuple[Located, ...]:
    """The items of a list, or what stands in its place."""
    return (tree,) if tree is not None and isinstance(tree.value, str) else _items(tree, name)


_REQUIRED = {
    "pipeline": ("pipeline",),
    "parallel": ("branches",),
    "map": ("branch", "iterate_on", "iterate_as"),
    "conditional": ("parameter", "branches"),
    "loop": ("branch", "max_iterations", "break_on"),
}


def _describe_stub(name: str, kind: str, node: dict[str, Located], line: int) -> StepDescription:
    """A stub; an end (success or fail) is one as well."""
    step: StepDescription = {"type": "stub", "name": name, "line": line}
    _copy_flags(node, step)
    if kind == "success":
        step["terminate_with_success"] = True
    elif kind == "fail":
        step["terminate_with_failure"] = True
    return step


def _describe_reducer(name: str, tree: Located) -> ReducerDescription | str:
    """One of the named reducers, or a function by its dotted path."""
    text = _text(tree, "reducer").strip()
    if text.startswith("lambda"):
        raise BadInput(
            "a lambda can't be a reducer: define a function in a module and name it as module.function, or name one of "
            f"{', '.join(REDUCERS)}",
            tree.where,
        )
    if "." not in text:
        if text not in REDUCERS:
            hint = nearest(text, REDUCERS)
            raise BadInput(
                f"{text!r} is not a reducer"
                + (f" (did you mean {hint!r}?)" if hint else "")
                + f": a reducer is module.function, or one of {', '.join(REDUCERS)}",
                tree.where,
            )
        return text
    module, _, qualname = text.rpartition(".")
    return {
        "name": name,
        "line": tree.line,
        "kind": "python",
        "function": {"module": module, "qualname": qualname, "file": None},
    }


def _belongs_to_handler(name: str, steps: dict[str, Located]) -> bool:
    """Whether an ``on_failure`` names the step, or a step that leads to it."""
    pending = {target for step in steps.values() if (target := _step_named_under(step, "on_failure")) is not None}
    reached: set[str] = set()
    while pending:
        step_name = pending.pop()
        if step_name in reached or step_name not in steps:
            continue
        reached.add(step_name)
        for key in ("next", "next_node"):
            following = _step_named_under(steps[step_name], key)
            if following is not None:
                pending.add(following)
    return name in reached


def _step_named_under(step: Located, key: str) -> str | None:
    """The name of a step that stands under a key of another step; None where there is none."""
    tree = step.value.get(key) if isinstance(step.value, dict) else None
    return tree.value if tree is not None and isinstance(tree.value, str) else None


def _name_line(steps: Located, name: str) -> int:
    """The line of a step's name."""
    return steps.key_lines.get(name, steps.line)


def _line_of(place: str) -> int:
    """The line of a place, which is ``file:line``."""
    return int(place.rpartition(":")[2])


def _name_where(steps: Located, name: str) -> str:
    """The place of a step's name as ``file:line``."""
    return steps.key_where(name)


def _step_type(tree: Located, node: dict[str, Located]) -> str:
    kind = _text(node["type"], "type") if "type" in node else "task"
    if kind not in _TYPES:
        hint = nearest(kind, _TYPES)
        raise BadInput(
            f"{kind!r} is not a type of step"
            + (f" (did you mean {hint!r}?)" if hint else f": use one of {', '.join(_TYPES)}"),
            node["type"].where,
        )
    return kind


def _describe_task(name: str, node: dict[str, Located], line: int) -> StepDescription:
    kind = _text(node["command_type"], "command_type") if "command_type" in node else "python"
    if kind not in TASK_KINDS:
        raise BadInput(f"command_type is python, shell or notebook, not {kind!r}", node["command_type"].where)
    if "command" not in node:
        raise BadInput(f"the step {name!r} has no command", f"{_file(node)}:{line}" if node else None)
    command = _text(node["command"], "command")
    if len(command) > _LONGEST_COMMAND:
        raise BadInput(f"the command of {name!r} is longer than {_LONGEST_COMMAND} characters", node["command"].where)
    step: StepDescription = {
        "type": "task",
        "kind": TASK_KINDS[kind],
        "name": name,
        "line": line,
        "returns": [_describe_return(item) for item in _items(node.get("returns"), "returns")],
        "secrets": [_text(item, "a secret") for item in _items(node.get("secrets"), "secrets")],
        "catalog": _describe_catalog(node.get("catalog")),
        "overrides": step_settings.read_overrides(node.get("overrides"), name),
        "bind": _describe_bindings(node.get("bind")),
    }
    _copy_flags(node, step)
    if "shell" in node:
        step["shell"] = _text(node["shell"], "shell")
    if "strict" in node:
        step["strict"] = _truth(node["strict"], "strict")
    if "html" in node:
        step["html"] = _truth(node["html"], "html")
    if "max_attempts" in node:
        step["max_attempts"] = _whole_number(node["max_attempts"], "max_attempts")
    settings = step_settings.read_settings(node, name)
    if settings:
        step["settings"] = settings
    if kind == "python":
        module, _, qualname = command.strip().rpartition(".")
        step["function"] = {"module": module, "qualname": qualname, "file": None}
    else:
        step["command"] = command
    return step


def _copy_flags(node: dict[str, Located], step: StepDescription) -> None:
    """Copies whether a step ends its pipeline."""
    if "terminate_with_success" in node:
        step["terminate_with_success"] = _flag(node, "terminate_with_success")
    if "terminate_with_failure" in node:
        step["terminate_with_failure"] = _flag(node, "terminate_with_failure")


def _copy_kept_failure(node: dict[str, Located], step: StepDescription) -> None:
    """Copies whether a step stays failed when its ``on_failure`` has succeeded."""
    if "keep_failure" not in node or not _flag(node, "keep_failure"):
        return
    if "on_failure" not in node:
        raise BadInput(
            f"the step {step['name']!r} has keep_failure and no on_failure: keep_failure says that the step stays failed when its "
            "on_failure has succeeded",
            node["keep_failure"].where,
        )
    if step["on_failure"] is not None:
        step["keep_failure"] = True


def _flag(node: dict[str, Located], key: str) -> bool:
    value = node[key].value
    if not isinstance(value, bool):
        raise BadInput(f"{key} is true or false, not {node[key].described()}", node[key].where)
    return value


def _file(node: dict[str, Located]) -> str:
    return next(iter(node.values())).file


def _describe_return(tree: Located) -> ReturnRow:
    if isinstance(tree.value, str):
        return {"name": tree.value, "kind": "json"}
    entries = _mapping(tree, "a return")
    _check_keys(tree, entries, ("name", "kind"), "a return")
    if "name" not in entries:
        raise BadInput("a return has no name", tree.where)
    kind = _text(entries["kind"], "kind") if "kind" in entries else "json"
    if kind not in RETURN_KINDS:
        raise BadInput(f"a return's kind is json, object or metric, not {kind!r}", entries["kind"].where)
    return {"name": _text(entries["name"], "name"), "kind": RETURN_KINDS[kind]}


def _describe_catalog(tree: Located | None) -> CatalogDescription:
    if tree is None or tree.value is None:
        return {"get": [], "put": [], "store_copy": True}
    entries = _mapping(tree, "catalog")
    _check_keys(tree, entries, ("get", "put", "store_copy"), "catalog")
    return {
        "get": [_text(item, "a key") for item in _items(entries.get("get"), "get")],
        "put": [_text(item, "a key") for item in _items(entries.get("put"), "put")],
        "store_copy": _flag(entries, "store_copy") if "store_copy" in entries else True,
    }


def _describe_bindings(tree: Located | None) -> dict[str, object]:
    """The bindings of a task: a name as text, a constant as ``{"value": …}``, or one of the run's as ``{"parameter": …}``."""
    if tree is None:
        return {}
    bindings: dict[str, object] = {}
    for argument, binding in _mapping(tree, "bind").items():
        if isinstance(binding.value, dict):
            _check_keys(binding, binding.value, ("value", "parameter"), "a binding")
            bindings[argument] = {
                key: each.plain() if key == "value" else _text(each, "a binding") for key, each in binding.value.items()
            }
        else:
            bindings[argument] = _text(binding, "a binding")
    return bindings


def _check_keys(
    tree: Located, entries: dict[str, Located], allowed: tuple[str, ...], owner: str, open_ended: bool = False
) -> None:
    """Refuses a key that is not allowed.

    Args:
        owner: what has the keys, for the message. open_ended: whether any key is allowed.
    """
    if open_ended:
        return
    for key in entries:
        if key not in allowed:
            if key == "parameters" and owner == "dag":
                raise BadInput(
                    "unknown key 'parameters' in dag: it stands beside the pipeline's dag", tree.key_where(key)
                )
            if "max_attempts" in allowed and key in step_settings.INSTEAD:
                instead = step_settings.INSTEAD[key]
                raise BadInput(f"unknown key {key!r} in {owner}: use {instead}", tree.key_where(key))
            if key in ("on_exit", "order") and "on_failure" in allowed:
                raise BadInput(f"unknown key {key!r} in {owner}: it stands in dag, beside steps", tree.key_where(key))
            if key in _OF_TASKS and "on_failure" in allowed:
                message = f"unknown key {key!r} in {owner}: give it to the tasks inside"
                raise BadInput(message, tree.key_where(key))
            hint = nearest(key, allowed)
            raise BadInput(
                f"unknown key {key!r} in {owner}" + (f" (did you mean {hint!r}?)" if hint else ""), tree.key_where(key)
            )


def _mapping(tree: Located, name: str) -> dict[str, Located]:
    if not isinstance(tree.value, dict):
        raise BadInput(f"{name} is a mapping, not {tree.described()}", tree.where)
    return tree.value


def _items(tree: Located | None, name: str) -> tuple[Located, ...]:
    if tree is None or tree.value is None:
        return ()
    if not isinstance(tree.value, tuple):
        raise BadInput(f"{name} is a list, not {tree.described()}", tree.where)
    return tree.value


def _text(tree: Located, name: str) -> str:
    if not isinstance(tree.value, str):
        raise BadInput(f"{name} is text, not {tree.described()}: put it in quotes", tree.where)
    return tree.value


def _truth(tree: Located, name: str) -> bool:
    if not isinstance(tree.value, bool):
        raise BadInput(f"{name} is true or false, not {tree.described()}", tree.where)
    return tree.value


def _whole_number(tree: Located, name: str) -> int:
    if not isinstance(tree.value, int) or isinstance(tree.value, bool):
        raise BadInput(f"{name} is a whole number, not {tree.described()}", tree.where)
    return tree.value
