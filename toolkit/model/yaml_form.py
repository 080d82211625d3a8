"""The YAML form: ``dag: {start_at, steps: {NAME: {type, next, …}}}`` as a description, steps in the order in which they run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toolkit.config.decode import nearest
from toolkit.config.located import Located, read_yaml
from toolkit.errors import BadInput
from toolkit.model.pipeline import REDUCERS

_TYPES = ("task", "stub", "pipeline", "parallel", "map", "conditional", "loop", "success", "fail")
_ENDS = ("success", "fail")
_COMMON = ("type", "next", "next_node", "on_failure")
_KEYS = {
    "task": (
        *_COMMON,
        "command_type",
        "command",
        "returns",
        "catalog",
        "secrets",
        "overrides",
        "bind",
        "terminate_with_success",
        "terminate_with_failure",
        "max_attempts",
    ),
    "pipeline": (*_COMMON, "branch", "dag", "pipeline"),
    "parallel": (*_COMMON, "branches"),
    "map": (*_COMMON, "branch", "iterate_on", "iterate_as", "reducer", "concurrency"),
    "conditional": (*_COMMON, "parameter", "branches", "default"),
    "loop": (*_COMMON, "branch", "max_iterations", "break_on", "index_as"),
    "success": ("type",),
    "fail": ("type",),
}
_LONGEST = 100_000
_MOST_STEPS = 10_000
"""With each branch that stands behind an anchor, and each handler, counted as often as it is used."""


def read(path: Path) -> dict[str, Any]:
    """The description of a pipeline's YAML file; python functions are dotted paths that are still to be resolved.

    Raises:
        BadInput: with file and line, for what is not a pipeline: an unknown key, a step that is missing or never
            reached, a cycle.
    """
    tree = read_yaml(path)
    if not isinstance(tree.value, dict) or "dag" not in tree.value:
        raise BadInput("this file has no `dag:` and is no pipeline", tree.where)
    for key in tree.value:
        # Anchors for branches are kept under keys of the author's own choice, beside the dag.
        if key != "dag" and not isinstance(tree.value[key].value, dict):
            raise BadInput(f"unknown key {key!r} beside dag", tree.key_where(key))
    return _Reader().dag(tree.value["dag"])


class _Reader:
    """Counts the steps, which anchors and handlers may multiply."""

    def __init__(self) -> None:
        self._count = 0

    def dag(self, tree: Located) -> dict[str, Any]:
        entries = _mapping(tree, "dag")
        if set(entries) == {"dag"}:
            return self.dag(entries["dag"])
        _known(tree, entries, ("name", "description", "start_at", "steps", "max_time", "internal_branch_name"), "dag")
        for key in ("start_at", "steps"):
            if key not in entries:
                raise BadInput(f"the dag has no {key}", tree.where)
        steps = _mapping(entries["steps"], "steps")
        name = _text(entries["name"], "name") if "name" in entries else ""
        sequence = _Sequence(self, entries["steps"], steps)
        order = sequence.from_step(_text(entries["start_at"], "start_at"), entries["start_at"].where, ())
        if not order:
            raise BadInput("the dag has no step before its end", tree.where)
        sequence.check_all_reached()
        return {"name": name, "steps": order}

    def count(self, where: str) -> None:
        """One more step.

        Raises:
            BadInput: they are too many.
        """
        self._count += 1
        if self._count > _MOST_STEPS:
            raise BadInput(
                f"the pipeline has more than {_MOST_STEPS} steps, with those behind an on_failure counted for each",
                where,
            )


class _Sequence:
    """The steps of one dag, walked along their ``next``: from its start, and from each step that an ``on_failure`` names."""

    def __init__(self, reader: _Reader, tree: Located, steps: dict[str, Located]) -> None:
        self._reader = reader
        self._tree = tree
        self._steps = steps
        self._seen: set[str] = set()

    def from_step(self, name: str, place: str, handled: tuple[str, ...]) -> list[dict[str, Any]]:
        """The steps from one on, to a success, a fail, or a step without a next one.

        Args:
            place: where the step is named. handled: the steps at which the handlers begin that this is inside of.
        """
        order: list[dict[str, Any]] = []
        seen: set[str] = set()
        while True:
            kind, node = self._node(name, place)
            if name in seen:
                raise BadInput(
                    f"the steps go round in a circle: {name!r} comes again after {order[-1]['name']!r}", place
                )
            seen.add(name)
            line = tree_line(self._tree, name)
            if kind == "success" and (order or not handled):
                break
            self._reader.count(place)
            order.append(self._step(name, kind, node, line, handled))
            following = node.get("next") or node.get("next_node")
            if following is None:
                break
            name, place = _text(following, "next"), following.where
        self._seen |= seen
        return order

    def _node(self, name: str, place: str) -> tuple[str, dict[str, Located]]:
        if name not in self._steps:
            hint = nearest(name, list(self._steps))
            raise BadInput(f"there is no step {name!r}" + (f" (did you mean {hint!r}?)" if hint else ""), place)
        tree = self._steps[name]
        node = _mapping(tree, f"the step {name}")
        kind = _type(tree, node)
        _known(tree, node, _KEYS.get(kind, ()), f"a {kind} step", open_ended=kind == "stub")
        return kind, node

    def check_all_reached(self) -> None:
        """Refuses steps that nothing leads to; an end that nothing leads to is no mistake."""
        for other in self._steps:
            ends = _type(self._steps[other], _mapping(self._steps[other], other)) in _ENDS
            if other not in self._seen and not ends and not _is_handler(other, self._steps):
                raise BadInput(
                    f"the step {other!r} is never reached: no `next` leads to it", tree_where(self._tree, other)
                )

    def _handler(self, name: str, node: dict[str, Located], handled: tuple[str, ...]) -> dict[str, Any] | None:
        """The pipeline of an ``on_failure``: a dag in its place, or what begins at the step that it names."""
        tree = node.get("on_failure")
        if tree is None or tree.value in (None, ""):
            return None
        if isinstance(tree.value, dict):
            return self._reader.dag(tree)
        named = _text(tree, "on_failure")
        kind, _ = self._node(named, tree.where)
        if named in handled:
            raise BadInput(f"the on_failure of {name!r} leads round in a circle, back to {named!r}", tree.where)
        if kind == "fail":
            # What failed is to be a failure, as it is without a handler.
            return None
        return {"name": "", "steps": self.from_step(named, tree.where, (*handled, named))}

    def _step(
        self, name: str, kind: str, node: dict[str, Located], line: int, handled: tuple[str, ...]
    ) -> dict[str, Any]:
        if kind in ("stub", *_ENDS):
            ends: dict[str, Any] = {
                key: _flag(node, key) for key in ("terminate_with_success", "terminate_with_failure") if key in node
            }
            if kind in _ENDS:
                ends["terminate_with_success" if kind == "success" else "terminate_with_failure"] = True
            return {"type": "stub", "name": name, "line": line, **ends}
        handler = self._handler(name, node, handled)
        if kind == "task":
            return {**_task(name, node, line), "on_failure": handler}
        step: dict[str, Any] = {"type": kind, "name": name, "line": line, "on_failure": handler}
        for key in ("parameter", "iterate_on", "iterate_as", "break_on", "index_as"):
            if key in node:
                step[key] = _text(node[key], key)
        for key in ("max_iterations", "concurrency"):
            if key in node:
                step[key] = _whole(node[key], key)
        if "reducer" in node:
            step["reducer"] = _reducer(name, node["reducer"])
        if "branches" in node:
            branches = _mapping(node["branches"], "branches")
            step["branches"] = {key: self._reader.dag(branch) for key, branch in branches.items()}
        for key in ("branch", "default"):
            if key in node:
                step[key] = self._reader.dag(node[key])
        if kind == "pipeline":
            given = [key for key in node if key in ("branch", "dag", "pipeline")]
            if len(given) > 1:
                raise BadInput(f"{given[1]!r} and {given[0]!r} say the same; keep one", node[given[1]].where)
            step.pop("branch", None)
            step.update({"pipeline": self._reader.dag(node[given[0]])} if given else {})
        for key in _REQUIRED[kind]:
            if key not in step:
                what = "branch" if kind == "pipeline" else key
                raise BadInput(f"the {kind} step {name!r} has no {what}", node["type"].where)
        return step


_REQUIRED = {
    "pipeline": ("pipeline",),
    "parallel": ("branches",),
    "map": ("branch", "iterate_on", "iterate_as"),
    "conditional": ("parameter", "branches"),
    "loop": ("branch", "max_iterations", "break_on"),
}


def _reducer(name: str, tree: Located) -> dict[str, Any] | str:
    """A reducer that has a name, or a function by its dotted path."""
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
                f"{text!r} is no reducer"
                + (f" (did you mean {hint!r}?)" if hint else "")
                + f": it is module.function, or one of {', '.join(REDUCERS)}",
                tree.where,
            )
        return text
    module, _, qualname = text.rpartition(".")
    function = {"module": module, "qualname": qualname}
    return {"name": name, "line": tree.line, "kind": "python", "function": function}


def _is_handler(name: str, steps: dict[str, Located]) -> bool:
    """Whether a step, or one that leads to it, is what an ``on_failure`` names."""
    named = {target for step in steps.values() if (target := _named_by(step, "on_failure")) is not None}
    reached: set[str] = set()
    while named:
        one = named.pop()
        if one in reached or one not in steps:
            continue
        reached.add(one)
        for key in ("next", "next_node"):
            following = _named_by(steps[one], key)
            if following is not None:
                named.add(following)
    return name in reached


def _named_by(step: Located, key: str) -> str | None:
    """The step that a key of a step names, where it names one."""
    found = step.value.get(key) if isinstance(step.value, dict) else None
    return found.value if found is not None and isinstance(found.value, str) else None


def tree_line(steps: Located, name: str) -> int:
    """The line of a step's name."""
    return steps.key_lines.get(name, steps.line)


def tree_where(steps: Located, name: str) -> str:
    """The place of a step's name as ``file:line``."""
    return steps.key_where(name)


def _type(tree: Located, node: dict[str, Located]) -> str:
    kind = _text(node["type"], "type") if "type" in node else "task"
    if kind not in _TYPES:
        hint = nearest(kind, _TYPES)
        raise BadInput(
            f"{kind!r} is no type of step"
            + (f" (did you mean {hint!r}?)" if hint else f": it is one of {', '.join(_TYPES)}"),
            node["type"].where,
        )
    return kind


def _task(name: str, node: dict[str, Located], line: int) -> dict[str, Any]:
    kind = _text(node["command_type"], "command_type") if "command_type" in node else "python"
    if kind not in ("python", "shell", "notebook"):
        raise BadInput(f"command_type is python, shell or notebook, not {kind!r}", node["command_type"].where)
    if "command" not in node:
        raise BadInput(f"the step {name!r} has no command", f"{_file(node)}:{line}" if node else None)
    command = _text(node["command"], "command")
    if len(command) > _LONGEST:
        raise BadInput(f"the command of {name!r} is longer than {_LONGEST} characters", node["command"].where)
    step: dict[str, Any] = {
        "type": "task",
        "kind": kind,
        "name": name,
        "line": line,
        "returns": [_return(one) for one in _items(node.get("returns"), "returns")],
        "secrets": [_text(one, "a secret") for one in _items(node.get("secrets"), "secrets")],
        "catalog": _catalog(node.get("catalog")),
        "overrides": _texts(node.get("overrides"), "overrides"),
        "bind": _bind(node.get("bind")),
    }
    for key in ("terminate_with_success", "terminate_with_failure"):
        if key in node:
            step[key] = _flag(node, key)
    if "max_attempts" in node:
        step["max_attempts"] = _whole(node["max_attempts"], "max_attempts")
    if kind == "python":
        module, _, qualname = command.strip().rpartition(".")
        step["function"] = {"module": module, "qualname": qualname}
    else:
        step["command"] = command
    return step


def _flag(node: dict[str, Located], key: str) -> bool:
    value = node[key].value
    if not isinstance(value, bool):
        raise BadInput(f"{key} is true or false, not {node[key].described()}", node[key].where)
    return value


def _file(node: dict[str, Located]) -> str:
    return next(iter(node.values())).file


def _return(tree: Located) -> dict[str, str]:
    if isinstance(tree.value, str):
        return {"name": tree.value, "kind": "json"}
    entries = _mapping(tree, "a return")
    _known(tree, entries, ("name", "kind"), "a return")
    if "name" not in entries:
        raise BadInput("a return has no name", tree.where)
    kind = _text(entries["kind"], "kind") if "kind" in entries else "json"
    if kind not in ("json", "object", "metric"):
        raise BadInput(f"a return's kind is json, object or metric, not {kind!r}", entries["kind"].where)
    return {"name": _text(entries["name"], "name"), "kind": kind}


def _catalog(tree: Located | None) -> dict[str, Any]:
    if tree is None or tree.value is None:
        return {"get": [], "put": [], "store_copy": True}
    entries = _mapping(tree, "catalog")
    _known(tree, entries, ("get", "put", "store_copy"), "catalog")
    copy = entries.get("store_copy")
    if copy is not None and not isinstance(copy.value, bool):
        raise BadInput(f"store_copy is true or false, not {copy.described()}", copy.where)
    return {
        "get": [_text(one, "a key") for one in _items(entries.get("get"), "get")],
        "put": [_text(one, "a key") for one in _items(entries.get("put"), "put")],
        "store_copy": True if copy is None else copy.value,
    }


def _bind(tree: Located | None) -> dict[str, Any]:
    if tree is None:
        return {}
    found: dict[str, Any] = {}
    for argument, one in _mapping(tree, "bind").items():
        if isinstance(one.value, dict):
            _known(one, one.value, ("value",), "a binding")
            found[argument] = {"value": one.value["value"].plain()} if "value" in one.value else {}
        else:
            found[argument] = _text(one, "a binding")
    return found


def _known(
    tree: Located, entries: dict[str, Located], known: tuple[str, ...], what: str, open_ended: bool = False
) -> None:
    if open_ended:
        return
    for key in entries:
        if key not in known:
            if key == "retry":
                raise BadInput(f"unknown key 'retry' in {what}: say max_attempts", tree.key_where(key))
            hint = nearest(key, known)
            raise BadInput(
                f"unknown key {key!r} in {what}" + (f" (did you mean {hint!r}?)" if hint else ""), tree.key_where(key)
            )


def _mapping(tree: Located, what: str) -> dict[str, Located]:
    if not isinstance(tree.value, dict):
        raise BadInput(f"{what} is a mapping, not {tree.described()}", tree.where)
    return tree.value


def _items(tree: Located | None, what: str) -> tuple[Located, ...]:
    if tree is None or tree.value is None:
        return ()
    if not isinstance(tree.value, tuple):
        raise BadInput(f"{what} is a list, not {tree.described()}", tree.where)
    return tree.value


def _text(tree: Located, what: str) -> str:
    if not isinstance(tree.value, str):
        raise BadInput(f"{what} is text, not {tree.described()}: put it in quotes", tree.where)
    return tree.value


def _texts(tree: Located | None, what: str) -> dict[str, str]:
    return {key: _text(one, what) for key, one in _mapping(tree, what).items()} if tree is not None else {}


def _whole(tree: Located, what: str) -> int:
    if not isinstance(tree.value, int) or isinstance(tree.value, bool):
        raise BadInput(f"{what} is a whole number, not {tree.described()}", tree.where)
    return tree.value
