"""The host's check of a value and the runtime's reading of it are one: what a step would take is never refused before."""

# ruff: noqa: UP007, UP045 - both ways of writing a union are under test

from __future__ import annotations

import collections.abc
import enum
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Optional, Union

import pytest

from toolkit.model.argument_types import parse_type, read_given, shown
from toolkit.runtime.shared.casts import CannotConvert
from toolkit.runtime.shared.values import from_text
from toolkit.runtime.user import conversion
from toolkit.runtime.user.argument_types import type_row
from toolkit.runtime.user.spelling import spelled


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mixed(enum.Enum):
    ONE = 1
    TEXT = "1.10"
    NOTHING = None


class Open(enum.Enum):
    A = "a"

    @classmethod
    def _missing_(cls, value: object) -> Open:
        return cls.A


class Flags(enum.Flag):
    A = 1
    B = 2


Count = NewType("Count", int)

CHECKED = [
    bool, int, float, str, list, dict, tuple, None, Any, object, Count, Colour, Level, Mixed,
    list[int], list[str], list[list[float]], dict[str, int], dict[str, list[bool]], tuple[int, ...], set[str], frozenset[int],
    Sequence[int], collections.abc.Iterable[str], Mapping[str, float], Annotated[int, "a count"], Annotated[list[str], "names"],
    Optional[int], Optional[str], Optional[list[int]], Union[int, None, str], Union[list[int], int], Union[bool, float],
    Literal["a", "b"], Literal[1, 2], Literal["1.10", 1], Literal[True, "auto"], Literal[None, "x"], list[Literal["a"]],
    list[Colour], dict[str, Optional[int]],
]  # fmt: skip
UNCHECKED = [
    Path,
    Decimal,
    Open,
    Flags,
    tuple[int, str],
    dict[int, str],
    set[list[int]],
    bytes,
    list[Path],
    Union[int, Path],
]

TEXTS = [
    "maybe", "true", "True", "false", "yes", "no", "on", "off", "", " 1 ", "0", "1", "2", "3", "1.0", "1.10", "1.5", "1e3",
    "1e400", "-0.0",
    "10000000000000000000000000", "9007199254740993", "null", "None", "NaN", "inf", "a", "b", "x", "auto", "red",
    "RED", "blue", '"1"', '"red"',
    "[]", "[1]", "[1, 2.0]", "[1.5]", "[1.10]", '["a"]', '["1"]', "[[1]]", "[[1, 2.5]]", "[null]", "[true]", '["red", "blue"]',
    '"[1, 2]"',
    "{}", '{"a": 1}', '{"a": "x"}', '{"a": null}', '{"a": [true]}', '{"a": 1.10}', '"{}"', "[1", "{x", "0x10", "1_000",
]  # fmt: skip


def by_the_step(annotation: Any, text: str) -> Any:
    stored = from_text(text)
    value = stored["value"]
    if "spelling" in stored:
        value = spelled(annotation, value, stored["spelling"])
    return conversion.cast("x", value, annotation)


def is_taken(work: Any, *arguments: Any) -> bool:
    try:
        work(*arguments)
    except (conversion.BadValue, CannotConvert):
        return False
    return True


@pytest.mark.parametrize("annotation", CHECKED, ids=str)
def test_a_value_is_refused_where_the_step_would_refuse_it_and_nowhere_else(annotation: Any) -> None:
    row = type_row(annotation)
    assert row is not None
    differing = []
    for text in TEXTS:
        stored = from_text(text)
        by_step = is_taken(by_the_step, annotation, text)
        by_host = is_taken(read_given, row, stored["value"], stored.get("spelling"))
        if by_step != by_host:
            differing.append((text, by_step))
    # A union may have a value be several things, which only the step can tell.
    assert [text for text, by_step in differing if by_step or "Union" not in str(annotation)] == []


@pytest.mark.parametrize("annotation", UNCHECKED, ids=str)
def test_what_json_can_not_describe_is_left_to_the_step(annotation: Any) -> None:
    assert type_row(annotation) is None


@pytest.mark.skipif(sys.version_info < (3, 10), reason="X | Y is of Python 3.10")
def test_a_union_is_written_in_either_way() -> None:
    assert type_row(int | None) == type_row(Optional[int]) == {"union": ["int", "none"]}


@pytest.mark.parametrize(
    ("text", "annotation"),
    [
        ("int", int),
        ("any", Any),
        ("list[int]", list[int]),
        ("dict[str, list[float]]", dict[str, list[float]]),
        ("int | None", Optional[int]),
        ("Optional[str]", Optional[str]),
        ('Literal["a", 1]', Literal["a", 1]),
        ("int | list[str] | None", Union[int, list[str], None]),
    ],
)
def test_a_type_of_yaml_is_the_annotation_of_python(text: str, annotation: Any) -> None:
    row = type_row(annotation)
    assert parse_type(text) == row and row is not None
    assert shown(row)


@pytest.mark.parametrize(
    "text", ["integer", "List[int]", "list[int, str]", "dict[int, str]", "int +", "f()", "", "x.int", "Literal[f]"]
)
def test_other_texts_are_no_types(text: str) -> None:
    assert parse_type(text) is None
