"""What has become of each step and each composite of a run: a pure function of the plan, the attempts and the control values.

It goes through the plan in its order, once. What is decided elsewhere (which branch, how many items) is taken from the control
values of the attempts that it passes, so that a run is shown as far as it has come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from toolkit.runtime.shared.controls import control_error
from toolkit.runtime.shared.retry_policy import ALWAYS, may_be_retried
from toolkit.runtime.shared.tree import HANDLER, Tree, branches, join
from toolkit.store.verdict import Attempt


class State(NamedTuple):
    """Of a sequence of steps, or of a step as the sequence around it sees it.

    Attributes:
        status: succeeded, failed, cancelled, running, waiting or skipped.
        reason: why it is not a success; empty where it is none yet.
        begun: whether an attempt of it, or of anything inside it, has begun.
        ends: whether the sequence around it is over with it, though it succeeded: its on_failure has taken the rest over.
    """

    status: str
    reason: str = ""
    begun: bool = False
    ends: bool = False


@dataclass(slots=True)
class Row:
    """A row of the plan as it runs.

    Attributes:
        row: the plan's. path: the instance path.
        reason: of a composite, why it is not a success.
        branch: the one that a conditional takes. items: how many of a map's are in which status; None while their number is
            not known. iterations: of a loop, how many have begun.
        on_failure: the status of what ran because the step had failed; empty where nothing did.
    """

    row: dict[str, Any]
    path: str
    attempts: list[Attempt] = field(default_factory=list)
    status: str = "waiting"
    reason: str = ""
    branch: str | None = None
    items: Counter[str] | None = None
    iterations: int | None = None
    on_failure: str = ""


class States(NamedTuple):
    """All rows in the order of the plan, the state of the pipeline itself, and the control values by instance path."""

    rows: list[Row]
    root: State
    controls: Mapping[str, Any]


class _Turn(Enum):
    """Whether it is the turn of a row that has no attempts."""

    NOW = 1
    LATER = 2
    NEVER = 3


# What a whole is in, by the first of these that a part is in.
_SINGLY = ("running", "failed", "cancelled", "waiting", "skipped", "succeeded")
_SIDE_BY_SIDE = ("running", "waiting", "cancelled", "failed", "skipped", "succeeded")
_CANCELLED = ("running", "waiting", "cancelled", "skipped", "failed", "succeeded")

LOST = State("failed", "lost: its client ended before the run did")


def states(
    tree: Tree,
    attempts: Callable[[str], list[Attempt]],
    controls: Mapping[str, Any],
    active: bool,
    single: bool = False,
    unfinished: State = LOST,
) -> States:
    """The states of all that is known to run.

    Args:
        attempts: gives those of a task by its path; asked once for each.
        controls: the control values that were known when the run began.
        active: whether something may still begin. single: whether that is up to a person, who runs steps in any order.
        unfinished: of a composite that had begun and did not come to its end, in a run that is not active.
    """
    walk = _Walk(tree, attempts, dict(controls), active, single, unfinished)
    root = walk.sequence("", "", _Turn.NOW)
    return States(walk.rows, root, walk.controls)


class _Walk:
    def __init__(
        self,
        tree: Tree,
        attempts: Callable[[str], list[Attempt]],
        controls: dict[str, Any],
        active: bool,
        single: bool,
        unfinished: State,
    ) -> None:
        self._tree = tree
        self._attempts = attempts
        self.controls = controls
        self._active = active
        self._single = single
        self._unfinished = unfinished
        self._scopes: dict[str, list[dict[str, Any]]] = {}
        self.rows: list[Row] = []

    # --- a sequence ---------------------------------------------------------------------------------------------------

    def sequence(self, scope: str, instance: str, turn: _Turn) -> State:
        """The rows of a sequence, one after the other, as far as they come."""
        if scope not in self._scopes:
            self._scopes[scope] = self._tree.scope_rows(scope)
        result: State | None = None
        begun = over = False
        for row in self._scopes[scope]:
            state = self._row(row, join(instance, row["name"]), turn)
            begun = begun or state.begun
            if over:
                continue
            if state.status == "succeeded":
                if row.get("ends") == "failure" and not state.ends:
                    state = State("failed", f"the step {join(instance, row['name'])} ends its pipeline with a failure")
                elif row.get("ends") != "success" and not state.ends:
                    continue
                over = True
            result = state if result is None else self._worse(result, state)
            # Whoever runs steps singly may run any of them next.
            over = over or not self._single
            turn = self._after(turn)
        if result is None:
            result = State("succeeded") if self._scopes[scope] else self._untouched(turn)
        return self._settled(result, begun)

    def _after(self, turn: _Turn) -> _Turn:
        """The turn of what only comes if what is before it turns out otherwise."""
        return _Turn.LATER if self._active and turn is not _Turn.NEVER else _Turn.NEVER

    def _untouched(self, turn: _Turn) -> State:
        """Of what has nothing in it that could begin."""
        return State({_Turn.NOW: "succeeded", _Turn.LATER: "waiting", _Turn.NEVER: "skipped"}[turn])

    def _worse(self, a: State, b: State) -> State:
        """Of two steps that were run singly, the one that says more of the sequence."""
        return min(a, b, key=lambda one: _SINGLY.index(one.status))

    def _settled(self, state: State, begun: bool) -> State:
        """The state of a whole of which a part is in ``state``."""
        status, reason = state.status, state.reason
        if status in ("running", "waiting") and not self._single:
            status = "running" if begun else "waiting"
        elif status == "skipped" and begun and not self._active:
            status, reason = self._unfinished.status, self._unfinished.reason
        return State(status, reason, begun)

    def _all(self, inner: Iterable[State], turn: _Turn) -> State:
        """The state of sequences side by side."""
        found = list(inner)
        if not found:
            return self._untouched(turn)
        begun = any(one.begun for one in found)
        first: dict[str, State] = {}
        for one in found:
            first.setdefault(one.status, one)
        order = _SINGLY
        if not self._single:
            order = _CANCELLED if self._unfinished.status == "cancelled" and begun else _SIDE_BY_SIDE
        return self._settled(next(first[status] for status in order if status in first), begun)

    # --- a row --------------------------------------------------------------------------------------------------------

    def _row(self, row: dict[str, Any], path: str, turn: _Turn) -> State:
        """Adds a row and what is inside it; the state as the sequence around it sees it, after its on_failure."""
        shown = Row(row, path)
        self.rows.append(shown)
        if row["type"] == "task":
            state = self._task(shown, turn)
        else:
            state = self._untouched(turn) if row["type"] == "stub" else self._composite(shown, turn)
            shown.status = state.status
            shown.reason = state.reason
        if row.get("handler") is not None:
            return self._handled(shown, state, turn)
        return state

    def _task(self, shown: Row, turn: _Turn) -> State:
        shown.attempts = self._attempts(shown.path)
        if not shown.attempts:
            shown.status = "waiting" if self._active and turn is not _Turn.NEVER else "skipped"
            return State(shown.status)
        last = shown.attempts[-1]
        shown.status = last.status
        self._take_controls(shown.attempts, turn)
        if last.status == "failed":
            if self._active and not self._single and self._is_retried(shown.row, last):
                return State("running", begun=True)
            return State("failed", f"the step {shown.path} failed: {last.reason}", begun=True)
        return State(last.status, last.reason, begun=True)

    def _take_controls(self, attempts: list[Attempt], turn: _Turn) -> None:
        """What the newest attempt that succeeded says of the composites after it.

        Of several tasks that say something of the same one, the last that had its turn counts: what an on_failure said counts
        no more once its step has succeeded in a later attempt.
        """
        for attempt in reversed(attempts):
            if attempt.status == "succeeded":
                values = attempt.end.get("controls") or {}
                if turn is _Turn.NOW:
                    self.controls.update(values)
                else:
                    for path, value in values.items():
                        self.controls.setdefault(path, value)
                return

    def _is_retried(self, row: dict[str, Any], last: Attempt) -> bool:
        retry = self._tree.document["settings"][row["settings"]].get("retry") or {}
        return may_be_retried(retry.get("retry_policy", ALWAYS), retry.get("limit", 0), last.number, last.fault)

    def _handled(self, shown: Row, state: State, turn: _Turn) -> State:
        """Goes on with the on_failure of a step."""
        where = join(shown.path, HANDLER)
        handler = shown.row["handler"]
        if state.status != "failed":
            self.sequence(handler, where, self._after(turn))
            return state
        found = self.sequence(handler, where, turn)
        if found.status in ("skipped", "waiting") and (self._single or not self._active):
            # Nothing came of it: the run was cancelled, or nobody has run it.
            return state
        shown.on_failure = "" if found.status in ("skipped", "waiting") else found.status
        if found.status == "succeeded":
            return State("succeeded", begun=True, ends=True)
        if found.status in ("running", "waiting"):
            return State("running", begun=True)
        return found._replace(begun=True)

    # --- composites ---------------------------------------------------------------------------------------------------

    def _composite(self, shown: Row, turn: _Turn) -> State:
        row, path = shown.row, shown.path
        if row["type"] == "pipeline":
            return self.sequence(row["path"], path, turn)
        if row["type"] == "parallel":
            return self._all([self.sequence(scope, join(path, label), turn) for label, scope in branches(row)], turn)
        if row["type"] == "loop":
            return self._loop(shown, turn)
        control = self.controls.get(path)
        if row["type"] == "conditional":
            return self._conditional(shown, control, turn)
        if not isinstance(control, int):
            return self._undecided(control, turn, f"how the map {path} goes on")
        [(_, scope)] = branches(row)
        items = [self.sequence(scope, f"{path}/{position}", turn) for position in range(control)]
        shown.items = Counter(one.status for one in items)
        return self._all(items, turn)

    def _conditional(self, shown: Row, control: Any, turn: _Turn) -> State:
        taken: State | None = None
        unknown = self._after(turn) if control is None else _Turn.NEVER
        for label, scope in branches(shown.row):
            where = join(shown.path, label)
            if label == control:
                shown.branch = label
                taken = self.sequence(scope, where, turn)
            else:
                self.sequence(scope, where, unknown)
        return taken or self._undecided(control, turn, f"how the conditional {shown.path} goes on")

    def _loop(self, shown: Row, turn: _Turn) -> State:
        [(_, scope)] = branches(shown.row)
        shown.iterations = 0
        begun = False
        for position in range(shown.row["limit"]):
            iteration = f"{shown.path}/{position}"
            state = self.sequence(scope, iteration, turn)
            begun = begun or state.begun
            shown.iterations += state.status not in ("waiting", "skipped")
            if state.status != "succeeded" or position + 1 == shown.row["limit"]:
                break
            again = self.controls.get(iteration)
            if not isinstance(again, bool):
                state = self._undecided(again, turn, f"whether the loop {shown.path} goes on")
                break
            if not again:
                break
        return self._settled(state, begun)

    def _undecided(self, control: Any, turn: _Turn, what: str) -> State:
        """Of a composite without a control value: not yet, or never, and then it says why."""
        if turn is _Turn.NEVER:
            return State("skipped")
        if control_error(control) and turn is _Turn.NOW:
            return State("failed", control_error(control))
        if self._active:
            return State("waiting")
        if self._unfinished.status == "cancelled":
            return State("skipped")
        return State("failed", f"nothing has told {what}")
