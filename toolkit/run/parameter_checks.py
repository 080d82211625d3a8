"""What is checked of a run's parameters before anything starts: their names, and the values that are known by then.

The host imports no user code. What it knows of arguments is in the description.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

from toolkit.config.decode import suggested
from toolkit.errors import BadInput
from toolkit.model.argument_types import SCALARS, read_given, shown
from toolkit.model.pipeline import Argument, DeclaredParameter
from toolkit.model.taken import Taken
from toolkit.plan import keys
from toolkit.plan.plan import Plan, PlannedStep
from toolkit.plan.planner import missing_parameters
from toolkit.plan.sources import Sources
from toolkit.run.request import Note, Request
from toolkit.runtime.shared import scope
from toolkit.runtime.shared.casts import CannotConvert
from toolkit.runtime.shared.catalog import BadKey
from toolkit.runtime.shared.controls import Controls, loop_ends
from toolkit.runtime.shared.scope import UnsuitableValue
from toolkit.runtime.shared.tree import ANY, DEFAULT, TOLD, fill, paths_to
from toolkit.runtime.shared.values import as_text, item_spellings, parse_json_text

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import FunctionRow, JsonValue, Parameters, StoredValue, TypeRow

_MOST_NAMES = 20
"""Names that a message lists."""


# --- names ------------------------------------------------------------------------------------------------------------


def settle(
    request: Request,
    declared: tuple[DeclaredParameter, ...] | None,
    taken: Taken,
    note: Note,
    of_file: Collection[str] = (),
) -> Request:
    """The request with the parameters that the run has: the given ones, and the defaults of those that the pipeline declares.

    Where a pipeline declares its parameters, they are all that there is; else they are what its steps take.

    Args:
        taken: what the steps take. note: is given a line about names of a file or the environment that nothing takes.
        of_file: the names of the pipeline's ``parameters_file``, which takes them for the scripts that read it.

    Raises:
        BadInput: nothing takes a name that was typed, a declared parameter has no value, or one that can't be of its type.
    """
    request = _with_texts(request, declared or (), taken)
    known = taken.names() if declared is None else tuple(parameter.name for parameter in declared)
    strange = [name for name in request.parameters if name not in known and name not in of_file]
    if strange and (declared is not None or not taken.of_everything):
        _refuse_typed([name for name in strange if name in request.typed], (*known, *of_file), declared, taken)
        are, them = ("is", "it") if len(strange) == 1 else ("are", "them")
        note(f"{_listed(strange)} {are} given by a file or the environment, and nothing in this pipeline takes {them}")
    if declared is None:
        return request
    values = {name: value for name, value in request.parameters.items() if name in of_file}
    spellings = {name: text for name, text in request.spellings.items() if name in of_file}
    for parameter in declared:
        name = parameter.name
        if name in request.parameters:
            spelling = request.spellings.get(name)
            value = _declared_value(parameter, request.parameters[name], spelling)
            spellings.pop(name, None)
            if spelling is not None and value is request.parameters[name]:
                spellings[name] = spelling
        elif parameter.default is not None:
            value = _declared_value(parameter, parameter.default[0], None)
        else:
            raise BadInput(
                f"the pipeline declares the parameter {name} without a default, and the run was not given it: give it with "
                f"--param {name}=… or a parameters file",
                parameter.line,
            )
        values[name] = value
    return replace(request, parameters=values, spellings=spellings)


def _with_texts(request: Request, declared: Iterable[DeclaredParameter], taken: Taken) -> Request:
    """The request with the text of each value that came as text, where a step takes that text and not the value.

    Of most values no text is kept, because they give it back themselves: ``true`` for a ``Literal["true", "auto"]``, or a list for
    a ``str``. What a file has is no text.
    """
    given = request.given
    if given is None:
        return request
    types = [(one.name, one.type) for one in declared] + [(taker.name, taker.known.type) for taker in taken.takers]
    spellings = dict(request.spellings)
    for name, row in types:
        value = request.parameters.get(name)
        came_as_text = name in given.values and name not in given.from_files and given.values[name] is value
        if row is not None and not isinstance(value, str) and came_as_text and name not in spellings:
            text = as_text(value)
            if not _is_taken(row, value, None) and _is_taken(row, value, text):
                spellings[name] = text
    return replace(request, spellings=spellings)


def _is_taken(row: TypeRow, value: JsonValue, spelling: str | None) -> bool:
    try:
        read_given(row, value, spelling)
    except CannotConvert:
        return False
    return True


def _refuse_typed(
    names: list[str], known: tuple[str, ...], declared: tuple[DeclaredParameter, ...] | None, taken: Taken
) -> None:
    """Refuses the first of these names.

    Args:
        known: the names that there are.
    """
    if not names:
        return
    name, known = names[0], tuple(dict.fromkeys(known))
    takes = "takes" if declared is None else "declares"
    rest = f"it {takes} {_listed(known)}" if known else f"it {takes} no parameters"
    takers = [taker.path for taker in taken.takers if taker.name == name]
    if takers:
        raise BadInput(
            f"--param {name}: the step {takers[0]!r} takes {name}, but the pipeline does not declare it: {rest}"
        )
    raise BadInput(f"--param {name}: nothing in this pipeline takes {name}{suggested(name, known)}: {rest}")


def _listed(names: tuple[str, ...] | list[str]) -> str:
    shown_names = list(names[:_MOST_NAMES])
    if len(names) > _MOST_NAMES:
        return f"{', '.join(shown_names)} and {len(names) - _MOST_NAMES} more"
    return ", ".join(shown_names[:-1]) + (" and " if shown_names[1:] else "") + "".join(shown_names[-1:])


def _declared_value(parameter: DeclaredParameter, value: JsonValue, spelling: str | None) -> JsonValue:
    """The run's value of a declared parameter. A single value is of the declared type for steps that say nothing of it, too."""
    if parameter.type is None:
        return value
    try:
        read = read_given(parameter.type, value, spelling)
    except CannotConvert as refusal:
        raise _cannot_be(parameter.name, parameter, refusal, "as the pipeline declares it", parameter.line) from None
    if isinstance(read, float) and not math.isfinite(read):
        # JSON has no such number. The text is one for each step that takes a float.
        return value
    is_single = (isinstance(parameter.type, str) and parameter.type in SCALARS) or (
        isinstance(parameter.type, dict)
        and isinstance(members := parameter.type.get("union"), list)
        and len(members) == 2
        and members[1] == "none"
        and isinstance(members[0], str)
        and members[0] in SCALARS
    )
    same = type(read) is type(value) or (type(read) is float and type(value) is int)
    return read if is_single and not (same and read == value) else value


def _cannot_be(
    name: str, argument: Argument, refusal: CannotConvert, taker: str, line: str | None, place: str = ""
) -> BadInput:
    assert argument.type is not None
    part = f"{place or name}{''.join(refusal.path)}" if refusal.path or place else "it"
    remedy = f"; {refusal.remedy}" if refusal.remedy else ""
    return BadInput(
        f"the parameter {name} can't be {shown(argument.type)}, {taker}: {part} {refusal.what}{remedy}", line
    )


# --- values -----------------------------------------------------------------------------------------------------------


def check_parameters(
    plan: Plan, parameters: Parameters, spellings: Mapping[str, str] | None = None, declares: bool = False
) -> None:
    """Refuses a run whose steps or catalog keys take what nothing gives, or what can't be what they take.

    A value is looked at where it is known: the run's own, one that is written in the pipeline, and the items of a map over
    one of the run's. Branches that a conditional is known not to take are left out.

    Args:
        spellings: the texts that spelled parameters, as far as they are kept. declares: whether the pipeline declares its
            parameters, so that a run can be given no other one.

    Raises:
        BadInput: naming the first such step and parameter.
    """
    check = _ValueCheck(plan, parameters, spellings or {})
    check.check_composites()
    told = next((name for name in TOLD if plan.on_exit is not None and name in parameters), None)
    if told is not None:
        raise BadInput(
            f"the run is given {told}, by which the steps of the pipeline's on_exit know how the run has ended: leave it out, or "
            "give it under another name"
        )
    missing = next((found for found in missing_parameters(plan, parameters) if check.may_run(found[0])), None)
    if missing is not None:
        step, name = missing
        line = step.task.line if step.task is not None else None
        if name in keys.names_in(step) and step.task is not None and name in {each.name for each in step.task.returns}:
            raise BadInput(
                f"the step {step.path!r} has {{{name}}} in a catalog key, and only the step itself returns {name}: its keys are "
                "filled before it runs, with what it takes",
                line,
            )
        has_stubs = any(row.type == "stub" for row in plan.steps)
        if declares:
            raise BadInput(
                f"the step {step.path!r} takes {name}, which no step before it returns and the pipeline does not declare: "
                "declare it, because what a pipeline declares is all that a run can be given",
                line,
            )
        raise BadInput(
            f"the step {step.path!r} takes {name}, which no step before it returns and the run was not given: "
            f"give it with --param {name}=… or a parameters file"
            + (" (a stub, as each mocked step is, returns nothing)" if has_stubs else ""),
            line,
        )
    check.check_tasks()


@dataclass(frozen=True)
class _Known:
    """A value that a step will take."""

    value: JsonValue
    spelling: str | None = None
    place: str = ""
    """For an item of a map, where it is in the parameter, as Python writes it."""


class _ValueCheck:
    def __init__(self, plan: Plan, parameters: Parameters, spellings: Mapping[str, str]) -> None:
        self._plan = plan
        self._parameters = parameters
        self._spellings = spellings
        self._sources = Sources(plan)
        self._not_run: list[str] = []
        self._listed: dict[str, list[_Known]] = {}

    def check_composites(self) -> None:
        controls: Controls | None = None
        for step in self._plan.steps:
            if step.inside is None or step.type not in ("map", "conditional", "loop") or not self.may_run(step):
                continue
            name = step.inside.parameter
            if name in self._parameters and self._sources.first_source(name, step.path, step)[0] == "run":
                controls = controls or controls_before_steps(self._plan, self._parameters, self._spellings)
                self._check_composite(step, controls)

    def check_tasks(self) -> None:
        for step in self._plan.steps:
            if self.may_run(step):
                self._check_task(step)
                self._check_keys(step)

    def may_run(self, step: PlannedStep) -> bool:
        """Whether the step is in no branch that is known not to be taken, once composites are checked."""
        return not any(step.path.startswith(f"{scope_path}/") for scope_path in self._not_run)

    def _check_composite(self, step: PlannedStep, controls: Controls) -> None:
        assert step.inside is not None
        instance = fill(step.path, ["0"] * step.path.split("/").count(ANY))
        try:
            if step.type == "conditional":
                label = controls.choice(step.path, instance)
                scopes = [*step.inside.branches, *([(DEFAULT, step.inside.default)] if step.inside.default else [])]
                self._not_run += [path for branch, path in scopes if branch != label]
            elif step.type == "map":
                if not controls.count(step.path, instance):
                    self._not_run += step.inside.scopes()
            else:
                loop_ends(self._parameters[step.inside.parameter], step.path, step.inside.parameter)
        except UnsuitableValue as error:
            if not self._is_handled(step):
                raise BadInput(str(error), step.line) from None

    def _is_handled(self, step: PlannedStep) -> bool:
        """Whether a handler runs where the composite fails: it may be what the author has in place of a default branch."""
        paths = set(paths_to(step.path))
        return any(row.handler is not None for row in self._plan.steps if row.path in paths)

    def _check_task(self, step: PlannedStep) -> None:
        task = step.task
        if task is None or task.takes is None:
            return
        for argument, known in task.takes.arguments.items():
            if known.type is None:
                continue
            bound = step.bind.get(argument)
            name = argument if bound is None or "value" in bound else bound["name"]
            for given in self._values(step, argument, name):
                try:
                    read_given(known.type, given.value, given.spelling)
                except CannotConvert as refusal:
                    under = f" under the name {argument}" if name != argument else ""
                    taker = f"as the step {step.path!r} takes it{under}"
                    raise _cannot_be(name, known, refusal, taker, task.line, given.place) from None

    def _check_keys(self, step: PlannedStep) -> None:
        """Refuses a value that can't be part of a catalog key. One key's values are looked at one by one."""
        for key in keys.keys_of(step):
            for name in keys.names_in_keys([key]):
                bound = step.bind.get(name)
                for given in self._values(step, name, name if bound is None or "value" in bound else bound["name"]):
                    try:
                        keys.check_filled(key, name, given.value, given.spelling)
                    except BadKey as error:
                        line = step.task.line if step.task is not None else None
                        raise BadInput(f"the step {step.path!r}: {error}", line) from None

    def _values(self, step: PlannedStep, argument: str, name: str) -> Iterator[_Known]:
        """The values that an argument will have, as far as they are known."""
        bound = step.bind.get(argument)
        if bound is not None and "value" in bound:
            yield _Known(bound["value"])
            return
        of_run = bound is not None and bound.get("step") == ""
        if bound is not None and bound.get("step"):
            return
        source, owner = ("run", None) if of_run else self._sources.first_source(name, step.path)
        if source == "run" and name in self._parameters:
            yield _Known(self._parameters[name], self._spellings.get(name))
        if source == "map" and owner is not None and owner.inside is not None:
            listed = owner.inside.parameter
            if listed in self._parameters and self._sources.first_source(listed, owner.path)[0] == "run":
                yield from self._items(listed)

    def _items(self, name: str) -> list[_Known]:
        """The items of a list that the run is given."""
        if name not in self._listed:
            given = self._parameters[name]
            decoded = parse_json_text(given)
            items = decoded if isinstance(decoded, list) else []
            spelling = given if isinstance(given, str) else self._spellings.get(name)
            texts = item_spellings(spelling, items) if spelling is not None and items else [None] * len(items)
            self._listed[name] = [
                _Known(item, text, f"{name}[{position}]")
                for position, (item, text) in enumerate(zip(items, texts, strict=True))
            ]
        return self._listed[name]


def controls_before_steps(plan: Plan, parameters: Parameters, spellings: Mapping[str, str] | None = None) -> Controls:
    """Computes control values from the run's parameters alone.

    Args:
        spellings: the texts that spelled the parameters, as far as they are kept.
    """
    tree = scope.RunPlan(plan.document(), parameters, spellings)

    def reduce(reducer: FunctionRow, _: list[StoredValue]) -> NoReturn:
        raise AssertionError(f"nothing has run that {reducer['qualname']} could reduce")

    return Controls(tree, scope.RecordReader(""), reduce)
