"""``toolkit catalog``."""

from __future__ import annotations

import argparse
import sys

from toolkit.cli.output import print_json
from toolkit.cli.run_handle import open_run
from toolkit.errors import BadInput
from toolkit.report import text
from toolkit.report.catalog import RunCatalog
from toolkit.report.view import View
from toolkit.runs.find import RunHandle
from toolkit.runtime.shared.catalog import FileStore, StoreFault


def catalog(options: argparse.Namespace) -> int:
    """Lists what a run put into the catalog and returned as objects, or writes the bytes of one of them to standard output."""
    handle = open_run(options, options.run)
    found = RunCatalog(View(handle.log, handle.run))
    if options.get is not None:
        return _write(handle, found, options.get)
    rows = [entry.row() for entry in found.entries]
    if options.json:
        print_json(rows)
    else:
        text.print_catalog(rows)
    return 0


def _write(handle: RunHandle, found: RunCatalog, key: str) -> int:
    entries = found.select(key)
    if len(entries) > 1:
        keys = [repr(entry.key) for entry in entries]
        shown = " and ".join(keys) if len(keys) == 2 else f"{', '.join(keys[:2])} and {len(keys) - 2} more"
        raise BadInput(f"{key!r} names {shown}, and --get takes one")
    digest = entries[0].sha256
    location = handle.catalog([digest])
    try:
        sys.stdout.buffer.write(FileStore(str(location) if location is not None else None).get_bytes(digest))
    except StoreFault as error:
        raise BadInput(str(error)) from None
    return 0
