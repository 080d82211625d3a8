"""What a description says of arguments: the type of each as a row of JSON, its default, and its text.

The host checks the run's values by these rows before anything starts (``model/argument_types.py``), and never imports the user's
code. So there is a row for those annotations alone that JSON can describe; any other is checked by the step itself.
"""

from __future__ import annotations

from ..shared.casts import SIMPLE, annotation_name
from ..shared.values import is_plain
from . import imports
from .annotations import is_of_pydantic
from .hints import hints_of
from .signature import Signature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Optional

    from ..shared.documents import ArgumentRow, TypeRow

_LONGEST_DEFAULT = 1000
"""Characters of a default that a description holds."""
_LONGEST_NAME = 200
"""Characters of an annotation that a description holds."""
_LISTS = frozenset(
    {
        *("builtins.list", "builtins.set", "builtins.frozenset", "collections.deque"),
        *(
            f"collections.abc.{name}"
            for name in ("Sequence", "Iterable", "Collection", "Iterator", "Set", "MutableSet")
        ),
        *("collections.abc.MutableSequence", "collections.abc.Reversible", "collections.abc.Container"),
    }
)
_SETS = frozenset({"builtins.set", "builtins.frozenset", "collections.abc.Set", "collections.abc.MutableSet"})
_DICTS = frozenset({"builtins.dict", "collections.abc.Mapping", "collections.abc.MutableMapping"})
_PLAIN = (str, int, float, bool, type(None))


def arguments_of(function: Callable[..., Any], signature: Signature) -> dict[str, ArgumentRow]:
    """The rows of a function's arguments, by name. An argument of which nothing is known has an empty one."""
    hints = annotations_of(function)
    rows: dict[str, ArgumentRow] = {}
    for name in signature.names:
        row = argument_row(hints[name]) if name in hints else {}
        if name in signature.optional and "type" in row:
            # None is a value for it whatever its annotation.
            members = (
                row["type"]["union"] if isinstance(row["type"], dict) and "union" in row["type"] else [row["type"]]
            )
            if "none" not in members and "any" not in members:
                row["type"] = {"union": [*members, "none"]}
        if name in signature.defaults and _can_be_held(signature.defaults[name]):
            row["default"] = signature.defaults[name]
        rows[name] = row
    return rows


def annotations_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function's arguments; none where they can't be had, which the step reports."""
    try:
        return hints_of(function)
    except Exception:
        return {}


def argument_row(annotation: Any) -> ArgumentRow:
    """What a description says of an argument with this annotation: its type, or else its text."""
    described: ArgumentRow = {}
    try:
        row = type_row(annotation)
        if row is None:
            described["annotation"] = annotation_name(annotation)[:_LONGEST_NAME]
        else:
            described["type"] = row
    except Exception:
        # An object of the user's in an annotation may raise anything.
        pass
    return described


def _can_be_held(default: Any) -> bool:
    return is_plain(default) and len(repr(default)) <= _LONGEST_DEFAULT


def remark_of(annotation: Any) -> str:
    """The first text that ``Annotated`` adds to a type; empty where there is none."""
    remarks = getattr(annotation, "__metadata__", ())
    return next((remark for remark in remarks if isinstance(remark, str)), "")


def type_row(annotation: Any) -> Optional[TypeRow]:
    """The row of an annotation; None where it is of another kind than the host can check."""
    if annotation is None or annotation is type(None):
        return "none"
    if annotation is object or annotation is imports.standard_module("typing").Any:
        return "any"
    origin = getattr(annotation, "__origin__", None)
    if isinstance(annotation, type) and origin is None:
        if annotation in SIMPLE:
            return annotation.__name__
        return _enum_row(annotation) or _container_row(annotation, ())
    if hasattr(annotation, "__metadata__"):
        return None if is_of_pydantic(annotation) else type_row(origin)
    if hasattr(annotation, "__supertype__"):
        return type_row(annotation.__supertype__)
    arguments = getattr(annotation, "__args__", ())
    if type(annotation).__name__ in ("UnionType", "Union") or getattr(origin, "_name", "") in ("Union", "Optional"):
        return _of_parts("union", arguments)
    if getattr(origin, "_name", "") == "Literal":
        return {"literal": list(arguments)} if all(type(member) in _PLAIN for member in arguments) else None
    return _container_row(origin, arguments) if isinstance(origin, type) else None


def _of_parts(kind: str, annotations: Iterable[Any]) -> Optional[TypeRow]:
    rows = []
    for annotation in annotations:
        row = type_row(annotation)
        if row is None:
            return None
        rows.append(row)
    return {kind: rows}


def _container_row(cls: type, arguments: tuple[Any, ...]) -> Optional[TypeRow]:
    name = f"{cls.__module__}.{cls.__qualname__}"
    if name == "builtins.tuple":
        if len(arguments) != 2 or arguments[1] is not Ellipsis:
            return "list" if not arguments and cls is tuple else None
        arguments = arguments[:1]
    elif name in _DICTS:
        if arguments and arguments[0] is not str:
            return None
        arguments = arguments[1:]
    elif name not in _LISTS:
        return None
    kind = "dict" if name in _DICTS else "list"
    if not arguments:
        # Of a set, what its items are decides whether it can be made.
        return kind if name not in _SETS else None
    item = type_row(arguments[0])
    if item is None or (name in _SETS and item not in ("bool", "int", "float", "str")):
        return None
    return kind if item == "any" else {kind: item}


def _enum_row(cls: Any) -> Optional[TypeRow]:
    """The row of an enumeration whose values are plain, and that takes nothing else for one of them."""
    enum = imports.standard_module("enum")
    if not issubclass(cls, enum.Enum) or issubclass(cls, enum.Flag) or type(cls) is not type(enum.Enum):
        return None
    values = [member.value for member in cls]
    own = getattr(cls._missing_, "__func__", None)
    known = getattr(cls, "_value2member_map_", {})
    if own is not enum.Enum._missing_.__func__ or len(known) > len(values) or not values:
        return None
    return {"enum": values} if all(type(value) in _PLAIN for value in values) and is_plain(values) else None
