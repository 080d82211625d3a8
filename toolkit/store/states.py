"""The state of each step and each composite of a run: a pure function of the plan, the attempts and the control values.

It goes through the plan in its order, once. Which branch a conditional takes and how many items a map has are read from the
attempts on the way, so that a run is shown as far as it has come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from toolkit.runtime.shared.causes import ALWAYS
from toolkit.runtime.shared.controls import control_error, missing_value_reason
from toolkit.runtime.shared.retry_policy import may_be_retried
from toolkit.runtime.shared.tree import HANDLER, ON_EXIT, Tree, branches, by_dependence, join
from toolkit.store.engine_view import EngineView
from toolkit.store.verdict import LOST_RUN, Attempt

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import ControlValues, JsonValue, StepRow


class State(NamedTuple):
    """The state of a sequence of steps, or of a step as the sequence around it sees it.

    Attributes:
        status: succeeded, failed, cancelled, running, waiting or skipped; unknown where only a volume has it that can't be read.
        reason: why it failed or was cancelled; else empty.
        begun: whether an attempt of it, or of anything inside it, has begun.
        ends: whether the sequence around it ends with it, although it succeeded: its handler has run in place of the rest.
    """

    status: str
    reason: str = ""
    begun: bool = False
    ends: bool = False


@dataclass(slots=True)
class Row:
    """A row of the plan as it runs, at one instance path.

    Attributes:
        row: the plan's. path: the instance path.
        reason: of a composite, why it failed or was cancelled.
        branch: the label of the branch that a conditional takes. items: the number of a map's items in each status; None
            while the number of items is not known. iterations: the number of a loop's iterations that have begun.
        on_failure: the status of the step's handler; empty where it has not run.
    """

    row: StepRow
    path: str
    attempts: list[Attempt] = field(default_factory=list)
    status: str = "waiting"
    reason: str = ""
    branch: str | None = None
    items: Counter[str] | None = None
    iterations: int | None = None
    on_failure: str = ""

    @property
    def is_handled(self) -> bool:
        """Whether the step has failed and its handler's success counts instead."""
        return self.on_failure == "succeeded" and not self.row.get("keep_failure")


class States(NamedTuple):
    """All rows in the order of the plan, the state of the pipeline itself, and the control values by instance path.

    ``on_exit`` is the state of what runs after the pipeline; None where nothing does.
    """

    rows: list[Row]
    root: State
    controls: ControlValues
    on_exit: State | None = None


class _Turn(Enum):
    """Whether a row that has no attempts may run: now, later if what is before it turns out otherwise, or never."""

    NOW = 1
    LATER = 2
    NEVER = 3


# The status of a whole is the first of these that one of its parts has.
_SINGLY = ("running", "failed", "cancelled", "waiting", "skipped", "succeeded")
_SIDE_BY_SIDE = ("running", "waiting", "cancelled", "failed", "unknown", "skipped", "succeeded")
_CANCELLED = ("running", "waiting", "cancelled", "unknown", "skipped", "failed", "succeeded")

LOST = State("failed", LOST_RUN)
UNKNOWN = State("unknown", begun=True)


def states(
    tree: Tree,
    attempts: Callable[[str], list[Attempt]],
    controls: ControlValues,
    active: bool,
    single: bool = False,
    unfinished: State = LOST,
    engine: EngineView | None = None,
) -> States:
    """The states of all rows that are known to run.

    Args:
        attempts: gives the attempts of a task by its path; called once for each task.
        controls: the control values that were known when the run began.
        active: whether a step may still begin. single: whether a person runs single steps, in any order.
        unfinished: the state of a composite that had begun and did not end, in a run that is not active.
        engine: what the engine says of a run whose records on the volume can't be read; None where they were read.
    """
    walk = _Walk(tree, attempts, controls, active, single, unfinished, engine)
    root = walk.sequence("", "", _Turn.NOW)
    return States(walk.rows, root, walk.controls, walk.on_exit(root))


class _Walk:
    def __init__(
        self,
        tree: Tree,
        attempts: Callable[[str], list[Attempt]],
        controls: ControlValues,
        active: bool,
        single: bool,
        unfinished: State,
        engine: EngineView | None,
    ) -> None:
        self._tree = tree
        self._attempts = attempts
        self._engine = engine
        self.controls: dict[str, JsonValue] = dict(controls)
        self._active = active
        self._single = single
        self._unfinished = unfinished
        self._scopes: dict[str, list[StepRow]] = {}
        self.rows: list[Row] = []

    def on_exit(self, root: State) -> State | None:
        """Adds the rows of what runs after the pipeline, whose own state is ``root``; returns their state."""
        if self._tree.on_exit is None:
            return None
        has_ended = not self._active or root.status in ("succeeded", "failed", "cancelled")
        return self._row(self._tree.on_exit, ON_EXIT, _Turn.NOW if has_ended else _Turn.LATER)

    # --- a sequence ---------------------------------------------------------------------------------------------------

    def sequence(self, scope: str, instance: str, turn: _Turn) -> State:
        """Adds the rows of a sequence, one after the other; returns the state of the sequence."""
        if scope not in self._scopes:
            self._scopes[scope] = self._tree.scope_rows(scope)
        if "after" in self._tree.scopes[scope]:
            return self._graph(scope, instance, turn)
        result: State | None = None
        begun = is_over = is_unknown = False
        for row in self._scopes[scope]:
            state = self._row(row, join(instance, row["name"]), turn)
            begun = begun or state.begun
            if is_over:
                continue
            if state.status == "unknown":
                # If it is done, what comes after it may have begun.
                is_unknown = True
                turn = _Turn.NEVER if row.get("ends") else turn
                continue
            if state.status == "succeeded":
                if row.get("ends") == "failure" and not state.ends:
                    state = State("failed", f"the step {join(instance, row['name'])} ends its pipeline with a failure")
                elif row.get("ends") != "success" and not state.ends:
                    continue
                is_over = True
            result = state if result is None else self._worse(result, state)
            # A person who runs single steps may run any of them next.
            is_over = is_over or not self._single
            turn = self._turn_after(turn)
        if result is None and is_unknown:
            result = UNKNOWN
        elif result is None:
            result = State("succeeded") if self._scopes[scope] else self._state_of_empty(turn)
        return self._state_of_whole(result, begun)

    def _graph(self, scope: str, instance: str, turn: _Turn) -> State:
        """As ``sequence``, of a graph: a step has its turn when those that it follows have succeeded."""
        rows = self._scopes[scope]
        after = [self._tree.scopes[scope]["after"][row["path"]] for row in rows]
        states: dict[int, State] = {}
        counted: list[State] = []
        below: dict[int, list[Row]] = {}
        first = len(self.rows)
        for position in by_dependence(after):
            own_turn = self._turn_behind([states[earlier] for earlier in after[position]], turn)
            states[position] = self._row(rows[position], join(instance, rows[position]["name"]), own_turn)
            below[position] = self.rows[first:]
            del self.rows[first:]
            if own_turn is not _Turn.NEVER or turn is _Turn.NEVER:
                counted.append(states[position])
        for position in sorted(below):
            self.rows.extend(below[position])
        return self._side_by_side(counted, turn)

    def _turn_behind(self, earlier: list[State], turn: _Turn) -> _Turn:
        """The turn of a step of a graph. What follows a step that did not succeed is skipped, also where that was handled."""
        for state in earlier:
            if state.status in ("running", "waiting") or self._single:
                turn = self._turn_after(turn) if state.status != "succeeded" else turn
            elif state.status not in ("succeeded", "unknown") or state.ends:
                return _Turn.NEVER
        return turn

    def _turn_after(self, turn: _Turn) -> _Turn:
        """The turn of what is behind a row that has not succeeded."""
        return _Turn.LATER if self._active and turn is not _Turn.NEVER else _Turn.NEVER

    def _state_of_empty(self, turn: _Turn) -> State:
        """The state of a whole that has nothing in it that could begin."""
        return State({_Turn.NOW: "succeeded", _Turn.LATER: "waiting", _Turn.NEVER: "skipped"}[turn])

    def _worse(self, a: State, b: State) -> State:
        """Of the states of two steps that a person ran, the one that is the sequence's."""
        return min(a, b, key=lambda state: _SINGLY.index(state.status))

    def _state_of_whole(self, state: State, begun: bool) -> State:
        """The state of a whole, given the state of the part that decides.

        Args:
            begun: whether any part has begun.
        """
        status, reason = state.status, state.reason
        if status in ("running", "waiting") and not self._single:
            status = "running" if begun else "waiting"
        elif status == "skipped" and begun and not self._active:
            status, reason = self._unfinished.status, self._unfinished.reason
        return State(status, reason, begun)

    def _side_by_side(self, sequences: Iterable[State], turn: _Turn) -> State:
        """The state of sequences side by side."""
        parts = list(sequences)
        if not parts:
            return self._state_of_empty(turn)
        begun = any(part.begun for part in parts)
        first: dict[str, State] = {}
        for part in parts:
            first.setdefault(part.status, part)
        order: tuple[str, ...] = _SINGLY
        if not self._single:
            order = _CANCELLED if self._unfinished.status == "cancelled" and begun else _SIDE_BY_SIDE
        return self._state_of_whole(next(first[status] for status in order if status in first), begun)

    # --- a row --------------------------------------------------------------------------------------------------------

    def _row(self, plan_row: StepRow, path: str, turn: _Turn) -> State:
        """Adds a row and what is inside it; returns its state as the sequence around it sees it, after its handler."""
        row = Row(plan_row, path)
        self.rows.append(row)
        if plan_row["type"] == "task":
            state = self._task(row, turn)
        else:
            state = self._state_of_empty(turn) if plan_row["type"] == "stub" else self._composite(row, turn)
            if state.status == "unknown" and self._engine is not None and path in self._engine.composites:
                state = State(*self._engine.composites[path], begun=True)
            row.status = state.status
            row.reason = state.reason
        handler = plan_row.get("handler")
        return state if handler is None else self._handler(row, handler, state, turn)

    def _task(self, row: Row, turn: _Turn) -> State:
        row.attempts = self._attempts(row.path)
        if not row.attempts and turn is _Turn.NOW and self._engine is not None and not self._engine.complete:
            row.status = UNKNOWN.status
            return UNKNOWN
        if not row.attempts:
            row.status = "waiting" if self._active and turn is not _Turn.NEVER else "skipped"
            return State(row.status)
        last = row.attempts[-1]
        row.status = last.status
        self._take_controls(row.attempts, turn)
        if last.status == "failed":
            if self._active and not self._single and self._is_retried(row.row, last):
                return State("running", begun=True)
            return State("failed", f"the step {row.path} failed: {last.reason}", begun=True)
        return State(last.status, last.reason, begun=True)

    def _take_controls(self, attempts: list[Attempt], turn: _Turn) -> None:
        """Takes the control values of the newest attempt that succeeded.

        Of several tasks that emit the same value, the last that had its turn counts: what a handler emitted counts no more
        once its step has succeeded in a later attempt.
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

    def _is_retried(self, row: StepRow, last: Attempt) -> bool:
        retry = self._tree.document["settings"][row["settings"]].get("retry")
        if not retry:
            return False
        return may_be_retried(retry.get("retry_policy", ALWAYS), retry.get("limit", 0), last.number, last.fault)

    def _handler(self, row: Row, handler: str, state: State, turn: _Turn) -> State:
        """Adds the rows of a step's handler; returns the state of the two together.

        Args:
            handler: the handler's scope. state: the step's own.
        """
        instance = join(row.path, HANDLER)
        if state.status != "failed":
            self.sequence(handler, instance, self._turn_after(turn))
            return state
        handled = self.sequence(handler, instance, turn)
        has_begun = handled.status not in ("skipped", "waiting", "unknown")
        if not has_begun and (self._single or not self._active):
            # It did not run: the run was cancelled, or the person has not run it.
            return state
        row.on_failure = handled.status if has_begun else ""
        if handled.status in ("succeeded", "failed") and row.row.get("keep_failure"):
            return state
        if handled.status == "succeeded":
            return State("succeeded", begun=True, ends=True)
        if handled.status == "running" or not has_begun:
            return State("running", begun=True)
        return handled._replace(begun=True)

    # --- composites ---------------------------------------------------------------------------------------------------

    def _composite(self, row: Row, turn: _Turn) -> State:
        plan_row, path = row.row, row.path
        if plan_row["type"] == "pipeline":
            return self.sequence(plan_row["path"], path, turn)
        if plan_row["type"] == "parallel":
            return self._side_by_side(
                [self.sequence(scope, join(path, label), turn) for label, scope in branches(plan_row)], turn
            )
        if plan_row["type"] == "loop":
            return self._loop(row, turn)
        control = self.controls.get(path)
        if plan_row["type"] == "conditional":
            return self._conditional(row, control, turn)
        if not isinstance(control, int):
            return self._undecided(row, control, turn)
        [(_, scope)] = branches(plan_row)
        items = [self.sequence(scope, f"{path}/{position}", turn) for position in range(control)]
        row.items = Counter(item.status for item in items)
        return self._side_by_side(items, turn)

    def _conditional(self, row: Row, control: JsonValue, turn: _Turn) -> State:
        taken: State | None = None
        others = self._turn_after(turn) if control is None else _Turn.NEVER
        for label, scope in branches(row.row):
            instance = join(row.path, label)
            if label == control:
                row.branch = label
                taken = self.sequence(scope, instance, turn)
            else:
                self.sequence(scope, instance, others)
        return taken or self._undecided(row, control, turn)

    def _loop(self, row: Row, turn: _Turn) -> State:
        [(_, scope)] = branches(row.row)
        limit = row.row["limit"]
        row.iterations = 0
        begun = False
        for position in range(limit):
            iteration = f"{row.path}/{position}"
            state = self.sequence(scope, iteration, turn)
            begun = begun or state.begun
            row.iterations += state.status not in ("waiting", "skipped")
            if state.status != "succeeded" or position + 1 == limit:
                break
            again = self.controls.get(iteration)
            if not isinstance(again, bool):
                state = self._undecided(row, again, turn)
                break
            if not again:
                break
        return self._state_of_whole(state, begun)

    def _undecided(self, row: Row, control: JsonValue, turn: _Turn) -> State:
        """The state of a composite without a control value: it may still come, or the composite fails.

        Args:
            control: the error in its place, if there is one.
        """
        if turn is _Turn.NEVER:
            return State("skipped")
        if control_error(control) and turn is _Turn.NOW:
            return State("failed", control_error(control))
        if self._engine is not None and self._is_hidden(row.path, turn, self._engine):
            return UNKNOWN
        if self._active:
            return State("waiting")
        if self._unfinished.status == "cancelled":
            return State("skipped")
        return State("failed", missing_value_reason(row.row["type"], row.path))

    def _is_hidden(self, path: str, turn: _Turn, engine: EngineView) -> bool:
        """Whether a composite without a control value has one on the volume, or may have."""
        if path in engine.composites or (turn is _Turn.NOW and not engine.complete):
            return True
        return not self._active and self._unfinished.status != "cancelled"
