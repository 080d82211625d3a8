"""``python -m toolkit`` and the console command."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Runs the command line and exits with its code."""
    from toolkit.cli.main import run

    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        # The reader of a pipe has ended, or the disk of a file is full.
        code = code or 3
    # An ordinary exit takes the interpreter 100 ms after a run. Nothing needs its cleaning up.
    os._exit(code)


if __name__ == "__main__":
    main()
