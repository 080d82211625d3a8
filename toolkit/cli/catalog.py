"""``toolkit catalog``."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from toolkit.cli.output import print_json
from toolkit.cli.run_handle import open_run
from toolkit.errors import BadInput
from toolkit.report import text
from toolkit.report.view import catalog as catalog_rows
from toolkit.report.view import view
from toolkit.runs.find import RunHandle
from toolkit.runtime.shared.catalog import FileStore, StoreFault

if TYPE_CHECKING:
    from toolkit.report.contract import CatalogFile


def catalog(options: argparse.Namespace) -> int:
    """Lists what a run put into the catalog, or writes one file of it to standard output."""
    handle = open_run(options, options.run)
    rows = catalog_rows(view(handle.log, handle.run))
    if options.get is not None:
        return _write_file(handle, rows, options.get)
    if options.json:
        print_json(rows)
    else:
        text.print_catalog(rows)
    return 0


def _write_file(handle: RunHandle, rows: list[CatalogFile], key: str) -> int:
    matching = [row for row in rows if key in (row["name"], f"{row['step']}:{row['name']}")]
    if not matching:
        raise BadInput(f"the run put nothing under {key!r}: `toolkit catalog` lists what it put")
    digest = matching[-1]["sha256"]
    location = handle.catalog([digest])
    try:
        sys.stdout.buffer.write(FileStore(str(location) if location is not None else None).get_bytes(digest))
    except StoreFault as error:
        raise BadInput(str(error)) from None
    return 0
