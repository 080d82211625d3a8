"""Catalog keys in a plan: the names in them, what an executed notebook is called, and keys that two branches put side by side."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from toolkit.errors import BadInput
from toolkit.model.pipeline import Constant, Task
from toolkit.plan.plan import PlannedScope, PlannedStep
from toolkit.runtime.shared.catalog import BadKey, check_key, is_pattern, matches
from toolkit.runtime.shared.keys import escape_braces, fill_key, names_in_key, parse_key, text_in_key
from toolkit.runtime.shared.notebooks import executed_name, html_name
from toolkit.runtime.shared.tree import ANY

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import JsonValue


def names_in(step: PlannedStep) -> tuple[str, ...]:
    """The names in the keys that a step gets and puts: it takes those parameters, whatever its function takes."""
    return names_in_keys(keys_of(step))


def keys_of(step: PlannedStep) -> tuple[str, ...]:
    """The keys that a step gets and puts, as they are written."""
    return (*(get.key for get in step.get), *step.task.catalog.put) if step.task is not None else ()


def names_in_keys(keys: Iterable[str]) -> tuple[str, ...]:
    """The names in keys that were checked, each once."""
    return tuple(dict.fromkeys(name for key in keys for name in names_in_key(key)))


def checked_key(task: Task, key: str) -> str:
    """The key, after checking its braces and that it stays inside the step's folder. The runtime checks it again when filled.

    Raises:
        BadInput: it does not, or a value that is known already can't be part of it.
    """

    def text_of(name: str) -> str:
        binding = task.bind.get(name)
        return text_in_key(key, name, binding.value) if isinstance(binding, Constant) else "x"

    try:
        check_key(fill_key(key, text_of)[0])
    except BadKey as error:
        raise BadInput(f"the step {task.name!r}: {error}", task.line) from None
    return key


def check_filled(key: str, name: str, value: JsonValue, spelling: str | None) -> None:
    """Checks a key with one of its names filled, whatever the others are.

    Raises:
        BadKey: the value can't be part of a key, or the key would not stay inside the step's folder.
    """
    text = text_in_key(key, name, value)
    check_key(fill_key(key, lambda other: (spelling or text) if other == name else "x")[0])


# --- notebooks --------------------------------------------------------------------------------------------------------


def name_executed_notebooks(steps: Iterable[PlannedStep]) -> list[PlannedStep]:
    """The rows, with another name for what a notebook's step puts where several steps would put it under one name.

    It is the step's name then. Of steps that have one name in several branches of a parallel, it is the path with ``-`` in
    place of ``/``.
    """
    rows = list(steps)
    sharing: dict[str, list[PlannedStep]] = {}
    for row in rows:
        if row.task is not None and row.task.kind == "notebook" and row.task.command is not None:
            sharing.setdefault(executed_name(row.task.command), []).append(row)
    types = {row.path: row.type for row in rows}
    named: dict[str, PlannedStep] = {}
    for name, sharers in sharing.items():
        for row in sharers if len(sharers) > 1 else ():
            assert row.task is not None and row.task.command is not None
            beside = any(_are_side_by_side(row.path, other.path, types) for other in sharers if other.name == row.name)
            stem = "-".join(part for part in row.path.split("/") if part != ANY) if beside else row.name
            executed = f"{stem}_out{os.path.splitext(name)[1]}"
            other = {name: executed, html_name(name): html_name(executed)} if row.task.html else {name: executed}
            other = {escape_braces(key): escape_braces(new) for key, new in other.items()}
            keys = (other.get(key, key) for key in row.task.catalog.put)
            catalog = replace(row.task.catalog, put=tuple(dict.fromkeys(keys)))
            named[row.path] = replace(row, task=replace(row.task, catalog=catalog), executed=executed)
    return [named.get(row.path, row) for row in rows]


def _are_side_by_side(path: str, other: str, types: Mapping[str, str]) -> bool:
    """Whether two steps are in two branches of a parallel."""
    return path != other and types.get(os.path.commonpath(["/" + path, "/" + other])[1:]) == "parallel"


# --- keys side by side ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Put:
    """A file that a step surely puts, if it succeeds.

    Attributes:
        name: the key, normalised, with the values that the plan knows. names: the names in it that the plan does not know.
    """

    step: PlannedStep
    name: str
    names: tuple[str, ...] = ()


def check_side_by_side(steps: Iterable[PlannedStep], scopes: Iterable[PlannedScope]) -> None:
    """Refuses two branches of a parallel, or steps of a graph, that surely put one key, unless each get says whose it means.

    What patterns, folders, maps and conditionals put is known to the run alone, and is no error.

    Raises:
        BadInput: naming both steps.
    """
    rows, sequences = {row.path: row for row in steps}, {scope.path: scope for scope in scopes}
    if any(row.type == "parallel" for row in rows.values()) or any(scope.after for scope in sequences.values()):
        _SideBySide(rows, sequences).check()


class _SideBySide:
    def __init__(self, rows: Mapping[str, PlannedStep], scopes: Mapping[str, PlannedScope]) -> None:
        self._rows = rows
        self._scopes = scopes
        self._scope_of = {path: scope for scope in scopes.values() for path in scope.steps}
        self._puts: dict[str, dict[str, _Put]] = {}

    def check(self) -> None:
        for row in self._rows.values():
            if row.type != "parallel" or row.inside is None:
                continue
            branches: dict[str, list[tuple[str, _Put]]] = {}
            for _, scope in row.inside.branches:
                for name, put in self._put_by_scope(scope).items():
                    branches.setdefault(name, []).append((scope, put))
            for name, puts in branches.items():
                if len(puts) > 1 and all(self._is_from_outside(put, scope) for scope, put in puts):
                    self._check_gets(row, name, [put for _, put in puts])
        for sequence in self._scopes.values():
            if sequence.after is not None:
                self._check_graph(sequence)

    def _check_graph(self, sequence: PlannedScope) -> None:
        by_name: dict[str, list[tuple[int, _Put]]] = {}
        for position, path in enumerate(sequence.steps):
            for name, put in self._put_by_step(self._rows[path]).items():
                by_name.setdefault(name, []).append((position, put))
        owner = self._rows[sequence.owner] if sequence.owner is not None else PlannedStep("", "pipeline", "")
        for name, puts in by_name.items():
            older = {position for other, _ in puts for position in sequence.earlier(other)} if len(puts) > 1 else set()
            newest = [put for position, put in puts if position not in older]
            if len(newest) > 1 and all(self._is_from_outside(put, sequence.path) for put in newest):
                outer = f"0/{name}" if owner.type == "map" and not sequence.is_handler else name
                self._check_gets(owner, outer, newest)

    # --- what is put ---

    def _put_by_scope(self, scope: str) -> dict[str, _Put]:
        """The files that a sequence surely puts, by name; of one name, the last."""
        if scope not in self._puts:
            puts: dict[str, _Put] = {}
            for path in self._scopes[scope].steps:
                puts.update(self._put_by_step(self._rows[path]))
                if self._rows[path].ends:
                    # What follows runs only where this step has failed.
                    break
            self._puts[scope] = puts
        return self._puts[scope]

    def _put_by_step(self, row: PlannedStep) -> Mapping[str, _Put]:
        if row.task is not None:
            # What a pattern or a folder stands for is known to the run alone.
            keys = [key for key in row.task.catalog.put if not is_pattern(key) and not key.endswith("/")]
            known = (known_name(row.task, key) for key in keys)
            return {name: _Put(row, name, names) for name, names in known}
        if row.inside is None or row.type in ("map", "conditional"):
            return {}
        puts: dict[str, _Put] = {}
        for _, scope in row.inside.branches:
            puts.update(self._put_by_scope(scope))
        return puts

    def _is_from_outside(self, put: _Put, branch: str) -> bool:
        """Whether the names in a key have values from outside the branch, which all branches see alike."""
        return not put.names or all(
            name not in put.step.bind and name not in self._given_inside(put.step.path, branch) for name in put.names
        )

    def _given_inside(self, path: str, branch: str) -> set[str]:
        """The names that steps, maps and loops inside a branch may give to the step at ``path``."""
        names: set[str] = set()
        while True:
            scope = self._scope_of[path]
            names |= set(scope.returns)
            if scope.path == branch or scope.owner is None:
                return names
            owner = self._rows[scope.owner]
            if owner.inside is not None and owner.inside.item:
                names.add(owner.inside.item)
            path = owner.path

    # --- who gets it ---

    def _check_gets(self, parallel: PlannedStep, name: str, puts: list[_Put]) -> None:
        """Refuses a key that two branches put, where a get of it may mean either, or where no get says which is meant."""
        said = False
        unclear: PlannedStep | None = None
        for step in self._rows.values():
            for get in step.get:
                assert step.task is not None
                wanted, unknown = known_name(step.task, get.key)
                is_one = bool(unknown) or _stands_for(wanted, name)
                if get.step is None:
                    is_both = self._sees(step.path, parallel, name, wanted)
                    is_one = is_one and self._sees_own(step.path, parallel, name)
                else:
                    is_both = self._has(get.step, parallel, name, wanted)
                    is_one = is_one and any(_is_in(put.step.path, get.step) for put in puts)
                if is_both:
                    unclear = unclear or step
                else:
                    said = said or is_one
        if unclear is None and said:
            return
        first, second = puts[0].step, puts[1].step
        remedy = f"give one of them another name than {name}"
        if "." not in name.rpartition("/")[2]:
            remedy += f", or write {name}/ where it is a folder with other files in each"
        if unclear is not None:
            below = self._path_from(unclear.path, first.path)
            if below is not None:
                remedy += f", or name the step in each get, as in {below}:{name} in that of {unclear.path}"
            else:
                remedy += f", which {unclear.path} gets"
        raise BadInput(
            f"the steps {first.path!r} and {second.path!r} put {name} side by side, where neither is the newer one: {remedy}",
            second.line,
        )

    def _path_from(self, getting: str, putting: str) -> str | None:
        """How a step names another one in a get: by its path from a sequence around it; None where it can't."""
        nearer: list[str] = []
        is_handler = False
        while True:
            scope = self._scope_of[getting]
            prefix = f"{scope.path}/" if scope.path else ""
            # A handler may name the step that has failed, too.
            position = scope.steps.index(getting)
            for index in [*scope.earlier(position), *([position] if is_handler else [])]:
                step = scope.steps[index]
                if _is_in(putting, step):
                    below = putting[len(prefix) :]
                    is_hidden = any(f"{around}{below}" in self._rows for around in nearer)
                    return None if is_hidden or ANY in below.split("/") else below
            if scope.owner is None:
                return None
            nearer.append(prefix)
            getting, is_handler = scope.owner, scope.is_handler

    def _has(self, path: str, parallel: PlannedStep, name: str, wanted: str) -> bool:
        """Whether a get that names the step at ``path`` finds what the branches of a parallel put."""
        if not _is_in(parallel.path, path):
            return False
        outer = self._name_below(name, parallel.path, path)
        return _stands_for(wanted, outer) and not self._is_hidden(name, parallel.path, path)

    def _sees(self, path: str, parallel: PlannedStep, name: str, wanted: str) -> bool:
        """Whether a get in the step at ``path`` that names no step finds what the branches of a parallel put."""
        while True:
            scope = self._scope_of[path]
            outer = self._name_below(name, parallel.path, scope.path)
            owner = self._rows[scope.owner] if scope.owner is not None else None
            positions = sorted(scope.earlier(scope.steps.index(path)), reverse=True)
            earlier = [scope.steps[position] for position in positions]
            if owner is not None and owner.type == "loop" and not scope.is_handler:
                # An earlier iteration's.
                earlier += reversed(scope.steps)
            if scope.is_handler:
                earlier.append(scope.owner or "")
            for step in earlier:
                if _is_in(parallel.path, step):
                    return self._has(step, parallel, name, wanted)
                if step in scope.steps and outer in self._put_by_step(self._rows[step]):
                    return False
            if owner is None:
                return False
            path = owner.path

    def _sees_own(self, path: str, parallel: PlannedStep, name: str) -> bool:
        """Whether a step inside of a branch finds what its branch has put before, so that its get means that file."""
        while path != parallel.path and _is_in(path, parallel.path):
            scope = self._scope_of[path]
            earlier = [scope.steps[position] for position in scope.earlier(scope.steps.index(path))]
            if scope.is_handler and scope.owner is not None and scope.owner != parallel.path:
                earlier.append(scope.owner)
            if any(name in self._put_by_step(self._rows[step]) for step in earlier):
                return True
            if scope.owner is None:
                # Of a graph, which is all that there is.
                return False
            path = scope.owner
        return False

    def _is_hidden(self, name: str, path: str, around: str) -> bool:
        """Whether a later step inside of ``around`` surely puts a file of the name that the step at ``path`` puts."""
        while path != around:
            scope = self._scope_of[path]
            for step in scope.steps[scope.steps.index(path) + 1 :]:
                if name in self._put_by_step(self._rows[step]):
                    return True
            assert scope.owner is not None
            owner = self._rows[scope.owner]
            name = f"0/{name}" if owner.type == "map" and not scope.is_handler else name
            path = owner.path
        return False

    def _name_below(self, name: str, path: str, around: str) -> str:
        """The name outside of the maps between a step and what is around it, for the first item of each."""
        while path != around and _is_in(path, around) and path in self._scope_of:
            scope = self._scope_of[path]
            if scope.path == around or scope.owner is None:
                break
            owner = self._rows[scope.owner]
            name = f"0/{name}" if owner.type == "map" and not scope.is_handler else name
            path = owner.path
        return name


def known_name(task: Task, key: str) -> tuple[str, tuple[str, ...]]:
    """A key, normalised, with the values that the plan knows, and the names in it that it does not know."""
    parts = []
    unknown: dict[str, None] = {}
    for text, is_name in parse_key(key):
        binding = task.bind.get(text) if is_name else None
        if isinstance(binding, Constant):
            text = escape_braces(text_in_key(key, text, binding.value))
        elif is_name:
            unknown[text] = None
            text = "{" + text + "}"
        else:
            text = escape_braces(text)
        parts.append(text)
    return os.path.normpath("".join(parts)), tuple(unknown)


def _stands_for(wanted: str, name: str) -> bool:
    """Whether a key that is got stands for a file, also as one item's or as one of a folder."""
    first, _, rest = wanted.partition("/")
    if first.isdigit() and name.startswith("0/"):
        return _stands_for(rest, name[2:])
    return wanted in (name, ".") or name.startswith(wanted + "/") or (is_pattern(wanted) and matches(wanted, name))


def _is_in(path: str, around: str) -> bool:
    return path == around or not around or path.startswith(around + "/")
