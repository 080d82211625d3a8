"""Values as the types that most arguments have: bool, int, float and str.

A value is read as the type, or refused; it never becomes something else. The runtime reads a step's arguments by it, and the host
checks by it what a run is given before anything starts, so that the two can't disagree.
"""

from __future__ import annotations

import json
import math

from .values import short_json

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs a container's start 5 ms.
    from collections.abc import Callable
    from typing import Any


class CannotConvert(Exception):
    """A value, or a part of it, has no JSON form, or is not what an annotation says.

    Args:
        what: the rest of the sentence, from its verb on. remedy: what to do; ``{pickled}`` in it is how the return is declared.

    Attributes:
        path: where in the value the part is, from outside to inside, as Python writes it (``[0]``, ``.x``).
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy
        self.path: list[str] = []

    def of_return(self, name: str) -> str:
        """The sentence about a return."""
        remedy = self.remedy.replace("{pickled}", f"pickled({name!r})")
        return f"{name}{''.join(self.path)} {self.what}" + (f": {remedy}" if remedy else "")

    def of_parameter(self, name: str, annotation: Any) -> str:
        """The sentence about a parameter."""
        part = f"{name}{''.join(self.path)}" if any(self.path) else "it"
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"the parameter {name} can't be {annotation_name(annotation)}: {part} {self.what}{remedy}"


def annotation_name(annotation: Any) -> str:
    """What messages call an annotation."""
    if isinstance(annotation, type) and getattr(annotation, "__origin__", None) is None:
        return "None" if annotation is type(None) else annotation.__name__
    return str(annotation).replace("typing.", "")


def not_a(value: Any, wanted: str) -> CannotConvert:
    """The refusal of a JSON value that is not what is wanted."""
    return CannotConvert(f"is {short_json(value)}, which is no {wanted}")


def same_json(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same one; 1, 1.0 and true are three."""
    return bool(one == other) and json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


_TRUE = {"true", "1", "yes", "on"}
_FALSE = {"false", "0", "no", "off", ""}
_EXACT_INTEGERS = 2**53
"""Beyond it a float stands for several integers."""


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _TRUE:
        return True
    if isinstance(value, str) and value.strip().lower() in _FALSE:
        return False
    if value in (0, 1) and isinstance(value, (int, float)):
        return bool(value)
    raise not_a(value, "bool")


def _to_int(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        if abs(value) > _EXACT_INTEGERS:
            raise CannotConvert(
                f"is {short_json(value)}, a float that stands for several integers", "write all its digits"
            )
        return int(value)
    if isinstance(value, str):
        try:
            return int(value.strip())
        except ValueError:
            pass
    raise not_a(value, "int")


def _to_float(value: Any) -> float:
    if isinstance(value, float):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if number != value:
            raise CannotConvert(f"is {short_json(value)}, which no float is exactly")
        return number
    if isinstance(value, str):
        try:
            number = float(value.strip())
        except ValueError:
            raise not_a(value, "float") from None
        if math.isinf(number) and "inf" not in value.lower():
            raise CannotConvert(f"is {short_json(value)}, which is too large for a float")
        return number
    raise not_a(value, "float")


def _to_str(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int, float)):
        return json.dumps(value) if isinstance(value, bool) else str(value)
    raise not_a(value, "str")


SIMPLE: dict[Any, Callable[[Any], Any]] = {bool: _to_bool, int: _to_int, float: _to_float, str: _to_str}
"""The casts of the annotations that most functions have."""
