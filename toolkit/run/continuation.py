"""A run that is resumed: which of its successes still count under the plan as it is now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from toolkit.errors import BadInput
from toolkit.plan.plan import Plan
from toolkit.run.request import Note
from toolkit.runtime.shared.records import checked_plan
from toolkit.runtime.shared.tree import Tree, branches, by_dependence
from toolkit.store.reader import DamagedRun, Run

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import PlanDocument


@dataclass(frozen=True)
class Continuation:
    """A run to resume.

    Attributes:
        reshaped: whether a pipeline of another shape is accepted. Then the first step that differs and all after it run again.
    """

    run: Run
    reshaped: bool

    def kept_steps(self, plan: Plan, note: Note) -> frozenset[str]:
        """The template paths of the steps whose successes still count under the plan as it is now.

        Args:
            note: is given the sentence that says where the plan differs, if that is accepted.

        Raises:
            BadInput: the shape is another, and that is not accepted; or the run's plan can't be read.
        """
        try:
            plan_before = self.run.plan()
            before = _shape(plan_before)
        except (DamagedRun, ValueError, KeyError, TypeError):
            # It comes from a volume on which steps can write.
            raise BadInput(f"the plan in the record of the run {self.run.id} can't be read: begin a new run") from None
        after = _shape(checked_plan(plan.document()))
        if before == after:
            return _that_count(plan, (step.path for step in after))
        position = next(
            (number for number, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), None
        )
        if position is None:
            position = min(len(before), len(after))
        difference = _difference(before, after, position)
        if not self.reshaped:
            raise BadInput(
                f"the pipeline is not the one that the run {self.run.id} began with: {difference}; "
                "with --changed-shape the run resumes nevertheless, and all steps from there on run again"
            )
        if any(
            "after" in scope for document in (plan_before, plan.document()) for scope in document["scopes"].values()
        ):
            note(f"the pipeline has changed: {difference}; what has changed, and all that depends on it, runs again")
            return _that_count(plan, _Kept(plan_before, plan.document()).steps())
        note(f"the pipeline has changed: {difference}; all steps from there on run again")
        # A composite comes before the step inside it that differs, so its other branches are kept.
        return _that_count(plan, (step.path for step in after[:position]))


def _that_count(plan: Plan, paths: Iterable[str]) -> frozenset[str]:
    """Without the steps that run at every end: those of on_exit, and the handlers of steps that stay failed."""
    anew = [f"{step.handler}/" for step in plan.steps if step.keep_failure]
    if plan.on_exit is not None:
        anew.append(f"{plan.on_exit}/")
    return frozenset(path for path in paths if not path.startswith(tuple(anew)))


class _StepShape(NamedTuple):
    """What may not change of a step whose success is to count.

    Attributes:
        path: its template path. kind: the task's kind, or the type of a step that is no task. returns: names and kinds.
        after: of a step of a graph, the paths of those that it follows; None in a line.
    """

    path: str
    kind: str
    returns: tuple[tuple[str, str], ...]
    after: tuple[str, ...] | None = None


def _shape(plan: PlanDocument) -> list[_StepShape]:
    """What a resumed run must have in common with the run before: the steps in their order, or with their edges."""
    after = {
        path: tuple(sorted(scope["steps"][position] for position in positions))
        for scope in plan["scopes"].values()
        for path, positions in scope.get("after", {}).items()
    }
    return [
        _StepShape(
            row["path"],
            row.get("kind") or row["type"],
            tuple((returned["name"], returned["kind"]) for returned in row.get("returns", ())),
            after.get(row["path"]),
        )
        for row in plan["steps"]
    ]


class _Kept:
    """What is kept of a run whose plan has graphs: a step that has not changed, where all that it depends on is kept."""

    def __init__(self, before: PlanDocument, after: PlanDocument) -> None:
        self._before = {shape.path: shape for shape in _shape(before)}
        self._after = {shape.path: shape for shape in _shape(after)}
        self._lines_before = before["scopes"]
        self._tree = Tree(after)
        self._kept: set[str] = set()

    def steps(self) -> frozenset[str]:
        self._scope("", True)
        return frozenset(self._kept)

    def _scope(self, scope: str, clean: bool) -> bool:
        """Keeps what it may of a sequence; returns whether that is all of it.

        Args:
            clean: whether all that the sequence depends on is kept.
        """
        row = self._tree.scopes[scope]
        steps, after = row["steps"], row.get("after")
        before = self._lines_before[scope]["steps"] if scope in self._lines_before else []
        whole: dict[str, bool] = {}
        for number in by_dependence([after[path] for path in steps]) if after is not None else range(len(steps)):
            path = steps[number]
            if after is not None:
                is_clean = clean and all(whole[steps[earlier]] for earlier in after[path])
            else:
                is_clean = clean and all(whole.values()) and before[number : number + 1] == [path]
            whole[path] = self._step(path, is_clean)
        return all(whole.values())

    def _step(self, path: str, clean: bool) -> bool:
        clean = clean and self._before.get(path) == self._after[path]
        if clean:
            self._kept.add(path)
        row = self._tree.rows[path]
        inner = [scope for _, scope in branches(row)] + ([path] if row["type"] == "pipeline" else [])
        is_whole = all([self._scope(scope, clean) for scope in dict.fromkeys(inner)])
        handler = row.get("handler")
        if handler is not None:
            self._scope(handler, clean and is_whole)
        return clean and is_whole


def _difference(before: list[_StepShape], after: list[_StepShape], position: int) -> str:
    """The first difference as a clause."""
    old = before[position] if position < len(before) else None
    new = after[position] if position < len(after) else None
    if old is None and new is not None:
        return f"the step {new.path} is new"
    if new is None and old is not None:
        return f"the step {old.path} is gone"
    assert old is not None and new is not None
    if old.path != new.path:
        if all(step.path != new.path for step in before):
            return f"the step {new.path} is new where {old.path} was"
        return f"the step {new.path} stands where {old.path} was"
    if old.kind != new.kind:
        return f"the step {new.path} was a {old.kind} and is a {new.kind}"
    if old.returns == new.returns:
        return f"the step {new.path} followed {_names_text(old.after)} and follows {_names_text(new.after)}"
    return f"the step {new.path} returned {_returns_text(old.returns)} and returns {_returns_text(new.returns)}"


def _names_text(after: tuple[str, ...] | None) -> str:
    return "the one before it" if after is None else ", ".join(after) or "nothing"


def _returns_text(returns: tuple[tuple[str, str], ...]) -> str:
    return ", ".join(name if kind == "json" else f"{name} ({kind})" for name, kind in returns) or "nothing"
