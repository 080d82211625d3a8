"""The cell of a notebook that is tagged ``parameters``: the names that it assigns are what the notebook takes."""

from __future__ import annotations

import ast
import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from .documents import TakesRow

PARAMETERS_TAG = "parameters"


def takes_of_notebook(path: str) -> Optional[TakesRow]:
    """What a notebook takes; None where that can't be read, which its step reports."""
    try:
        with open(path, encoding="utf-8") as file:
            cells = json.load(file)["cells"]
        names: list[str] = []
        for cell in cells:
            if PARAMETERS_TAG in cell.get("metadata", {}).get("tags", ()):
                source = cell["source"]
                names = list(names_of(source if isinstance(source, str) else "".join(source)))
                break
    except (OSError, SyntaxError, ValueError, LookupError, TypeError, AttributeError, RecursionError, MemoryError):
        return None
    return {"names": names, "required": [], "everything": False}


def names_of(source: str) -> dict[str, bool]:
    """The names that a parameters cell assigns at its top level, in order, and whether it annotates them as ``str``.

    Raises:
        SyntaxError: it is no Python.
    """
    # Lines that only IPython understands can't be parsed, and assign nothing.
    plain = "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines())
    names: dict[str, bool] = {}
    for node in ast.parse(plain).body:
        targets: list[ast.expr] = []
        is_text = False
        if isinstance(node, ast.Assign):
            targets = list(node.targets)
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
            is_text = isinstance(node.annotation, ast.Name) and node.annotation.id == "str"
        for target in targets:
            for part in ast.walk(target):
                if isinstance(part, ast.Name):
                    names[part.id] = names.get(part.id, False) or is_text
    return names
