"""``toolkit runs``, ``show``, ``logs`` and ``catalog``: out of the records, as text or as JSON."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from toolkit.backends import driver, volumes
from toolkit.cli.loading import project_at
from toolkit.errors import BadInput
from toolkit.project import Project
from toolkit.report import text
from toolkit.report.view import catalog as catalog_rows
from toolkit.report.view import summary, view
from toolkit.runtime.catalog import FileStore, StoreFault
from toolkit.store.reader import NoRun, Run, RunLog, chunks
from toolkit.store.verdict import Attempt


def _print_json(document: Any) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        # Half of a surrogate pair, in a value or a file's name, or a terminal that is not UTF-8.
        text = json.dumps(document, indent=2)
    print(text)


def _log_of(project: Project) -> RunLog:
    return RunLog(volumes.on_host(project, project.config.run_log_store.log_folder), driver.drives)


def _opened(options: argparse.Namespace) -> tuple[RunLog, Run]:
    """The run that a command is about: the one named, or the newest.

    Raises:
        BadInput: there is none.
    """
    log = _log_of(project_at(options.config, Path.cwd()))
    if options.run is not None:
        try:
            return log, log.run(options.run)
        except NoRun:
            raise BadInput(f"there is no run {options.run!r} here: `toolkit runs` lists them") from None
    runs = log.runs()
    if not runs:
        raise BadInput("there are no runs here yet")
    return log, runs[-1]


def runs(options: argparse.Namespace) -> int:
    """Lists the runs, the newest last."""
    log = _log_of(project_at(options.config, Path.cwd()))
    rows = [summary(log, run) for run in log.runs()]
    rows = [row for row in rows if options.tag is None or row["tag"] == options.tag]
    if options.json:
        _print_json(rows)
    else:
        text.print_runs(rows)
    return 0


def show(options: argparse.Namespace) -> int:
    """Shows one run."""
    document = view(*_opened(options))
    if options.json:
        _print_json(document)
    else:
        text.print_run(document)
    return 0


def catalog(options: argparse.Namespace) -> int:
    """Lists what a run put into the catalog, or writes one file of it to standard output."""
    log, run = _opened(options)
    rows = catalog_rows(view(log, run))
    if options.get is not None:
        return _write_file(project_at(options.config, Path.cwd()), rows, options.get)
    if options.json:
        _print_json(rows)
    else:
        text.print_catalog(rows)
    return 0


def _write_file(project: Project, rows: list[dict[str, Any]], key: str) -> int:
    found = [row for row in rows if key in (row["name"], f"{row['step']}:{row['name']}")]
    if not found:
        raise BadInput(f"the run put nothing under {key!r}: `toolkit catalog` lists what it put")
    location = volumes.on_host(project, project.config.catalog.catalog_location)
    try:
        sys.stdout.buffer.write(FileStore(str(location)).get_bytes(found[-1]["sha256"]))
    except StoreFault as error:
        raise BadInput(str(error)) from None
    return 0


def logs(options: argparse.Namespace) -> int:
    """Prints what the steps wrote, step by step; with ``-f`` until the run has ended."""
    log, run, step = _opened_for_logs(options)
    paths = _tasks(run)
    if step is not None:
        if step not in paths:
            raise BadInput(f"the run has no step {step!r} that runs: it has {', '.join(map(repr, paths))}")
        paths = [step]
    if options.json:
        _print_json(_lines(log, run, paths))
        return 0
    for path in paths:
        _print_logs(log, run, path, named=step is None, follow=options.follow)
    return 0


def _opened_for_logs(options: argparse.Namespace) -> tuple[RunLog, Run, str | None]:
    """The run and the step; a step alone is the newest run's."""
    try:
        return *_opened(options), options.step
    except BadInput:
        log = _log_of(project_at(options.config, Path.cwd()))
        newest = log.runs()[-1:] if options.step is None else []
        if not newest or options.run not in _tasks(newest[0]):
            raise
        return log, newest[0], options.run


def _tasks(run: Run) -> list[str]:
    return [step["path"] for step in json.loads(run.record["plan"])["steps"] if step["type"] == "task"]


def _lines(log: RunLog, run: Run, paths: list[str]) -> list[dict[str, Any]]:
    rows = []
    for path in paths:
        for attempt in log.attempts(run, path):
            content = b"".join(chunks(log.output(attempt), lambda: True, lambda: None))
            rows.append({"step": path, "attempt": attempt.number, "output": content.decode("utf-8", "replace")})
    return rows


def _print_logs(log: RunLog, run: Run, path: str, named: bool, follow: bool) -> None:
    printed = 0
    while True:
        attempts = log.attempts(run, path)
        for attempt in attempts[printed:]:
            if named or len(attempts) > 1:
                print(f"==> {path}" + (f" (attempt {attempt.number})" if attempt.number > 1 else ""), flush=True)
            _print_output(log, run, path, attempt, follow)
            printed += 1
        run = log.run(run.id)
        over = bool(attempts) and attempts[-1].status == "succeeded"
        if not follow or over or not run.active:
            return
        time.sleep(0.2)


def _print_output(log: RunLog, run: Run, path: str, attempt: Attempt, follow: bool) -> None:
    def ended() -> bool:
        if not follow:
            return True
        again = log.run(run.id)
        return log.attempts(again, path)[attempt.number - 1].status != "running"

    last = b"\n"
    for data in chunks(log.output(attempt), ended, lambda: time.sleep(0.2)):
        # Bytes as they are: the step's output need not be text.
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        last = data
    if not last.endswith(b"\n"):
        print(flush=True)
