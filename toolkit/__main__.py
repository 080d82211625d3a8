"""``python -m toolkit`` and the console command."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Runs the command line and leaves with its exit code."""
    from toolkit.cli.main import run

    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        # Whoever read it is gone, or the disk it goes to is full.
        code = code or 3
    # Taking the interpreter down piece by piece takes 100 ms after a run, and nothing of it is needed.
    os._exit(code)


if __name__ == "__main__":
    main()
