"""What runs inside a notebook's kernel around its cells: parameters in, returns out."""

from __future__ import annotations

import json
import logging
import os
import sys

from . import conversion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def begin(paths: list[str], sdk: str) -> None:
    """Makes the user's modules importable.

    Args:
        paths: folders to import from first. sdk: the folder of the SDK.
    """
    sys.path[:] = [one for one in paths if os.path.isdir(one)] + [one for one in sys.path if one not in paths]
    if sdk not in sys.path:
        place = [
            position
            for position, entry in enumerate(sys.path)
            if os.path.basename(entry) in ("site-packages", "dist-packages")
        ]
        sys.path.insert(place[0] if place else len(sys.path), sdk)
    # In a step, execute() at the end of the user's file does nothing.
    sys._toolkit_step = True  # type: ignore[attr-defined]


def take(user: dict[str, Any], folder: str) -> None:
    """Gives the notebook the parameters that are too much for a cell's text.

    Args:
        user: the notebook's variables. folder: the attempt's own.
    """
    given = os.path.join(folder, "given")
    for file in sorted(os.listdir(given)):
        name, suffix = os.path.splitext(file)
        with open(os.path.join(given, file), "rb") as data:
            if suffix == ".json":
                user[name] = json.loads(data.read())
            else:
                import pickle

                user[name] = pickle.load(data)


def give(user: dict[str, Any], folder: str, returns: list[dict[str, str]]) -> None:
    """Writes the declared returns where the step takes them from.

    Args:
        user: the notebook's variables. returns: names and kinds.
    """
    answers: dict[str, Any] = {}
    for one in returns:
        name, kind = one["name"], one["kind"]
        try:
            if name not in user:
                answers[name] = {"refused": f"the notebook has no variable {name}, which the step declares to return"}
            elif kind == "object":
                data, type_name = conversion.as_object(name, user[name])
                with open(os.path.join(folder, f"{name}.returned"), "wb") as file:
                    file.write(data)
                answers[name] = {"type": type_name}
            else:
                plain = conversion.as_metric if kind == "metric" else conversion.as_json
                answers[name] = {"value": plain(name, user[name])}
        except conversion.BadValue as error:
            answers[name] = {"refused": str(error)}
    with open(os.path.join(folder, "returned.json"), "w", encoding="ascii") as file:
        json.dump(answers, file)


def end() -> None:
    """Makes the kernel's end an interpreter's: what is printed from here on (atexit functions) goes to the step's output.

    Nobody reads the kernel's messages any more. Its threads log that they write to sockets which another has closed just now,
    on a busy machine; that is no word of the notebook's.
    """
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    for library in ("asyncio", "tornado"):
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)
