"""The rules for the names of steps, runs and parameters, and new run ids."""

from __future__ import annotations

import os
import re
import time
import unicodedata

from toolkit.errors import BadInput

LONGEST_NAME = 200
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def step_name(name: str, where: str | None = None) -> str:
    """A step's or branch's name in NFC.

    Raises:
        BadInput: it is empty, longer than 200 characters, or holds ``/`` or a character that can't be printed.
    """
    normal = unicodedata.normalize("NFC", name)
    if not normal or normal != normal.strip():
        raise BadInput(f"the step name {name!r} is empty, or begins or ends with a space", where)
    if len(normal) > LONGEST_NAME:
        raise BadInput(f"a step name has at most {LONGEST_NAME} characters; {normal[:40]!r}… has {len(normal)}", where)
    for character in normal:
        if character == "/" or not character.isprintable():
            raise BadInput(f"the step name {name!r} holds {character!r}: names are printable and without /", where)
    # In the paths of a plan, * stands for a position.
    if normal in (".", "..", "*"):
        raise BadInput(f"{name!r} can't be a step's name", where)
    return normal


def is_parameter_name(name: str) -> bool:
    """Whether a parameter can have this name."""
    return _PARAMETER.fullmatch(name) is not None


def parameter_name(name: object, where: str | None = None) -> str:
    """A parameter's name: an identifier, because functions take it as an argument and shells as an environment variable.

    Raises:
        BadInput: it is not an identifier.
    """
    if not isinstance(name, str) or not is_parameter_name(name):
        raise BadInput(
            f"{name!r} can't be a parameter's name: it takes letters, digits and _, and no digit first", where
        )
    return name


def run_id(given: str) -> str:
    """A run id as given.

    Raises:
        BadInput: it can't be the name of a Workflow on Kubernetes.
    """
    # Imported here, because few commands are given a run id.
    from toolkit.runtime.shared.run_files import RUN_ID

    if not RUN_ID.fullmatch(given):
        raise BadInput(
            f"{given!r} can't be a run id: it takes 1 to 40 of a-z, 0-9 and -, and begins and ends with a letter or digit"
        )
    return given


def new_run_id() -> str:
    """A fresh run id: the time in UTC, by which ids sort, and 32 random bits.

    A schedule starts many runs within one second, so the random part has to tell them apart: on a cluster, a second run of
    the same id and the same pipeline would only follow the first.
    """
    return time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + os.urandom(4).hex()
