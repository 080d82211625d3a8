"""Whether the steps that need bash find it, which is said before any step runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from toolkit.errors import BadInput

if TYPE_CHECKING:
    from toolkit.backends.describer import Describer
    from toolkit.plan.plan import Plan
    from toolkit.runtime.shared.documents import DescribeRequest, DescribeResponse, FoundNotebook


class Asked:
    """A describer that remembers whether there is bash where it asks, and what it said of notebooks.

    Args:
        ask: what gives the answers.
    """

    def __init__(self, ask: Describer) -> None:
        self._ask = ask
        self._bash: bool | None = None
        self._notebooks: dict[str, FoundNotebook] = {}
        self._lacks: list[str] = []

    def __call__(self, request: DescribeRequest) -> DescribeResponse:
        answer = self._ask(request)
        self._bash = answer.get("bash", self._bash)
        self._notebooks.update(answer.get("notebooks", {}))
        self._lacks = answer.get("lacks", self._lacks)
        return answer

    def has_bash(self) -> bool:
        """Whether there is bash. Only where nothing has been asked yet, this asks."""
        if self._bash is None:
            self({"roots": [], "file": None, "functions": []})
        return self._bash is not False

    def notebooks(self, wanted: list[str]) -> tuple[Mapping[str, FoundNotebook], list[str]]:
        """What is known of notebooks, by their paths, and which of the packages for notebooks are not there.

        Only what has not been asked yet is asked.
        """
        new = [notebook for notebook in wanted if notebook not in self._notebooks]
        if new:
            self({"roots": [], "file": None, "functions": [], "notebooks": new})
        return self._notebooks, self._lacks


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
