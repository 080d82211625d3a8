"""Follows what the steps of a run write, also of those that come into being while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from toolkit.report.view import states_of
from toolkit.store.reader import Run, RunLog, follow_file
from toolkit.store.states import Row, States
from toolkit.store.verdict import Attempt

AttemptOutputs = Iterator[tuple[str, int, Iterator[bytes]]]
"""Path, number and output of each attempt; the output is to be read before the next one is asked for."""
_PAUSE = 0.2
"""Seconds between two looks, at least."""


def select_tasks(rows: Sequence[Row], step: str | None) -> list[Row]:
    """The tasks that are wanted, in order.

    Args:
        step: a path, of one or of all that is below it; None is all.
    """
    return [
        row
        for row in rows
        if row.row["type"] == "task" and (step is None or row.path == step or row.path.startswith(step + "/"))
    ]


def follow(log: RunLog, run_id: str, step: str | None) -> AttemptOutputs:
    """The attempts of a run on this machine: at each time the first in the order of the plan that has begun, to its end.

    Ends when the run has ended, or all that is wanted has succeeded.
    """

    def look() -> tuple[Run, States]:
        run = log.run(run_id)
        return run, states_of(log, run)

    def pieces(path: str, number: int) -> Iterator[bytes]:
        attempt = _attempt(log, log.run(run_id), path, number)

        def ended() -> bool:
            return _attempt(log, log.run(run_id), path, number).status != "running"

        yield from follow_file(log.output(attempt), ended, lambda: time.sleep(_PAUSE))

    return stream_attempts(look, step, pieces, _PAUSE)


def stream_attempts(
    look: Callable[[], tuple[Run, States]],
    step: str | None,
    pieces: Callable[[str, int], Iterator[bytes]],
    pause: float,
) -> AttemptOutputs:
    """Each attempt once, as soon as it has begun and the one before it is through.

    Args:
        look: gives the run as it is now. pieces: gives an attempt's output to its end. pause: seconds between two looks.
    """
    done: set[tuple[str, int]] = set()
    while True:
        began = time.monotonic()
        run, found = look()
        wanted = select_tasks(found.rows, step)
        new = [
            (row.path, attempt.number)
            for row in wanted
            for attempt in row.attempts
            if (row.path, attempt.number) not in done
        ]
        for path, number in new:
            done.add((path, number))
            yield path, number, pieces(path, number)
            if not _has_ended(wanted, path, number):
                # It took its time: what is before the next one may have begun by now.
                break
        else:
            if not run.active or _is_over(found.rows, wanted, step):
                return
            # A run of many steps takes long to look at.
            time.sleep(max(pause, time.monotonic() - began))


def _has_ended(rows: Sequence[Row], path: str, number: int) -> bool:
    return any(
        attempt.status != "running"
        for row in rows
        if row.path == path
        for attempt in row.attempts
        if attempt.number == number
    )


def _is_over(rows: Sequence[Row], wanted: Sequence[Row], step: str | None) -> bool:
    """Whether nothing of what is wanted comes any more, though the run goes on."""
    if step is None:
        return False
    whole = [row for row in rows if row.path == step]
    if whole:
        return whole[0].status == "succeeded"
    return bool(wanted) and all(row.status in ("succeeded", "skipped") for row in wanted)


def _attempt(log: RunLog, run: Run, path: str, number: int) -> Attempt:
    return next(one for one in log.attempts(run, path) if one.number == number)
