"""The YAML form: ``dag: {start_at, steps: {NAME: {type, next, …}}}`` as a description, steps in the order in which they run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from toolkit.config.decode import nearest
from toolkit.config.located import Located, read_yaml
from toolkit.errors import BadInput

_TYPES = ("task", "stub", "parallel", "map", "conditional", "loop", "success", "fail")
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
        "retry",
        "max_attempts",
    ),
    "parallel": (*_COMMON, "branches"),
    "map": (*_COMMON, "branch", "iterate_on", "iterate_as", "reducer"),
    "conditional": (*_COMMON, "parameter", "branches", "default"),
    "loop": (*_COMMON, "branch", "max_iterations", "break_on", "index_as"),
    "success": ("type",),
    "fail": ("type",),
}
_LONGEST = 100_000


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
    return _dag(tree.value["dag"])


def _dag(tree: Located) -> dict[str, Any]:
    entries = _mapping(tree, "dag")
    _known(tree, entries, ("name", "description", "start_at", "steps", "max_time", "internal_branch_name"), "dag")
    for key in ("start_at", "steps"):
        if key not in entries:
            raise BadInput(f"the dag has no {key}", tree.where)
    steps = _mapping(entries["steps"], "steps")
    name = _text(entries["name"], "name") if "name" in entries else ""
    return {"name": name, "steps": _in_order(tree, entries, steps)}


def _in_order(tree: Located, entries: dict[str, Located], steps: dict[str, Located]) -> list[dict[str, Any]]:
    """The steps along their ``next``, from ``start_at`` to a success or a step without a next one."""
    order: list[dict[str, Any]] = []
    seen: set[str] = set()
    name, place = _text(entries["start_at"], "start_at"), entries["start_at"].where
    while True:
        if name not in steps:
            hint = nearest(name, list(steps))
            raise BadInput(f"there is no step {name!r}" + (f" (did you mean {hint!r}?)" if hint else ""), place)
        if name in seen:
            raise BadInput(f"the steps go round in a circle: {name!r} comes again after {order[-1]['name']!r}", place)
        seen.add(name)
        node = _mapping(steps[name], f"the step {name}")
        kind = _type(steps[name], node)
        _known(steps[name], node, _KEYS.get(kind, ()), f"a {kind} step", open_ended=kind == "stub")
        line = tree_line(entries["steps"], name)
        if kind == "fail":
            raise BadInput(f"the step {name!r} is of the type fail, which only on_failure may lead to", place)
        if kind == "success":
            break
        order.append(_step(name, kind, node, line))
        following = node.get("next") or node.get("next_node")
        if following is None:
            break
        name, place = _text(following, "next"), following.where
    if not order:
        raise BadInput("the dag has no step before its end", tree.where)
    for other in steps:
        ends = _type(steps[other], _mapping(steps[other], other)) in _ENDS
        if other not in seen and not ends and not _is_handler(other, steps):
            raise BadInput(
                f"the step {other!r} is never reached: no `next` leads to it", tree_where(entries["steps"], other)
            )
    return order


def _is_handler(name: str, steps: dict[str, Located]) -> bool:
    """Whether a step, or one that leads to it, is what an ``on_failure`` names."""
    named = {target for step in steps.values() if (target := _named_by(step, "on_failure")) is not None}
    reached: set[str] = set()
    while named:
        one = named.pop()
        if one in reached or one not in steps:
            continue
        reached.add(one)
        following = _named_by(steps[one], "next")
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


def _step(name: str, kind: str, node: dict[str, Located], line: int) -> dict[str, Any]:
    if kind == "stub":
        return {"type": "stub", "name": name, "line": line}
    if kind == "task":
        return _task(name, node, line)
    step: dict[str, Any] = {"type": kind, "name": name, "line": line, "on_failure": None}
    for key in ("parameter", "iterate_on", "iterate_as", "break_on", "index_as", "reducer"):
        if key in node:
            step[key] = _text(node[key], key)
    if "max_iterations" in node:
        step["max_iterations"] = _whole(node["max_iterations"], "max_iterations")
    if "branches" in node:
        branches = _mapping(node["branches"], "branches")
        step["branches"] = {key: _dag(branch) for key, branch in branches.items()}
    for key in ("branch", "default"):
        if key in node:
            step[key] = _dag(node[key])
    required = {"parallel": ("branches",), "map": ("branch", "iterate_on", "iterate_as")}
    required |= {"conditional": ("parameter", "branches"), "loop": ("branch", "max_iterations", "break_on")}
    for key in required[kind]:
        if key not in step:
            raise BadInput(f"the {kind} step {name!r} has no {key}", node["type"].where)
    return step


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
        "on_failure": None,
    }
    for key in ("terminate_with_success", "terminate_with_failure"):
        if key in node:
            if not isinstance(node[key].value, bool):
                raise BadInput(f"{key} is true or false, not {node[key].described()}", node[key].where)
            step[key] = node[key].value
    for key in ("on_failure", "retry", "max_attempts"):
        if key in node and not (key == "on_failure" and node[key].value in (None, "")):
            raise BadInput(f"the step {name!r} sets {key}, which this version can't honour", node[key].where)
    if kind == "python":
        module, _, qualname = command.strip().rpartition(".")
        step["function"] = {"module": module, "qualname": qualname}
    else:
        step["command"] = command
    return step


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
