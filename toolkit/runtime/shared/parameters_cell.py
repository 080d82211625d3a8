"""The cell of a notebook that is tagged ``parameters``: the names that it assigns are what the notebook takes."""

from __future__ import annotations

import ast
import re

from .values import is_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Optional

    from .documents import ArgumentRow, TakesRow

PARAMETERS_TAG = "parameters"
_TEXTS = re.compile(r"(\w+\.)?Optional\[str\]|str|str \| None|None \| str")
"""Annotations, as ``ast.unparse`` writes them, of what takes a text as it was spelled."""
_OF_IPYTHON = re.compile(r"^([^#'\"=]*=)\s*[%!].*")
"""An assignment of what a command or a magic gives, up to its value."""
_LONGEST_DEFAULT = 1000
"""Characters of a default that a description holds."""


def takes_of_cells(cells: Iterable[Any]) -> TakesRow:
    """What a notebook of these cells takes.

    Raises:
        SyntaxError: its parameters cell is no Python.
    """
    arguments: dict[str, ArgumentRow] = {}
    for cell in cells:
        if PARAMETERS_TAG in cell["metadata"].get("tags", ()):
            source = cell["source"]
            arguments = _arguments_of(source if isinstance(source, str) else "".join(source))
            break
    return {"names": list(arguments), "required": [], "everything": False, "arguments": arguments}


def names_of(source: str) -> dict[str, bool]:
    """The names that a parameters cell assigns at its top level, in order, and whether it annotates them as text.

    Raises:
        SyntaxError: it is no Python.
    """
    names: dict[str, bool] = {}
    for name, annotation, _ in _assigned(source):
        names[name] = names.get(name, False) or _TEXTS.fullmatch(annotation) is not None
    return names


def _arguments_of(source: str) -> dict[str, ArgumentRow]:
    """What is said of each name: its annotation as text, which nothing checks, and its value where that is a literal."""
    arguments: dict[str, ArgumentRow] = {}
    for name, annotation, value in _assigned(source):
        row: ArgumentRow = {}
        if annotation or "annotation" in arguments.get(name, {}):
            row["annotation"] = annotation or arguments[name]["annotation"]
        try:
            default = ast.literal_eval(value) if value is not None else ...
        except (ValueError, TypeError, RecursionError, MemoryError):
            default = ...
        if is_plain(default) and len(repr(default)) <= _LONGEST_DEFAULT:
            row["default"] = default
        arguments[name] = row
    return arguments


def _assigned(source: str) -> Iterator[tuple[str, str, Optional[ast.expr]]]:
    """The assignments of a cell: the name, its annotation as text, and the value where it is given to that name alone."""
    # What only IPython understands can't be parsed.
    plain = "\n".join(
        "" if line.lstrip().startswith(("%", "!")) else _OF_IPYTHON.sub(r"\1 ...", line) for line in source.splitlines()
    )
    for node in ast.parse(plain).body:
        targets: list[ast.expr] = []
        annotation = ""
        if isinstance(node, ast.Assign):
            targets = list(node.targets)
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
            is_text = isinstance(node.annotation, ast.Constant) and isinstance(node.annotation.value, str)
            annotation = node.annotation.value if is_text else ast.unparse(node.annotation)  # type: ignore[attr-defined]
        else:
            continue
        for target in targets:
            for part in ast.walk(target):
                if isinstance(part, ast.Name):
                    yield part.id, annotation, node.value if part is target else None
