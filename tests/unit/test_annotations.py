"""A value of each kind is recorded as JSON, and is what it was where it is annotated; or it is refused, by name."""
# ruff: noqa: UP007, UP045 - the older spellings are what is tested, too.

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import datetime
import decimal
import enum
import fractions
import ipaddress
import json
import math
import os
import pathlib
import re
import sys
import types
import typing
import uuid
import zoneinfo
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Optional,
    TypedDict,
    TypeVar,
    Union,
)

import attrs
import pydantic
import pydantic.v1
import pytest
import typing_extensions
from hypothesis import given
from hypothesis import strategies as st

from toolkit.runtime.user.annotations import of_keyword
from toolkit.runtime.user.conversion import BadValue, as_json, cast
from toolkit.runtime.user.hints import hints_of

T = TypeVar("T")
Text = TypeVar("Text", str, bytes)
Small = TypeVar("Small", bound=int)
UserId = NewType("UserId", int)
UTC = datetime.timezone.utc
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


class Colour(enum.Enum):
    RED = "red"
    ONE = 1
    PAIR = (1, 2)
    DAY = datetime.date(2024, 1, 3)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Word(str, enum.Enum):
    YES = "yes"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2
    RUN = 4


class Unclear(enum.Enum):
    A = (1, 2)
    B = [1, 2]


class Name(str):
    pass


class Cents(int):
    pass


class Ratio(float):
    pass


class Grows(int):
    def __new__(cls, value: int) -> Grows:
        return super().__new__(cls, value + 1)


class Point(NamedTuple):
    x: int
    at: datetime.date = datetime.date(2024, 1, 3)
    note: int = None  # type: ignore[assignment]


class Movie(TypedDict):
    title: str


class Screening(Movie, total=False):
    at: datetime.datetime


Untyped = collections.namedtuple("Untyped", "x y")


@dataclasses.dataclass
class Node:
    day: datetime.date
    kind: ClassVar[str] = "node"
    below: Node | None = None
    items: list[Node] = dataclasses.field(default_factory=list)
    count: int = dataclasses.field(init=False, default=0)
    label: str = None  # type: ignore[assignment]


@dataclasses.dataclass(frozen=True, eq=False)
class Frozen:
    price: decimal.Decimal
    computed: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "computed", 3)


@dataclasses.dataclass
class Derived(Node):
    wait: datetime.timedelta = datetime.timedelta()


@dataclasses.dataclass
class Scaled:
    x: int
    scale: dataclasses.InitVar[int] = 1

    def __post_init__(self, scale: int) -> None:
        self.x *= scale


@dataclasses.dataclass
class NeedsScale:
    x: int
    scale: dataclasses.InitVar[int]


@dataclasses.dataclass
class Rounds:
    x: float

    def __post_init__(self) -> None:
        self.x = self.x + 1


@dataclasses.dataclass
class Anything:
    item: Any


@dataclasses.dataclass
class Box(Generic[T]):
    item: T
    more: list[T] = dataclasses.field(default_factory=list)


class DayBox(Box[datetime.date]):
    pass


class Matrix(list[list[decimal.Decimal]]):
    pass


@dataclasses.dataclass
class Cat:
    name: str
    lives: int = 9


@dataclasses.dataclass
class Dog:
    name: str


@dataclasses.dataclass
class Wolf:
    name: str


@attrs.define
class Measure:
    value: int = attrs.field(converter=int)
    _unit: datetime.timedelta | None = None
    seen: set[str] = attrs.field(init=False, factory=set)


@attrs.frozen(kw_only=True)
class Kept:
    days: frozenset[datetime.date]


def arrived(value: Any, annotation: Any, holder: Any = None) -> Any:
    """A value as another step gets it that annotates it so."""
    return cast("p", json.loads(json.dumps(as_json("r", value))), annotation, holder)


def assert_same(found: Any, value: Any) -> None:
    assert type(found) is type(value), (found, value)
    if isinstance(value, (list, tuple, collections.deque)):
        assert len(found) == len(value)
        for one, other in zip(found, value, strict=True):
            assert_same(one, other)
    elif isinstance(value, dict):
        assert list(found) == list(value)
        for key in value:
            assert_same(found[key], value[key])
    elif isinstance(value, datetime.datetime):
        # An hour that a zone has twice is told by its offset.
        assert found == value and found.tzinfo == value.tzinfo and found.utcoffset() == value.utcoffset()
    elif isinstance(value, (decimal.Decimal, float)):
        # 0.10 and 0.1 are two, and so are 0.0 and -0.0; NaN is one.
        assert str(found) == str(value)
    elif isinstance(value, re.Pattern):
        assert found.pattern == value.pattern
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            assert_same(getattr(found, field.name), getattr(value, field.name))
    else:
        assert found == value


# --- there and back ---------------------------------------------------------------------------------------------------

whole_offsets = st.integers(-1439, 1439).map(lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes)))
aware = st.datetimes(
    datetime.datetime(1, 1, 3), datetime.datetime(9999, 12, 28), timezones=st.one_of(whole_offsets, st.timezones())
)
finite = st.floats(allow_nan=False, allow_infinity=False)
addresses = st.ip_addresses()

SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(),
    float: finite,
    str: st.text(),
    datetime.date: st.dates(),
    datetime.datetime: st.one_of(st.datetimes().map(lambda found: found.replace(fold=0)), aware),
    datetime.time: st.times(timezones=st.one_of(st.none(), whole_offsets)).map(lambda found: found.replace(fold=0)),
    datetime.timedelta: st.timedeltas(),
    decimal.Decimal: st.decimals(),
    fractions.Fraction: st.fractions(),
    uuid.UUID: st.uuids(),
    pathlib.PurePosixPath: st.text(st.characters(exclude_characters="\0")).map(pathlib.PurePosixPath),
    bytes: st.binary(),
    Colour: st.sampled_from(Colour),
    Level: st.sampled_from(Level),
    Word: st.sampled_from(Word),
    Rights: st.integers(1, 7).map(Rights),
    Literal["a", 1, True, None, Colour.RED, b"x"]: st.sampled_from(["a", 1, True, None, Colour.RED, b"x"]),
    Name: st.text().map(Name),
    Cents: st.integers().map(Cents),
    Ratio: finite.map(Ratio),
    UserId: st.integers(),
    ipaddress.IPv4Address: st.ip_addresses(v=4),
    ipaddress.IPv6Address: st.ip_addresses(v=6),
    zoneinfo.ZoneInfo: st.timezones(),
    Annotated[datetime.date, "a remark"]: st.dates(),
}
HASHABLE = [kind for kind in SCALARS if kind not in (float, decimal.Decimal)]
KEYS: dict[Any, st.SearchStrategy[Any]] = {
    key: SCALARS[key] for key in (str, datetime.date, uuid.UUID, pathlib.PurePosixPath, Word, ipaddress.IPv4Address)
}
KEYS[decimal.Decimal] = st.decimals(allow_nan=False)


def with_its_values(annotation: Any, values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, Any]]:
    return values.map(lambda value: (annotation, value))


def containers(kind: Any) -> st.SearchStrategy[tuple[Any, Any]]:
    """A container of a kind, and the annotation of it."""
    items = SCALARS[kind]
    few = st.lists(items, max_size=3)
    found = [
        with_its_values(list[kind], few),
        with_its_values(typing.Sequence[kind], few),
        with_its_values(tuple[kind, ...], few.map(tuple)),
        with_its_values(tuple[kind, kind], st.tuples(items, items)),
        with_its_values(Optional[kind], st.one_of(st.none(), items)),
        with_its_values(collections.deque[kind], few.map(collections.deque)),
        with_its_values(Box[kind], st.builds(Box[kind], items, few)),
        with_its_values(Final[kind], items),
        *(
            with_its_values(types.GenericAlias(dict, (key, kind)), st.dictionaries(keys, items, max_size=2))
            for key, keys in KEYS.items()
        ),
    ]
    if kind in HASHABLE:
        found.append(with_its_values(set[kind], few.map(set)))
        found.append(with_its_values(frozenset[kind], few.map(frozenset)))
    return st.one_of(found)


@given(st.sampled_from(list(SCALARS)).flatmap(lambda kind: with_its_values(kind, SCALARS[kind])))
def test_a_value_of_each_kind_arrives_as_it_was(pair: tuple[Any, Any]) -> None:
    annotation, value = pair
    assert_same(arrived(value, annotation), value)


@given(st.sampled_from(list(SCALARS)).flatmap(containers))
def test_a_container_of_each_kind_arrives_as_it_was(pair: tuple[Any, Any]) -> None:
    annotation, value = pair
    try:
        plain = as_json("r", value)
    except BadValue as error:
        # Of a few values: a set whose items, or a dict whose keys, are the same text.
        assert "one in JSON" in str(error) or "two keys of one text" in str(error)
        return
    assert_same(cast("p", json.loads(json.dumps(plain)), annotation), value)


@given(
    st.lists(st.sampled_from(list(SCALARS)), min_size=2, max_size=3, unique_by=repr).flatmap(
        lambda kinds: st.tuples(
            st.just(Union[tuple(kinds)]), st.sampled_from(kinds).flatmap(lambda kind: SCALARS[kind])
        )
    )
)
def test_a_member_of_a_union_arrives_as_it_was_or_is_refused(pair: tuple[Any, Any]) -> None:
    annotation, value = pair
    try:
        found = arrived(value, annotation)
    except BadValue as error:
        assert "which may be" in str(error)
        return
    # A text stands for a path or a text of a class of one's own, and so does a number.
    alike = isinstance(value, (pathlib.PurePath, Name, Cents, Ratio, enum.Enum)) or isinstance(found, enum.Enum)
    if not (alike and (found == value or found == str(value))):
        assert_same(found, value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | st.text(max_size=12) | st.dates().map(str) | st.just("1.5"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "day", "title"]), inner, max_size=3)
    ),
    max_leaves=5,
)
ANNOTATIONS = [
    *SCALARS, set[Any], set[list[int]], dict[int, int], dict[bytes, int], Node, Derived, Frozen, Scaled, NeedsScale, Point, Untyped,
    Movie, Screening, Box[int], Matrix, Measure, Kept, tuple[()], complex, typing.Callable[[], int], type[int], None, Text, Small,
    collections.Counter, collections.defaultdict, os.PathLike, re.Pattern, typing.NoReturn, Union[Cat, Dog, list[int]],
    typing.Iterator[int], Unclear, Grows, Colour | None, datetime.tzinfo,
]  # fmt: skip


@given(json_values, st.sampled_from(ANNOTATIONS))
def test_any_json_is_cast_to_any_annotation_or_refused_by_name(value: Any, annotation: Any) -> None:
    try:
        cast("p", value, annotation)
    except BadValue as error:
        assert str(error).startswith("the parameter p can't be ")


@given(st.sets(st.one_of(st.text(), st.integers(), st.dates(), st.none(), st.tuples(st.integers(), st.text()))))
def test_a_set_is_recorded_in_one_order_whatever_order_it_was_filled_in(value: set[Any]) -> None:
    try:
        plain = as_json("r", value)
    except BadValue:
        return
    other: set[Any] = set()
    for item in reversed(list(value)):
        other.add(item)
    assert as_json("r", other) == plain


PAIRS: list[tuple[Any, Any]] = [
    (datetime.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN), datetime.datetime),
    (datetime.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN), datetime.datetime),
    (datetime.timedelta.max, datetime.timedelta),
    (datetime.timedelta.min, datetime.timedelta),
    (bytearray(b"x"), bytearray),
    (Rights(0), Rights),
    (Path("a"), Path),
    (Path("a"), os.PathLike),
    (re.compile("a+"), re.Pattern[str]),
    (collections.OrderedDict(b=1, a=2), collections.OrderedDict),
    (collections.Counter("aab"), typing.Counter[str]),
    (types.MappingProxyType({"a": 1}), types.MappingProxyType),
    ({frozenset({1, 2})}, set[frozenset[int]]),
    ({(2, "b"), (1, "a")}, set[tuple[int, str]]),
    ((), tuple[()]),
    ({"a": [datetime.date(2024, 1, 3)]}, collections.abc.Mapping[str, collections.abc.Sequence[datetime.date]]),
    ({"a": {"b": {1}}}, dict[str, dict[str, set[int]]]),
    (Matrix([[decimal.Decimal("1.0")]]), Matrix),
    (Point(1), Point),
    (Point(1, datetime.date(2023, 1, 1), 4), Point),
    (Untyped(1, "a"), Untyped),
    ({"title": "x", "at": datetime.datetime(2024, 1, 3)}, Screening),
    ({"title": "x", "more": [1]}, Screening),
    (Node(datetime.date(2024, 1, 3), Node(datetime.date(2024, 1, 4)), [Node(datetime.date(2024, 1, 5))]), Node),
    (Derived(datetime.date(2024, 1, 3), wait=datetime.timedelta(1)), Derived),
    (Frozen(decimal.Decimal("0.10")), Frozen),
    (Scaled(3), Scaled),
    (DayBox(datetime.date(2024, 1, 3)), DayBox),
    (Box(Box(datetime.date(2024, 1, 3))), Box[Box[datetime.date]]),
    (Measure(3), Measure),
    (Measure(3, datetime.timedelta(1)), Measure),
    (Kept(days=frozenset({datetime.date(2024, 1, 3)})), Kept),
    (Dog("x"), Union[Cat, Dog]),
    (Cat("x"), Union[Cat, Dog]),
    (Cat("x"), Union[dict[str, Any], Cat]),
    ([1.5], Union[float, list[float]]),
    ("x", Text),
    (7, Small),
    ([datetime.date(2024, 1, 3)], "list['datetime.date']"),
    (datetime.date(2024, 1, 3), "datetime.date | None"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "annotation"), PAIRS, ids=lambda one: type(one).__name__)
def test_a_value_arrives_as_it_was(value: Any, annotation: Any) -> None:
    assert_same(arrived(value, annotation, arrived), value)


def test_what_a_dataclass_computes_arrives_as_it_was_left() -> None:
    node = Node(datetime.date(2024, 1, 3))
    node.count = 7
    assert arrived(node, Node) == node
    # And who writes one by hand needs not write it.
    assert cast("p", {"day": "2024-01-03"}, Node) == Node(datetime.date(2024, 1, 3))


@pytest.mark.parametrize(
    ("given", "annotation", "expected"),
    [
        # Other spellings of a value than its one JSON form.
        (30, datetime.timedelta, datetime.timedelta(seconds=30)),
        ("30", datetime.timedelta, datetime.timedelta(seconds=30)),
        ("-P1DT2H3M4.5S", datetime.timedelta, -datetime.timedelta(1, 2 * 3600 + 184, 500_000)),
        ("2024-01-03 10:20", datetime.datetime, datetime.datetime(2024, 1, 3, 10, 20)),
        ("2024-01-03T10:20:30.5Z", datetime.datetime, datetime.datetime(2024, 1, 3, 10, 20, 30, 500_000, UTC)),
        ("10:20", datetime.time, datetime.time(10, 20)),
        (3, decimal.Decimal, decimal.Decimal(3)),
        (0.1, decimal.Decimal, decimal.Decimal("0.1")),
        (0.5, fractions.Fraction, fractions.Fraction(1, 2)),
        ("12345678123456781234567812345678", uuid.UUID, uuid.UUID("12345678-1234-5678-1234-567812345678")),
        ("1", Level, Level.LOW),
        ([1, 1], set[int], {1}),
        ("[1, 2]", set[int], {1, 2}),
        ({"x": 1}, Point, Point(1)),
        ([1], Point, Point(1)),
        ({"name": "x"}, Optional[Dog], Dog("x")),
        # None as a default is optional.
        ([1, "2024-01-03", None], Point, Point(1)),
        ({"day": "2024-01-03", "label": None}, Node, Node(datetime.date(2024, 1, 3))),
        # Of a union JSON's own type is what a path or another container of the same items would be too.
        ("a/b", Union[Path, str], "a/b"),
        ([1], Union[tuple[int, ...], list[int]], [1]),
        (3, Union[float, int], 3),
        ({"name": "x"}, Union[Dog, dict[str, str]], Dog("x")),
        ({"name": "x"}, Union[Cat, dict[str, str]], {"name": "x"}),
    ],
    ids=lambda one: repr(one)[:40],
)  # fmt: skip
def test_what_is_written_by_hand_is_cast(given: Any, annotation: Any, expected: Any) -> None:
    assert_same(cast("p", given, annotation), expected)


# --- what is refused ----------------------------------------------------------------------------------------------------

REFUSED: list[tuple[Any, Any, str]] = [
    (1.5, int, "it is 1.5, which is no int"),
    ("False", int, 'it is "False", which is no int'),
    (1e23, int, r"it is 1e\+23, a float that stands for several integers"),
    (2**53 + 1, float, "which no float is exactly"),
    ("1e999", float, "which is too large for a float"),
    ("2024-01-03", datetime.datetime, "a date without a time; write the time too"),
    ("2024-01-03T00:00:00", datetime.date, "which is no date"),
    ("2024-01-03T00:00:00.1234567", datetime.datetime, "finer than a microsecond"),
    ("2024-02-30T00:00:00", datetime.datetime, "which is no datetime"),
    ("2024-01-03T00:00:00+01:00[Nowhere/None]", datetime.datetime, "has the time zone Nowhere/None, which this image does not"),
    ("2024-01-03T00:00:00+05:00[Europe/Berlin]", datetime.datetime, "has another offset than the time zone Europe/Berlin"),
    (1704240000, datetime.datetime, "which is no datetime"),
    (20240103, datetime.date, "which is no date"),
    ("24:00", datetime.time, "which is no time"),
    (1.0000001234, datetime.timedelta, "finer than a microsecond"),
    ("soon", datetime.timedelta, 'it is "soon"; write seconds, or a duration as in P1DT2H30M'),
    (0.1 + 0.2, decimal.Decimal, "which may have been rounded; write it in quotes"),
    (True, decimal.Decimal, "which is no Decimal"),
    ("x", uuid.UUID, "which is no UUID"),
    (3, Path, "which is no Path"),
    ("abcd", bytes, "bytes are written as data:application/octet-stream;base64,"),
    (True, Level, "it is true, which is none of its values"),
    (8, Rights, "it is 8, which is none of its values"),
    ("blue", Literal["red"], 'it is "blue", which is none of its values'),
    (1, Literal[True], "which is none of its values"),
    (5, Grows, "it is 5, of which Grows makes another int"),
    ([[1]], set, "can't be made a set: unhashable type: 'list'; annotate its items"),
    ({"a": 1}, collections.defaultdict, "has no default_factory, which JSON can't hold; annotate it as dict"),
    ([1, 2, 3], tuple[int, int], "which has 3 items and not 2"),
    ([1, "2024-01-03", 3, 4], Point, "which has 4 items and not 3"),
    ({"at": "2024-01-03T00:00:00"}, Screening, "it lacks the key 'title'"),
    ({"day": "soon"}, Node, 'p.day is "soon", which is no date'),
    ({"day": "2024-01-03", "below": {"day": 1}}, Node, "p.below.day is 1, which is no date"),
    ({"day": "2024-01-03", "kind": "x"}, Node, "it has no field kind"),
    ({"x": [{"n": "y"}]}, dict[str, list[dict[str, int]]], r"p\['x'\]\[0\]\['n'\] is \"y\", which is no int"),
    ({"x": 1}, NeedsScale, "can't be made of its fields: .*scale"),
    ({"1": 2, " 1": 3}, dict[int, int], "where two keys become one"),
    ("2024-01-03", Union[datetime.date, str], 'is "2024-01-03", which may be date or str; annotate it as one of them'),
    ({"name": "x"}, Union[Dog, Wolf], "which may be Dog or Wolf"),
    ([1, 2], Union[tuple[int, ...], set[int]], "which may be tuple"),
    ("x", complex, "of which no complex can be made"),
    ("x", typing.Callable[[], int], "of which no Callable can be made"),
    ({}, types.SimpleNamespace, "make the SimpleNamespace in the function"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "annotation", "message"), REFUSED, ids=lambda one: repr(one)[:40])
def test_what_would_become_something_else_is_refused(value: Any, annotation: Any, message: str) -> None:
    with pytest.raises(BadValue, match=f"^the parameter p can't be .*: .*{message}"):
        cast("p", value, annotation)


class Fixed(datetime.tzinfo):
    """A zone of one's own, with an offset that depends on the time."""

    def utcoffset(self, when: datetime.datetime | None) -> datetime.timedelta | None:
        return None if when is None else datetime.timedelta(hours=when.hour % 2)

    def dst(self, when: datetime.datetime | None) -> datetime.timedelta | None:
        return None

    def tzname(self, when: datetime.datetime | None) -> str:
        return "own"


RETURNED: list[tuple[Any, str]] = [
    (datetime.datetime(2024, 1, 3, fold=1), r"r is the second of two equal times \(fold=1\), .*: make it aware"),
    (datetime.datetime(2024, 1, 3, tzinfo=Fixed()), "r has the time zone .*, which text can't tell: use a zoneinfo.ZoneInfo"),
    (datetime.time(1, tzinfo=BERLIN), "whose offset depends on the date: return a datetime"),
    (re.compile("a", re.IGNORECASE), r"is a pattern with flags, .*: write the flags into it, as in \(\?i\)"),
    (collections.deque([1], 3), r"is a deque with a maxlen, .*: declare it as pickled\('r'\)"),
    ({datetime.date(2024, 1, 3), "2024-01-03"}, r"a set with two items that are one in JSON: declare it as pickled\('r'\)"),
    ({datetime.date(2024, 1, 3): 1, "2024-01-03": 2}, r"two keys of one text, '2024-01-03'"),
    ({"a": {(1, 2): 3}}, r"r\['a'\] holds a dict with the key \(1, 2\): JSON keys are text"),
    ({1: "x"}, "holds a dict with the key 1: JSON keys are text; make it str"),
    (Unclear.B, r"whose value JSON can't tell from another member's: declare it as pickled\('r'\)"),
    (enum.Enum("Own", {"A": object()}).A, "r.value is a object, which is not JSON"),  # type: ignore[attr-defined]
    ([iter([1])], r"r\[0\] is a list_iterator, which is not JSON: return a list of its items"),
    ({"a": 1}.keys(), "r is a dict_keys, which is not JSON: return a list of its items"),
    (1j, r"r is a complex, which is not JSON: declare it as pickled\('r'\)"),
    (NeedsScale(1, 2), "r is a NeedsScale that can't be made of its fields: .*scale"),
    (Rounds(1.0), "r is a Rounds whose JSON form gives back another x: declare it"),
    (Anything({1}), "r is a Anything whose JSON form gives back another item: .*annotate the field with the type of its value"),
    ([Anything([decimal.Decimal(1)])], r"r\[0\] is a Anything whose JSON form gives back another item\[0\]"),
    (Untyped(1, datetime.date(2024, 1, 3)), "r is a Untyped whose JSON form gives back another y"),
    (Node(datetime.date(2024, 1, 3), items=[math.nan]), r"r.items\[0\] is nan"),  # type: ignore[list-item]
]  # fmt: skip


@pytest.mark.parametrize(("value", "message"), RETURNED, ids=lambda one: type(one).__name__)
def test_what_has_no_exact_json_form_is_refused_when_it_is_returned(value: Any, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        as_json("r", value)


def test_an_object_that_does_not_fit_its_own_annotations_is_recorded_and_refused_where_it_is_taken() -> None:
    plain = as_json("r", Dog(None))  # type: ignore[arg-type]
    assert plain == {"name": None}
    with pytest.raises(BadValue, match=r"p\.name is null"):
        cast("p", plain, Dog)


# --- models -----------------------------------------------------------------------------------------------------------


class Login(pydantic.BaseModel):
    name: str
    password: pydantic.SecretStr


class Message(pydantic.BaseModel):
    sender: str = pydantic.Field(alias="from")


class Chosen(pydantic.BaseModel):
    a: int = pydantic.Field(validation_alias=pydantic.AliasChoices("x", "y"))
    b: list[Message] = pydantic.Field(validation_alias="B", serialization_alias="bb")


class Square(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    width: int

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def area(self) -> int:
        return self.width * self.width


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, frozen=True)
    day: datetime.date
    pair: tuple[int, decimal.Decimal]
    maybe: int = None  # type: ignore[assignment]


class Response(pydantic.BaseModel, Generic[T]):
    item: T


class Numbers(pydantic.RootModel[list[int]]):
    pass


class Words(pydantic.RootModel[str]):
    pass


class Encoded(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    data: bytes


@pydantic.dataclasses.dataclass
class Checked:
    day: datetime.date
    url: pydantic.HttpUrl


class Hidden(pydantic.BaseModel):
    token: str = pydantic.Field("a", exclude=True)


class Shape(pydantic.BaseModel):
    sides: int


class Coloured(Shape):
    colour: str


class Picture(pydantic.BaseModel):
    shape: Shape


class Raw(pydantic.BaseModel):
    data: bytes


class OldMessage(pydantic.v1.BaseModel):
    sender: str = pydantic.v1.Field(alias="from")
    price: decimal.Decimal = decimal.Decimal(0)
    seen: set[int] = set()


class OldLogin(pydantic.v1.BaseModel):
    keys: list[pydantic.v1.SecretBytes]


class OldNumbers(pydantic.v1.BaseModel):
    __root__: list[int]


@dataclasses.dataclass
class Holds:
    login: Login


MODELS = [
    Message(**{"from": "me"}),
    Chosen(x=1, B=[{"from": "me"}]),  # type: ignore[call-arg]
    Square(width=3),
    Strict(day=datetime.date(2024, 1, 3), pair=(1, decimal.Decimal("0.10"))),
    Response[datetime.date](item=datetime.date(2024, 1, 3)),
    Numbers([1, 2]),
    Words("12"),
    Encoded(data=b"\xff"),
    Checked(datetime.date(2024, 1, 3), pydantic.HttpUrl("http://a.b/")),
    OldMessage(**{"from": "me"}, price=decimal.Decimal("0.10"), seen={3, 1}),
    OldNumbers(__root__=[1]),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda one: type(one).__name__)
def test_a_model_arrives_as_it_was(model: Any) -> None:
    assert arrived(model, type(model)) == model
    assert arrived([model], list[type(model)]) == [model]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            Login(name="a", password=pydantic.SecretStr("hunter2")),
            "r.password is a SecretStr, and a secret is not recorded",
        ),
        (
            {"x": [Holds(Login(name="a", password=pydantic.SecretStr("p")))]},
            r"r\['x'\]\[0\].login.password is a SecretStr",
        ),
        (pydantic.SecretBytes(b"x"), r"r is a SecretBytes, .* declare it by secrets=\[…\]"),
        (OldLogin(keys=[pydantic.v1.SecretBytes(b"x")]), r"r.keys\[0\] is a SecretBytes"),
        (Hidden(token="b"), "r is a Hidden whose JSON form gives back another token"),
        (Picture(shape=Coloured(sides=3, colour="red")), "r is a Picture whose JSON form gives back another shape"),
        (Raw(data=b"\xff"), r"r is a Raw that does not come back from JSON: .*: declare it as pickled\('r'\)"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_model_that_json_would_change_is_refused_when_it_is_returned(value: Any, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        as_json("r", value)
    assert "hunter2" not in message


def test_pydantics_own_types_are_read_by_pydantic() -> None:
    assert cast("p", "http://a.b", pydantic.HttpUrl) == pydantic.HttpUrl("http://a.b")
    assert arrived(pydantic.HttpUrl("http://a.b"), pydantic.HttpUrl) == pydantic.HttpUrl("http://a.b")
    assert cast("p", 5, pydantic.PositiveInt) == 5
    with pytest.raises(BadValue, match="greater than 0"):
        cast("p", -5, pydantic.PositiveInt)
    with pytest.raises(BadValue, match="area"):
        cast("p", {"width": 3, "area": 9}, Square)


# --- what annotations mean ---------------------------------------------------------------------------------------------

GUARDED = """\
from __future__ import annotations
import typing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import decimal as dec
    from collections.abc import Sequence
    from datetime import date
    from {package}models import Point
    from a_library_that_is_not_there import Frame
    Days = Sequence[date]

def use(price: dec.Decimal, days: Days, point: Point, more: typing.Optional[Frame] = None, either: int | None = 3): ...
"""


@pytest.mark.parametrize("package", ["", "."])
def test_names_for_type_checkers_alone_are_looked_up_where_no_library_has_to_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    # Given a module of the user's with imports for type checkers alone,
    name = "guarded" if not package else "pack.guarded"
    folder = tmp_path / "pack" if package else tmp_path
    folder.mkdir(exist_ok=True)
    (folder / "__init__.py").write_text("")
    (folder / "guarded.py").write_text(GUARDED.format(package=package))
    (folder / "models.py").write_text("from typing import NamedTuple\nclass Point(NamedTuple):\n    x: int\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("toolkit.runtime.user.imports._own", {"guarded", "models", "pack"})
    for imported in [one for one in sys.modules if one.partition(".")[0] in ("guarded", "models", "pack")]:
        del sys.modules[imported]
    module = __import__(name, fromlist=["use"])
    # when values are cast, then those of the standard library and of the user's own modules are found,
    hints = hints_of(module.use)
    assert cast("price", "0.10", hints["price"], module.use) == decimal.Decimal("0.10")
    assert cast("days", ["2024-01-03"], hints["days"], module.use) == [datetime.date(2024, 1, 3)]
    assert type(cast("point", [1], hints["point"], module.use)).__name__ == "Point"
    assert cast("either", "3", hints["either"], module.use) == 3
    # and what only a library could tell is refused where a value needs it.
    assert cast("more", None, hints["more"], module.use) is None
    with pytest.raises(
        BadValue, match="Frame is not there when the step runs; import it outside of `if TYPE_CHECKING:`"
    ):
        cast("more", [1], hints["more"], module.use)


class Called:
    x: str

    def __init__(self, day: datetime.date) -> None: ...

    def __call__(self, wait: datetime.timedelta) -> None: ...

    def method(self, price: decimal.Decimal) -> None: ...


def test_a_typed_dict_that_kwargs_unpack_annotates_each_value_that_it_names() -> None:
    annotation = typing_extensions.Unpack[Screening]
    assert cast("at", "2024-01-03T00:00:00", of_keyword(annotation, "at")) == datetime.datetime(2024, 1, 3)
    assert cast("other", "2024-01-03", of_keyword(annotation, "other")) == "2024-01-03"
    assert of_keyword(int, "at") is int


def test_any_callables_annotations_are_those_of_its_arguments() -> None:
    import functools

    @functools.wraps(arrived)
    def wrapper(*rest: Any) -> None: ...

    instance = Called(datetime.date(2024, 1, 3))
    assert hints_of(Called)["day"] is datetime.date
    assert hints_of(instance)["wait"] is datetime.timedelta
    assert hints_of(instance.method)["price"] is decimal.Decimal
    assert hints_of(functools.partial(instance.method))["price"] is decimal.Decimal
    assert set(hints_of(wrapper)) == {"value", "annotation", "holder", "return"}
    assert hints_of(Node)["day"] is datetime.date
    assert hints_of(print) == {}
