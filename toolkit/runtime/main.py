"""The runtime's entry: it takes the user's folders off the import path before anything is imported, and starts a command.

``python3 main.py PROTOCOL RUN_ID PATH ATTEMPT`` runs one attempt of a step; ``python3 main.py --describe PROTOCOL``
describes a pipeline from a request on standard input (with a path as a further argument, what the pipeline's file writes
in the project lies there); ``--serve`` and ``--store`` answer a client that can't see the volume;
``--mounts`` tells which mounts a plain process can make; ``--signal`` passes a signal on to the runtime that runs in the same
container.
"""

import sys


def _isolate() -> None:
    """Makes our files the package ``_toolkit_runtime``, and leaves only the interpreter's own folders to import from.

    The option ``-I`` would do the latter, but it also ignores PYTHONHASHSEED, and the child's subprocesses would inherit it.
    """
    import os

    here = os.path.dirname(os.path.abspath(__file__))
    if sys.path and os.path.abspath(sys.path[0]) == here:  # Not so with PYTHONSAFEPATH.
        del sys.path[0]
    theirs = {os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry}
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) not in theirs]
    package = type(sys)("_toolkit_runtime")
    package.__path__ = [here]
    sys.modules["_toolkit_runtime"] = package


if __name__ == "__main__":
    _isolate()
    if sys.argv[1:2] == ["--describe"]:
        if sys.argv[3:]:
            # Only here: containers don't pay for this import.
            from _toolkit_runtime.step.mounts import cover_code  # type: ignore[import-not-found]

            cover_code(sys.argv[3])
        from _toolkit_runtime.user.describe import main  # type: ignore[import-not-found]
    elif sys.argv[1:2] in (["--serve"], ["--store"]):
        from _toolkit_runtime.server.service import main  # type: ignore[import-not-found]
    elif sys.argv[1:2] == ["--mounts"]:
        from _toolkit_runtime.step.mounts import main
    elif sys.argv[1:2] == ["--signal"]:
        from _toolkit_runtime.step.signals import main  # type: ignore[import-not-found]
    else:
        from _toolkit_runtime.step.supervisor import main  # type: ignore[import-not-found]
    main(sys.argv)
