"""Reads calls: of the project's functions their bodies, and of all else whether it is known to be harmless."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from toolkit.run.repeatable import known
from toolkit.run.repeatable.checks import check_shown, dotted_name, is_environment, set_of
from toolkit.run.repeatable.kinds import (
    DATA,
    OPAQUE,
    OURS,
    Builtin,
    DeclaredTask,
    External,
    Items,
    Kind,
    OwnClass,
    OwnFunction,
    Sdk,
    container,
    item_of,
    join,
)
from toolkit.run.repeatable.scopes import CodeScope, NameSource, collect

if TYPE_CHECKING:
    from toolkit.run.repeatable.reader import CodeReader


def read_call(reader: CodeReader, node: ast.Call, scope: CodeScope) -> Kind:
    """Reads a call as it is written: what is called, and its arguments."""
    if isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "setdefault", "pop") and node.args:
        others = [reader.kind(argument, scope) for argument in node.args[1:]]
        if is_environment(reader, node, node.func.value, node.args[0], scope):
            return container([DATA, *others])
    if dotted_name(reader, node.func, scope) == "os.getenv" and node.args and isinstance(node.args[0], ast.Constant):
        if node.args[0].value in known.OF_THE_MACHINE:
            reader.stop(node, scope, f"reads the environment variable {node.args[0].value}")
        return container([DATA, *(reader.kind(argument, scope) for argument in node.args[1:])])
    _follow_named_function(reader, node, scope)
    arguments = [reader.kind(argument, scope) for argument in node.args]
    named = {keyword.arg: reader.kind(keyword.value, scope) for keyword in node.keywords}
    if isinstance(node.func, ast.Attribute):
        holder = reader.kind(node.func.value, scope)
        if holder in (DATA, OURS) or isinstance(holder, Items):
            return _method(reader, holder, node.func.attr, [*arguments, *named.values()], node, scope)
    is_exact = not any(isinstance(argument, ast.Starred) for argument in node.args) and None not in named
    names = {name: kind for name, kind in named.items() if name is not None}
    if not is_exact:
        return call(reader, reader.kind(node.func, scope), [*arguments, *named.values()], node, scope, {}, False)
    return call(reader, reader.kind(node.func, scope), arguments, node, scope, names)


def _follow_named_function(reader: CodeReader, node: ast.Call, scope: CodeScope) -> None:
    """Reads the function that a step or a reducer names by its dotted path."""
    kind = reader.kind(node.func, scope)
    if not isinstance(kind, Sdk) or kind.name not in known.TAKES_A_FUNCTION:
        return
    argument = node.args[0] if node.args and kind.name != "Map" else None
    for keyword in node.keywords:
        if keyword.arg in ("function", "reducer"):
            argument = keyword.value
    if argument is None or reader.kind(argument, scope) != DATA:
        return
    if not isinstance(argument, ast.Constant):
        reader.stop(node, scope, "names a function by a text that is computed")
    if isinstance(argument.value, str):
        reader.read_function(argument.value)


def _method(
    reader: CodeReader, holder: Kind, name: str, arguments: list[Kind], node: ast.Call, scope: CodeScope
) -> Kind:
    """A call of a method of data, or of what the SDK gives."""
    if name not in known.METHODS and not (holder == OURS and name in known.SDK_METHODS):
        reader.stop(node, scope, f"calls {ast.unparse(node.func)}()")
    for argument in arguments:
        if name in known.SHOWING:
            check_shown(reader, argument, node, scope)
        if isinstance(argument, (OwnFunction, OwnClass)):
            call(reader, argument, [item_of(holder)], node, scope, {}, False)
        elif name in known.ADDING and container([argument]) not in (DATA, OURS):
            reader.stop(node, scope, f"puts what can't be followed into {ast.unparse(node.func.value)}")  # type: ignore[attr-defined]
        elif name not in known.PASSIVE and _may_vary(argument):
            reader.stop(node, scope, f"gives what can't be followed to {ast.unparse(node.func)}()")
    return holder if holder != DATA else container([DATA, *(a for a in arguments if a in (DATA, OURS))])


def call(
    reader: CodeReader,
    kind: Kind,
    arguments: list[Kind],
    node: ast.AST,
    scope: CodeScope,
    named: dict[str, Kind] | None = None,
    is_exact: bool = True,
) -> Kind:
    """Reads a call.

    Args:
        node, scope: where it is, for messages. named: the arguments that are given by name.
        is_exact: whether it is known which argument is given for which parameter.
    """
    named = named or {}
    everything = [*arguments, *named.values()]
    if isinstance(kind, OwnFunction):
        return call_function(reader, kind, arguments, named, is_exact, node, scope)
    if isinstance(kind, Builtin):
        return _call_builtin(reader, kind.name, arguments, named, node, scope)
    if isinstance(kind, External):
        return _call_external(reader, kind.dotted, everything, node, scope)
    if isinstance(kind, Sdk):
        function = [named["function"]] if "function" in named else []
        return _call_sdk(reader, kind, [*arguments, *function], node, scope)
    if isinstance(kind, OwnClass):
        return _instance(reader, kind, everything, node, scope)
    if isinstance(kind, DeclaredTask):
        if reader.in_driver:
            return OURS
        return call(reader, kind.function, arguments, node, scope, named, is_exact)
    if kind == OURS:
        return OURS
    called = ast.unparse(node.func) if isinstance(node, ast.Call) else ast.unparse(node)
    reader.stop(node, scope, f"calls {called}, which can't be followed")


def _call_sdk(reader: CodeReader, kind: Sdk, arguments: list[Kind], node: ast.AST, scope: CodeScope) -> Kind:
    if kind.name not in known.SDK_NAMES:
        return OPAQUE
    if kind.name not in ("pipeline", "task"):
        return OURS
    if not arguments:
        return Sdk(kind.name, made=True)
    function = arguments[0].function if isinstance(arguments[0], DeclaredTask) else arguments[0]
    if kind.name == "task":
        return DeclaredTask(function)
    if not isinstance(function, OwnFunction):
        reader.stop(node, scope, "makes a driver of what can't be followed")
    before, reader.in_driver = reader.in_driver, True
    call_function(reader, function, [OURS], {}, False, node, scope)
    reader.in_driver = before
    return OURS


def _call_builtin(
    reader: CodeReader, name: str, arguments: list[Kind], named: dict[str, Kind], node: ast.AST, scope: CodeScope
) -> Kind:
    everything = [*arguments, *named.values()]
    if name in known.OF_BUILTINS:
        return container([item_of(argument) for argument in everything])
    if (
        name not in known.BUILTINS
        or (name == "iter" and len(arguments) > 1)
        or (name == "type" and len(arguments) != 1)
    ):
        reader.stop(node, scope, f"calls {name}()")
    if name in known.SHOWS:
        for argument in everything:
            check_shown(reader, argument, node, scope)
        return DATA
    items = container(
        [item_of(argument) for argument in arguments if argument in (DATA, OURS) or isinstance(argument, Items)]
    )
    called = [named["key"]] if "key" in named else []
    if name in known.CALLS_ITS_ARGUMENT and arguments:
        called, items = [*called, arguments[0]], container([item_of(argument) for argument in arguments[1:]])
    result = join([call(reader, function, [items], node, scope, {}, False) for function in called if function != DATA])
    if name == "map":
        return Items(result)
    if name in ("set", "frozenset"):
        return set_of(reader, [items], node, scope)
    if name in known.LAZY:
        is_plain = all(argument in (DATA, OURS) or isinstance(argument, (Items, OwnFunction)) for argument in arguments)
        return Items(items if is_plain else OPAQUE)
    if name in ("list", "tuple", "sorted", "dict", "next", "max", "min", "sum"):
        others = [*arguments[name == "next" :], *(kind for key, kind in named.items() if key != "key")]
        return container([items, *(DATA if isinstance(kind, Items) else kind for kind in others)])
    return OPAQUE if name in ("type", "property", "staticmethod", "classmethod") else DATA


def _call_external(reader: CodeReader, dotted: str, arguments: list[Kind], node: ast.AST, scope: CodeScope) -> Kind:
    if dotted == "typing.NewType()":
        return container(arguments)
    if not known.is_harmless_call(dotted):
        is_decorated = dotted.startswith("decorated")
        reader.stop(node, scope, f"calls a function that is {dotted}" if is_decorated else f"calls {dotted}()")
    module = dotted.partition(".")[0]
    if module in known.DEFINING:
        return container(arguments[:1]) if dotted == "dataclasses.replace" else External(f"{dotted}()")
    for argument in arguments:
        if isinstance(argument, (OwnFunction, OwnClass)):
            call(reader, argument, [OPAQUE], node, scope, {}, False)
        elif _may_vary(argument):
            reader.stop(node, scope, f"gives what can't be followed to {dotted}()")
    if module == "operator" or dotted in ("functools.partial", "functools.cmp_to_key", "collections.namedtuple"):
        return OPAQUE
    if module == "functools":
        return External(f"{dotted}()")
    held = container(
        [item_of(argument) for argument in arguments if argument in (DATA, OURS) or isinstance(argument, Items)]
    )
    if module == "itertools":
        return Items(held)
    if module in ("collections", "copy"):
        return held
    return DATA


def _may_vary(argument: Kind) -> bool:
    """Whether what an argument is given to may get something else from it each time, if it calls it."""
    if isinstance(argument, External):
        dotted = argument.dotted.removesuffix("()")
        return not (known.is_constant(dotted) or known.is_harmless_call(dotted))
    return argument == OPAQUE or (isinstance(argument, Builtin) and argument.name not in known.BUILTINS)


def _instance(reader: CodeReader, kind: OwnClass, arguments: list[Kind], node: ast.AST, scope: CodeScope) -> Kind:
    """What the call of a class makes. It is followed for classes that hold values and run nothing."""
    is_shown = False
    known_bases = known.RECORD_BASES | known.ENUMERATIONS
    for base in kind.node.bases:
        above = reader.kind(base.value if isinstance(base, ast.Subscript) else base, kind.scope.outer or kind.scope)
        dotted = above.dotted if isinstance(above, External) else above.name if isinstance(above, Builtin) else ""
        if isinstance(above, OwnClass):
            is_shown = _instance(reader, above, arguments, node, scope) == DATA
        elif dotted not in known_bases | known.INNER_BASES:
            reader.stop(node, scope, f"makes a {kind.node.name}, whose base class can't be followed")
        is_shown = is_shown or dotted in known_bases
    for decorator in kind.node.decorator_list:
        is_shown = True
        reader.kind(decorator, kind.scope.outer or kind.scope)
    values = [*arguments]
    for statement in kind.node.body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            bound = {getattr(decorator, "id", "") for decorator in statement.decorator_list}
            if (
                statement.name.startswith("__")
                or not bound <= {"staticmethod", "classmethod"}
                or statement.name in known.METHODS
            ):
                reader.stop(node, scope, f"makes a {kind.node.name}, whose {statement.name}() may run")
        elif isinstance(statement, (ast.AnnAssign, ast.Assign)) and statement.value is not None:
            values.append(_field(reader, statement.value, kind, node, scope))
        elif isinstance(statement, ast.ClassDef):
            values.append(OPAQUE)
    if not kind.is_plain:
        reader.stop(node, scope, f"makes a {kind.node.name}, whose metaclass can't be followed")
    made = container(values)
    return made if is_shown and made in (DATA, OURS) else OPAQUE


def _field(reader: CodeReader, value: ast.expr, kind: OwnClass, node: ast.AST, scope: CodeScope) -> Kind:
    """The kind of a field's default, which ``field(default_factory=…)`` makes anew for each instance."""
    found = reader.kind(value, kind.scope)
    if not isinstance(found, External) or not isinstance(value, ast.Call):
        return found
    given: list[Kind] = []
    for keyword in value.keywords:
        if keyword.arg in ("default_factory", "factory"):
            given.append(call(reader, reader.kind(keyword.value, kind.scope), [], node, scope))
        elif keyword.arg == "default":
            given.append(reader.kind(keyword.value, kind.scope))
    return container(given)


def call_function(
    reader: CodeReader,
    function: OwnFunction,
    arguments: list[Kind],
    named: dict[str, Kind],
    is_exact: bool,
    node: ast.AST,
    scope: CodeScope,
) -> Kind:
    """Reads the body of a function with arguments of these kinds; returns the kind of what it returns."""
    given = _parameters(function.node.args, arguments, named, is_exact)
    key = (function, tuple(sorted(given.items(), key=lambda pair: pair[0])), reader.in_driver)
    if key in reader.calls:
        return reader.calls[key] or OPAQUE
    reader.calls[key] = None
    inner = CodeScope("function", function.scope.module, function.scope)
    for name, default in _defaults(function.node.args):
        inner.names[name] = [NameSource("given", kind=reader.kind(default, function.scope))]
    for name in _parameter_names(function.node.args):
        if name in given or name not in inner.names:
            inner.names[name] = [NameSource("given", kind=given.get(name, OPAQUE))]
    if isinstance(function.node, ast.Lambda):
        result = reader.kind(function.node.body, inner)
    else:
        collect(function.node.body, inner)
        reader.run(function.node.body, inner)
        result = _returned(reader, function.node, inner)
    reader.calls[key] = result
    return result


def _returned(reader: CodeReader, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: CodeScope) -> Kind:
    returned, yielded = [], []
    nodes: list[ast.AST] = list(node.body)
    while nodes:
        inner = nodes.pop()
        if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            continue
        if isinstance(inner, ast.Return) and inner.value is not None:
            returned.append(reader.kind(inner.value, scope))
        elif isinstance(inner, ast.Yield) and inner.value is not None:
            yielded.append(reader.kind(inner.value, scope))
        elif isinstance(inner, ast.YieldFrom):
            yielded.append(item_of(reader.kind(inner.value, scope)))
        nodes.extend(ast.iter_child_nodes(inner))
    if isinstance(node, ast.AsyncFunctionDef):
        return OURS
    return Items(container(yielded)) if yielded else join(returned)


def _parameters(given: ast.arguments, arguments: list[Kind], named: dict[str, Kind], is_exact: bool) -> dict[str, Kind]:
    """The kinds of a function's parameters, by name, as far as a call gives them."""
    names = [argument.arg for argument in [*given.posonlyargs, *given.args]]
    only = [argument.arg for argument in given.kwonlyargs]
    rest: list[Kind]
    kinds: dict[str, Kind] = {}
    if is_exact:
        kinds.update(zip(names, arguments, strict=False))
        kinds.update({name: kind for name, kind in named.items() if name in names or name in only})
        rest = [*arguments[len(names) :], *(kind for name, kind in named.items() if name not in kinds)]
    else:
        rest = [*arguments, *named.values()]
        kinds = dict.fromkeys([*names, *only], join(rest) if rest else OPAQUE)
    for star in (given.vararg, given.kwarg):
        if star is not None:
            kinds[star.arg] = container(rest)
    return kinds


def _parameter_names(given: ast.arguments) -> list[str]:
    stars = [star for star in (given.vararg, given.kwarg) if star is not None]
    return [argument.arg for argument in [*given.posonlyargs, *given.args, *given.kwonlyargs, *stars]]


def _defaults(given: ast.arguments) -> list[tuple[str, ast.expr]]:
    """The defaults of a function's parameters, by name."""
    names = [argument.arg for argument in [*given.posonlyargs, *given.args]]
    pairs = [
        (argument.arg, default)
        for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
        if default
    ]
    return [*zip(names[len(names) - len(given.defaults) :], given.defaults, strict=True), *pairs]
