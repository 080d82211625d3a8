"""Follows the output of a run's steps, also of steps that start while the run is followed."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence

from toolkit.report.view import states_of
from toolkit.store.reader import Run, RunLog, follow_file
from toolkit.store.states import Row, States
from toolkit.store.verdict import Attempt

AttemptOutputs = Generator[tuple[str, int, Iterator[bytes]], None, None]
"""Path, number and output of each attempt. An output must be read before the next attempt is asked for.
Who stops reading closes it."""
_PAUSE = 0.2
"""The shortest time between two looks at the run, in seconds."""


def select_tasks(rows: Sequence[Row], step: str | None) -> list[Row]:
    """The rows of tasks, in order.

    Args:
        step: the path of a step; the tasks below it are included. None is all tasks.
    """
    return [
        row
        for row in rows
        if row.row["type"] == "task" and (step is None or row.path == step or row.path.startswith(step + "/"))
    ]


def follow(log: RunLog, run_id: str, step: str | None) -> AttemptOutputs:
    """The outputs of a run on this machine. Of the attempts that have begun, the first in the plan's order comes first.

    Ends when the run has ended, or when all that is followed has succeeded.

    Args:
        step: as in :func:`select_tasks`.
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
    """Each attempt once, when it has begun and the output of the one before it has been read.

    Args:
        look: returns the run as it is now. step: as in :func:`select_tasks`.
        pieces: yields an attempt's output to its end. pause: seconds between two looks.
    """
    done: set[tuple[str, int]] = set()
    while True:
        began = time.monotonic()
        run, states = look()
        tasks = select_tasks(states.rows, step)
        new = [
            (row.path, attempt.number)
            for row in tasks
            for attempt in row.attempts
            if (row.path, attempt.number) not in done
        ]
        for path, number in new:
            done.add((path, number))
            yield path, number, pieces(path, number)
            if not _has_ended(tasks, path, number):
                # It was running when it was looked at. An attempt that comes before the next one may have begun since.
                break
        else:
            if not run.active or _is_complete(states.rows, tasks, step):
                return
            # To look at a run of many steps takes long, so the pause grows with it.
            time.sleep(max(pause, time.monotonic() - began))


def interleaved(
    log: RunLog, look: Callable[[], tuple[Run, States]], step: str | None, pause: float = _PAUSE
) -> Generator[tuple[str, int, bytes], None, None]:
    """Path, number and a piece of the output of each attempt, as they come; an empty piece is the end of one.

    Ends when the run has ended, or when all that is followed has succeeded.

    Args:
        look: returns the run as it is now, with what its attempts have written so far in the log.
        step: as in :func:`select_tasks`. pause: seconds between two looks.
    """
    read: dict[tuple[str, int], int] = {}
    done: set[tuple[str, int]] = set()
    while True:
        began = time.monotonic()
        run, states = look()
        tasks = select_tasks(states.rows, step)
        for row in tasks:
            for attempt in row.attempts:
                key = (row.path, attempt.number)
                if key in done:
                    continue
                for data in follow_file(log.output(attempt), lambda: True, lambda: None, read.get(key, 0)):
                    read[key] = read.get(key, 0) + len(data)
                    yield *key, data
                if attempt.status != "running" or not run.active:
                    done.add(key)
                    yield *key, b""
        if not run.active or _is_complete(states.rows, tasks, step):
            return
        time.sleep(max(pause, time.monotonic() - began))


def follow_lines(log: RunLog, run_id: str, step: str | None) -> Generator[tuple[str, int, bytes], None, None]:
    """As :func:`interleaved`, of a run on this machine."""

    def look() -> tuple[Run, States]:
        run = log.run(run_id)
        return run, states_of(log, run)

    return interleaved(log, look, step)


def _has_ended(rows: Sequence[Row], path: str, number: int) -> bool:
    return any(
        attempt.status != "running"
        for row in rows
        if row.path == path
        for attempt in row.attempts
        if attempt.number == number
    )


def _is_complete(rows: Sequence[Row], tasks: Sequence[Row], step: str | None) -> bool:
    """Whether there is no more output to come of the step, though the run is active."""
    if step is None:
        return False
    own_row = next((row for row in rows if row.path == step), None)
    if own_row is not None:
        return own_row.status == "succeeded"
    return bool(tasks) and all(row.status in ("succeeded", "skipped") for row in tasks)


def _attempt(log: RunLog, run: Run, path: str, number: int) -> Attempt:
    return next(attempt for attempt in log.attempts(run, path) if attempt.number == number)
