"""``toolkit logs``."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.cli.arguments import project_at
from toolkit.cli.output import note, print_json
from toolkit.cli.run_handle import open_run
from toolkit.errors import BadInput
from toolkit.report.streams import ended_by_its_reader
from toolkit.report.view import states_of
from toolkit.runs.find import RunHandle, local_log
from toolkit.runs.logs import follow, follow_lines, select_tasks
from toolkit.runtime.shared.tree import Tree
from toolkit.store.reader import Run, RunLog, follow_file
from toolkit.store.states import Row

if TYPE_CHECKING:
    from toolkit.report.contract import OutputDocument


def logs(options: argparse.Namespace) -> int:
    """Prints what the steps wrote, step by step; with ``-f`` as it comes, until the run has ended."""
    handle, step = _open_run_for_logs(options)
    log, run = handle.log, handle.run
    rows = states_of(log, run).rows
    is_unread = log.engine_view(run) is not None
    if step is not None:
        _check_step(step, run, rows, may_come=(options.follow and run.active) or is_unread)
    has_heads = step is None or all(row.path != step for row in select_tasks(rows, step))
    if is_unread:
        _print_container_logs(handle, step, options, has_heads)
        return 0
    if options.json:
        print_json(_lines(log, select_tasks(rows, step)))
        return 0
    if not options.follow or not run.active:
        for row in select_tasks(rows, step):
            for attempt in row.attempts:
                _print_head(row.path, attempt.number, has_heads or len(row.attempts) > 1)
                _print_output(follow_file(log.output(attempt), lambda: True, lambda: None))
        return 0
    if has_heads:
        _print_lines(handle, step)
        return 0
    if handle.remote is not None:
        from toolkit.runs.cluster_logs import follow_logs

        outputs = follow_logs(handle.remote, run.id, step)
    else:
        outputs = follow(log, run.id, step)
    # A step may be silent for hours.
    with ended_by_its_reader(), closing(outputs):
        for path, number, pieces in outputs:
            _print_head(path, number, has_heads or number > 1)
            _print_output(pieces)
    return 0


def _print_lines(handle: RunHandle, step: str | None) -> None:
    """Prints the lines of several steps as they come, each after its step's name."""
    from toolkit.report.items import items_of_run
    from toolkit.report.step_lines import StepLines

    run = handle.run
    if handle.remote is not None:
        from toolkit.runs import cluster_logs

        pieces = cluster_logs.follow_lines(handle.remote, run.id, step)
    else:
        pieces = follow_lines(handle.log, run.id, step)
    lines = StepLines(lambda line: print(line, flush=True), items_of_run(run.folder))
    with ended_by_its_reader(), closing(pieces):
        for path, number, data in pieces:
            if data:
                lines.feed(path, number, data)
            else:
                lines.end(path, number)


def _print_container_logs(handle: RunHandle, step: str | None, options: argparse.Namespace, has_heads: bool) -> None:
    """Prints what the cluster has of the output of a run whose volume can't be read.

    Raises:
        Infrastructure: at the end, where that is not all.
    """
    from toolkit.runs.cluster_logs import container_logs

    assert handle.remote is not None
    note("this is what the cluster has kept of the output; it may have cut it")
    outputs = container_logs(handle.remote, handle.run, step, options.follow and handle.run.active)
    if options.json:
        print_json([_document(path, number, b"".join(pieces)) for path, number, pieces in outputs])
        return
    for path, number, pieces in outputs:
        _print_head(path, number, has_heads or number > 1)
        _print_output(pieces)


def _print_head(path: str, number: int, has_head: bool) -> None:
    """The line before an attempt's output, where several outputs are printed."""
    if has_head:
        print(f"==> {path}" + (f" (attempt {number})" if number > 1 else ""), flush=True)


def _print_output(pieces: Iterable[bytes]) -> None:
    last = b"\n"
    for data in pieces:
        # The bytes as they are, because a step's output need not be text.
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        last = data
    if not last.endswith(b"\n"):
        print(flush=True)


def _check_step(step: str, run: Run, rows: list[Row], may_come: bool = False) -> None:
    """Refuses the path of a step that has no output.

    Args:
        may_come: whether to accept a step of which it is not known yet whether it runs.

    Raises:
        BadInput: there is no such step, or it is a stub. The message names the most similar step.
    """
    if select_tasks(rows, step):
        return
    trail = Tree(run.plan()).trail(step)
    if trail is not None and trail[-1].row["type"] == "stub":
        raise BadInput(f"the step {step!r} is a stub, which writes nothing")
    if trail is not None and (may_come or any(row.path == step for row in rows)):
        return
    paths = [row.path for row in rows]
    # By its path, or by the last name of the path.
    paths_by_name = {path.rpartition("/")[2]: path for path in reversed(paths)} | {path: path for path in paths}
    similar = difflib.get_close_matches(step, paths_by_name, n=1)
    if similar:
        raise BadInput(f"the run has no step {step!r}: is it {paths_by_name[similar[0]]!r}?")
    top_level = [path for path in paths if "/" not in path]
    shown = ", ".join(map(repr, top_level[:_MOST_NAMES])) + (
        f" and {len(top_level) - _MOST_NAMES} more" if len(top_level) > _MOST_NAMES else ""
    )
    raise BadInput(f"the run has no step {step!r}: it has {shown}")


_MOST_NAMES = 20
"""How many steps a message names."""


def _open_run_for_logs(options: argparse.Namespace) -> tuple[RunHandle, str | None]:
    """The run and the step. Where only a step is named, it is one of the newest run."""
    try:
        return open_run(options, options.run, logs=True), options.step
    except BadInput:
        if options.step is not None or options.run is None:
            raise
        log = local_log(project_at(options.config, Path.cwd()))
        newest = log.runs()[-1:]
        if not newest:
            raise
        rows = states_of(log, newest[0]).rows
        if "/" in options.run:
            # A run id has no slash.
            _check_step(options.run, newest[0], rows, may_come=options.follow)
        elif not select_tasks(rows, options.run) and all(row.path != options.run for row in rows):
            raise
        return RunHandle(project_at(options.config, Path.cwd()), log, newest[0]), options.run


def _lines(log: RunLog, rows: list[Row]) -> list[OutputDocument]:
    outputs: list[OutputDocument] = []
    for row in rows:
        for attempt in row.attempts:
            content = b"".join(follow_file(log.output(attempt), lambda: True, lambda: None))
            outputs.append(_document(row.path, attempt.number, content))
    return outputs


def _document(path: str, number: int, content: bytes) -> OutputDocument:
    return {"step": path, "attempt": number, "output": content.decode("utf-8", "replace")}
