"""Whether the steps that need bash find it, which is said before any step runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from toolkit.errors import BadInput

if TYPE_CHECKING:
    from toolkit.backends.describer import Describer
    from toolkit.plan.plan import Plan
    from toolkit.runtime.shared.documents import DescribeRequest, DescribeResponse


class Asked:
    """A describer that remembers whether there is bash where it asks.

    Args:
        ask: what gives the answers.
    """

    def __init__(self, ask: Describer) -> None:
        self._ask = ask
        self._bash: bool | None = None

    def __call__(self, request: DescribeRequest) -> DescribeResponse:
        answer = self._ask(request)
        self._bash = answer.get("bash", self._bash)
        return answer

    def has_bash(self) -> bool:
        """Whether there is bash. Only where nothing has been asked yet, this asks."""
        if self._bash is None:
            self({"roots": [], "file": None, "functions": []})
        return self._bash is not False


def check_bash(plan: Plan, image: str | None, has_bash: Callable[[], bool], where: str) -> None:
    """Refuses a plan with a step that needs bash, where there is none.

    Args:
        image: the setting that names the image of the steps that are looked at; None is the pipeline's.
        has_bash: is asked only if a step needs it. where: what should have it, as a sentence names it.

    Raises:
        BadInput: naming the first such step.
    """
    for step in plan.tasks():
        task = step.task
        if task is None or task.shell != "bash" or plan.settings_of(step).image != image:
            continue
        if has_bash():
            return
        why, instead = ("shell: bash", "leave out `shell: bash`")
        if task.strict:
            why, instead = ("strict: true", "set `strict: false` for it")
        raise BadInput(
            f"the step {step.path!r} needs bash ({why}), and {where} has none: install bash there, or {instead}",
            step.line,
        )
