"""What annotations mean: those of a callable or a class, with what is written as text resolved as far as possible.

A name that a module imports for type checkers alone (``if TYPE_CHECKING:``) is looked up where that import says, in the standard
library, in the user's own modules, and in libraries that are imported already. No library is imported for an annotation.
"""

from __future__ import annotations

import importlib
import os
import sys

from . import imports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional


class _UnresolvedMeta(type):
    """Makes what stands for a name that is not there usable as its annotation uses it: ``x.Y``, ``X[int]``, ``X | None``."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return unresolved(f"{cls.__name__}.{name}")

    def __getitem__(cls, arguments: object) -> Any:
        return cls

    def __or__(cls, other: Any) -> Any:
        return imports.standard_module("typing").Union[cls, other]

    def __ror__(cls, other: Any) -> Any:
        return imports.standard_module("typing").Union[other, cls]


class Unresolved(metaclass=_UnresolvedMeta):
    """The base of what stands for names in annotations that are not there when the step runs."""


def unresolved(name: str) -> type:
    """What stands for a name that is not there."""
    return _UnresolvedMeta(name, (Unresolved,), {})


# --- which annotations ------------------------------------------------------------------------------------------------


def hints_of(target: Any) -> dict[str, Any]:
    """The annotations of a callable's arguments."""
    function = _function_of(target)
    if isinstance(function, type):
        return field_hints(function)
    raw = _raw(function)
    if not any(isinstance(annotation, str) for annotation in raw.values()):
        return raw
    return _resolved(function, (function,))


def field_hints(cls: type) -> dict[str, Any]:
    """The annotations of a class, and of those that it inherits."""
    if cls not in _field_hints:
        _field_hints[cls] = _resolved(cls, cls.__mro__[::-1])
    return _field_hints[cls]


_field_hints: dict[type, dict[str, Any]] = {}


def _resolved(holder: Any, parts: tuple[Any, ...]) -> dict[str, Any]:
    try:
        resolved: dict[str, Any] = imports.standard_module("typing").get_type_hints(holder, include_extras=True)
        return resolved
    except Exception:
        # One of them can't be resolved, or not by this Python. The others are.
        hints: dict[str, Any] = {}
        for part in parts:
            space = namespace_of(part)
            hints.update((name, resolve(annotation, space)) for name, annotation in _raw(part).items())
        return hints


_WITH_FIELDS = ("__dataclass_fields__", "__attrs_attrs__", "_fields", "__pydantic_fields__", "__struct_fields__")


def _function_of(target: Any) -> Any:
    """What has the annotations of a callable's arguments: a function, or a class with fields."""
    for _ in range(100):
        inner = getattr(target, "__wrapped__", None) or getattr(target, "__func__", None)
        if inner is None and type(target).__name__ == "partial":
            inner = getattr(target, "func", None)
        if inner is None and isinstance(target, type):
            if any(hasattr(target, mark) for mark in _WITH_FIELDS):
                return target
            inner = target.__init__ if target.__init__ is not object.__init__ else target.__new__  # type: ignore[misc]
        elif inner is None and not hasattr(target, "__globals__"):
            inner = type(target).__call__ if callable(target) else None
        if inner is None or not (hasattr(inner, "__globals__") or callable(inner)) or inner is target:
            return target
        if type(inner).__name__ in ("wrapper_descriptor", "method-wrapper", "builtin_function_or_method"):
            return inner
        target = inner
    return target


def _raw(holder: Any) -> dict[str, Any]:
    """The annotations that a function or a class itself has, as they are written."""
    try:
        if isinstance(holder, type) and sys.version_info < (3, 10):
            # There the attribute may be inherited.
            return dict(vars(holder).get("__annotations__") or {})
        return dict(getattr(holder, "__annotations__", None) or {})
    except NameError:
        # Python 3.14 evaluates them only now.
        library = imports.standard_module("annotationlib")
        return dict(library.get_annotations(holder, format=library.Format.STRING))


# --- text -----------------------------------------------------------------------------------------------------------


def namespace_of(holder: Any) -> dict[str, Any]:
    """The names that annotations of a callable or a class can use."""
    holder = holder if isinstance(holder, type) else _function_of(holder)
    space = getattr(holder, "__globals__", None)
    if space is not None:
        return dict(space)
    module = sys.modules.get(getattr(holder, "__module__", None) or "")
    space = dict(vars(module)) if module is not None else {}
    return {**space, **vars(holder), getattr(holder, "__name__", ""): holder} if isinstance(holder, type) else space


def resolve(annotation: Any, space: dict[str, Any]) -> Any:
    """An annotation that may be text. What stands for a name that is not there is a class that derives from Unresolved.

    Args:
        space: the names that it can use.
    """
    text = getattr(annotation, "__forward_arg__", annotation)
    if not isinstance(text, str):
        return annotation
    try:
        return eval(text, dict(space))
    except Exception:
        return _resolve_by_parts(text, space)


def _resolve_by_parts(text: str, space: dict[str, Any]) -> Any:
    ast = imports.standard_module("ast")
    typing = imports.standard_module("typing")

    class Unions(ast.NodeTransformer):  # type: ignore[misc, name-defined]
        """Python 3.9 has no ``X | Y`` of types."""

        def visit_BinOp(self, node: Any) -> Any:
            self.generic_visit(node)
            if not isinstance(node.op, ast.BitOr):
                return node
            members = ast.Tuple([node.left, node.right], ast.Load())
            return ast.Subscript(ast.Name(" Union", ast.Load()), members, ast.Load())

    try:
        tree = ast.fix_missing_locations(Unions().visit(ast.parse(text.strip(), mode="eval")))
    except SyntaxError:
        # It is a remark, and no type.
        return typing.Any
    try:
        return eval(compile(tree, "<annotation>", "eval"), {" Union": typing.Union}, _Names(space))
    except Exception:
        return unresolved(text)


class _Names(dict):  # type: ignore[type-arg]
    """A namespace in which every name is there."""

    def __missing__(self, name: str) -> Any:
        builtins = imports.standard_module("builtins")
        if name == " Union":
            raise KeyError(name)
        if hasattr(builtins, name):
            return getattr(builtins, name)
        bound = _for_type_checkers(self, name)
        self[name] = unresolved(name) if bound is None else bound
        return self[name]


_guarded: dict[str, dict[str, Any]] = {}
"""For each file, what its ``if TYPE_CHECKING:`` binds: syntax trees by name."""


def _for_type_checkers(space: dict[str, Any], name: str) -> Optional[Any]:
    """What a module's ``if TYPE_CHECKING:`` binds to a name, where it can be had without importing a library."""
    file = space.get("__file__")
    if not isinstance(file, str) or not os.path.isfile(file):
        return None
    if file not in _guarded:
        _guarded[file] = _read_guarded(file)
    node = _guarded[file].get(name)
    if node is None:
        return None
    if not hasattr(node, "names"):
        # An alias of a type.
        ast = imports.standard_module("ast")
        return _resolve_by_parts(ast.unparse(node), space)
    if not hasattr(node, "level"):
        alias = next(alias for alias in node.names if (alias.asname or alias.name.partition(".")[0]) == name)
        return _import(alias.name if alias.asname else name, "")
    package = space.get("__package__") or (space.get("__name__") or "").rpartition(".")[0]
    above = package.rsplit(".", node.level - 1)[0] if node.level else ""
    module = ".".join(part for part in (above, node.module) if part)
    alias = next(alias for alias in node.names if (alias.asname or alias.name) == name)
    return _import(module, alias.name)


def _read_guarded(file: str) -> dict[str, Any]:
    ast = imports.standard_module("ast")
    bound: dict[str, Any] = {}
    try:
        with open(file, "rb") as source:
            tree = ast.parse(source.read())
    except (OSError, SyntaxError, ValueError):
        return bound
    for node in ast.walk(tree):
        test = getattr(node, "test", None) if isinstance(node, ast.If) else None
        if getattr(test, "id", getattr(test, "attr", "")) != "TYPE_CHECKING":
            continue
        for inner in node.body:
            if isinstance(inner, ast.ImportFrom):
                bound.update((alias.asname or alias.name, inner) for alias in inner.names)
            elif isinstance(inner, ast.Import):
                bound.update((alias.asname or alias.name.partition(".")[0], inner) for alias in inner.names)
            elif isinstance(inner, ast.Assign):
                bound.update((target.id, inner.value) for target in inner.targets if isinstance(target, ast.Name))
            elif isinstance(inner, ast.AnnAssign) and inner.value is not None and isinstance(inner.target, ast.Name):
                bound[inner.target.id] = inner.value
    return bound


def _import(module: str, name: str) -> Optional[Any]:
    """A module, or what it has under a name, unless it is of a library that is not imported."""
    try:
        imported = sys.modules.get(module)
        if imported is None and imports.is_own(module):
            imported = importlib.import_module(module)
        elif imported is None and _is_standard(module):
            imported = imports.standard_module(module)
        if imported is None or not name:
            return imported
        return getattr(imported, name) if hasattr(imported, name) else _import(f"{module}.{name}", "")
    except Exception:
        return None


def _is_standard(module: str) -> bool:
    top = module.partition(".")[0]
    names = getattr(sys, "stdlib_module_names", None)
    if names is not None:
        return top in names
    # Python 3.9 does not tell, but its folder of modules does.
    path = os.path.join(os.path.dirname(os.__file__), top)
    return top in sys.builtin_module_names or os.path.isfile(f"{path}.py") or os.path.isfile(f"{path}/__init__.py")
