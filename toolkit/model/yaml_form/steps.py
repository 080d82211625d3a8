"""What a line and a graph of steps have in common in a pipeline's YAML file: the keys of a step, what it holds, its handlers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from toolkit.config.decode import suggested
from toolkit.config.located import Located
from toolkit.config.settings import StepSettings
from toolkit.errors import BadInput
from toolkit.model.pipeline import REDUCERS
from toolkit.model.yaml_form.entries import check_keys, line_of, mapping_of, text_of, whole_number_of
from toolkit.model.yaml_form.tasks import copy_flags, copy_kept_failure, describe_stub, describe_task

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import PipelineDescription, ReducerDescription, StepDescription

_TYPES = ("task", "stub", "pipeline", "parallel", "map", "conditional", "loop", "success", "fail")
ENDS = ("success", "fail")
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
_REQUIRED = {
    "pipeline": ("pipeline",),
    "parallel": ("branches",),
    "map": ("branch", "iterate_on", "iterate_as"),
    "conditional": ("parameter", "branches"),
    "loop": ("branch", "max_iterations", "break_on"),
}


class Dags(Protocol):
    """Reads the dags that steps hold."""

    def dag(self, tree: Located) -> PipelineDescription: ...

    def count_step(self, where: str) -> None: ...


class NamedSteps:
    """The steps of one dag, by name."""

    def __init__(self, reader: Dags, tree: Located, steps: dict[str, Located]) -> None:
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

    def _line(self, name: str, place: str) -> int:
        """The line of a step's name, or of the place that names an end without a step of its own."""
        return self._tree.key_lines.get(name, self._tree.line) if name in self._steps else line_of(place)

    def _step_entries(self, name: str, place: str) -> tuple[str, dict[str, Located]]:
        if name not in self._steps:
            if name in ENDS:
                # These two need no step of their own.
                return name, {}
            raise BadInput(f"there is no step {name!r}{suggested(name, [*self._steps, *ENDS])}", place)
        tree = self._steps[name]
        node = mapping_of(tree, f"the step {name}")
        kind = step_type(tree, node)
        check_keys(tree, node, _KEYS.get(kind, ()), f"a {kind} step", open_ended=kind == "stub")
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
        first = text_of(tree, "on_failure")
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
        first = text_of(tree, "on_exit")
        kind, _ = self._step_entries(first, tree.where)
        if kind in ENDS:
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
        if kind in ("stub", *ENDS):
            return describe_stub(name, kind, node, line)
        if kind == "task":
            handler = self._describe_handler(name, node, handlers)
            task = describe_task(name, node, line)
            task["on_failure"] = handler
            copy_kept_failure(node, task)
            return task
        return self._describe_composite(name, kind, node, line, handlers)

    def _describe_composite(
        self, name: str, kind: str, node: dict[str, Located], line: int, handlers: tuple[str, ...]
    ) -> StepDescription:
        handler = self._describe_handler(name, node, handlers)
        step: StepDescription = {"type": kind, "name": name, "line": line, "on_failure": handler}
        copy_flags(node, step)
        copy_kept_failure(node, step)
        if "parameter" in node:
            step["parameter"] = text_of(node["parameter"], "parameter")
        if "iterate_on" in node:
            step["iterate_on"] = text_of(node["iterate_on"], "iterate_on")
        if "iterate_as" in node:
            step["iterate_as"] = text_of(node["iterate_as"], "iterate_as")
        if "break_on" in node:
            step["break_on"] = text_of(node["break_on"], "break_on")
        if "index_as" in node:
            step["index_as"] = text_of(node["index_as"], "index_as")
        if "max_iterations" in node:
            step["max_iterations"] = whole_number_of(node["max_iterations"], "max_iterations")
        if "concurrency" in node:
            step["concurrency"] = whole_number_of(node["concurrency"], "concurrency")
        if "reducer" in node:
            step["reducer"] = _describe_reducer(name, node["reducer"])
        if "branches" in node:
            branches = mapping_of(node["branches"], "branches")
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


def step_type(tree: Located, node: dict[str, Located]) -> str:
    kind = text_of(node["type"], "type") if "type" in node else "task"
    if kind not in _TYPES:
        raise BadInput(
            f"{kind!r} is not a type of step" + (suggested(kind, _TYPES) or f": use one of {', '.join(_TYPES)}"),
            node["type"].where,
        )
    return kind


def step_named_under(step: Located, key: str) -> str | None:
    """The name of a step that stands under a key of another step; None where there is none."""
    tree = step.value.get(key) if isinstance(step.value, dict) else None
    return tree.value if tree is not None and isinstance(tree.value, str) else None


def _describe_reducer(name: str, tree: Located) -> ReducerDescription | str:
    """One of the named reducers, or a function by its dotted path."""
    text = text_of(tree, "reducer").strip()
    if text.startswith("lambda"):
        raise BadInput(
            "a lambda can't be a reducer: define a function in a module and name it as module.function, or name one of "
            f"{', '.join(REDUCERS)}",
            tree.where,
        )
    if "." not in text:
        if text not in REDUCERS:
            raise BadInput(
                f"{text!r} is not a reducer{suggested(text, REDUCERS)}: a reducer is module.function, or one of "
                f"{', '.join(REDUCERS)}",
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
