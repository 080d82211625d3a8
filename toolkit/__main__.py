"""``python -m toolkit`` and the console command."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Runs the command line and exits with its code."""
    try:
        from toolkit.report.streams import take_over

        # Before anything is opened, because a file would take the place of a standard stream that is closed.
        take_over()
        from toolkit.cli.main import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        # Before the command could take it, while modules are loaded: there is nothing to clean up.
        os.write(2, b"toolkit: cancelled\n")
        code = 130
    # An ordinary exit takes the interpreter 100 ms after a run. Nothing needs its cleaning up, and everything is written.
    os._exit(code)


if __name__ == "__main__":
    main()
