"""Where names of the project's code come from: the scopes of its modules, classes and functions, read from their syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.run.repeatable.known import ADDING

if TYPE_CHECKING:
    from toolkit.run.repeatable.kinds import Kind


@dataclass(frozen=True)
class NameSource:
    """Where a name's value comes from.

    Attributes:
        how: ``value`` of an expression, an ``item`` of it, a ``definition``, an ``import``, an argument that is ``given``, or
            ``unknown``.
        node: the expression, the definition or the import. alias: of an import, the one name of it that is meant.
        depth: of an item, how many times the expression is taken apart. kind: of an argument.
    """

    how: str
    node: ast.AST | None = None
    alias: ast.alias | None = None
    depth: int = 0
    kind: Kind | None = None


@dataclass(eq=False)
class CodeScope:
    """A scope and where each of its names comes from. A name may come from several places; all of them count.

    Attributes:
        role: ``module``, ``class`` or ``function``. module: the code that it is part of. outer: the scope around it.
        stars: the modules whose names it imports by ``*``. added: what is put into the value of a name.
    """

    role: str
    module: Module
    outer: CodeScope | None
    names: dict[str, list[NameSource]] = field(default_factory=dict)
    stars: list[ast.ImportFrom] = field(default_factory=list)
    added: dict[str, list[NameSource]] = field(default_factory=dict)

    def find(self, name: str) -> CodeScope | None:
        """The scope that has the name, as Python looks for it from here."""
        scope: CodeScope | None = self
        while scope is not None:
            if name in scope.names and (scope is self or scope.role != "class"):
                return scope
            scope = scope.outer
        return None


@dataclass(eq=False)
class Module:
    """A module of the project.

    Attributes:
        name: dotted; ``__main__`` for the pipeline's file. package: what its relative imports start from.
        file: the file, or the folder of a package without a file of its own. path: the same, relative to the project's root.
    """

    name: str
    package: str
    file: Path
    path: str
    tree: ast.Module
    scope: CodeScope = field(init=False)

    def __post_init__(self) -> None:
        self.scope = CodeScope("module", self, None)
        collect(self.tree.body, self.scope)


def truth(test: ast.expr, module: Module) -> bool | None:
    """What a test on ``__name__`` or TYPE_CHECKING gives when the module runs; None for any other test."""
    if isinstance(test, ast.Name) and test.id == "TYPE_CHECKING":
        return False
    if isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING":
        return False
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = truth(test.operand, module)
        return None if inner is None else not inner
    if isinstance(test, ast.BoolOp):
        values = [truth(value, module) for value in test.values]
        decisive = isinstance(test.op, ast.Or)
        if decisive in values:
            return decisive
        return None if None in values else not decisive
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        sides = [test.left, test.comparators[0]]
        names = [side for side in sides if isinstance(side, ast.Name) and side.id == "__name__"]
        texts = [side.value for side in sides if isinstance(side, ast.Constant)]
        if names and texts == ["__main__"] and isinstance(test.ops[0], (ast.Eq, ast.NotEq)):
            return (module.name == "__main__") == isinstance(test.ops[0], ast.Eq)
    return None


def taken(statement: ast.If, module: Module) -> list[ast.stmt]:
    """The branches of an ``if`` that may run."""
    value = truth(statement.test, module)
    return [*(statement.body if value is not False else []), *(statement.orelse if value is not True else [])]


# --- names ----------------------------------------------------------------------------------------------------------

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_UNKNOWN = NameSource("unknown")


def collect(statements: Iterable[ast.AST], scope: CodeScope) -> None:
    """Finds what the statements of a scope bind, without the bodies of the functions and classes in it."""
    _Collector(scope).visit_all(statements)


def bind_target(target: ast.expr, how: str, node: ast.expr, scope: CodeScope, depth: int = 0) -> None:
    """Binds what is assigned to: a name, or the names in a tuple.

    Args:
        how: as for :class:`NameSource`.
    """
    if isinstance(target, ast.Name):
        scope.names.setdefault(target.id, []).append(NameSource("item" if depth else how, node, depth=depth))
    elif isinstance(target, (ast.Tuple, ast.List)):
        for element in target.elts:
            bind_target(element, "item", node, scope, depth + 1)
    elif isinstance(target, ast.Starred):
        bind_target(target.value, how, node, scope, depth)


class _Collector(ast.NodeVisitor):
    def __init__(self, scope: CodeScope) -> None:
        self._scope = scope

    def visit_all(self, statements: Iterable[ast.AST]) -> None:
        for statement in statements:
            self.visit(statement)

    def _add(self, name: str, source: NameSource) -> None:
        self._scope.names.setdefault(name, []).append(source)

    def _visit_definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self._add(node.name, NameSource("definition", node))
        for inner in ast.walk(node):
            # What a function assigns to names of the scopes around it.
            if isinstance(inner, (ast.Global, ast.Nonlocal)):
                home = self._scope.module.scope if isinstance(inner, ast.Global) else self._scope
                for name in inner.names:
                    home.names.setdefault(name, []).append(_UNKNOWN)
        self.visit_all(node.decorator_list)

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _visit_definition

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Binds nothing here."""

    def visit_comprehension(self, node: ast.comprehension) -> None:
        # Its target has a scope of its own.
        self.visit_all([node.iter, *node.ifs])

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self.visit_all(taken(node, self._scope.module))

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            bind_target(target, "value", node.value, self._scope)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            bind_target(node.target, "value", node.value, self._scope)
            self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        bind_target(node.target, "value", node.value, self._scope)
        self.visit(node.value)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        bind_target(node.target, "value", node.value, self._scope)
        self.visit(node.value)

    def _visit_loop(self, node: ast.For | ast.AsyncFor) -> None:
        bind_target(node.target, "item", node.iter, self._scope, 1)
        self.visit_all([node.iter, *node.body, *node.orelse])

    visit_For = visit_AsyncFor = _visit_loop

    def _visit_with(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            self.visit(item.context_expr)
            for name in ast.walk(item.optional_vars) if item.optional_vars is not None else ():
                if isinstance(name, ast.Name):
                    self._add(name.id, _UNKNOWN)
        self.visit_all(node.body)

    visit_With = visit_AsyncWith = _visit_with

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name is not None:
            self._add(node.name, _UNKNOWN)
        self.visit_all(node.body)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        self._add(node.name or "_", _UNKNOWN)
        self.generic_visit(node)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        self._add(node.name or "_", _UNKNOWN)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self._add(node.rest or "_", _UNKNOWN)
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.asname or alias.name.partition(".")[0], NameSource("import", node, alias))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            if alias.name == "*":
                self._scope.stars.append(node)
            else:
                self._add(alias.asname or alias.name, NameSource("import", node, alias))

    def visit_Call(self, node: ast.Call) -> None:
        # What is put into a list may come out of it.
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr in ADDING and isinstance(function.value, ast.Name):
            self._scope.added.setdefault(function.value.id, []).extend(
                NameSource("value", argument) for argument in node.args if not isinstance(argument, ast.Starred)
            )
        self.generic_visit(node)


_REBINDS = frozenset({"globals", "exec", "eval", "vars", "setattr"})


def is_defined_once(file: Path, name: str) -> bool:
    """Whether a module defines a function in one place only, at its top level and without a decorator."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return False
    definitions = [
        node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name
    ]
    if len(definitions) != 1 or definitions[0].decorator_list:
        return False
    others = any(
        (isinstance(node, ast.Name) and (node.id in _REBINDS or (node.id == name and isinstance(node.ctx, ast.Store))))
        or (isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name and node is not definitions[0])
        or (isinstance(node, ast.alias) and (node.asname or node.name) in (name, "*"))
        for node in ast.walk(tree)
    )
    return not others
