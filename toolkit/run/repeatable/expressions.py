"""Reads expressions: the kind of their values, and what they do."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from toolkit.run.repeatable import known
from toolkit.run.repeatable.calls import read_call
from toolkit.run.repeatable.checks import check_shown, is_environment, set_of
from toolkit.run.repeatable.kinds import (
    DATA,
    OPAQUE,
    OURS,
    Builtin,
    External,
    Items,
    Kind,
    OwnClass,
    OwnFunction,
    OwnModule,
    Sdk,
    container,
    item_of,
    join,
)
from toolkit.run.repeatable.scopes import CodeScope, NameSource

if TYPE_CHECKING:
    from toolkit.run.repeatable.reader import CodeReader


def read_expression(reader: CodeReader, node: ast.expr, scope: CodeScope) -> Kind:
    """The kind of an expression's value, after everything that it calls was read.

    Raises:
        Obstacle: it may give something else each time.
    """
    read = _READ.get(type(node))
    if read is not None:
        return read(reader, node, scope)
    kinds = [reader.kind(child, scope) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
    if isinstance(node, (ast.UnaryOp, ast.List, ast.Tuple, ast.Dict)):
        return container(kinds)
    return DATA if isinstance(node, (ast.Constant, ast.Slice)) else OPAQUE


def _name(reader: CodeReader, node: ast.Name, scope: CodeScope) -> Kind:
    return reader.name(node.id, scope)


def _named_expr(reader: CodeReader, node: ast.NamedExpr, scope: CodeScope) -> Kind:
    return reader.kind(node.value, scope)


def _starred(reader: CodeReader, node: ast.Starred, scope: CodeScope) -> Kind:
    return item_of(reader.kind(node.value, scope))


def _lambda(reader: CodeReader, node: ast.Lambda, scope: CodeScope) -> Kind:
    return OwnFunction(node, scope)


def _if_exp(reader: CodeReader, node: ast.IfExp, scope: CodeScope) -> Kind:
    reader.kind(node.test, scope)
    return join([reader.kind(node.body, scope), reader.kind(node.orelse, scope)])


def _bool_op(reader: CodeReader, node: ast.BoolOp, scope: CodeScope) -> Kind:
    return join([reader.kind(value, scope) for value in node.values])


def _bin_op(reader: CodeReader, node: ast.BinOp, scope: CodeScope) -> Kind:
    kinds = [reader.kind(node.left, scope), reader.kind(node.right, scope)]
    if isinstance(node.op, ast.Mod) and kinds[0] == DATA:
        check_shown(reader, kinds[1], node, scope)
    return container(kinds)


def _compare(reader: CodeReader, node: ast.Compare, scope: CodeScope) -> Kind:
    sides = [node.left, *node.comparators]
    if len(sides) == 2 and is_environment(reader, node, sides[1], sides[0], scope):
        return DATA
    for side in sides:
        reader.kind(side, scope)
    return DATA


def _joined_str(reader: CodeReader, node: ast.JoinedStr, scope: CodeScope) -> Kind:
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            check_shown(reader, reader.kind(part.value, scope), part, scope)
            if part.format_spec is not None:
                reader.kind(part.format_spec, scope)
    return DATA


def _set(reader: CodeReader, node: ast.Set, scope: CodeScope) -> Kind:
    return set_of(reader, [reader.kind(element, scope) for element in node.elts], node, scope)


def _comprehension(
    reader: CodeReader, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, scope: CodeScope
) -> CodeScope:
    """The scope of a comprehension, after its loops were read."""
    inner = CodeScope("function", scope.module, scope)
    for number, loop in enumerate(node.generators):
        # The first is read in the scope around it, as Python does.
        kind = item_of(reader.kind(loop.iter, inner if number else scope))
        _give(loop.target, kind, inner)
        for test in loop.ifs:
            reader.kind(test, inner)
    return inner


def _list_comp(reader: CodeReader, node: ast.ListComp, scope: CodeScope) -> Kind:
    return container([reader.kind(node.elt, _comprehension(reader, node, scope))])


def _set_comp(reader: CodeReader, node: ast.SetComp, scope: CodeScope) -> Kind:
    return set_of(reader, [reader.kind(node.elt, _comprehension(reader, node, scope))], node, scope)


def _generator_exp(reader: CodeReader, node: ast.GeneratorExp, scope: CodeScope) -> Kind:
    return Items(container([reader.kind(node.elt, _comprehension(reader, node, scope))]))


def _dict_comp(reader: CodeReader, node: ast.DictComp, scope: CodeScope) -> Kind:
    inner = _comprehension(reader, node, scope)
    return container([reader.kind(node.key, inner), reader.kind(node.value, inner)])


def _subscript(reader: CodeReader, node: ast.Subscript, scope: CodeScope) -> Kind:
    reader.kind(node.slice, scope)
    if is_environment(reader, node, node.value, node.slice, scope):
        return DATA
    kind = reader.kind(node.value, scope)
    if isinstance(kind, (External, Builtin, OwnClass)):
        return kind if not isinstance(kind, External) else External(f"{kind.dotted}[]")
    return item_of(kind)


def _attribute(reader: CodeReader, node: ast.Attribute, scope: CodeScope) -> Kind:
    kind = reader.kind(node.value, scope)
    name = node.attr
    if isinstance(kind, External):
        return DATA if name in ("__name__", "__version__") else External(f"{kind.dotted}.{name}")
    if isinstance(kind, OwnModule):
        return reader.member(kind.module.name, name, node, scope)
    if isinstance(kind, Sdk):
        return Sdk(name) if not kind.name else OPAQUE
    if isinstance(kind, Builtin):
        return Builtin(f"{kind.name}.{name}")
    if isinstance(kind, OwnClass):
        return member_of_class(reader, kind, name)
    if kind == OURS:
        return DATA if name in known.SDK_DATA else OURS
    if kind == DATA:
        return DATA
    if name in ("environ", "environb", "__dict__"):
        reader.stop(node, scope, f"uses {ast.unparse(node)}")
    return DATA if name in ("__name__", "__qualname__", "__doc__", "__module__") else OPAQUE


def member_of_class(reader: CodeReader, kind: OwnClass, name: str) -> Kind:
    if not kind.is_plain:
        return OPAQUE
    if name in kind.scope.names:
        return reader.name(name, kind.scope)
    for base in kind.node.bases:
        above = reader.kind(base, kind.scope.outer or kind.scope)
        if isinstance(above, OwnClass):
            return member_of_class(reader, above, name)
    return DATA if name in ("__name__", "__qualname__", "__doc__", "__module__") else OPAQUE


def _give(target: ast.expr, kind: Kind, scope: CodeScope) -> None:
    """Binds the target of a comprehension's loop to what it takes."""
    if isinstance(target, ast.Name):
        scope.names[target.id] = [NameSource("given", kind=kind)]
    elif isinstance(target, (ast.Tuple, ast.List)):
        for element in target.elts:
            _give(element, item_of(kind), scope)
    elif isinstance(target, ast.Starred):
        _give(target.value, kind, scope)


_READ: dict[type[ast.expr], Callable[[CodeReader, Any, CodeScope], Kind]] = {
    ast.Call: read_call,
    ast.Name: _name,
    ast.NamedExpr: _named_expr,
    ast.Starred: _starred,
    ast.Lambda: _lambda,
    ast.IfExp: _if_exp,
    ast.BoolOp: _bool_op,
    ast.BinOp: _bin_op,
    ast.Compare: _compare,
    ast.JoinedStr: _joined_str,
    ast.Set: _set,
    ast.ListComp: _list_comp,
    ast.SetComp: _set_comp,
    ast.GeneratorExp: _generator_exp,
    ast.DictComp: _dict_comp,
    ast.Subscript: _subscript,
    ast.Attribute: _attribute,
}
