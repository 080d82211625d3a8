"""The items of a map that one container runs in order, each as an attempt of its own."""

from __future__ import annotations

import os
from importlib import import_module

from ..shared.controls import group_ranges
from ..shared.scope import RecordReader, Scope, UnsuitableValue
from ..shared.termination import leave_message
from ..shared.tree import GROUP, REPEATED
from .attempt import RuntimeFault
from .left_files import left_message
from .stop_requests import leave_on_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Optional

    from ..shared.documents import LeftRecord
    from ..shared.locations import Locations
    from ..shared.scope import RunPlan
    from .attempt import AttemptRunner


def item_paths(plan: RunPlan, run_folder: str, path: str) -> Optional[list[str]]:
    """The paths of the steps that the container of a group runs, one for each of its items.

    None where the path is that of one step, which just has such a name.

    Raises:
        RuntimeFault: the map's items can't be counted.
    """
    for segment in plan.trail(path) or ():
        rest = path[len(segment.path) + 1 :]
        group, _, after = rest.partition("/")
        if segment.row["type"] in REPEATED and group.startswith(GROUP):
            try:
                count = len(Scope(plan, RecordReader(run_folder), segment.path).items(segment.row, segment.path))
            except UnsuitableValue as error:
                raise RuntimeFault(str(error)) from None
            ranges = group_ranges(count, segment.row["pods"])
            return [f"{segment.path}/{position}/{after}" for position in ranges[int(group[len(GROUP) :])]]
    return None


def run_items(
    plan: RunPlan,
    locations: Locations,
    run_folder: str,
    paths: list[str],
    least: int,
    attempt_of: Callable[[str], AttemptRunner],
) -> int:
    """Runs the items one after the other; one that fails doesn't keep the others from running.

    An item stops where an earlier step of it failed. An item that succeeded in an earlier attempt is not run again.

    Args:
        least: the number of the first attempt whose success counts. attempt_of: makes the attempt of a path.

    Returns:
        The first exit code that is not 0, or 0.
    """
    work, exit_code = locations.work, 0
    left: list[LeftRecord] = []
    # Each item has a copy of the code.
    shutil = import_module("shutil")
    attempt: Optional[AttemptRunner] = None
    for path in paths:
        known = RecordReader(run_folder, least=least)
        before = _step_before(plan, path)
        if known.record(path) is not None or (before is not None and known.record(before) is None):
            continue
        # Between two items there is no child to end. A request to stop that came during the last item counts all the same.
        leave_on_request()
        if attempt is not None and attempt.container_is_stopped:
            break
        locations.work = work
        os.chdir(work)
        attempt = attempt_of(path)
        code = attempt.run()
        if attempt.left is not None:
            left.append(attempt.left)
        exit_code = exit_code or code
        os.chdir(work)
        shutil.rmtree(attempt.private, ignore_errors=True)
    if left and exit_code == 0:
        leave_message(left_message(left))
    return exit_code


def _step_before(plan: RunPlan, path: str) -> Optional[str]:
    """The task before the one at ``path`` in its sequence."""
    trail = plan.trail(path)
    assert trail is not None
    segment = trail[-1]
    steps = plan.scopes[segment.template]["steps"]
    position = steps.index(segment.row["path"])
    if position == 0:
        return None
    return path.rpartition("/")[0] + "/" + str(plan.rows[steps[position - 1]]["name"])
