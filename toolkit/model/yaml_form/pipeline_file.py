"""Reads the YAML form of a pipeline, ``dag: {start_at, steps: {NAME: {type, next, …}}}``, as a description.

Beside the dag, ``parameters`` declares what a run of it can be given.

The description lists the steps of a line in the order in which they run, and those of a graph, ``dag: {order: graph, steps: …}``,
as they stand in the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.config.decode import suggested
from toolkit.config.located import Located, read_yaml
from toolkit.errors import BadInput
from toolkit.model.description import ON_EXIT_INSIDE
from toolkit.model.pipeline import ORDERS
from toolkit.model.yaml_form.entries import check_keys, line_of, mapping_of, text_of
from toolkit.model.yaml_form.graph import GraphOfSteps
from toolkit.model.yaml_form.line import LineOfSteps
from toolkit.model.yaml_form.parameters import describe_parameters

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import PipelineDescription

_PARAMETERS_FILE = "parameters_file"
_OF_DAG = ("name", "description", "start_at", "order", "steps", "max_time", "internal_branch_name")
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
        description["parameters_file"] = {"path": text_of(named, _PARAMETERS_FILE), "line": line_of(named.where)}
    if "parameters" in tree.value:
        description["parameters"] = describe_parameters(tree.value["parameters"])
    return description


class _DagReader:
    """Reads dags, and counts their steps: anchors and handlers may multiply them."""

    def __init__(self) -> None:
        self._count = 0

    def dag(self, tree: Located, whole: bool = False) -> PipelineDescription:
        """The description of a dag and of all dags inside it.

        Args:
            whole: whether it is the dag of the pipeline that is run.
        """
        entries = mapping_of(tree, "dag")
        if set(entries) == {"dag"}:
            return self.dag(entries["dag"], whole)
        on_exit = entries.pop("on_exit", None)
        if on_exit is not None and not whole:
            raise BadInput(ON_EXIT_INSIDE, on_exit.where)
        check_keys(tree, entries, _OF_DAG, "dag")
        is_graph = _order(entries) == "graph"
        for key in ("steps",) if is_graph else ("start_at", "steps"):
            if key not in entries:
                hint = ", the step that it begins with, nor order: graph" if key == "start_at" else ""
                raise BadInput(f"the dag has no {key}{hint}", tree.where)
        steps = mapping_of(entries["steps"], "steps")
        name = text_of(entries["name"], "name") if "name" in entries else ""
        if is_graph:
            if "start_at" in entries:
                raise BadInput(
                    "a graph has no start_at: each of its steps starts as soon as what it needs has ended; leave it out",
                    tree.key_where("start_at"),
                )
            graph = GraphOfSteps(self, entries["steps"], steps, on_exit)
            described: PipelineDescription = {"name": name, "steps": graph.in_order(), "order": "graph"}
            if on_exit is not None:
                described["on_exit"] = graph.on_exit(on_exit)
            return described
        sequence = LineOfSteps(self, entries["steps"], steps)
        order = sequence.from_step(text_of(entries["start_at"], "start_at"), entries["start_at"].where, ())
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


def _order(dag: dict[str, Located]) -> str:
    if "order" not in dag:
        return "line"
    name = text_of(dag["order"], "order")
    if name not in ORDERS:
        raise BadInput(
            f"{name!r} is not an order of steps" + (suggested(name, ORDERS) or f": use {' or '.join(ORDERS)}"),
            dag["order"].where,
        )
    return name
