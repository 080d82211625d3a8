"""The runtime's part in a notebook's kernel: it gives the notebook its parameters and takes its returns."""

from __future__ import annotations

import json
import logging
import os
import sys

from . import conversion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..shared.documents import JsonValue, ReturnRow


def begin(paths: list[str], sdk: str) -> None:
    """Makes the user's modules importable.

    Args:
        paths: folders to import from first. sdk: the folder of the SDK.
    """
    existing = [path for path in paths if os.path.isdir(path)]
    sys.path[:] = existing + [entry for entry in sys.path if entry not in paths]
    if sdk not in sys.path:
        installed = [
            position
            for position, entry in enumerate(sys.path)
            if os.path.basename(entry) in ("site-packages", "dist-packages")
        ]
        sys.path.insert(installed[0] if installed else len(sys.path), sdk)
    _let_exit_end_the_notebook()
    # In a step, execute() at the end of the user's file does nothing.
    sys._toolkit_step = True  # type: ignore[attr-defined]


def _let_exit_end_the_notebook() -> None:
    """Makes ``exit`` and ``quit`` raise SystemExit, as in a script. A kernel's own only ask its client to close the window.

    While a cell runs, IPython hides the built-in functions of these names, which modules may call.
    """
    from importlib import import_module

    def leave(_: object, code: object = None) -> None:
        raise SystemExit(code)

    # IPython calls what is of this class without parentheses, too.
    base = import_module("IPython.core.autocall").IPyAutocall
    shell = import_module("IPython").get_ipython()
    caller = type("Exit", (base,), {"rewrite": False, "__call__": leave})(shell)
    for name in ("exit", "quit"):
        shell.user_ns[name] = shell.builtin_trap.auto_builtins[name] = caller


def take(variables: dict[str, object], folder: str) -> None:
    """Gives the notebook the parameters that are too large for a cell's text, or are objects.

    Args:
        variables: the notebook's. folder: the attempt's own.
    """
    given = os.path.join(folder, "given")
    for file in sorted(os.listdir(given)):
        name, suffix = os.path.splitext(file)
        with open(os.path.join(given, file), "rb") as data:
            if suffix == ".json":
                variables[name] = json.loads(data.read())
            else:
                import pickle

                variables[name] = pickle.load(data)


def give(variables: dict[str, object], folder: str, returns: list[ReturnRow]) -> None:
    """Writes the declared returns to files, from which the step takes them.

    Args:
        variables: the notebook's. folder: the attempt's own. returns: as the plan declares them.
    """
    answers: dict[str, dict[str, JsonValue]] = {}
    for declared in returns:
        name, kind = declared["name"], declared["kind"]
        try:
            if name not in variables:
                answers[name] = {"refused": f"the notebook has no variable {name}, which the step declares to return"}
                continue
            if kind == "object":
                data, type_name = conversion.as_object(name, variables[name])
                _refuse_own(name, variables[name], data)
            else:
                convert = conversion.as_metric if kind == "metric" else conversion.as_json
                data, type_name = conversion.json_data(name, convert(name, variables[name])), ""
            with open(os.path.join(folder, f"{name}.returned"), "wb") as file:
                file.write(data)
            answers[name] = {"type": type_name}
        except conversion.BadValue as error:
            answers[name] = {"refused": str(error)}
    with open(os.path.join(folder, "returned.json"), "w", encoding="ascii") as file:
        json.dump(answers, file)


def _refuse_own(name: str, value: object, data: bytes) -> None:
    """Refuses an object of which no other step can find the class or the function, because the notebook defines it.

    Args:
        data: the object, pickled.

    Raises:
        BadValue: it names what is the notebook's own.
    """
    if b"__main__" not in data:
        return
    import io
    import pickle

    class Pickler(pickle.Pickler):
        def reducer_override(self, part: Any) -> Any:
            # It is called for all that pickle finds by its name.
            if getattr(part, "__module__", None) == "__main__" and hasattr(part, "__qualname__"):
                raise conversion.BadValue(
                    f"{name} needs {part.__qualname__}, which the notebook defines, so that no other step can load it: "
                    f"define {part.__qualname__} in a module of the project, and import it in the notebook"
                )
            return NotImplemented

    Pickler(io.BytesIO(), protocol=conversion.PICKLE_PROTOCOL).dump(value)


def end() -> None:
    """Makes the kernel end as an interpreter does: what atexit functions print goes to the step's output.

    Nobody reads the kernel's messages from here on. On a busy machine its threads may log that they write to closed sockets;
    the notebook has nothing to do with that, so it is not shown.
    """
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    for library in ("asyncio", "tornado"):
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)
