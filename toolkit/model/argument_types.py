"""The types of arguments and of declared parameters, as rows of a description: reading a value as one, and writing one in YAML.

A row takes what the runtime takes for the same annotation (``runtime/user/annotations.py``), and a test holds the two together.
Where a value may be several things it takes more than the step: a value is never refused that a step would take.
"""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING, Any

from toolkit.runtime.shared.casts import SIMPLE, CannotConvert, not_a, same_json
from toolkit.runtime.shared.values import parse_json_text, short_json

if TYPE_CHECKING:
    from toolkit.runtime.shared.documents import JsonValue, TypeRow

_READ_SCALAR = {cls.__name__: cast for cls, cast in SIMPLE.items()}
SCALARS = frozenset(_READ_SCALAR)
"""The types of single values."""


def read_given(row: TypeRow, value: JsonValue, spelling: str | None) -> JsonValue:
    """A value of the run's as a type.

    Args:
        spelling: the text that spelled it, where it does not give that back. ``str`` takes the text, and so may others.

    Raises:
        CannotConvert: neither the value nor its text can be that.
    """
    if spelling is None or isinstance(value, str):
        return read(row, value)
    if row == "str":
        return spelling
    try:
        return read(row, value)
    except CannotConvert:
        try:
            return read(row, spelling)
        except CannotConvert:
            pass
        raise


def read(row: TypeRow, value: JsonValue) -> JsonValue:
    """A JSON value as a type.

    Raises:
        CannotConvert: it can't be that without being changed.
    """
    if isinstance(row, str):
        if row in _READ_SCALAR:
            read_scalar: JsonValue = _READ_SCALAR[row](value)
            return read_scalar
        if row == "none" and value is not None:
            raise CannotConvert(f"is {short_json(value)}")
        return _read_container(row, "any", value) if row in ("list", "dict") else value
    [(kind, parts)] = row.items()
    if kind in ("list", "dict"):
        return _read_container(kind, _row(parts), value)
    if kind == "union":
        return _read_union([_row(part) for part in _list(parts)], value)
    members = _list(parts)
    if kind == "literal" and _is_literal(members, value):
        return value
    if kind == "enum" and _is_of_enum(members, value):
        return value
    if kind in ("literal", "enum"):
        raise CannotConvert(f"is {short_json(value)}, which is none of its values")
    # A row of a newer version.
    return value


def _row(part: object) -> TypeRow:
    return part if isinstance(part, (str, dict)) else "any"


def _list(parts: object) -> list[Any]:
    return parts if isinstance(parts, list) else []


def _read_container(kind: str, item: TypeRow, value: JsonValue) -> JsonValue:
    decoded = parse_json_text(value)
    if kind == "list" and isinstance(decoded, list):
        return [_read_part(item, part, f"[{position}]") for position, part in enumerate(decoded)]
    if kind == "dict" and isinstance(decoded, dict):
        return {key: _read_part(item, part, f"[{key!r}]") for key, part in decoded.items()}
    raise not_a(value, kind)


def _read_part(row: TypeRow, value: JsonValue, step: str) -> JsonValue:
    try:
        return read(row, value)
    except CannotConvert as refusal:
        refusal.path.insert(0, step)
        raise


def _read_union(rows: list[TypeRow], value: JsonValue) -> JsonValue:
    if value is None and "none" in rows:
        return None
    others = [row for row in rows if row != "none"]
    if len(others) == 1:
        return read(others[0], value)
    for row in others:
        try:
            return read(row, value)
        except CannotConvert:
            continue
    raise CannotConvert(f"is {short_json(value)}, which is none of {', '.join(map(shown, others))}")


def _is_literal(members: list[Any], value: JsonValue) -> bool:
    if any(same_json(member, value) for member in members):
        return True
    decoded = parse_json_text(value)
    return isinstance(value, str) and any(isinstance(each, int) and same_json(each, decoded) for each in members)


def _is_of_enum(members: list[Any], value: JsonValue) -> bool:
    if any(same_json(member, value) for member in members):
        return True
    candidates = [
        candidate
        for candidate in (value, parse_json_text(value))
        if isinstance(candidate, (str, int, float)) and not isinstance(candidate, bool)
    ]
    return any(member == candidate for member in members for candidate in candidates)


def shown(row: TypeRow) -> str:
    """What messages and ``--help`` call a type."""
    if isinstance(row, str):
        return {"none": "None", "any": "any value"}.get(row, row)
    [(kind, parts)] = row.items()
    if kind == "list":
        return f"list[{shown(_row(parts))}]"
    if kind == "dict":
        return f"dict[str, {shown(_row(parts))}]"
    if kind == "union":
        return " | ".join(dict.fromkeys(shown(_row(part)) for part in _list(parts)))
    return f"one of {', '.join(json.dumps(part, ensure_ascii=False) for part in _list(parts))}"


# --- as text --------------------------------------------------------------------------------------------------------

WRITTEN = ("bool", "int", "float", "str", "list", "dict", "any")
"""The names of types in YAML; ``list[int]``, ``dict[str, float]``, ``int | None`` and ``Literal["a"]`` are made of them."""


def parse_type(text: str) -> TypeRow | None:
    """The type that a text names, in Python's way of writing; None where it names none that is known."""
    try:
        return _of_node(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _of_node(node: ast.expr) -> TypeRow | None:
    if isinstance(node, ast.Constant) and node.value is None:
        return "none"
    if isinstance(node, ast.Name):
        return "any" if node.id == "Any" else node.id if node.id in WRITTEN else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        rows = [_of_node(node.left), _of_node(node.right)]
        members = [member for row in rows for member in (_members(row) if row is not None else [None])]
        return None if None in members else {"union": members}
    if not isinstance(node, ast.Subscript) or not isinstance(node.value, ast.Name):
        return None
    name = node.value.id
    arguments = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if name == "Literal":
        values = [part.value for part in arguments if isinstance(part, ast.Constant)]
        are_plain = all(value is None or isinstance(value, (str, int)) for value in values)
        return {"literal": values} if len(values) == len(arguments) and are_plain else None
    rows = [_of_node(part) for part in arguments]
    if None in rows:
        return None
    if name == "Optional" and len(rows) == 1 and rows[0] is not None:
        return {"union": [*_members(rows[0]), "none"]}
    item = rows[-1]
    is_right = (name == "list" and len(rows) == 1) or (name == "dict" and len(rows) == 2 and rows[0] == "str")
    if not is_right or item is None:
        return None
    return name if item == "any" else {name: item}


def with_none(row: TypeRow) -> TypeRow:
    """The type that takes None as well."""
    members = _members(row)
    return row if "none" in members or row == "any" else {"union": [*members, "none"]}


def _members(row: TypeRow) -> list[Any]:
    """The members of a union; a type that is none is its own."""
    return _list(row["union"]) if isinstance(row, dict) and "union" in row else [row]
