"""Turns a description (the plain JSON data that every form of a pipeline yields) into the model, checking all of it."""

from __future__ import annotations

from typing import Any

from toolkit import names
from toolkit.errors import BadInput
from toolkit.model.pipeline import (
    Binding,
    CatalogUse,
    Conditional,
    Constant,
    Function,
    Loop,
    Map,
    Nested,
    Parallel,
    Pipeline,
    Return,
    Source,
    Step,
    Stub,
    Takes,
    Task,
)
from toolkit.runtime.shared.catalog import executed_name


def to_pipeline(description: dict[str, Any], file: str) -> Pipeline:
    """The model of a description.

    Args:
        file: the file that it came from, for messages.

    Raises:
        BadInput: a name is not allowed or is used twice, or a task declares what can't be.
    """
    return _Reader(file).pipeline(description)


def to_function(answer: dict[str, Any]) -> tuple[Function, Takes]:
    """A function that the runtime has found, and what it takes."""
    return _function(answer["function"]), _takes(answer["takes"])


def _function(node: dict[str, Any]) -> Function:
    return Function(node["module"], node["qualname"], node.get("file"))


def _takes(node: dict[str, Any]) -> Takes:
    return Takes(tuple(node["names"]), tuple(node["required"]), node["everything"])


class _Reader:
    def __init__(self, file: str) -> None:
        self._file = file

    def _where(self, node: dict[str, Any]) -> str:
        return f"{self._file}:{node['line']}" if node.get("line") else self._file

    def pipeline(self, node: dict[str, Any]) -> Pipeline:
        if not node["steps"]:
            raise BadInput("the pipeline has no steps", self._file)
        steps = tuple(self._step(one) for one in node["steps"])
        seen: dict[str, str] = {}
        for step, one in zip(steps, node["steps"], strict=True):
            if step.name in seen:
                raise BadInput(
                    f"two steps are named {step.name!r} (the other is at {seen[step.name]}): give one another name",
                    self._where(one),
                )
            seen[step.name] = self._where(one)
        return Pipeline(steps=steps, name=node.get("name") or "")

    def _optional(self, node: dict[str, Any] | None) -> Pipeline | None:
        return self.pipeline(node) if node is not None else None

    def _branches(self, node: dict[str, Any], where: str) -> tuple[tuple[str, Pipeline], ...]:
        if not node["branches"]:
            raise BadInput(f"the step {node['name']!r} has no branches", where)
        return tuple((names.step_name(key, where), self.pipeline(one)) for key, one in node["branches"].items())

    def _step(self, node: dict[str, Any]) -> Step:
        where = self._where(node)
        if "steps" in node:
            if not node.get("name"):
                raise BadInput("a pipeline that is a step of another needs a name: Pipeline(name=…)", self._file)
            return Nested(names.step_name(node["name"], where), self.pipeline(node), line=where)
        name = names.step_name(node["name"], where)
        kind = node["type"]
        if kind == "task":
            return self._task(node, name, where)
        if kind == "stub":
            return Stub(name, bool(node.get("terminate_with_success")), bool(node.get("terminate_with_failure")), where)
        handler = self._optional(node.get("on_failure"))
        if kind == "pipeline":
            return Nested(name, self.pipeline(node["pipeline"]), handler, where)
        if kind == "parallel":
            return Parallel(name, self._branches(node, where), handler, where)
        if kind == "map":
            reducer = node.get("reducer")
            if isinstance(reducer, dict):
                reducer = _function(reducer["function"])
            return Map(
                name,
                self.pipeline(node["branch"]),
                names.parameter_name(node["iterate_on"], where),
                names.parameter_name(node["iterate_as"], where),
                reducer,
                self._count(node, "concurrency", where) if node.get("concurrency") is not None else None,
                handler,
                where,
            )
        if kind == "conditional":
            parameter = names.parameter_name(node["parameter"], where)
            default = self._optional(node.get("default"))
            return Conditional(name, parameter, self._branches(node, where), default, handler, where)
        if kind == "loop":
            return Loop(
                name,
                self.pipeline(node["branch"]),
                self._count(node, "max_iterations", where),
                names.parameter_name(node["break_on"], where),
                names.parameter_name(node["index_as"], where) if node.get("index_as") else "",
                handler,
                where,
            )
        raise BadInput(f"the step {name!r} is of the unknown type {kind!r}", where)

    def _count(self, node: dict[str, Any], key: str, where: str) -> int:
        value = node[key]
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BadInput(f"{key} of the step {node['name']!r} is a whole number from 1 on, not {value!r}", where)
        return value

    def _task(self, node: dict[str, Any], name: str, where: str) -> Task:
        function = node.get("function")
        takes = node.get("takes")
        catalog = node.get("catalog") or {}
        put = list(catalog.get("put") or ())
        if node["kind"] == "notebook" and node.get("command"):
            # The notebook as it was executed is kept as any file is.
            put = list(dict.fromkeys([*put, executed_name(node["command"])]))
        return Task(
            name=name,
            kind=node["kind"],
            function=_function(function) if function else None,
            command=self._command(node, where),
            takes=_takes(takes) if takes else None,
            returns=self._returns(node, name, where),
            secrets=tuple(names.parameter_name(one, where) for one in node.get("secrets") or ()),
            catalog=CatalogUse(tuple(catalog.get("get") or ()), tuple(put), catalog.get("store_copy", True)),
            overrides=dict(node.get("overrides") or {}),
            bind={argument: self._binding(argument, one, where) for argument, one in (node.get("bind") or {}).items()},
            terminate_with_success=bool(node.get("terminate_with_success")),
            terminate_with_failure=bool(node.get("terminate_with_failure")),
            max_attempts=self._count(node, "max_attempts", where) if node.get("max_attempts") is not None else None,
            on_failure=self._optional(node.get("on_failure")),
            line=where,
        )

    def _command(self, node: dict[str, Any], where: str) -> str | None:
        command = node.get("command")
        if node["kind"] == "python":
            return None
        if not isinstance(command, str) or not command.strip() or "\0" in command:
            raise BadInput(f"the step {node['name']!r} has no command", where)
        return command

    def _returns(self, node: dict[str, Any], name: str, where: str) -> tuple[Return, ...]:
        found: list[Return] = []
        for one in node.get("returns") or ():
            declared = names.parameter_name(one["name"], where)
            if any(known.name == declared for known in found):
                raise BadInput(f"the step {name!r} returns {declared} twice", where)
            if one["kind"] not in ("json", "object", "metric"):
                raise BadInput(f"the step {name!r} returns {declared} of the unknown kind {one['kind']!r}", where)
            if one["kind"] == "object" and node["kind"] == "shell":
                raise BadInput(f"the shell step {name!r} can't return the object {declared}: it exports text", where)
            found.append(Return(declared, one["kind"]))
        return tuple(found)

    def _binding(self, argument: str, given: Any, where: str) -> Binding:
        names.parameter_name(argument, where)
        if isinstance(given, dict) and set(given) == {"value"}:
            return Constant(given["value"])
        if isinstance(given, str):
            step, _, name = given.rpartition(".")
            # The step may stand inside a composite beside the task: its path from there.
            path = "/".join(names.step_name(part, where) for part in step.split("/")) if step else None
            return Source(names.parameter_name(name, where), path)
        if isinstance(given, dict) and set(given) == {"parameter"}:
            return Source(names.parameter_name(given["parameter"], where), Source.RUN)
        raise BadInput(f"the argument {argument} is bound to {given!r}: say 'step.name', 'name' or {{value: …}}", where)
