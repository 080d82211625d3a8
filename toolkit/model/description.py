"""The description of a pipeline, and the model made of it.

A description is plain JSON data. Every form of a pipeline yields one, and what it may contain is checked here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from toolkit import names
from toolkit.config.decode import suggested
from toolkit.errors import BadInput
from toolkit.model import argument_types, step_settings
from toolkit.model.pipeline import (
    ORDERS,
    RETURN_KINDS,
    SHELLS,
    Argument,
    Binding,
    CatalogUse,
    Conditional,
    Constant,
    DeclaredParameter,
    Function,
    Loop,
    Map,
    NamedFile,
    Nested,
    Order,
    Parallel,
    Pipeline,
    Return,
    Shell,
    Source,
    Step,
    Stub,
    Takes,
    Task,
)
from toolkit.runtime.shared.casts import CannotConvert
from toolkit.runtime.shared.keys import escape_braces
from toolkit.runtime.shared.notebooks import executed_name, html_name

if TYPE_CHECKING:
    from toolkit.config.settings import StepSettings
    from toolkit.runtime.shared.documents import (
        ArgumentRow,
        CatalogDescription,
        FileDescription,
        FunctionRow,
        ParameterRow,
        PipelineDescription,
        ResolvedFunction,
        StepDescription,
        TakesRow,
    )


def to_pipeline(description: PipelineDescription, file: str) -> Pipeline:
    """The model of a description.

    Args:
        file: the file that the description came from, for messages.

    Raises:
        BadInput: a name is not allowed or is used twice, or a task declares what is not possible.
    """
    named = description.get("parameters_file")
    return _ModelBuilder(file, named["path"] if named is not None else None).whole(description)


def to_function(resolved: ResolvedFunction) -> tuple[Function, Takes]:
    """A function that the runtime has found, and its signature."""
    return _function(resolved["function"]), _takes(resolved["takes"])


def _function(node: FunctionRow) -> Function:
    return Function(node["module"], node["qualname"], node.get("file"))


def _takes(node: TakesRow) -> Takes:
    arguments = {name: _argument(row) for name, row in (node.get("arguments") or {}).items()}
    return Takes(tuple(node["names"]), tuple(node["required"]), node["everything"], arguments)


def _argument(row: ArgumentRow) -> Argument:
    return Argument(row.get("type"), row.get("annotation", ""), (row["default"],) if "default" in row else None)


ON_EXIT_INSIDE = (
    "on_exit is for the pipeline that is run, and this one is inside another: give it to the outermost pipeline"
)


class _ModelBuilder:
    """Makes the model.

    Args:
        file: the pipeline's, for messages. parameters_file: the path that the outermost pipeline names, or None.
    """

    def __init__(self, file: str, parameters_file: str | None) -> None:
        self._file = file
        self._outermost_file = parameters_file

    def _where(self, node: StepDescription | FileDescription) -> str:
        return f"{self._file}:{node['line']}" if node.get("line") else self._file

    def whole(self, node: PipelineDescription) -> Pipeline:
        """The pipeline that is run: what it declares of parameters counts, and of the pipelines inside it nothing does."""
        on_exit = node.get("on_exit")
        pipeline = replace(self.pipeline(node, whole=True), on_exit=self._optional_pipeline(on_exit))
        declared = node.get("parameters")
        if declared is None:
            return pipeline
        parameters: dict[str, DeclaredParameter] = {}
        for row in declared:
            parameter = self._parameter(row)
            if parameter.name in parameters:
                raise BadInput(f"the pipeline declares the parameter {parameter.name} twice", parameter.line)
            parameters[parameter.name] = parameter
        return replace(pipeline, parameters=tuple(parameters.values()))

    def _parameter(self, row: ParameterRow) -> DeclaredParameter:
        where = f"{self._file}:{row['line']}" if row.get("line") else self._file
        name, known = names.parameter_name(row["name"], where), _argument(row)
        if known.default == (None,) and known.type is not None:
            # As of a function's argument, whatever its annotation.
            known = replace(known, type=argument_types.with_none(known.type))
        if known.type is not None and known.default is not None:
            try:
                argument_types.read(known.type, known.default[0])
            except CannotConvert as refusal:
                raise BadInput(
                    f"the default of the parameter {name} can't be {argument_types.shown(known.type)}: "
                    f"{''.join(refusal.path) or 'it'} {refusal.what}",
                    where,
                ) from None
        return DeclaredParameter(known.type, known.annotation, known.default, name, row.get("description") or "", where)

    def pipeline(self, node: PipelineDescription, whole: bool = False) -> Pipeline:
        if not node["steps"]:
            raise BadInput("the pipeline has no steps", self._file)
        if not whole and node.get("on_exit") is not None:
            # The reader of each form refuses it with its line.
            raise BadInput(ON_EXIT_INSIDE, self._file)
        steps = tuple(self._with_kept_failure(self._step(step_node), step_node) for step_node in node["steps"])
        places: dict[str, str] = {}
        for step, step_node in zip(steps, node["steps"], strict=True):
            if step.name in places:
                raise BadInput(
                    f"two steps are named {step.name!r} (the other is at {places[step.name]}): give one another name",
                    self._where(step_node),
                )
            places[step.name] = self._where(step_node)
        order = self._order(node, steps)
        return Pipeline(
            steps=steps, name=node.get("name") or "", parameters_file=self._parameters_file(node), order=order
        )

    def _order(self, node: PipelineDescription, steps: tuple[Step, ...]) -> Order:
        """The order of a pipeline, once its steps' ``after`` are checked against it."""
        name = node.get("order", "line")
        if name not in ORDERS:
            raise BadInput(f"the order of a pipeline is {' or '.join(ORDERS)}, not {name!r}", steps[0].line)
        siblings = [step.name for step in steps]
        for step in steps:
            if name == "graph" and (step.terminate_with_success or step.terminate_with_failure):
                raise BadInput(
                    f"the step {step.name!r} ends its pipeline, but in a graph other steps may run beside it: let a step fail for "
                    "a failure, and put what may be skipped into a Conditional",
                    step.line,
                )
            if step.after and name == "line":
                raise BadInput(
                    f"the step {step.name!r} has `after`, but its pipeline is a line, which runs its steps as they are listed: "
                    "leave it out, or say order: graph of the pipeline",
                    step.line,
                )
            for other in step.after:
                if other == step.name:
                    raise BadInput(f"the step {step.name!r} is after itself", step.line)
                if other not in siblings:
                    raise BadInput(
                        f"the step {step.name!r} is after {other!r}, which is no step of its pipeline{suggested(other, siblings)}",
                        step.line,
                    )
        return ORDERS[name]

    def _with_kept_failure(self, step: Step, node: StepDescription) -> Step:
        """The step with what it says of its ``on_failure``."""
        if not node.get("keep_failure"):
            return step
        if isinstance(step, Stub):
            return step
        if step.on_failure is None:
            raise BadInput(
                f"the step {step.name!r} has keep_failure and no on_failure: keep_failure says that the step stays failed when its "
                "on_failure has succeeded",
                self._where(node),
            )
        return replace(step, keep_failure=True)

    def _parameters_file(self, node: PipelineDescription) -> NamedFile | None:
        named = node.get("parameters_file")
        if named is None:
            return None
        if named["path"] != self._outermost_file:
            raise BadInput(
                f"the parameters_file {named['path']} is one of a pipeline inside another: a run has one such file, which the "
                "outermost pipeline names",
                self._where(named),
            )
        return NamedFile(named["path"], self._where(named))

    def _optional_pipeline(self, node: PipelineDescription | None) -> Pipeline | None:
        return self.pipeline(node) if node is not None else None

    def _branches(self, node: StepDescription, where: str) -> tuple[tuple[str, Pipeline], ...]:
        if not node["branches"]:
            raise BadInput(f"the step {node['name']!r} has no branches", where)
        return tuple((names.step_name(key, where), self.pipeline(branch)) for key, branch in node["branches"].items())

    def _step(self, node: StepDescription) -> Step:
        step = self._step_by_type(node)
        after = node.get("after")
        if after is None:
            return step
        if not isinstance(after, list) or not all(isinstance(name, str) for name in after):
            raise BadInput(f"after of the step {step.name!r} is a list of names of steps, not {after!r}", step.line)
        return replace(step, after=tuple(dict.fromkeys(names.step_name(name, step.line) for name in after)))

    def _step_by_type(self, node: StepDescription) -> Step:
        where = self._where(node)
        if "steps" in node:
            if not node.get("name"):
                raise BadInput("a pipeline that is a step of another needs a name: Pipeline(name=…)", self._file)
            return Nested(names.step_name(node["name"], where), self.pipeline(node), line=where)
        name = names.step_name(node["name"], where)
        kind = node["type"]
        if kind == "task":
            return self._task(node, name, where)
        ends = bool(node.get("terminate_with_success")), bool(node.get("terminate_with_failure"))
        if kind == "stub":
            return Stub(name, *ends, where)
        handler = self._optional_pipeline(node.get("on_failure"))
        if kind == "pipeline":
            return Nested(name, self.pipeline(node["pipeline"]), handler, *ends, where)
        if kind == "parallel":
            return Parallel(name, self._branches(node, where), handler, *ends, where)
        if kind == "map":
            reducer = node.get("reducer")
            items = self._source(node["iterate_on"], where)
            return Map(
                name,
                self.pipeline(node["branch"]),
                items.name,
                names.parameter_name(node["iterate_as"], where),
                _function(reducer["function"]) if isinstance(reducer, dict) else reducer,
                self._count(node, "concurrency", where) if node.get("concurrency") is not None else None,
                handler,
                *ends,
                where,
                source=items.step,
            )
        if kind == "conditional":
            chosen_by = self._source(node["parameter"], where)
            default = self._optional_pipeline(node.get("default"))
            return Conditional(
                name, chosen_by.name, self._branches(node, where), default, handler, *ends, where, source=chosen_by.step
            )
        if kind == "loop":
            return Loop(
                name,
                self.pipeline(node["branch"]),
                self._count(node, "max_iterations", where),
                names.parameter_name(node["break_on"], where),
                names.parameter_name(node["index_as"], where) if node.get("index_as") else "",
                handler,
                *ends,
                where,
            )
        raise BadInput(f"the step {name!r} is of the unknown type {kind!r}", where)

    def _count(self, node: StepDescription, key: str, where: str) -> int:
        """A number that has to be at least 1."""
        value = node.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BadInput(
                f"{key} of the step {node['name']!r} must be a whole number of at least 1, not {value!r}", where
            )
        return value

    def _task(self, node: StepDescription, name: str, where: str) -> Task:
        function = node.get("function")
        takes = node.get("takes")
        catalog: CatalogDescription = node.get("catalog") or {}
        put = list(catalog.get("put") or ())
        if node["kind"] == "notebook" and node.get("command"):
            # The executed notebook is put into the catalog like any other file.
            executed = executed_name(node["command"])
            made = [executed, html_name(executed)] if node.get("html") else [executed]
            put = list(dict.fromkeys([*put, *map(escape_braces, made)]))
        return Task(
            name=name,
            kind=node["kind"],
            function=_function(function) if function else None,
            command=self._command(node, where),
            shell=self._shell(node, where),
            strict=self._strict(node, where),
            html=self._html(node, where),
            takes=_takes(takes) if takes else None,
            returns=self._returns(node, name, where),
            secrets=tuple(names.parameter_name(secret, where) for secret in node.get("secrets") or ()),
            catalog=CatalogUse(tuple(catalog.get("get") or ()), tuple(put), catalog.get("store_copy", True)),
            overrides=step_settings.checked_overrides(node.get("overrides"), name, where),
            settings=self._settings(node, name, where),
            bind={
                argument: self._binding(argument, binding, where)
                for argument, binding in (node.get("bind") or {}).items()
            },
            terminate_with_success=bool(node.get("terminate_with_success")),
            terminate_with_failure=bool(node.get("terminate_with_failure")),
            max_attempts=self._count(node, "max_attempts", where) if node.get("max_attempts") is not None else None,
            on_failure=self._optional_pipeline(node.get("on_failure")),
            line=where,
        )

    def _settings(self, node: StepDescription, name: str, where: str) -> StepSettings | None:
        given = node.get("settings")
        if not given:
            return None
        settings = step_settings.decode_settings(step_settings.located(given), name, where)
        if settings.retries is not None and settings.retries.limit is not None and node.get("max_attempts") is not None:
            raise BadInput(
                f"the step {name!r} has both max_attempts and retries: keep one (retries counts the attempts after the first)",
                where,
            )
        return settings

    def _command(self, node: StepDescription, where: str) -> str | None:
        command = node.get("command")
        if node["kind"] == "python":
            return None
        if not isinstance(command, str) or not command.strip() or "\0" in command:
            raise BadInput(f"the step {node['name']!r} has no command", where)
        return command

    def _shell(self, node: StepDescription, where: str) -> Shell:
        name = node.get("shell", "sh")
        if name not in SHELLS:
            raise BadInput(f"shell of the step {node['name']!r} is {' or '.join(SHELLS)}, not {name!r}", where)
        if node["kind"] != "shell" and "shell" in node:
            raise BadInput(f"the {node['kind']} step {node['name']!r} has no shell", where)
        return SHELLS[name]

    def _strict(self, node: StepDescription, where: str) -> bool | None:
        strict = node.get("strict")
        if strict is None:
            return None
        if not isinstance(strict, bool):
            raise BadInput(f"strict of the step {node['name']!r} is true or false, not {strict!r}", where)
        if node["kind"] != "shell":
            raise BadInput(f"the {node['kind']} step {node['name']!r} has no shell that could be strict", where)
        if strict and node.get("shell") == "sh":
            raise BadInput(f"the step {node['name']!r} is strict, which takes bash: leave out `shell: sh`", where)
        return strict

    def _html(self, node: StepDescription, where: str) -> bool:
        html = node.get("html", False)
        if not isinstance(html, bool):
            raise BadInput(f"html of the step {node['name']!r} is true or false, not {html!r}", where)
        if html and node["kind"] != "notebook":
            raise BadInput(f"the {node['kind']} step {node['name']!r} has no notebook that could be made HTML", where)
        return html

    def _returns(self, node: StepDescription, name: str, where: str) -> tuple[Return, ...]:
        returns: dict[str, Return] = {}
        for declared in node.get("returns") or ():
            parameter, kind = names.parameter_name(declared["name"], where), declared["kind"]
            if parameter in returns:
                raise BadInput(f"the step {name!r} returns {parameter} twice", where)
            if kind not in RETURN_KINDS:
                raise BadInput(f"the step {name!r} returns {parameter} of the unknown kind {kind!r}", where)
            if kind == "object" and node["kind"] == "shell":
                raise BadInput(f"the shell step {name!r} can't return the object {parameter}: it exports text", where)
            returns[parameter] = Return(parameter, RETURN_KINDS[kind])
        return tuple(returns.values())

    def _binding(self, argument: str, binding: object, where: str) -> Binding:
        names.parameter_name(argument, where)
        if isinstance(binding, dict) and set(binding) == {"value"}:
            return Constant(binding["value"])
        if isinstance(binding, str):
            return self._source(binding, where)
        if isinstance(binding, dict) and set(binding) == {"parameter"}:
            return Source(names.parameter_name(binding["parameter"], where), Source.RUN)
        raise BadInput(
            f"the argument {argument} is bound to {binding!r}: use 'step.name', 'name' or {{value: …}}", where
        )

    def _source(self, text: object, where: str) -> Source:
        """Where a value is taken from: ``name``, or ``step.name`` for what one step returns."""
        step, _, name = text.rpartition(".") if isinstance(text, str) else ("", "", text)
        # The step may lie inside a composite beside the one that takes the value; then this is its path from there.
        path = "/".join(names.step_name(part, where) for part in step.split("/")) if step else None
        return Source(names.parameter_name(name, where), path)
