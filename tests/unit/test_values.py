"""What a step takes is cast to its annotations, and what it returns is JSON, an object or a metric, or is refused by name."""
# ruff: noqa: UP007, UP045 - the older spellings are what is tested, too.

from __future__ import annotations

import dataclasses
import enum
import json
import math
import pathlib
import pickle
import typing
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, Protocol, TypedDict, TypeVar, Union

import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolkit.runtime.shared.records import encode
from toolkit.runtime.user.conversion import (
    BadValue,
    as_json,
    as_metric,
    as_object,
    cast,
    returns_by_name,
)
from toolkit.runtime.user.hints import hints_of
from toolkit.runtime.user.signature import signature_of

if typing.TYPE_CHECKING:
    from nowhere import OnlyForTypeCheckers  # type: ignore[import-not-found]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1


class Word(str, enum.Enum):
    YES = "yes"


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5


@dataclasses.dataclass
class Line:
    points: list[Point]
    colour: Optional[Colour] = None
    hidden: bool = False


class Person(pydantic.BaseModel):
    name: str
    age: int = 0


class Team(pydantic.BaseModel):
    people: list[Person]


class Measured(pydantic.BaseModel):
    score: float


class Movie(TypedDict):
    title: str


class Quacks(Protocol):
    def quack(self) -> None: ...


class Plain:
    pass


class Pair(NamedTuple):
    a: int
    b: int


UserId = NewType("UserId", int)
T = TypeVar("T")


class Scalar:
    """As numpy's scalars are seen: an empty shape and item()."""

    shape = ()

    def __init__(self, value: object) -> None:
        self.value = value

    def item(self) -> object:
        return self.value


class FloatOfTheirs(float):
    """As numpy.float64 is: a float of a type of its own."""


CASTS: list[tuple[Any, Any, Any]] = [
    # text, as a shell step, the command line and the environment give it
    ("False", bool, False),
    ("false", bool, False),
    ("0", bool, False),
    ("", bool, False),
    ("no", bool, False),
    ("off", bool, False),
    ("True", bool, True),
    (" yes ", bool, True),
    ("1", bool, True),
    (0, bool, False),
    (1.0, bool, True),
    (True, bool, True),
    ("12", int, 12),
    (" -3 ", int, -3),
    (4.0, int, 4),
    ("1e3", float, 1000.0),
    (3, float, 3.0),
    (3, str, "3"),
    (1.5, str, "1.5"),
    (True, str, "true"),
    ("x", str, "x"),
    # containers
    ([1, 2], list, [1, 2]),
    ("[1, 2]", list, [1, 2]),
    ([1], tuple, (1,)),
    ([1, 1], set, {1}),
    ({"a": 1}, dict, {"a": 1}),
    ('{"a": 1}', dict, {"a": 1}),
    (["1", 2.0], list[int], [1, 2]),
    ("[1, 2]", typing.List[str], ["1", "2"]),  # noqa: UP006
    ({"a": "1"}, dict[str, int], {"a": 1}),
    ({"1": "x"}, dict[int, str], {1: "x"}),
    ({"a": {"b": ["1"]}}, dict[str, dict[str, list[int]]], {"a": {"b": [1]}}),
    (["1", "2"], tuple[int, str], (1, "2")),
    (["1", "2"], tuple[int, ...], (1, 2)),
    (["1", "1"], set[int], {1}),
    (["1"], frozenset[int], frozenset({1})),
    (["1"], typing.Sequence[int], [1]),
    # choices
    (None, Optional[int], None),
    ("3", Optional[int], 3),
    ("3", Union[int, str], "3"),
    (3, Union[str, int], 3),
    ("x", Union[int, str], "x"),
    ("3", int | None, 3),
    (None, int | None, None),
    ("b", Literal["a", "b"], "b"),
    ("2", Literal[1, 2], 2),
    (True, Literal[True], True),
    ("red", Colour, Colour.RED),
    (["red"], list[Colour], [Colour.RED]),
    (1, Level, Level.LOW),
    ("yes", Word, Word.YES),
    # structures
    ({"x": "1"}, Point, Point(1)),
    ('{"x": 1, "y": 2}', Point, Point(1, 2.0)),
    (
        {"points": [{"x": 1}, {"x": "2", "y": "3"}], "colour": "blue", "hidden": "False"},
        Line,
        Line([Point(1), Point(2, 3.0)], Colour.BLUE, False),
    ),
    ({"name": "A", "age": "7"}, Person, Person(name="A", age=7)),
    ({"people": [{"name": "A"}]}, Team, Team(people=[Person(name="A")])),
    ('{"name": "A"}', Person, Person(name="A")),
    ([{"name": "A"}], list[Person], [Person(name="A")]),
    ("a/b", pathlib.Path, pathlib.Path("a/b")),
    ("3", Annotated[int, "a note"], 3),
    ("3", UserId, 3),
    # annotations that say nothing about JSON leave the value as it is
    ({"title": "X"}, Movie, {"title": "X"}),
    ("x", Any, "x"),
    ([1], Any, [1]),
    (1, object, 1),
    ("x", T, "x"),
    ("x", "a remark that is no type", "x"),
    ([1], list[Any], [1]),
    ({"title": "X"}, Optional[Movie], {"title": "X"}),
]


@pytest.mark.parametrize(("value", "annotation", "expected"), CASTS, ids=lambda one: repr(one)[:40])
def test_a_value_becomes_what_the_annotation_says(value: Any, annotation: Any, expected: Any) -> None:
    found = cast("p", value, annotation)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        ("maybe", bool),
        (2, bool),
        (None, bool),
        ([], bool),
        ("1.5", int),
        (1.5, int),
        (True, int),
        (None, int),
        ([1], int),
        ("x", float),
        (True, float),
        (None, str),
        ({}, str),
        ([1], str),
        ("x", list),
        ({}, list),
        ("[1", list),
        (3, list[int]),
        (["x"], list[int]),
        ([1], dict),
        ({"a": "x"}, dict[str, int]),
        ([1, 2, 3], tuple[int, int]),
        ("c", Literal["a", "b"]),
        (1, Literal[True]),
        ("green", Colour),
        ({"y": 1}, Point),
        ({"x": 1, "z": 1}, Point),
        ({"x": "one"}, Point),
        ([], Point),
        ({"points": [{"x": None}]}, Line),
        ({"age": 1}, Person),
        ("x", Person),
        ("x", Optional[int]),
        ({}, Union[int, str]),
        ("x", Quacks),
        ("x", Plain),
        ("x", typing.Callable[[], int]),
        ("x", None),
        ("x", "nowhere"),
    ],
    ids=repr,
)
def test_a_value_that_can_not_be_cast_is_refused_with_the_parameters_name(value: Any, annotation: Any) -> None:
    with pytest.raises(BadValue, match=r"^the parameter rate can't be .+: "):
        cast("rate", value, annotation)


def annotated(
    a: int,
    b: Optional[Point] = None,
    c: OnlyForTypeCheckers = None,
    *,
    d: list[Colour] = [],  # noqa: B006
) -> OnlyForTypeCheckers: ...


def test_annotations_that_are_text_are_resolved_and_what_one_that_can_not_be_would_take_is_refused() -> None:
    # This module's annotations are all text, and one name exists for type checkers alone.
    hints = hints_of(annotated)
    assert hints["a"] is int
    assert cast("b", {"x": "1"}, hints["b"]) == Point(1)
    with pytest.raises(
        BadValue, match=r"c can't be OnlyForTypeCheckers: .* not there when the step runs; import it outside"
    ):
        cast("c", "x", hints["c"])
    assert cast("d", ["red"], hints["d"]) == [Colour.RED]


@dataclasses.dataclass
class Partly:
    point: Point
    other: OnlyForTypeCheckers = None


def test_a_dataclass_with_a_field_for_type_checkers_alone_still_casts_the_others() -> None:
    assert cast("p", {"point": {"x": "1"}, "other": None}, Partly) == Partly(Point(1))
    with pytest.raises(BadValue, match=r"p\.other is \[1\], and OnlyForTypeCheckers is not there"):
        cast("p", {"point": {"x": "1"}, "other": [1]}, Partly)


# --- what is returned -------------------------------------------------------------------------------------------------

JSON_VALUES: list[tuple[Any, Any]] = [
    (None, None),
    (True, True),
    (3, 3),
    (-0.0, -0.0),
    ("é\ud800", "é\ud800"),
    ((1, (2,)), [1, [2]]),
    (Pair(1, 2), [1, 2]),
    ({"a": (1,)}, {"a": [1]}),
    (Scalar(3), 3),
    ([Scalar(True)], [True]),
    (FloatOfTheirs(1.5), 1.5),
    (Level.LOW, 1),
    (Word.YES, "yes"),
    ({Word.YES: 1}, {"yes": 1}),
    (Point(1), {"x": 1, "y": 0.5}),
    (Team(people=[Person(name="A")]), {"people": [{"name": "A", "age": 0}]}),
    ({"p": [Person(name="A")]}, {"p": [{"name": "A", "age": 0}]}),
    (10**30, 10**30),
]


@pytest.mark.parametrize(("value", "expected"), JSON_VALUES, ids=lambda one: repr(one)[:40])
def test_a_return_becomes_plain_json(value: Any, expected: Any) -> None:
    plain = as_json("r", value)
    assert plain == expected
    assert json.loads(encode(plain)) == expected
    assert type(plain) is type(expected)


def holding_itself() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.nan, r"r is nan, .*pickled\('r'\)"),
        (math.inf, "r is inf"),
        ([1, {"a": -math.inf}], r"r\[1\]\['a'\] is -inf"),
        (Scalar(math.nan), "r is nan"),
        ({1: "x"}, r"r holds a dict with the key 1: JSON keys are text; .*pickled\('r'\)"),
        ({None: 1}, "with the key None"),
        ({"a": {2.5: 1}}, r"r\['a'\] holds a dict with the key 2.5"),
        ([slice(1)], r"r\[0\] is a slice, which is not JSON: declare it as pickled\('r'\)"),
        (Plain(), "r is a .*Plain, which is not JSON"),
        (Plain, "r is a type"),
        (Person, "which is not JSON"),
        (1j, "complex"),
        (len, "builtin_function_or_method"),
        (range(3), "range"),
        (holding_itself(), "nested more than 200 deep, or holds itself"),
        ({"p": Measured(score=math.nan)}, r"r\['p'\]\['score'\] is nan"),
    ],
    ids=lambda one: repr(one)[:40],
)
def test_what_json_can_not_hold_is_refused_by_name(value: Any, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        as_json("r", value)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner)
                    | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_any_value_is_recorded_as_it_is_or_refused(value: Any) -> None:
    try:
        plain = as_json("r", value)
    except BadValue as error:
        assert "JSON can't hold" in str(error)
        return
    assert json.loads(encode(plain)) == value


@pytest.mark.parametrize(
    ("returns", "result", "expected"),
    [
        ([], "anything", {}),
        (["x"], (1, 2), {"x": (1, 2)}),
        (["x"], None, {"x": None}),
        (["x", "y"], (1, 2), {"x": 1, "y": 2}),
        (["x", "y"], [1, None], {"x": 1, "y": None}),
        (["a", "b"], Pair(1, 2), {"a": 1, "b": 2}),
    ],
)
def test_one_name_is_the_value_and_more_are_a_sequence_of_exactly_as_many(
    returns: list[str], result: Any, expected: dict[str, Any]
) -> None:
    assert returns_by_name(returns, result) == expected


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ((1,), r"declares 2 returns \(x, y\) but returned 1"),
        ((1, 2, 3), r"declares 2 returns \(x, y\) but returned 3"),
        (None, "returned one NoneType"),
        ("ab", "returned one str"),
        ({"x": 1, "y": 2}, "returned one dict"),
        (iter([1, 2]), "returned one list_iterator"),
    ],
)
def test_another_count_of_returns_is_refused(result: Any, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        returns_by_name(["x", "y"], result)


def test_a_metric_is_a_number_or_a_dict() -> None:
    assert as_metric("m", 0.5) == 0.5
    assert as_metric("m", Scalar(3)) == 3
    assert as_metric("m", {"loss": 0.1, "epoch": 2}) == {"loss": 0.1, "epoch": 2}
    for value in ("0.5", True, [1], None, math.nan):
        with pytest.raises(BadValue, match="m"):
            as_metric("m", value)


def test_an_object_is_pickled_the_same_each_time_and_one_that_can_not_be_is_refused() -> None:
    data, type_name = as_object("o", Point(1))
    assert pickle.loads(data) == Point(1)
    assert type_name.endswith(".Point")
    assert as_object("o", Point(1)) == (data, type_name)
    for value in (lambda: None, (one for one in range(0))):
        with pytest.raises(BadValue, match=r"^o can't be pickled: "):
            as_object("o", value)


# --- signatures -------------------------------------------------------------------------------------------------------


def of_all_kinds(a: int, b: int = 1, /, c: int = 2, *rest: int, d: int, e: int = 3, **more: int) -> None: ...


def decorated(function: Any) -> Any:
    import functools

    @functools.wraps(function)
    def inner(*arguments: Any, **given: Any) -> Any:
        return function(*arguments, **given)

    return inner


class Callable:
    def __call__(self, x: int, y: int = 0) -> None: ...

    @staticmethod
    def fixed(x: int) -> None: ...

    @classmethod
    def made(cls, x: int) -> None: ...


@pytest.mark.parametrize("function", [of_all_kinds, decorated(of_all_kinds)])
def test_a_signature_tells_what_is_given_by_position_by_name_and_what_must_be(function: Any) -> None:
    found = signature_of(function)
    assert found.positional == ("a", "b")
    assert found.named == ("c", "d", "e")
    assert found.required == {"a", "d"}
    assert found.everything


@pytest.mark.parametrize(
    ("function", "names", "required"),
    [
        (Callable(), ("x", "y"), {"x"}),
        (Callable.fixed, ("x",), {"x"}),
        (Callable.made, ("x",), {"x"}),
        (Callable().fixed, ("x",), {"x"}),
        (Point, ("x", "y"), {"x"}),
        (lambda: None, (), set()),
        (print, ("sep", "end", "file", "flush"), set()),
    ],
)
def test_any_callable_has_a_signature(function: Any, names: tuple[str, ...], required: set[str]) -> None:
    found = signature_of(function)
    assert found.names == names
    assert found.required == required
