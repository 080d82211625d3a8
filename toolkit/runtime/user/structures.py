"""Classes with fields: dataclasses, attrs, named tuples and typed dicts.

An object is written as its fields, and read by its class's constructor. What its fields do not give back is refused when it is
returned: an object arrives as it was, or not at all.
"""

from __future__ import annotations

from ..shared.casts import CannotConvert, not_a, same_json
from ..shared.values import parse_json_text, short_json
from . import kinds
from .annotations import Place, read, variables_of
from .conversion import AS_OBJECT, to_json
from .hints import field_hints
from .kinds import Kind, Writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Optional

    from .annotations import Target

_MISSING = object()


class CannotBuild(CannotConvert):
    """An object can't be made of its fields."""


class Field:
    """A field of a class.

    Attributes:
        name: of the attribute. key: in JSON, and of the constructor's argument. is_argument: whether the constructor takes it.
        is_stored: whether the object has it. is_optional: whether its default is None. annotation: where the class has none.
    """

    __slots__ = ("annotation", "is_argument", "is_optional", "is_stored", "key", "name")

    def __init__(
        self, name: str, key: str, is_argument: bool, is_stored: bool, is_optional: bool, annotation: Any = None
    ) -> None:
        self.name = name
        self.key = key
        self.is_argument = is_argument
        self.is_stored = is_stored
        self.is_optional = is_optional
        self.annotation = annotation


def fields_of(cls: Any) -> list[Field]:
    """The fields of a dataclass or a class of attrs."""
    if cls not in _fields:
        _fields[cls] = _attrs_fields(cls) if hasattr(cls, "__attrs_attrs__") else _dataclass_fields(cls)
    return _fields[cls]


_fields: dict[Any, list[Field]] = {}


def _attrs_fields(cls: Any) -> list[Field]:
    return [
        Field(
            name=attribute.name,
            key=(getattr(attribute, "alias", None) or attribute.name.lstrip("_")) if attribute.init else attribute.name,
            is_argument=attribute.init,
            is_stored=True,
            is_optional=attribute.default is None,
            annotation=attribute.type,
        )
        for attribute in cls.__attrs_attrs__
    ]


def _dataclass_fields(cls: Any) -> list[Field]:
    return [
        Field(
            name=field.name,
            key=field.name,
            is_argument=field.init,
            is_stored=field._field_type.name == "_FIELD",
            is_optional=field.default is None,
        )
        for field in cls.__dataclass_fields__.values()
        if field._field_type.name != "_FIELD_CLASSVAR"
    ]


# --- objects --------------------------------------------------------------------------------------------------------


def _write_object(value: Any, writer: Writer) -> Any:
    inner = Writer(writer.depth, True)
    plain = {
        field.key: inner.part(getattr(value, field.name), f".{field.name}")
        for field in fields_of(type(value))
        if field.is_stored and hasattr(value, field.name)
    }
    if not writer.inside:
        _check(value, plain)
    return plain


def _fields_in(value: Any, target: Target) -> dict[str, Any]:
    """The object that a value is, or that its text is as JSON."""
    decoded = parse_json_text(value)
    if not isinstance(decoded, dict):
        raise not_a(value, target.cls.__name__)
    if decoded is not value:
        target.loosely()
    return decoded


def _read_object(value: Any, target: Target) -> Any:
    decoded = _fields_in(value, target)
    hints = field_hints(target.cls)
    place = Place(target.cls, variables_of(target.cls, target.arguments, target.place))
    fields = {field.key: field for field in fields_of(target.cls)}
    unknown = [key for key in decoded if key not in fields]
    if unknown:
        raise CannotConvert(f"has no field {unknown[0]}")
    parts: dict[str, Any] = {}
    for key, item in decoded.items():
        field = fields[key]
        if item is None and field.is_optional:
            parts[key] = None
        else:
            annotation = hints.get(field.name, _ANY if field.annotation is None else field.annotation)
            parts[key] = target.part(item, annotation, f".{field.name}", place)
    if any(field.is_stored and key not in parts for key, field in fields.items()):
        target.loosely()
    made = _call(target.cls, {key: item for key, item in parts.items() if fields[key].is_argument})
    for key, item in parts.items():
        if not fields[key].is_argument and difference(getattr(made, fields[key].name, _MISSING), item) is not None:
            # What the class has computed may have been changed since. A frozen class takes it like this too.
            object.__setattr__(made, fields[key].name, item)
    return made


_ANY = object
"""The annotation of what has none."""


def _call(cls: Any, arguments: dict[str, Any]) -> Any:
    try:
        return cls(**arguments)
    except TypeError as error:
        raise CannotBuild(f"can't be made of its fields: {error}") from None
    except Exception as error:
        raise CannotBuild(f"can't be made of its fields: {type(error).__name__}: {error}") from None


# --- tuples ---------------------------------------------------------------------------------------------------------


def _write_named_tuple(value: Any, writer: Writer) -> Any:
    inner = Writer(writer.depth, True)
    plain = [inner.part(item, f".{name}") for name, item in zip(value._fields, value)]
    if not writer.inside:
        _check(value, plain)
    return plain


def _read_named_tuple(value: Any, target: Target) -> Any:
    decoded = parse_json_text(value)
    names = target.cls._fields
    if isinstance(decoded, list):
        if len(decoded) > len(names):
            raise CannotConvert(f"is {short_json(decoded)}, which has {len(decoded)} items and not {len(names)}")
        given = dict(zip(names, decoded))
    elif isinstance(decoded, dict):
        given = decoded
        unknown = [key for key in given if key not in names]
        if unknown:
            raise CannotConvert(f"has no field {unknown[0]}")
    else:
        raise not_a(value, target.cls.__name__)
    if decoded is not value or isinstance(decoded, dict) or len(given) != len(names):
        target.loosely()
    hints = field_hints(target.cls)
    place = Place(target.cls, variables_of(target.cls, target.arguments, target.place))
    defaults = target.cls._field_defaults
    parts = {
        name: None
        if item is None and defaults.get(name, _MISSING) is None
        else target.part(item, hints.get(name, _ANY), f".{name}", place)
        for name, item in given.items()
    }
    return _call(target.cls, parts)


# --- typed dicts ----------------------------------------------------------------------------------------------------


def _read_typed_dict(value: Any, target: Target) -> Any:
    decoded = _fields_in(value, target)
    hints = field_hints(target.cls)
    for name in hints:
        if name not in decoded and _is_required(target.cls, name, hints[name]):
            raise CannotConvert(f"lacks the key {name!r}")
    place = Place(target.cls, variables_of(target.cls, target.arguments, target.place))
    # Other keys are allowed, as type checkers allow them.
    return {
        key: target.part(item, hints[key], f"[{key!r}]", place) if key in hints else item
        for key, item in decoded.items()
    }


def _is_required(cls: Any, name: str, annotation: Any) -> bool:
    """Whether a key must be there. The class itself does not know it of annotations that are text."""
    form = getattr(getattr(annotation, "__origin__", None), "_name", None)
    if form in ("Required", "NotRequired"):
        return bool(form == "Required")
    if form == "ReadOnly" or hasattr(annotation, "__metadata__"):
        return _is_required(cls, name, annotation.__args__[0] if form else annotation.__origin__)
    return name in cls.__required_keys__


# --- whether an object comes back -----------------------------------------------------------------------------------


def _check(value: Any, plain: Any) -> None:
    """Refuses an object that its JSON form does not give back."""
    cls: Any = type(value)
    if getattr(cls, "__parameters__", ()):
        # What its type variables mean is known where it was made as Box[int](…).
        cls = getattr(value, "__orig_class__", None)
        if cls is None:
            return
    try:
        again = read(plain, cls)
    except CannotBuild as refusal:
        raise CannotConvert(f"is a {type(value).__name__} that {refusal.what}", AS_OBJECT) from None
    except CannotConvert:
        # A field is not what its annotation says. Who takes the object with that annotation is told so.
        return
    where = difference(value, again)
    if where is not None:
        raise changed(value, where)


def changed(value: Any, where: str) -> CannotConvert:
    """The refusal of an object of which a part comes back as another one."""
    name = type(value).__name__
    return CannotConvert(
        f"is a {name} whose JSON form gives back another {where.lstrip('.') or name}",
        f"{AS_OBJECT}, or annotate the field with the type of its value",
    )


def parts_of(value: Any) -> Optional[Iterator[tuple[str, Any]]]:
    """The parts of a container or an object with fields, and where they are; None of anything else."""
    cls = type(value)
    if isinstance(value, dict):
        return ((f"[{key!r}]", item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        names = getattr(cls, "_fields", None)
        return ((f".{names[at]}" if names else f"[{at}]", item) for at, item in enumerate(value))
    if isinstance(value, (set, frozenset)):
        return ((f"[{item!r}]", item) for item in value)
    if hasattr(cls, "__dataclass_fields__") or hasattr(cls, "__attrs_attrs__"):
        names = [field.name for field in fields_of(cls) if field.is_stored]
    elif hasattr(cls, "__struct_fields__"):
        names = list(cls.__struct_fields__)
    elif hasattr(cls, "__pydantic_core_schema__") or hasattr(cls, "__fields__"):
        extra = getattr(value, "__pydantic_extra__", None) or {}
        return ((f".{name}", item) for name, item in {**vars(value), **extra}.items())
    else:
        return None
    return ((f".{name}", getattr(value, name, _MISSING)) for name in names)


def difference(value: Any, again: Any) -> Optional[str]:
    """Where two values differ first, empty for all of them; None where they do not.

    Tuples and lists are the same, as in JSON, and so are numbers that are equal.
    """
    if value is again or (type(value) is type(again) and type(value) in (str, int, float) and value == again):
        return None
    if isinstance(value, (set, frozenset)):
        return None if isinstance(again, (set, frozenset)) and value == again else ""
    parts, parts_again = parts_of(value), parts_of(again)
    if parts is None or parts_again is None:
        return None if _is_same(value, again) else ""
    if type(value) is not type(again) and not (isinstance(value, (list, tuple)) and isinstance(again, (list, tuple))):
        return ""
    mine, theirs = dict(parts), dict(parts_again)
    for step in {**mine, **theirs}:
        where = difference(mine.get(step, _MISSING), theirs.get(step, _MISSING))
        if where is not None:
            return step + where
    return None


def _is_same(value: Any, again: Any) -> bool:
    """Whether two values without parts are the same."""
    if isinstance(value, bool) or isinstance(again, bool):
        return value is again
    for basic in (str, (int, float)):
        if isinstance(value, basic) and isinstance(again, basic):
            return bool(value == again)
    kind = kinds.find(type(value))
    if kind is not kinds.find(type(again)) or (
        "enum.Enum" in map(kinds.full_name, type(value).__mro__) and value != again
    ):
        return False
    if kind is not None and kind.to_json is not None and kind.is_its_json:
        # It says more than ==: of 0.10 and 0.1, and of two zones with one offset.
        return same_json(to_json(value), to_json(again))
    cls: Any = type(value)
    if cls.__eq__ is object.__eq__ and cls is type(again) and hasattr(value, "__dict__"):
        return difference(vars(value), vars(again)) is None
    try:
        return bool(value == again)
    except Exception:
        return True


KINDS = {
    "dataclass": Kind(_write_object, _read_object),
    "attrs": Kind(_write_object, _read_object),
    "named tuple": Kind(_write_named_tuple, _read_named_tuple),
    "typed dict": Kind(None, _read_typed_dict),
}
