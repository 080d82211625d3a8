"""The kinds of types that have a JSON form: how a value of each becomes JSON, and how it is read again.

There is one table, by the names of classes. No library is imported for it: a value or an annotation of a class is there only
where the user's process has imported the class. Our own modules of it are imported when one of their kinds is met. What JSON can
hold in one form alone is read in that form; other spellings of it are read too, but mark what is read as not exact (see
``Target.loosely``). A kind has no JSON form that would change the value: it refuses it.
"""

from __future__ import annotations

from ..shared.casts import CannotConvert
from . import imports
from .conversion import AS_OBJECT, type_name
from .conversion import to_json as write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Optional

    from .annotations import Target


class Kind:
    """One kind of types.

    Args:
        to_json: the JSON form of a value. It is given a writer for the value's parts.
        from_json: the value of a JSON form. It is given the target, which has the class.
        is_its_json: whether two values with one JSON form are the same.
    """

    __slots__ = ("from_json", "is_its_json", "to_json")

    def __init__(
        self,
        to_json: Optional[Callable[[Any, Writer], Any]],
        from_json: Callable[[Any, Target], Any],
        is_its_json: bool = True,
    ) -> None:
        self.to_json = to_json
        self.from_json = from_json
        self.is_its_json = is_its_json


class Writer:
    """Writes the parts of a value as JSON.

    Args:
        depth: of the parts. inside: whether the value lies in an object of a class with fields.
    """

    __slots__ = ("depth", "inside")

    def __init__(self, depth: int, inside: bool) -> None:
        self.depth = depth
        self.inside = inside

    def part(self, value: Any, step: str) -> Any:
        """The JSON form of a part, which messages find at ``step``."""
        try:
            return write(value, self.depth, self.inside)
        except CannotConvert as refusal:
            refusal.path.insert(0, step)
            raise


def to_json(value: Any, depth: int, inside: bool) -> Any:
    """The JSON form of a value that is none of JSON's own types.

    Raises:
        CannotConvert: it has none.
    """
    kind = find(type(value))
    if kind is None and getattr(value, "shape", None) == () and callable(getattr(value, "item", None)):
        # A tensor without dimensions is its number.
        return write(value.item(), depth, inside)
    if kind is None or kind.to_json is None:
        name = type_name(type(value))
        remedy = AS_OBJECT
        if hasattr(value, "__next__") or (name.startswith("dict_") and hasattr(value, "__iter__")):
            # It can't be pickled either.
            remedy = "return a list of its items"
        raise CannotConvert(f"is a {name}, which is not JSON", remedy)
    return kind.to_json(value, Writer(depth, inside))


_found: dict[type, Optional[Kind]] = {}


def find(cls: type) -> Optional[Kind]:
    """The kind of a class; None where it has no JSON form."""
    if cls not in _found:
        _found[cls] = _find(cls)
    return _found[cls]


def _find(cls: type) -> Optional[Kind]:
    names = [full_name(base) for base in cls.__mro__]
    place = _EXACT.get(names[0]) or (_ENUM if "enum.Enum" in names else None) or _structure_of(cls)
    place = place or next((_INHERITED[name] for name in names if name in _INHERITED), None) or _library_of(cls)
    if place is None:
        return None
    module, name = place
    kind: Kind = imports.standard_module(f"{__package__}.{module}").KINDS[name]
    return kind


def _structure_of(cls: type) -> Optional[tuple[str, str]]:
    """Where the kind of a class with fields is."""
    if hasattr(cls, "__dataclass_fields__"):
        # pydantic's own are read by pydantic, which knows their aliases.
        return None if hasattr(cls, "__pydantic_validator__") else ("structures", "dataclass")
    if hasattr(cls, "__attrs_attrs__"):
        return "structures", "attrs"
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return "structures", "named tuple"
    return ("structures", "typed dict") if issubclass(cls, dict) and hasattr(cls, "__total__") else None


def _library_of(cls: Any) -> Optional[tuple[str, str]]:
    """Where the kind of a class is that pydantic can read, or that reads and writes itself as pydantic's models do."""
    if hasattr(cls, "__get_pydantic_core_schema__") or hasattr(cls, "__pydantic_validator__"):
        return "models", "adapted"
    is_alike = callable(getattr(cls, "model_dump", None)) and callable(getattr(cls, "model_validate", None))
    return ("models", "alike") if is_alike else None


def full_name(cls: type) -> str:
    """A class's module and name. A module of the user's own is no library, whatever its name."""
    module = cls.__module__
    return f"{'their ' if imports.is_own(module) else ''}{module}.{cls.__qualname__}"


# --- the table ------------------------------------------------------------------------------------------------------

_ENUM = ("scalars", "enum")

_EXACT: dict[str, tuple[str, str]] = {
    "builtins.object": ("scalars", "any"),
    "typing.Any": ("scalars", "any"),
    "builtins.NoneType": ("scalars", "none"),
    "os.PathLike": ("scalars", "path-like"),
    "collections.abc.Sequence": ("containers", "items"),
    "collections.abc.MutableSequence": ("containers", "items"),
    "collections.abc.Iterable": ("containers", "items"),
    "collections.abc.Collection": ("containers", "items"),
    "collections.abc.Container": ("containers", "items"),
    "collections.abc.Reversible": ("containers", "items"),
    "collections.abc.Iterator": ("containers", "iterator"),
    "collections.abc.Set": ("containers", "set"),
    "collections.abc.MutableSet": ("containers", "set"),
    "collections.abc.Mapping": ("containers", "entries"),
    "collections.abc.MutableMapping": ("containers", "entries"),
}
"""The module and the name there of the kind of one class alone."""

_INHERITED: dict[str, tuple[str, str]] = {
    "builtins.str": ("scalars", "str"),
    "builtins.int": ("scalars", "int"),
    "builtins.float": ("scalars", "float"),
    "builtins.bytes": ("scalars", "bytes"),
    "builtins.bytearray": ("scalars", "bytes"),
    "decimal.Decimal": ("scalars", "exact number"),
    "fractions.Fraction": ("scalars", "exact number"),
    "uuid.UUID": ("scalars", "text"),
    "pathlib.PurePath": ("scalars", "text"),
    "pathlib._local.PurePath": ("scalars", "text"),
    "zoneinfo.ZoneInfo": ("scalars", "text"),
    "ipaddress._IPAddressBase": ("scalars", "text"),
    "re.Pattern": ("scalars", "pattern"),
    "builtins.list": ("containers", "list"),
    "builtins.tuple": ("containers", "tuple"),
    "collections.defaultdict": ("containers", "default dict"),
    "builtins.dict": ("containers", "dict"),
    "builtins.mappingproxy": ("containers", "mapping"),
    "builtins.set": ("containers", "set"),
    "builtins.frozenset": ("containers", "set"),
    "collections.deque": ("containers", "deque"),
    "datetime.datetime": ("times", "datetime"),
    "datetime.date": ("times", "date"),
    "datetime.time": ("times", "time"),
    "datetime.timedelta": ("times", "timedelta"),
    "numpy.generic": ("arrays", "scalar"),
    "numpy.ndarray": ("arrays", "array"),
    "pandas.Timestamp": ("arrays", "timestamp"),
    "pandas._libs.tslibs.timestamps.Timestamp": ("arrays", "timestamp"),
    "pandas.Timedelta": ("arrays", "timedelta"),
    "pandas._libs.tslibs.timedeltas.Timedelta": ("arrays", "timedelta"),
    "pandas.api.typing.NaTType": ("arrays", "no time"),
    "pandas._libs.tslibs.nattype.NaTType": ("arrays", "no time"),
    "pydantic.main.BaseModel": ("models", "pydantic"),
    "pydantic.v1.main.BaseModel": ("models", "pydantic 1"),
    "pydantic.types.SecretStr": ("models", "secret"),
    "pydantic.types.SecretBytes": ("models", "secret"),
    "pydantic.types.Secret": ("models", "secret"),
    "pydantic.v1.types.SecretStr": ("models", "secret 1"),
    "pydantic.v1.types.SecretBytes": ("models", "secret 1"),
    "pydantic_core._pydantic_core.Url": ("models", "adapted"),
    "pydantic_core._pydantic_core.MultiHostUrl": ("models", "adapted"),
    "msgspec.Struct": ("models", "msgspec"),
    "msgspec._core.Struct": ("models", "msgspec"),
}
"""The same of a class and those that derive from it: the first of a class's bases that is here counts."""
