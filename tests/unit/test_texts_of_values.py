"""A value keeps the order of its keys and, where it came as text, its spelling; what JSON would change is refused by name."""
# ruff: noqa: UP007, UP045 - the older spellings are what is tested, too.

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import sys
import uuid
from typing import Annotated, Any, Literal, NewType, Optional, TypedDict, Union

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolkit.runtime.shared.records import encode
from toolkit.runtime.shared.values import (
    RepeatedKey,
    as_text,
    encode_value,
    from_text,
    is_plain,
    item_spelling,
    joins_surrogates,
)
from toolkit.runtime.user.conversion import BadValue, as_json, cast, json_data
from toolkit.runtime.user.spelling import spelled

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
ANYTHING = st.recursive(
    SCALARS | st.floats() | st.text(st.characters()) | st.complex_numbers() | st.tuples(st.integers()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.booleans() | st.none(), inner),
)
# A busy machine may take its time over examples.
properties = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def in_order(value: Any) -> Any:
    """A value in a form that tells the order of keys, and 1, 1.0 and True apart, and so are 0.0 and -0.0."""
    if isinstance(value, dict):
        return "object", [(key, in_order(item)) for key, item in value.items()]
    if isinstance(value, list):
        return "list", [in_order(item) for item in value]
    return type(value), repr(value)


# --- order ------------------------------------------------------------------------------------------------------------


@properties
@given(JSON)
def test_a_value_comes_out_of_each_record_as_it_went_in(value: Any) -> None:
    assert in_order(json.loads(encode_value(value))) == in_order(value)
    record = {
        "version": 1,
        "returns": {"value": {"value": value, "kind": "json"}},
        "inputs": {"x": {"value": value}, "y": {"reduced": {"value": value, "kind": "json"}, "from": "a"}},
        "parameters": {"b": value, "a": value},
        "steps": [{"path": "s", "bind": {"x": {"value": value}, "kind": {"name": "y"}}}],
    }
    written = json.loads(encode(record))
    assert in_order(written["returns"]["value"]["value"]) == in_order(value)
    assert in_order(written["inputs"]["x"]["value"]) == in_order(value)
    assert in_order(written["inputs"]["y"]["reduced"]["value"]) == in_order(value)
    assert in_order(written["parameters"]["a"]) == in_order(written["parameters"]["b"]) == in_order(value)
    assert in_order(written["steps"][0]["bind"]["x"]["value"]) == in_order(value)
    # Our own keys are sorted.
    for own in (written, written["returns"]["value"], written["parameters"], written["inputs"], written["steps"][0]):
        assert list(own) == sorted(own)


def test_a_record_of_values_without_an_order_has_the_bytes_that_it_always_had() -> None:
    record = {"b": 1, "returns": {"y": {"value": [2, "x"], "kind": "json"}, "x": {"value": {"a": 1, "b": 2}}}, "a": {}}
    assert encode(record) == json.dumps(record, sort_keys=True, separators=(",", ":")).encode()


# --- what JSON can't hold, or would change ----------------------------------------------------------------------------


@properties
@given(ANYTHING)
def test_any_value_is_stored_exactly_or_refused(value: Any) -> None:
    try:
        plain = as_json("r", value)
        data = json_data("r", plain)
    except BadValue:
        assert not is_plain(value) or joins_surrogates(value, encode_value(value))
        return
    assert in_order(json.loads(data)) == in_order(plain)
    # A tuple is a list; all else is what it was.
    assert json.loads(data) == json.loads(json.dumps(value))


@properties
@given(JSON)
def test_json_data_is_seen_to_be_json_data(value: Any) -> None:
    assert is_plain(value)
    assert as_json("r", value) is value


class Kind(str, enum.Enum):
    A = "a"


class Text(str):
    """A text that is equal to nothing but itself."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def shown(value: Any) -> str:
    """A value in a test's name; Python refuses to show a long integer."""
    try:
        return ascii(value)[:20]
    except ValueError:
        return "a long integer"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1: "a", "1": "b"}, "the key 1"),
        ({True: "a", "true": "b"}, "the key True"),
        ({None: "a", "null": "b"}, "the key None"),
        ([{"deep": {1.5: 0}}], r"r\[0\]\['deep'\] holds a dict with the key 1.5"),
        ({Text("a"): 1, Text("a"): 2}, "two keys of one text"),
        (math.nan, "r is nan"),
        ({"x": [0.0, -math.inf]}, r"r\['x'\]\[1\] is -inf"),
        (10**4300, "more than 4300 digits"),
        ([-(10**4300)], r"r\[0\] is an integer of more than 4300 digits"),
        ("\ud83d" + "\ude00", "two halves of a surrogate pair"),
        ({"\ud83d" + "\ude00": 1, "😀": 2}, "two halves of a surrogate pair"),
        (nested(202), "nested more than 200 deep"),
    ],
    ids=shown,
)
def test_what_json_would_change_is_refused_by_name(value: Any, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        json_data("r", as_json("r", value))


@pytest.mark.parametrize(
    "value",
    [2**53 + 1, -(2**63), 10**4299, -0.0, 5e-324, 1.7976931348623157e308, 0.1, "\ud83d", "a\udcff",
     {"\ude00\ud83d": 1}, nested(201)],
    ids=shown,
)  # fmt: skip
def test_what_json_can_hold_is_kept_exactly(value: Any) -> None:
    assert in_order(json.loads(json_data("r", as_json("r", value)))) == in_order(value)


def test_a_program_that_lifts_pythons_limit_of_digits_returns_no_more_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "get_int_max_str_digits", lambda: 0)
    assert is_plain([10**4299, -1]) and not is_plain([1, 10**4300])
    monkeypatch.delattr(sys, "get_int_max_str_digits")
    assert not is_plain({"a": -(10**4300)})


# --- texts ------------------------------------------------------------------------------------------------------------


@given(st.text())
def test_a_text_is_given_back_by_its_value_or_by_its_spelling(text: str) -> None:
    try:
        stored = from_text(text)
    except RepeatedKey:
        return
    value = stored["value"]
    # What reads as JSON is taken for what it says; all else is the text itself.
    assert value == text or json.loads(text) == value
    assert stored.get("spelling", as_text(value)) == text or isinstance(value, str)


@properties
@given(JSON, st.sampled_from([None, 1]), st.booleans())
def test_json_however_it_is_written_is_a_value_and_its_spelling(value: Any, indent: Any, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    stored = from_text(text)
    assert in_order(stored["value"]) == in_order(value)
    assert isinstance(value, str) or stored.get("spelling", as_text(value)) == text


@pytest.mark.parametrize(
    ("text", "value", "spelling"),
    [
        ("1.10", 1.1, "1.10"), ("3.0", 3.0, None), ("1e3", 1000.0, "1e3"), ("1E400", "1E400", None), ("007", "007", None),
        ("0x1F", "0x1F", None), ("2024-01-02", "2024-01-02", None), ("20240102", 20240102, None), ("NaN", "NaN", None),
        ("-Infinity", "-Infinity", None), ("[1, NaN]", "[1, NaN]", None), ("-0", 0, "-0"), ("-0.0", -0.0, None),
        ("12345678901234567890123", 12345678901234567890123, None), ("9" * 4301, "9" * 4301, None),
        ("0.1000000000000000055", 0.1, "0.1000000000000000055"), (" 5\n", 5, " 5\n"), ("true", True, None), ("True", "True", None),
        ("null", None, "null"), ('"1.10"', "1.10", None), ("", "", None), ("[1,2]", [1, 2], "[1,2]"), ("[1, 2]", [1, 2], None),
        ("{'a'}", "{'a'}", None), ('{"z": 1.50, "a": 1}', {"z": 1.5, "a": 1}, '{"z": 1.50, "a": 1}'), ("[" * 9999,) * 2 + (None,),
        ('"\\ud83d\\ude00"', "😀", None),
    ],
    ids=lambda one: repr(one)[:24],
)  # fmt: skip
def test_what_a_text_stands_for(text: str, value: Any, spelling: Optional[str]) -> None:
    stored = from_text(text)
    assert in_order(stored["value"]) == in_order(value)
    assert stored.get("spelling") == spelling


@pytest.mark.parametrize(
    ("text", "key"),
    [('{"a": 1, "a": 1}', '"a"'), ('[{"b": {"a": 1, "c": 2, "a": 3}}]', '"a"'), ('{"\\u0061": 1, "a": 2}', '"a"')],
)
def test_a_key_that_is_given_twice_is_named(text: str, key: str) -> None:
    with pytest.raises(RepeatedKey, match=f"the key {key} is given twice"):
        from_text(text)


@pytest.mark.parametrize(
    ("position", "spelling"),
    [(0, "1.10"), (1, None), (2, None), (3, "[1.0, 2.50]"), (4, '{"a": 1e1}'), (5, None), (6, None)],
)
def test_an_item_of_a_list_that_came_as_text_has_its_part_of_the_text(position: int, spelling: Optional[str]) -> None:
    text = '[1.10, 2, "3.10", [1.0,2.50], {"a":1e1}, null, [true]]'
    assert item_spelling(text, position, json.loads(text)[position]) == spelling


# --- which arguments take the text ------------------------------------------------------------------------------------


class Version(str, enum.Enum):
    OLD = "1.10"


class Numbered(enum.Enum):
    OLD = 1.1
    NEW = "2"


class Configured(TypedDict):
    version: str
    size: float


@dataclasses.dataclass
class Release:
    version: str
    number: float
    parts: list[str] = dataclasses.field(default_factory=list)


Name = NewType("Name", str)


@pytest.mark.parametrize(
    "annotation",
    [str, "str", Name, Annotated[str, 1], Optional[str], Union[str, int], Union[int, str, None], Literal["1.10", "2"], Version,
     pathlib.Path, decimal.Decimal, uuid.UUID, datetime.date, datetime.datetime, Optional[decimal.Decimal], Text],
)  # fmt: skip
def test_what_is_made_of_text_takes_the_spelling(annotation: Any) -> None:
    if annotation == "str":
        annotation = str
    assert spelled(annotation, 1.1, "1.10") == "1.10"


@pytest.mark.parametrize(
    "annotation",
    [None, "nowhere.Found", Any, object, int, float, bool, complex, Union[str, float], Union[float, None, str], Union[str, Any],
     Union[str, object], Literal[1.1, "1.10"], Numbered, list, dict, bytes],
)  # fmt: skip
def test_all_else_takes_the_value(annotation: Any) -> None:
    assert spelled(annotation, 1.1, "1.10") == 1.1


@pytest.mark.skipif(sys.version_info < (3, 10), reason="int | str is of 3.10")
def test_a_union_that_is_written_with_a_bar_is_one() -> None:
    assert spelled(eval("str | None"), 1.1, "1.10") == "1.10"
    assert spelled(eval("str | float"), 1.1, "1.10") == 1.1
    assert spelled(eval("list[str] | str"), [1.1], "[1.10]") == ["1.10"]


def test_null_is_no_text_where_null_is_a_value() -> None:
    assert spelled(str, None, "null") == "null"
    assert spelled(Optional[str], None, "null") is None


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (list[str], "[1.10, 2]", ["1.10", "2"]),
        (list, "[1.10]", [1.1]),
        (list[Any], "[1.10]", [1.1]),
        (Optional[list[str]], "[1.10]", ["1.10"]),
        (tuple[str, float], "[1.10, 1.10]", ["1.10", 1.1]),
        (tuple[str, ...], "[1.10, 1e1]", ["1.10", "1e1"]),
        (dict[str, str], '{"b": 1.10, "a": 1e1}', {"b": "1.10", "a": "1e1"}),
        (dict[str, list[str]], '{"a": [1.10, null]}', {"a": ["1.10", None]}),
        (Release, '{"version": 1.10, "number": 1.10, "parts": [2.0]}', {"version": "1.10", "number": 1.1, "parts": ["2.0"]}),
        (Configured, '{"size": 1.10, "version": 1.10}', {"size": 1.1, "version": "1.10"}),
        (Union[list[Release], str], '[{"version": 1.10}]', [{"version": "1.10"}]),
        (str, "[1.10]", "[1.10]"),
        (Union[str, list], "[1.10]", [1.1]),
        (Any, "[1.10]", [1.1]),
    ],
)  # fmt: skip
def test_texts_inside_what_came_as_text_are_spelled_as_they_were(annotation: Any, text: str, value: Any) -> None:
    stored = from_text(text)
    assert in_order(spelled(annotation, stored["value"], text)) == in_order(value)


def test_a_spelling_is_cast_as_any_text_is() -> None:
    assert cast("x", spelled(Version, 1.1, "1.10"), Version) is Version.OLD
    assert cast("x", spelled(list[str], [1.1], "[1.10]"), list[str]) == ["1.10"]
    assert cast("x", spelled(float, 1.1, "1.10"), float) == 1.1
