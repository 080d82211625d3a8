"""What expressions and calls are both checked for."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from toolkit.run.repeatable import known
from toolkit.run.repeatable.kinds import DATA, External, Kind, container
from toolkit.run.repeatable.scopes import CodeScope

if TYPE_CHECKING:
    from toolkit.run.repeatable.reader import CodeReader


def check_shown(reader: CodeReader, kind: Kind, node: ast.AST, scope: CodeScope) -> None:
    """Refuses that anything is made text whose text may hold its address."""
    if kind != DATA:
        reader.stop(node, scope, "shows as text what may have an address in it")


def set_of(reader: CodeReader, items: list[Kind], node: ast.AST, scope: CodeScope) -> Kind:
    """The kind of a set with items of these kinds."""
    if container(items) != DATA:
        # Objects lie in a set in the order of their addresses.
        reader.stop(node, scope, "makes a set of what has no order of its own")
    return DATA


def is_environment(reader: CodeReader, node: ast.AST, holder: ast.expr, name: ast.expr, scope: CodeScope) -> bool:
    """Whether one environment variable is read, by a name that is written there."""
    dotted = dotted_name(reader, holder, scope)
    if dotted not in known.ENVIRONMENT or not isinstance(name, ast.Constant):
        return False
    if name.value in known.OF_THE_MACHINE:
        reader.stop(node, scope, f"reads the environment variable {name.value}")
    return True


def dotted_name(reader: CodeReader, node: ast.expr, scope: CodeScope) -> str:
    """The dotted name of something external that an expression names; empty for all else."""
    if isinstance(node, ast.Name):
        kind = reader.name(node.id, scope)
        return kind.dotted if isinstance(kind, External) else ""
    if isinstance(node, ast.Attribute):
        holder = dotted_name(reader, node.value, scope)
        return f"{holder}.{node.attr}" if holder else ""
    return ""
