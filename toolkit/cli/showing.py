"""``toolkit runs``, ``show``, ``logs`` and ``catalog``: out of the records, as text or as JSON."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from toolkit.cli.building import note
from toolkit.cli.loading import project_at
from toolkit.errors import BadInput
from toolkit.report import text
from toolkit.report.view import catalog as catalog_rows
from toolkit.report.view import summary, view
from toolkit.run.found import Found, Where, every, find, local_log, newest
from toolkit.runtime.catalog import FileStore, StoreFault
from toolkit.store.reader import Run, RunLog, chunks
from toolkit.store.verdict import Attempt


def print_json(document: Any) -> None:
    """One JSON document on standard output, whatever encoding that has."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        # Half of a surrogate pair, in a value or a file's name, or a terminal that is not UTF-8.
        text = json.dumps(document, indent=2)
    print(text)


def where_of(options: argparse.Namespace) -> Where:
    """Where the options say that the run is."""
    return Where(options.env, options.context, options.namespace)


def opened(options: argparse.Namespace, run_id: str | None, logs: bool = False) -> Found:
    """The run that a command is about: the one named, or the newest.

    Raises:
        BadInput: there is none. Infrastructure: the cluster can't be asked.
    """
    project = project_at(options.config, Path.cwd())
    if run_id is not None:
        return find(project, run_id, where_of(options), note, logs)
    return newest(project, where_of(options), note, logs)


def runs(options: argparse.Namespace) -> int:
    """Lists the runs, the newest last."""
    project = project_at(options.config, Path.cwd())
    rows = [summary(found.log, found.run) for found in every(project, where_of(options), note)]
    rows = [row for row in rows if options.tag is None or row["tag"] == options.tag]
    if options.json:
        print_json(rows)
    else:
        text.print_runs(rows)
    return 0


def show(options: argparse.Namespace) -> int:
    """Shows one run."""
    found = opened(options, options.run)
    document = view(found.log, found.run)
    if options.json:
        print_json(document)
    else:
        text.print_run(document)
    return 0


def catalog(options: argparse.Namespace) -> int:
    """Lists what a run put into the catalog, or writes one file of it to standard output."""
    found = opened(options, options.run)
    rows = catalog_rows(view(found.log, found.run))
    if options.get is not None:
        return _write_file(found, rows, options.get)
    if options.json:
        print_json(rows)
    else:
        text.print_catalog(rows)
    return 0


def _write_file(found: Found, rows: list[dict[str, Any]], key: str) -> int:
    fits = [row for row in rows if key in (row["name"], f"{row['step']}:{row['name']}")]
    if not fits:
        raise BadInput(f"the run put nothing under {key!r}: `toolkit catalog` lists what it put")
    digest = fits[-1]["sha256"]
    location = found.catalog([digest])
    try:
        sys.stdout.buffer.write(FileStore(str(location) if location is not None else None).get_bytes(digest))
    except StoreFault as error:
        raise BadInput(str(error)) from None
    return 0


def logs(options: argparse.Namespace) -> int:
    """Prints what the steps wrote, step by step; with ``-f`` until the run has ended."""
    found, step = _opened_for_logs(options)
    log, run = found.log, found.run
    paths = _tasks(run)
    if step is not None:
        if step not in paths:
            raise BadInput(f"the run has no step {step!r} that runs: it has {', '.join(map(repr, paths))}")
        paths = [step]
    if options.json:
        print_json(_lines(log, run, paths))
        return 0
    if options.follow and found.remote is not None and run.active:
        return _follow_remote(found, paths, named=step is None)
    for path in paths:
        _print_logs(log, run, path, named=step is None, follow=options.follow)
    return 0


def _follow_remote(found: Found, paths: list[str], named: bool) -> int:
    """The output of steps on a cluster while they run."""
    from toolkit.run.remote_logs import follow_logs

    assert found.remote is not None
    for path, attempt, pieces in follow_logs(found.remote, found.run.id, paths):
        if named or attempt > 1:
            print(f"==> {path}" + (f" (attempt {attempt})" if attempt > 1 else ""), flush=True)
        last = b"\n"
        for data in pieces:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            last = data
        if not last.endswith(b"\n"):
            print(flush=True)
    return 0


def _opened_for_logs(options: argparse.Namespace) -> tuple[Found, str | None]:
    """The run and the step; a step alone is the newest run's."""
    try:
        return opened(options, options.run, logs=True), options.step
    except BadInput:
        if options.step is not None or options.run is None:
            raise
        log = local_log(project_at(options.config, Path.cwd()))
        last = log.runs()[-1:]
        if not last or options.run not in _tasks(last[0]):
            raise
        return Found(project_at(options.config, Path.cwd()), log, last[0]), options.run


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
