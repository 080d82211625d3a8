"""Annotations: a JSON value as the type that an argument or a field is annotated with.

A value is read as what the annotation says, or refused; it never becomes something else. Classes are read as :mod:`.kinds` says,
and the forms that are no classes (Union, Literal, …) here.
"""

from __future__ import annotations

from ..shared.casts import SIMPLE, CannotConvert, annotation_name, same_json
from ..shared.values import parse_json_text, short_json
from . import imports, kinds
from .conversion import to_json
from .hints import Unresolved, field_hints, namespace_of, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Optional


class Place:
    """Where an annotation stands.

    Args:
        holder: the function or class that has it. variables: what type variables mean there.
    """

    __slots__ = ("holder", "variables")

    def __init__(self, holder: Any, variables: Mapping[Any, Any]) -> None:
        self.holder = holder
        self.variables = variables


class Reading:
    """The reading of one value.

    Attributes:
        is_exact: whether each part so far was in the one form in which its type is written as JSON.
    """

    __slots__ = ("is_exact",)

    def __init__(self) -> None:
        self.is_exact = True


class Target:
    """What a value is read as.

    Attributes:
        cls: the class. annotation: all of the annotation. arguments: those of the annotation, as in ``list[int]``.
    """

    __slots__ = ("annotation", "arguments", "cls", "place", "reading")

    def __init__(self, cls: Any, annotation: Any, arguments: tuple[Any, ...], place: Place, reading: Reading) -> None:
        self.cls = cls
        self.annotation = annotation
        self.arguments = arguments
        self.place = place
        self.reading = reading

    @property
    def is_parametrized(self) -> bool:
        """Whether the annotation has arguments, be it none of them as in ``tuple[()]``."""
        return hasattr(self.annotation, "__args__")

    def part(self, value: Any, annotation: Any, step: str, place: Optional[Place] = None) -> Any:
        """A part of the value as its own annotation says; messages find it at ``step``."""
        try:
            return _read(value, annotation, place or self.place, self.reading)
        except CannotConvert as refusal:
            refusal.path.insert(0, step)
            raise

    def loosely(self) -> None:
        """Notes that the value is not in the one form in which its type is written as JSON."""
        self.reading.is_exact = False


def read(value: Any, annotation: Any, holder: Any = None) -> Any:
    """A JSON value as an annotation says.

    Args:
        holder: the callable that has the annotation, whose names its texts can use.

    Raises:
        CannotConvert: it can't be that without being changed.
    """
    return _read(value, annotation, Place(holder, {}), Reading())


def of_keyword(annotation: Any, name: str) -> Any:
    """The annotation of one value that ``**kwargs`` takes; Any where ``Unpack`` of a typed dict does not name it."""
    if getattr(getattr(annotation, "__origin__", None), "_name", None) != "Unpack":
        return annotation
    return field_hints(annotation.__args__[0]).get(name, object)


def _read(value: Any, annotation: Any, place: Place, reading: Reading) -> Any:
    origin = getattr(annotation, "__origin__", None)
    if isinstance(annotation, type) and origin is None:
        simple = SIMPLE.get(annotation)
        if simple is None:
            return _read_class(value, annotation, annotation, (), place, reading)
        made = simple(value)
        if type(made) is not type(value) and not (annotation is float and type(value) is int):
            reading.is_exact = False
        return made
    if annotation is None:
        return _read(value, type(None), place, reading)
    form = _FORMS.get(_form_name(annotation, origin))
    if form is not None:
        return form(value, annotation, place, reading)
    if isinstance(origin, type):
        return _read_class(
            value, origin, annotation, annotation.__args__ if hasattr(annotation, "__args__") else (), place, reading
        )
    # By PEP 3107 an annotation may be any object. One that is no type says nothing about the value.
    return value


def _form_name(annotation: Any, origin: Any) -> str:
    """The name of a form of ``typing``, be it the library's own or of typing_extensions."""
    if hasattr(annotation, "__metadata__"):
        return "Annotated"
    if hasattr(annotation, "__supertype__"):
        return "NewType"
    name = type(annotation).__name__
    if name in _FORMS:
        return name
    if origin is None:
        return getattr(annotation, "_name", None) or ""
    return "TypeAliasType" if type(origin).__name__ == "TypeAliasType" else getattr(origin, "_name", None) or ""


def _read_class(
    value: Any, cls: Any, annotation: Any, arguments: tuple[Any, ...], place: Place, reading: Reading
) -> Any:
    if issubclass(cls, Unresolved):
        raise CannotConvert(
            f"is {short_json(value)}, and {cls.__name__} is not there when the step runs",
            "import it outside of `if TYPE_CHECKING:`, or declare the return as pickled(…)",
        )
    kind = kinds.find(cls)
    if kind is not None:
        if not arguments:
            arguments = _inherited_arguments(cls)
        return kind.from_json(value, Target(cls, annotation, arguments, place, reading))
    if getattr(cls, "_is_protocol", False):
        is_one = all(hasattr(value, name) for name in _members_of(cls))
    else:
        try:
            is_one = isinstance(value, cls)
        except TypeError:
            is_one = False
    if not is_one:
        raise CannotConvert(
            f"is {short_json(value)}, of which no {cls.__name__} can be made",
            f"declare the return as pickled(…), or make the {cls.__name__} in the function",
        )
    return value


def _members_of(protocol: Any) -> set[str]:
    """What an instance of a protocol must have."""
    names = getattr(protocol, "__protocol_attrs__", None)
    if names is None:
        # Before Python 3.12 only typing itself knows.
        names = imports.standard_module("typing")._get_protocol_attrs(protocol)
    return set(names)


def _inherited_arguments(cls: Any) -> tuple[Any, ...]:
    """The arguments of the built-in container that a class derives from, as in ``class Matrix(list[list[float]])``."""
    for base in getattr(cls, "__orig_bases__", ()):
        if getattr(base, "__origin__", None) in (list, tuple, set, frozenset, dict):
            arguments: tuple[Any, ...] = base.__args__
            return arguments
    return ()


def variables_of(cls: Any, arguments: tuple[Any, ...], place: Place) -> dict[Any, Any]:
    """What the type variables of a class and of its bases mean where it has these arguments."""
    variables = dict(place.variables)
    variables.update(zip(getattr(cls, "__parameters__", ()), arguments))
    for base in getattr(cls, "__orig_bases__", ()):
        origin, given = getattr(base, "__origin__", None), getattr(base, "__args__", ())
        if isinstance(origin, type) and hasattr(origin, "__parameters__"):
            given = tuple(
                variables.get(argument, argument) if _is_variable(argument) else argument for argument in given
            )
            variables = {**variables_of(origin, given, Place(origin, variables)), **variables}
    return variables


def _is_variable(annotation: Any) -> bool:
    return type(annotation).__name__ == "TypeVar"


# --- forms of typing -------------------------------------------------------------------------------------------------


def _read_annotated(value: Any, annotation: Any, place: Place, reading: Reading) -> Any:
    if is_of_pydantic(annotation):
        library = imports.standard_module(f"{__package__}.models")
        return library.read_adapted(value, Target(annotation, annotation, (), place, reading))
    return _read(value, annotation.__origin__, place, reading)


def is_of_pydantic(annotation: Any) -> bool:
    """Whether pydantic reads what ``Annotated`` adds to a type."""
    return any(type(remark).__module__.partition(".")[0] in _REMARKS_OF_PYDANTIC for remark in annotation.__metadata__)


_REMARKS_OF_PYDANTIC = ("pydantic", "annotated_types")


def _read_new_type(value: Any, annotation: Any, place: Place, reading: Reading) -> Any:
    return _read(value, annotation.__supertype__, place, reading)


def _read_init_var(value: Any, annotation: Any, place: Place, reading: Reading) -> Any:
    return _read(value, annotation.type, place, reading)


def _read_inner(value: Any, annotation: Any, place: Place, reading: Reading) -> Any:
    """What only adds a remark to a type, as Final and Required do."""
    arguments = getattr(annotation, "__args__", ())
    return _read(value, arguments[0], place, reading) if arguments else value


def _read_text(value: Any, annotation: Any, place: Place, reading: Reading) -> Any:
    """An annotation that is text, or a reference inside another one."""
    return _read(value, resolve(annotation, namespace_of(place.holder)), place, reading)


def _read_variable(value: Any, annotation: Any, place: Place, reading: Reading) -> Any:
    if annotation in place.variables:
        return _read(value, place.variables[annotation], place, reading)
    if annotation.__constraints__:
        return _read_member(value, annotation.__constraints__, place, reading)
    return value if annotation.__bound__ is None else _read(value, annotation.__bound__, place, reading)


def _read_alias(value: Any, annotation: Any, place: Place, reading: Reading) -> Any:
    """``type Alias = …``, with its arguments where it has some."""
    alias = annotation if type(annotation).__name__ == "TypeAliasType" else annotation.__origin__
    given = getattr(annotation, "__args__", ()) if alias is not annotation else ()
    variables = {**place.variables, **dict(zip(alias.__type_params__, given))}
    return _read(value, alias.__value__, Place(place.holder, variables), reading)


def _read_literal(value: Any, annotation: Any, place: Place, reading: Reading) -> Any:
    for member in annotation.__args__:
        try:
            if same_json(to_json(member), value):
                return member
        except CannotConvert:
            continue
    for member in annotation.__args__:
        if isinstance(value, str) and isinstance(member, int) and same_json(to_json(member), parse_json_text(value)):
            reading.is_exact = False
            return member
    raise CannotConvert(f"is {short_json(value)}, which is none of its values")


def _read_any(value: Any, annotation: Any, place: Place, reading: Reading) -> Any:
    return value


def _read_plain_text(value: Any, annotation: Any, place: Place, reading: Reading) -> Any:
    return _read(value, str, place, reading)


def _refuse_form(value: Any, annotation: Any, place: Place, reading: Reading) -> Any:
    raise CannotConvert(f"is {short_json(value)}, of which none can be made", "declare the return as pickled(…)")


# --- unions ----------------------------------------------------------------------------------------------------------


def _read_union(value: Any, annotation: Any, place: Place, reading: Reading) -> Any:
    members = annotation.__args__
    if value is None and type(None) in members:
        return None
    others = tuple(member for member in members if member is not type(None) and member is not None)
    if len(others) == 1:
        return _read(value, others[0], place, reading)
    return _read_member(value, others, place, reading)


def _read_member(value: Any, members: tuple[Any, ...], place: Place, reading: Reading) -> Any:
    """A value as the one member of a union that it is.

    It is the member whose JSON form the value has, or else the one that takes it in another form. Of several of them one is
    taken only where the others would be the same data: see :func:`_choose`.
    """
    exact: list[tuple[Any, Any]] = []
    loose: list[tuple[Any, Any]] = []
    for member in members:
        attempt = Reading()
        try:
            made = _read(value, member, place, attempt)
        except CannotConvert:
            continue
        (exact if attempt.is_exact else loose).append((member, made))
    if not exact and not loose:
        names = ", ".join(annotation_name(member) for member in members)
        raise CannotConvert(f"is {short_json(value)}, which is none of {names}")
    reading.is_exact = reading.is_exact and bool(exact)
    chosen = _choose(value, exact or loose)
    if chosen is None:
        names = " or ".join(annotation_name(member) for member, _ in exact or loose)
        raise CannotConvert(f"is {short_json(value)}, which may be {names}", "annotate it as one of them")
    return chosen[0]


def _choose(value: Any, readings: list[tuple[Any, Any]]) -> Optional[tuple[Any]]:
    """The one of several readings, in a tuple; None where they are different things.

    A dict is an object of a class where it has all of its fields. A list stays one where it could be another container of the
    same items, and text where it could be a path. Numbers that are equal are one.
    """
    made = [reading for _, reading in readings]
    if len(made) == 1:
        return (made[0],)
    same = next((reading for reading in made if type(reading) is type(value)), None)
    classes = [reading for reading in made if not isinstance(reading, dict)]
    if isinstance(value, dict) and len(classes) == 1:
        return (classes[0],)
    if same is not None and all(_is_alike(reading, same) for reading in made):
        return (same,)
    first = made[0]
    are_numbers = all(isinstance(reading, (int, float)) and not isinstance(reading, bool) for reading in made)
    try:
        are_same = all((are_numbers or type(reading) is type(first)) and bool(reading == first) for reading in made)
    except Exception:
        are_same = False
    return (first,) if are_same else None


def _is_alike(reading: Any, native: Any) -> bool:
    """Whether a reading is the JSON value itself for all who take either: a path its text, a tuple the list of its items."""
    if isinstance(native, list) and type(reading) is not list:
        return not hasattr(reading, "_fields")
    if isinstance(native, str) and isinstance(reading, imports.standard_module("os").PathLike):
        return True
    return bool(reading == native)


_FORMS: dict[str, Callable[[Any, Any, Place, Reading], Any]] = {
    "Union": _read_union,
    "UnionType": _read_union,
    "Optional": _read_union,
    "Literal": _read_literal,
    "TypeVar": _read_variable,
    "TypeAliasType": _read_alias,
    "str": _read_text,
    "ForwardRef": _read_text,
    "NewType": _read_new_type,
    "Annotated": _read_annotated,
    "InitVar": _read_init_var,
    "Final": _read_inner,
    "ClassVar": _read_inner,
    "Required": _read_inner,
    "NotRequired": _read_inner,
    "ReadOnly": _read_inner,
    "Any": _read_any,
    "LiteralString": _read_plain_text,
    "NoReturn": _refuse_form,
    "Never": _refuse_form,
}
"""By the name of a form, or of the class of the annotation."""
