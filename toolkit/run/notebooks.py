"""Whether the notebooks of a plan can be run, which is said before any step runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolkit.errors import BadInput
from toolkit.runtime.shared.notebooks import packages_for

if TYPE_CHECKING:
    from toolkit.plan.plan import Plan
    from toolkit.run.bash import Asked


def check_notebooks(plan: Plan, image: str | None, asked: Asked, where: str, remedy: str) -> None:
    """Refuses a plan with a notebook that can't be read, or that needs a package which is not there.

    Args:
        image: the setting that names the image of the steps that are looked at; None is the pipeline's.
        asked: is asked only if a step is a notebook. where: what should have the package, as a sentence names it.
        remedy: how it gets there, with {} for the packages' names.

    Raises:
        BadInput: naming the first such step.
    """
    steps = [step for step in plan.tasks() if step.task is not None and step.task.kind == "notebook"]
    steps = [step for step in steps if plan.settings_of(step).image == image]
    if not steps:
        return
    found, lacks = asked.notebooks([step.task.command for step in steps if step.task and step.task.command])
    for step in steps:
        assert step.task is not None and step.task.command is not None
        missing = ", ".join(name for name in packages_for(step.task.command, step.task.html) if name in lacks)
        if missing:
            those = "them" if "," in missing else "it"
            raise BadInput(
                f"the notebook step {step.path!r} needs {missing}, and {where} lacks {those}: {remedy.format(missing)}",
                step.line,
            )
        refused = found.get(step.task.command, {}).get("refused")
        if refused:
            raise BadInput(refused, step.line)
