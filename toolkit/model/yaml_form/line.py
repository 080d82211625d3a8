"""A line of steps in a pipeline's YAML file: each step's ``next`` names the one that follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolkit.config.located import Located
from toolkit.errors import BadInput
from toolkit.model.yaml_form.entries import mapping_of, text_of
from toolkit.model.yaml_form.steps import ENDS, NamedSteps, step_named_under, step_type

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import StepDescription


class LineOfSteps(NamedSteps):
    """The steps of a line, followed along ``next``: from the dag's start, and from each step that an ``on_failure`` names."""

    def from_step(self, name: str, place: str, handlers: tuple[str, ...]) -> list[StepDescription]:
        """The steps from ``name`` to a success, a fail, or a step without a ``next``.

        Args:
            place: where the step is named. handlers: the first steps of the handlers around these steps.
        """
        order: list[StepDescription] = []
        seen: set[str] = set()
        while True:
            kind, node = self._step_entries(name, place)
            if name in seen:
                raise BadInput(f"the steps form a cycle: {name!r} comes again after {order[-1]['name']!r}", place)
            seen.add(name)
            if "after" in node:
                raise BadInput(
                    f"the step {name!r} has `after`, but its dag is a line, whose steps run along `next`: say `order: graph` "
                    "beside `steps`, or leave it out",
                    node["after"].where,
                )
            if kind == "success" and (order or not handlers):
                break
            self._reader.count_step(place)
            order.append(self._describe_step(name, kind, node, self._line(name, place), handlers))
            following = node.get("next") or node.get("next_node")
            if following is None:
                break
            if isinstance(following.value, tuple):
                raise BadInput(
                    f"the step {name!r} has a list as its `next`, but its dag is a line, in which one step follows another: say "
                    "`order: graph` beside `steps`",
                    following.where,
                )
            name, place = text_of(following, "next"), following.where
        self._reached |= seen
        return order

    def check_all_reached(self) -> None:
        """Refuses steps that nothing leads to, unless they are an end (success or fail)."""
        for name, step in self._steps.items():
            is_end = step_type(step, mapping_of(step, name)) in ENDS
            if name not in self._reached and not is_end and not _belongs_to_handler(name, self._steps):
                raise BadInput(f"the step {name!r} is never reached: no `next` leads to it", self._tree.key_where(name))


def _belongs_to_handler(name: str, steps: dict[str, Located]) -> bool:
    """Whether an ``on_failure`` names the step, or a step that leads to it."""
    pending = {target for step in steps.values() if (target := step_named_under(step, "on_failure")) is not None}
    reached: set[str] = set()
    while pending:
        step_name = pending.pop()
        if step_name in reached or step_name not in steps:
            continue
        reached.add(step_name)
        for key in ("next", "next_node"):
            following = step_named_under(steps[step_name], key)
            if following is not None:
                pending.add(following)
    return name in reached
