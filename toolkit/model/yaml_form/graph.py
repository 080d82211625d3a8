"""A graph of steps in a pipeline's YAML file: a step names those that it is after, and those that are after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolkit.config.decode import suggested
from toolkit.config.located import Located
from toolkit.errors import BadInput
from toolkit.model.yaml_form.entries import one_or_more, text_of
from toolkit.model.yaml_form.steps import ENDS, Dags, NamedSteps, step_named_under

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import StepDescription


class GraphOfSteps(NamedSteps):
    """The steps of a graph, as they stand in the file. What an ``on_failure`` or the ``on_exit`` names is no part of the graph."""

    def __init__(self, reader: Dags, tree: Located, steps: dict[str, Located], on_exit: Located | None) -> None:
        super().__init__(reader, tree, steps)
        self._apart = {
            handler: f"the on_failure of {name!r}"
            for name, step in steps.items()
            if (handler := step_named_under(step, "on_failure")) in steps
        }
        """For each step that is no part of the graph, what it is."""
        if on_exit is not None and isinstance(on_exit.value, str):
            self._apart[on_exit.value] = "the on_exit"

    def in_order(self) -> list[StepDescription]:
        """The steps of the graph, each after those that it names and those whose ``next`` names it."""
        if not self._steps:
            raise BadInput("the dag has no steps", self._tree.where)
        order: dict[str, StepDescription] = {}
        after: dict[str, list[str]] = {name: [] for name in self._steps}
        for name in self._steps:
            place = self._tree.key_where(name)
            kind, node = self._step_entries(name, place)
            if name in self._apart:
                self._check_handler(name, node)
                continue
            if kind in ENDS:
                raise BadInput(
                    f"the step {name!r} is a {kind}, which would end its pipeline, but in a graph other steps may run beside it: "
                    + ("leave it out" if kind == "success" else "let a step fail"),
                    node["type"].where,
                )
            self._reader.count_step(place)
            order[name] = self._describe_step(name, kind, node, self._line(name, place), ())
            after[name] += [self._named(item, name, "after") for item in one_or_more(node.get("after"), "after")]
            for key in ("next", "next_node"):
                for item in one_or_more(node.get(key), key):
                    after[self._named(item, name, key)].append(name)
        if not order:
            raise BadInput("the graph has no step that is no handler", self._tree.where)
        for name, step in order.items():
            if after[name]:
                step["after"] = after[name]
        return list(order.values())

    def _named(self, tree: Located, name: str, key: str) -> str:
        """The step of the graph that a step names under a key."""
        other = text_of(tree, key)
        if other in self._apart:
            raise BadInput(
                f"the step {name!r} has {other!r} in its {key}, which is {self._apart[other]} and so no part of the graph",
                tree.where,
            )
        if other in ENDS and other not in self._steps:
            raise BadInput(
                f"the step {name!r} has {other!r} in its {key}, which would end the pipeline, but in a graph other steps may run "
                "beside it: leave it out",
                tree.where,
            )
        if other not in self._steps:
            raise BadInput(f"there is no step {other!r}{suggested(other, self._steps)}", tree.where)
        return other

    def _check_handler(self, name: str, node: dict[str, Located]) -> None:
        for key in ("next", "next_node", "after"):
            if key in node:
                raise BadInput(
                    f"the step {name!r} is {self._apart[name]} and so no part of the graph, where nothing is before or after it: "
                    f"leave out its {key}, and write a dag in place of its name where it has several steps",
                    node[key].where,
                )

    def from_step(self, name: str, place: str, handlers: tuple[str, ...]) -> list[StepDescription]:
        kind, node = self._step_entries(name, place)
        self._reader.count_step(place)
        return [self._describe_step(name, kind, node, self._line(name, place), handlers)]
