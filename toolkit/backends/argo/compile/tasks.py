"""Tasks of Argo's DAG templates, with their inputs, arguments and expressions. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from toolkit.backends.argo.cluster import KubernetesObject
from toolkit.backends.argo.compile.omitted_work import Positions
from toolkit.backends.argo.compile.pod import PATH_INPUT, can_be_input, fill_positions, literal, position_name


def call(name: str, template: str, arguments: list[KubernetesObject], depends: str) -> KubernetesObject:
    """A task of a DAG, which runs a template."""
    task: KubernetesObject = {"name": name, "template": template}
    if arguments:
        task["arguments"] = {"parameters": arguments}
    if depends:
        task["depends"] = depends
    return task


def success_of(task: KubernetesObject) -> str:
    """What a task ``depends`` on that comes after this one."""
    name = task["name"]
    return f"({name}.Succeeded || {name}.Skipped)" if "when" in task else f"{name}.Succeeded"


def omit_at(task: KubernetesObject, positions: Sequence[Positions]) -> KubernetesObject:
    """The task, changed so that it makes no pod at some positions."""
    if positions:
        texts = json.dumps(["/".join(position) for position in positions])
        task["when"] = f"{{{{=!({_here(len(positions[0]))} in {texts})}}}}"
    return task


# --- inputs and arguments -------------------------------------------------------------------------------------------


def input_declarations(positions: int, keys: Iterable[str]) -> KubernetesObject:
    """The inputs of a template: positions, then control values; empty where there are none."""
    parameters = [{"name": name} for name in (*map(position_name, range(positions)), *keys)]
    return {"parameters": parameters} if parameters else {}


def argument(name: str, value: str) -> KubernetesObject:
    return {"name": name, "value": value}


def input_reference(name: str) -> str:
    """The text that Argo replaces by an input."""
    return f"{{{{inputs.parameters.{name}}}}}"


def input_argument(name: str) -> KubernetesObject:
    """An argument that is an input of the same name."""
    return argument(name, input_reference(name))


def output_reference(task: str, key: str) -> str:
    """The text that Argo replaces by an output of a task."""
    return f"{{{{tasks.{task}.outputs.parameters.{key}}}}}"


def position_arguments(positions: int) -> list[KubernetesObject]:
    return [input_argument(position_name(level)) for level in range(positions)]


def path_argument(path: str) -> KubernetesObject:
    """The argument that says which step it is; empty where Argo can't pass the path on."""
    return argument(PATH_INPUT, fill_positions(literal(path)) if can_be_input(path) else "")


# --- expressions ----------------------------------------------------------------------------------------------------


def output(name: str, terms: list[str]) -> KubernetesObject:
    """An output that is the first non-empty one of some expressions."""
    terms = terms or ["''"]
    text = terms[-1]
    for term in reversed(terms[:-1]):
        text = f"{term} != '' ? {term} : ({text})"
    return {"name": name, "valueFrom": {"expression": text, "default": ""}}


def task_term(task: str, key: str) -> str:
    """An expression that is an output of a task, or empty where the task has none."""
    return f"({task_output(task, key)} ?? '')"


def task_output(task: str, key: str) -> str:
    """An expression that is an output of a task, or nil."""
    return f"tasks['{task}']?.outputs?.parameters?.{key}"


def at_position(values: Mapping[Positions, str]) -> str:
    """An expression that is the value for the position of the template, or nil."""
    texts = {"/".join(position): text for position, text in values.items()}
    return f"get({json.dumps(texts)}, {_here(len(next(iter(values))))})"


def _here(positions: int) -> str:
    """An expression that is the positions of the template as one text."""
    return " + '/' + ".join(f"inputs.parameters.{position_name(level)}" for level in range(positions))
