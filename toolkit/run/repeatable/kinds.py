"""The kinds of values that the reader of the project's code tells apart. It never has a value itself."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from toolkit.run.repeatable.scopes import CodeScope, Module


@dataclass(frozen=True)
class Simple:
    name: str


DATA = Simple("data")
"""Made of literals and of harmless calls: text, numbers, paths, dates, and lists, tuples, sets and dicts of them."""
OURS = Simple("ours")
"""What the SDK gives, and lists and dicts with such things in them."""
OPAQUE = Simple("opaque")
"""Anything else. It can be passed on, but not called, shown as text, or asked for something."""


@dataclass(frozen=True)
class Items:
    """An iterator over items of a kind."""

    of: Kind


@dataclass(frozen=True)
class External:
    """Something of the standard library or of an installed package, by its dotted name."""

    dotted: str


@dataclass(frozen=True)
class Builtin:
    name: str


@dataclass(frozen=True)
class Sdk:
    """A name of the SDK's. With ``made`` it is what its call without a function gives: a decorator."""

    name: str
    made: bool = False


@dataclass(frozen=True)
class DeclaredTask:
    """A function that ``task`` has made a step of: a call in a driver adds the step, and elsewhere calls the function."""

    function: Kind


@dataclass(frozen=True)
class OwnFunction:
    """A function or a lambda of the project's, with the scope that it is defined in."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    scope: CodeScope


@dataclass(frozen=True)
class OwnClass:
    """A class of the project's, with the scope of its body. ``is_plain`` is whether its decorators change nothing of it."""

    node: ast.ClassDef
    scope: CodeScope
    is_plain: bool


@dataclass(frozen=True)
class OwnModule:
    """A module of the project's."""

    module: Module


Kind: TypeAlias = "Simple | Items | External | Builtin | Sdk | DeclaredTask | OwnFunction | OwnClass | OwnModule"


def join(kinds: Iterable[Kind]) -> Kind:
    """The kind of a value that is of one of these kinds; of none, data."""
    found = set(kinds)
    if len(found) <= 1:
        return found.pop() if found else DATA
    return OURS if found <= {DATA, OURS} else OPAQUE


def container(kinds: Iterable[Kind]) -> Kind:
    """The kind of a list, a tuple, a set or a dict with items of these kinds."""
    found = {OURS if isinstance(kind, Items) and kind.of in (DATA, OURS) else kind for kind in kinds}
    if found <= {DATA}:
        return DATA
    return OURS if found <= {DATA, OURS} else OPAQUE


def item_of(kind: Kind) -> Kind:
    """The kind of what an iteration over a value gives, or of what is taken out of it."""
    if isinstance(kind, Items):
        return kind.of
    return kind if kind in (DATA, OURS) else OPAQUE
