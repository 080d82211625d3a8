"""The Python of plain processes: which one it is, and the variables by which a shell finds the very same one."""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from toolkit.project import Project

_NAMES = ("python", "python3")


def interpreter(project: Project) -> str:
    """The project's own Python: that of the active virtual environment, else of .venv beside the code, else the client's."""
    for folder in (os.environ.get("VIRTUAL_ENV"), project.root / ".venv"):
        for name in _NAMES if folder else ():
            # Absolute, because steps have other working folders than this process. No link is followed: it names the environment.
            python = os.path.abspath(os.path.join(str(folder), "bin", name))
            if os.path.isfile(python) and os.access(python, os.X_OK):
                return python
    return os.path.abspath(sys.executable)


def with_interpreter(variables: Mapping[str, str], python: str, state: Path) -> dict[str, str]:
    """The variables, changed as ``activate`` changes them, so that ``python`` and what is installed beside it are this Python's.

    Args:
        python: absolute. state: the project's private state, which gets a folder where no ``python`` lies beside it.
    """
    folder = os.path.dirname(python)
    is_environment = os.path.isfile(os.path.join(os.path.dirname(folder), "pyvenv.cfg"))
    found = {name: _found(folder, name, python, is_environment) for name in _NAMES}
    folders = [folder]
    if not all(found.values()):
        # A folder that has neither name is not hidden: what else lies there is found first.
        stand_in = _stand_in(state, python, [name for name in _NAMES if not found[name]])
        folders.insert(0 if False in found.values() else 1, stand_in)
    changed = dict(variables)
    changed["PATH"] = os.pathsep.join([*folders, variables.get("PATH") or os.defpath])
    changed.pop("VIRTUAL_ENV", None)
    if is_environment:
        changed["VIRTUAL_ENV"] = os.path.dirname(folder)
        # It would name another Python's library.
        changed.pop("PYTHONHOME", None)
    return changed


def _found(folder: str, name: str, python: str, is_environment: bool) -> bool | None:
    """Whether the name in the interpreter's folder is the interpreter; None where there is none of this name."""
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return None
    # An environment may have copies in place of links.
    return is_environment or os.path.samefile(path, python)


def _stand_in(state: Path, python: str, names: list[str]) -> str:
    """A folder with scripts of these names that become the interpreter. Through a link it would not find its environment."""
    folder = state / "python" / hashlib.sha256(python.encode(errors="surrogateescape")).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    text = f'#!/bin/sh\nexec {shlex.quote(python)} "$@"\n'.encode(errors="surrogateescape")
    for name in names:
        script = folder / name
        if not script.exists() or script.read_bytes() != text:
            temporary = folder / f"{name}.{os.getpid()}"
            temporary.write_bytes(text)
            temporary.chmod(0o755)
            temporary.replace(script)
    return str(folder)
