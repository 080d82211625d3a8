"""``toolkit fetch``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from toolkit.cli.output import note, print_json
from toolkit.cli.run_handle import open_run
from toolkit.errors import BadInput
from toolkit.report.catalog import RunCatalog
from toolkit.report.table import counted, printable
from toolkit.report.view import View
from toolkit.runs.fetch import Fetched, copy_files, default_folder
from toolkit.runs.find import NoSuchRun, RunHandle


def fetch(options: argparse.Namespace) -> int:
    """Copies files and objects out of a run's catalog; prints the folder."""
    handle, keys = _run_and_keys(options)
    found = RunCatalog(View(handle.log, handle.run))
    entries = list(dict.fromkeys(entry for key in keys for entry in found.select(key))) if keys else found.all()
    if not entries:
        note(f"the run {handle.run.id} put no files into the catalog, and returned no objects")
        if options.json:
            print_json([])
        return 0
    folder = Path(options.to) if options.to is not None else default_folder(handle)
    fetched = copy_files(handle, entries, folder, only_stored=not keys)
    shown = _short(folder)
    if options.json:
        print_json([{**entry.row(), "file": str(shown / name)} for entry, name in fetched.files])
    else:
        note(_counted(handle, fetched, shown))
        print(shown, flush=True)
    _print_notes(fetched, shown)
    if options.to is None and not keys:
        _print_others(fetched, folder)
    return 0


def _run_and_keys(options: argparse.Namespace) -> tuple[RunHandle, list[str]]:
    """The run, and the keys. A first word that is no run is a key of the newest run.

    Raises:
        BadInput: it is neither. Infrastructure: the cluster can't be asked.
    """
    try:
        return open_run(options, options.run), options.keys
    except NoSuchRun as error:
        try:
            handle = open_run(options, None)
        except NoSuchRun:
            raise error from None
        try:
            RunCatalog(View(handle.log, handle.run)).select(options.run)
        except BadInput as nothing:
            raise BadInput(f"there is no run {options.run!r}, and {nothing}") from None
        note(f"{options.run!r} is no run, and so a key of the newest run, {handle.run.id}")
        return handle, [options.run, *options.keys]


def _short(folder: Path) -> Path:
    """A folder as it is shown: from the current folder, if it is below that."""
    return folder.relative_to(Path.cwd()) if folder.is_absolute() and folder.is_relative_to(Path.cwd()) else folder


def _counted(handle: RunHandle, fetched: Fetched, folder: Path) -> str:
    objects = sum(bool(entry.object) for entry, _ in fetched.files)
    files = len(fetched.files) - objects
    what = [counted(files, "file")] if files or not objects else []
    what += [counted(objects, "object")] if objects else []
    return f"{' and '.join(what)} of the run {handle.run.id} in {printable(str(folder))}"


def _print_notes(fetched: Fetched, folder: Path) -> None:
    if fetched.hashes:
        note(
            f"left out, because store_copy: false keeps their hashes alone: {_names([one.outer for one in fetched.hashes])}"
        )
    if fetched.is_code:
        note(f"{printable(str(folder))} was there before and is code of the project, so these files are code as well")


def _print_others(fetched: Fetched, folder: Path) -> None:
    """Names what was in the folder before, such as a file of an earlier fetch which a retry does not put any more."""
    here = {os.path.normpath(name) for _, name in fetched.files}
    others = [
        path
        for top, _, files in os.walk(folder)
        for path in (os.path.relpath(os.path.join(top, file), folder) for file in sorted(files))
        if path not in here
    ]
    if others:
        note(f"there from before, and not in the run: {_names(others)}")


def _names(names: list[str]) -> str:
    shown = ", ".join(printable(name) for name in names[:_MOST_NAMES])
    return shown + (f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else "")


_MOST_NAMES = 3
"""How many files a line names."""
