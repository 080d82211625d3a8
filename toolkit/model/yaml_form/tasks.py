"""The steps of a pipeline's YAML file that hold no others: tasks, stubs and ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolkit.config.located import Located
from toolkit.errors import BadInput
from toolkit.model import step_settings
from toolkit.model.pipeline import RETURN_KINDS, TASK_KINDS
from toolkit.model.yaml_form.entries import check_keys, items_of, mapping_of, text_of, truth_of, whole_number_of

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import CatalogDescription, ReturnRow, StepDescription

_LONGEST_COMMAND = 100_000
"""Characters."""


def describe_stub(name: str, kind: str, node: dict[str, Located], line: int) -> StepDescription:
    """A stub; an end (success or fail) is one as well."""
    step: StepDescription = {"type": "stub", "name": name, "line": line}
    copy_flags(node, step)
    if kind == "success":
        step["terminate_with_success"] = True
    elif kind == "fail":
        step["terminate_with_failure"] = True
    return step


def describe_task(name: str, node: dict[str, Located], line: int) -> StepDescription:
    kind = text_of(node["command_type"], "command_type") if "command_type" in node else "python"
    if kind not in TASK_KINDS:
        raise BadInput(f"command_type is python, shell or notebook, not {kind!r}", node["command_type"].where)
    if "command" not in node:
        raise BadInput(
            f"the step {name!r} has no command", f"{next(iter(node.values())).file}:{line}" if node else None
        )
    command = text_of(node["command"], "command")
    if len(command) > _LONGEST_COMMAND:
        raise BadInput(f"the command of {name!r} is longer than {_LONGEST_COMMAND} characters", node["command"].where)
    step: StepDescription = {
        "type": "task",
        "kind": TASK_KINDS[kind],
        "name": name,
        "line": line,
        "returns": [_describe_return(item) for item in items_of(node.get("returns"), "returns")],
        "secrets": [text_of(item, "a secret") for item in items_of(node.get("secrets"), "secrets")],
        "catalog": _describe_catalog(node.get("catalog")),
        "overrides": step_settings.read_overrides(node.get("overrides"), name),
        "bind": _describe_bindings(node.get("bind")),
    }
    copy_flags(node, step)
    if "shell" in node:
        step["shell"] = text_of(node["shell"], "shell")
    if "strict" in node:
        step["strict"] = truth_of(node["strict"], "strict")
    if "html" in node:
        step["html"] = truth_of(node["html"], "html")
    if "max_attempts" in node:
        step["max_attempts"] = whole_number_of(node["max_attempts"], "max_attempts")
    settings = step_settings.read_settings(node, name)
    if settings:
        step["settings"] = settings
    if kind == "python":
        module, _, qualname = command.strip().rpartition(".")
        step["function"] = {"module": module, "qualname": qualname, "file": None}
    else:
        step["command"] = command
    return step


def _describe_return(tree: Located) -> ReturnRow:
    if isinstance(tree.value, str):
        return {"name": tree.value, "kind": "json"}
    entries = mapping_of(tree, "a return")
    check_keys(tree, entries, ("name", "kind"), "a return")
    if "name" not in entries:
        raise BadInput("a return has no name", tree.where)
    kind = text_of(entries["kind"], "kind") if "kind" in entries else "json"
    if kind not in RETURN_KINDS:
        raise BadInput(f"a return's kind is json, object or metric, not {kind!r}", entries["kind"].where)
    return {"name": text_of(entries["name"], "name"), "kind": RETURN_KINDS[kind]}


def _describe_catalog(tree: Located | None) -> CatalogDescription:
    if tree is None or tree.value is None:
        return {"get": [], "put": [], "store_copy": True}
    entries = mapping_of(tree, "catalog")
    check_keys(tree, entries, ("get", "put", "store_copy"), "catalog")
    return {
        "get": [text_of(item, "a key") for item in items_of(entries.get("get"), "get")],
        "put": [text_of(item, "a key") for item in items_of(entries.get("put"), "put")],
        "store_copy": truth_of(entries["store_copy"], "store_copy") if "store_copy" in entries else True,
    }


def _describe_bindings(tree: Located | None) -> dict[str, object]:
    """The bindings of a task: a name as text, a constant as ``{"value": …}``, or one of the run's as ``{"parameter": …}``."""
    if tree is None:
        return {}
    bindings: dict[str, object] = {}
    for argument, binding in mapping_of(tree, "bind").items():
        if isinstance(binding.value, dict):
            check_keys(binding, binding.value, ("value", "parameter"), "a binding")
            bindings[argument] = {
                key: each.plain() if key == "value" else text_of(each, "a binding")
                for key, each in binding.value.items()
            }
        else:
            bindings[argument] = text_of(binding, "a binding")
    return bindings


def copy_flags(node: dict[str, Located], step: StepDescription) -> None:
    """Copies whether a step ends its pipeline."""
    if "terminate_with_success" in node:
        step["terminate_with_success"] = truth_of(node["terminate_with_success"], "terminate_with_success")
    if "terminate_with_failure" in node:
        step["terminate_with_failure"] = truth_of(node["terminate_with_failure"], "terminate_with_failure")


def copy_kept_failure(node: dict[str, Located], step: StepDescription) -> None:
    """Copies whether a step stays failed when its ``on_failure`` has succeeded."""
    if "keep_failure" not in node or not truth_of(node["keep_failure"], "keep_failure"):
        return
    if "on_failure" not in node:
        raise BadInput(
            f"the step {step['name']!r} has keep_failure and no on_failure: keep_failure says that the step stays failed when its "
            "on_failure has succeeded",
            node["keep_failure"].where,
        )
    if step["on_failure"] is not None:
        step["keep_failure"] = True
