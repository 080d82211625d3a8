"""Rewrites what a Python file imports from runnable. All else of it stays byte for byte."""

from __future__ import annotations

import ast
import inspect
import io
import re
from collections.abc import Callable, Iterator

from toolkit import __all__ as public_names
from toolkit import sdk
from toolkit.migrate.migrated import Migrated

THEIRS = "runnable"
OURS = "toolkit"
_STREAMING = "execute_streaming() is not supported: await execute(), and follow the run with `toolkit logs -f`"


def migrate_python(text: str) -> Migrated:
    """The file with its imports, and the names that they bind, rewritten.

    Raises:
        SyntaxError: the text is not Python.
    """
    tree = ast.parse(text)
    edits: dict[tuple[int, int], tuple[int, str]] = {}
    left: list[tuple[int, str]] = []
    bound: dict[str, str] = {}
    module_names: set[str] = set()
    renamed = False
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            if node.module in (THEIRS, f"{THEIRS}.sdk"):
                edits[_place_of_module(text, node)] = len(node.module), OURS
                for name in node.names:
                    bound[name.asname or name.name] = name.name
                    if name.name != "*" and name.name not in public_names:
                        left.append((name.lineno, f"{OURS} has no {name.name}"))
            elif node.module.startswith(THEIRS + "."):
                left.append((node.lineno, f"{node.module} is an inner module of {THEIRS}: {OURS} has no such module"))
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name == THEIRS:
                    edits[name.lineno, name.col_offset] = len(THEIRS), OURS
                    module_names.add(name.asname or THEIRS)
                    renamed = renamed or name.asname is None
                elif name.name.startswith(THEIRS + "."):
                    left.append((node.lineno, f"{name.name} is an inner module of {THEIRS}: {OURS} has no such module"))
    if not edits:
        return Migrated(text, left=left)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == THEIRS and renamed:
            edits[node.lineno, node.col_offset] = len(THEIRS), OURS
        elif isinstance(node, ast.Attribute):
            of_module = isinstance(node.value, ast.Name) and node.value.id in module_names
            if of_module and node.attr not in public_names:
                left.append((node.lineno, f"{OURS} has no {node.attr}"))
            elif node.attr == "execute_streaming":
                left.append((node.lineno, _STREAMING))
        elif isinstance(node, ast.Call):
            for given in node.keywords:
                edits.update(_reducer_edit(text, given))
            left += _what_a_call_lacks(node, bound, module_names)
    return Migrated(_edited(text, edits), len(edits), sorted(set(left)))


def _place_of_module(text: str, node: ast.ImportFrom) -> tuple[int, int]:
    """Line and column, in bytes, of the module's name in ``from NAME import …``; it may follow a line that is continued."""
    lines = _lines(text)
    line, column = node.lineno, node.col_offset + len("from")
    while True:
        match = re.compile(rb"[ \t\f]*").match(lines[line - 1], column)
        assert match is not None
        if not lines[line - 1].startswith(b"\\", match.end()):
            return line, match.end()
        line, column = line + 1, 0


def _reducer_edit(text: str, given: ast.keyword) -> dict[tuple[int, int], tuple[int, str]]:
    """The edit of a reducer that is a lambda's text and does what a reducer of ours does."""
    value = given.value
    if given.arg != "reducer" or not isinstance(value, ast.Constant) or not isinstance(value.value, str):
        return {}
    ours = named_reducer(value.value)
    if ours is None or value.end_lineno != value.lineno or value.end_col_offset is None:
        return {}
    return {(value.lineno, value.col_offset): (value.end_col_offset - value.col_offset, repr(ours).replace("'", '"'))}


def named_reducer(text: str) -> str | None:
    """The name of the reducer that does what a lambda's text does: ``lambda *x: max(x)`` is ``max``."""
    match = re.fullmatch(r"lambda \*(\w+)\s*:\s*(list|sum|max|min)\(\1\)", text.strip())
    if match:
        return match[2]
    return "last" if re.fullmatch(r"lambda \*(\w+)\s*:\s*\1\[-1\]", text.strip()) else None


def _what_a_call_lacks(node: ast.Call, bound: dict[str, str], module_names: set[str]) -> Iterator[tuple[int, str]]:
    """What a call of a name of theirs gives that ours does not take."""
    name = ""
    if isinstance(node.func, ast.Name):
        name = bound.get(node.func.id, "")
    elif isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
        name = node.func.attr if node.func.value.id in module_names else ""
    if name not in public_names:
        return
    accepted = _arguments_of(getattr(sdk, name))
    for given in node.keywords:
        if given.arg is not None and accepted is not None and given.arg not in accepted:
            yield given.value.lineno, f"{name} has no argument {given.arg}"
    for value in [*node.args, *(given.value for given in node.keywords)]:
        if isinstance(value, ast.Lambda):
            yield value.lineno, f"{name} can't take a lambda: define a function at module level"


def _arguments_of(ours: Callable[..., object]) -> set[str] | None:
    """The names that a class or function of ours takes; None where it takes any."""
    if not isinstance(ours, type):
        return set(inspect.signature(ours).parameters)
    names: set[str] = set()
    for base in ours.__mro__:
        if base is sdk.Stub:
            return None
        if "__init__" in vars(base) and base is not object:
            names |= set(inspect.signature(vars(base)["__init__"]).parameters)
    return names


def _lines(text: str) -> list[bytes]:
    """The lines as the parser counts them, in UTF-8, because its columns count bytes."""
    return [line.encode() for line in io.StringIO(text, newline="")]


def _edited(text: str, edits: dict[tuple[int, int], tuple[int, str]]) -> str:
    """The text with something else at each place, instead of as many bytes."""
    lines = _lines(text)
    for (line, column), (length, ours) in sorted(edits.items(), reverse=True):
        before = lines[line - 1]
        lines[line - 1] = before[:column] + ours.encode() + before[column + length :]
    return b"".join(lines).decode()
