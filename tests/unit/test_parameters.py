"""The root parameters: a file, the environment and the command line, each over the one before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.config.json_file import parse_json_file
from toolkit.errors import BadInput
from toolkit.run import parameters
from toolkit.runtime.shared.records import encode


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    # Given a name in all three places,
    file = tmp_path / "p.yaml"
    file.write_text("a: 1\nb: 1\nc: 1\nd: {deep: [null, 'x']}\n")
    environ = {
        "TOOLKIT_PRM_a": "2",
        "TOOLKIT_PRM_b": "2",
        "RUNNABLE_PRM_e": "text",
        "OTHER": "x",
        "TOOLKIT_ENV": "local",
    }
    # when they are read, then the nearest to the user counts.
    assert parameters.read([file], ["a=3"], environ).values == {
        "a": 3,
        "b": 2,
        "c": 1,
        "d": {"deep": [None, "x"]},
        "e": "text",
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("1.5", 1.5), ("true", True), ("True", "True"), ("null", None), ('"1"', "1"), ("", ""), ("a=b", "a=b"),
        ("[1, {}]", [1, {}]), ("{'a'}", "{'a'}"), ("a b", "a b"), ("007", "007"), ("é☃", "é☃"), ("$(id) `id` {{x}}",) * 2,
        ("NaN", "NaN"), ("Infinity", "Infinity"), ("1e999", "1e999"), ("[-1e999]", "[-1e999]"), ("[" * 9999,) * 2,
        ("9" * 5000,) * 2, ("'quoted'", "'quoted'"), ("two\nlines", "two\nlines"),
    ],
    ids=lambda one: repr(one)[:20],
)  # fmt: skip
def test_a_value_is_json_or_else_text(text: str, value: Any) -> None:
    assert parameters.read([], [f"x={text}"], {}).values == {"x": value}
    assert parameters.read([], [], {"TOOLKIT_PRM_x": text}).values == {"x": value}


@given(st.text())
def test_any_value_can_be_recorded(text: str) -> None:
    encode(parameters.read([], [f"x={text}"], {}).values)


@pytest.mark.parametrize("option", ["x", "", "=1", "a-b=1", "1a=1", "a b=1", "é=1"])
def test_an_option_that_names_nothing_is_bad_input(option: str) -> None:
    with pytest.raises(BadInput, match="--param"):
        parameters.read([], [option], {})


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("[1]", "p.yaml:1", "a mapping of names to values"),
        ("text", "p.yaml:1", "a mapping of names to values"),
        ("a: 1\nb-c: 2", "p.yaml:2", "can't be a parameter's name"),
        ("a: 1\nb: .nan", "p.yaml:2", "JSON can't"),
        ("a: 1\nb: [1, -.inf]", "p.yaml:2", "JSON can't"),
        ("a: 1\na: 2", "p.yaml:2", "a"),
        ("a: [", "p.yaml", ""),
        ("a: !!python/object:os.system x", "p.yaml:1", ""),
    ],
)
def test_a_file_that_holds_no_parameters_is_bad_input_with_its_line(
    tmp_path: Path, text: str, where: str, message: str
) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(BadInput) as caught:
        parameters.read([tmp_path / "p.yaml"], [], {})
    assert message in caught.value.message
    assert where in str(caught.value.where)


def test_a_file_may_be_empty_json_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("# nothing\n")
    assert parameters.read([tmp_path / "p.yaml"], [], {}).values == {}
    (tmp_path / "p.json").write_text('{"a": [1, "two"]}')
    assert parameters.read([tmp_path / "p.json"], [], {}).values == {"a": [1, "two"]}
    with pytest.raises(BadInput, match=r"no\.yaml"):
        parameters.read([tmp_path / "no.yaml"], [], {})


@pytest.mark.parametrize(
    ("text", "spelling"),
    [("1.10", "1.10"), ("1e3", "1e3"), ("-0", "-0"), ("1.5", None), ("007", None), ("null", "null"), ('"1.10"', None),
     ("[1,2]", "[1,2]")],
)  # fmt: skip
def test_the_text_that_spelled_a_value_stands_beside_it(text: str, spelling: str | None) -> None:
    expected = {"x": spelling} if spelling is not None else {}
    assert parameters.read([], [f"x={text}"], {}).spellings == expected
    assert parameters.read([], [], {"TOOLKIT_PRM_x": text}).spellings == expected
    # A value that replaces another one brings its own.
    assert parameters.read([], ["x=true"], {"RUNNABLE_PRM_x": text}).spellings == {}


@pytest.mark.parametrize(
    ("options", "environ", "where"),
    [
        (['x={"a": 1, "a": 2}'], {}, "--param x"),
        ([], {"TOOLKIT_PRM_x": '[{"b": {"a": 1, "a": 2}}]'}, "TOOLKIT_PRM_x"),
    ],
)
def test_json_that_has_a_key_twice_is_bad_input(options: list[str], environ: dict[str, str], where: str) -> None:
    with pytest.raises(BadInput, match='the key "a" is given twice') as caught:
        parameters.read([], options, environ)
    assert caught.value.where == where


def test_values_of_files_keep_their_order_and_quotes_decide_in_them(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("x: {z: 1.10, a: '1.10', m: [{b: 1, a: 2}]}\n")
    (tmp_path / "p.json").write_text('{"x": {"z": 1.10, "a": "1.10", "m": [{"b": 1, "a": 2}]}}')
    for name in ("p.yaml", "p.json"):
        read = parameters.read([tmp_path / name], [], {})
        assert repr(read.values["x"]) == "{'z': 1.1, 'a': '1.10', 'm': [{'b': 1, 'a': 2}]}"
        assert read.spellings == {}


@pytest.mark.parametrize("name", ["p.json", "p.yaml", "p", "p.JSON"])
def test_json_is_read_as_json_whatever_its_file_is_called(tmp_path: Path, name: str) -> None:
    value = {"mood": "😀", "lone": "\ud83d", "tab": "a\tb", "big": 2**70, "zero": -0.0, "key 😀": None}
    for text in (json.dumps(value), json.dumps(value, indent="\t")):
        (tmp_path / name).write_text("\ufeff" + json.dumps({"x": value, "y": [text]}, indent=1), encoding="utf-8")
        read = parameters.read([tmp_path / name], [], {}).values
        assert repr(read) == repr({"x": value, "y": [text]})


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('{"a": 1,\n "b": {"c": 1,\n\n "c": 2}}', 4, 'the key "c" is given twice; the first is on line 2'),
        ('{"a": "{\\"a\\": 1, \\"a\\": 2}",\n "a": 2}', 2, 'the key "a" is given twice; the first is on line 1'),
        ('{"a": [1,\n NaN]}', 2, "NaN is a number that JSON can't hold"),
        ('{"a": "NaN",\n "b": -Infinity}', 2, "-Infinity is a number that JSON can't hold"),
        ('{"a": 1,\n "b": 1e999}', 2, "1e999 is a number that JSON can't hold"),
        (f'{{"a": 1,\n "b": {"9" * 4301}}}', 2, "is a number that JSON can't hold"),
        ('{"a":\n' + "[" * 101 + "]" * 101 + "}", 2, "nested more than 100 levels deep"),
        ('{"a": 1,\n "b-c": 2}', 2, "can't be a parameter's name"),
        ('{"a": 1,\n}', 2, "this is not valid JSON"),
        ('{"a": 1\n "b": 2}', 2, "this is not valid JSON: expecting ',' delimiter at column 2"),
        ('{"a": "x\ny"}', 1, "this is not valid JSON"),
        ("[1]", 1, "parameters are an object of names and values"),
        ("3", 1, "parameters are an object of names and values"),
    ],
    ids=lambda one: str(one)[:24],
)
def test_json_that_python_would_pass_over_is_bad_input_with_its_line(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(BadInput) as caught:
        parameters.read([tmp_path / "p.json"], [], {})
    assert message in caught.value.message
    assert str(caught.value.where).endswith(f"p.json:{line}")


def test_an_empty_json_file_gives_nothing(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(" \n")
    assert parameters.read([tmp_path / "p.json"], [], {}).values == {}


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_what_json_dump_writes_is_read_as_it_was(value: Any) -> None:
    read, lines = parse_json_file(json.dumps({"x": value}, indent=1), "p.json")
    assert repr(read) == repr({"x": value}) and lines == {"x": 2}


# --- one over the other ---------------------------------------------------------------------------------------------


def completed(
    files: list[Path], options: list[str], environ: dict[str, str] | None = None, **base: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """The values, their spellings, and what is noted."""
    notes: list[str] = []
    given = parameters.read(files, options, environ or {}).complete(notes.append, **base)
    return given.values, given.spellings, notes


def test_several_files_are_merged_also_inside_of_dictionaries(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("train: {trees: 6, deep: {x: 1, y: [1, 2]}}\nseed: 3\n")
    (tmp_path / "b.json").write_text('{"train": {"deep": {"y": [3], "z": null}, "trees": {"few": 2}}, "more": {}}')
    values, _, _ = completed([tmp_path / "a.yaml", tmp_path / "b.json"], [])
    assert values == {
        "train": {"trees": {"few": 2}, "deep": {"x": 1, "y": [3], "z": None}},
        "seed": 3,
        "more": {},
    }
    values, _, _ = completed(
        [tmp_path / "b.json", tmp_path / "a.yaml"], ["train={}", "train.n=1"], {"TOOLKIT_PRM_seed": "4"}
    )
    assert values == {"train": {"n": 1}, "seed": 4, "more": {}}, "the environment and --param replace a value"


def test_the_pipelines_own_file_is_the_first_of_them_and_defaults_are_for_what_nothing_gives(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("train: {trees: 7}\nseed: 4\n")
    own = {"train": {"trees": 6, "depth": 3}, "seed": 3, "path": "data"}
    values, _, _ = completed(
        [tmp_path / "a.yaml"], ["train.depth=5", "fit.rate=0.5"], file=own, defaults={"fit": {"rate": 1}, "seed": 9}
    )
    assert values == {"train": {"trees": 7, "depth": 5}, "seed": 4, "path": "data", "fit": {"rate": 0.5}}
    assert own["train"] == {"trees": 6, "depth": 3}, "what is merged is made anew"


@pytest.mark.parametrize("base", ["file", "environment", "option", "own", "default"])
def test_a_setting_reaches_inside_of_a_dictionary_wherever_that_is_given(tmp_path: Path, base: str) -> None:
    (tmp_path / "p.json").write_text('{"train": {"a": {"b": 1, "c": 2}}}')
    text = '{"a": {"b": 1, "c": 2}}'
    values, spellings, notes = completed(
        [tmp_path / "p.json"] if base == "file" else [],
        [f"train={text}"] * (base == "option") + ["train.a.b=50", "train.a.new=[true]"],
        {"TOOLKIT_PRM_train": text} if base == "environment" else {},
        file={"train": {"a": {"b": 1, "c": 2}}} if base == "own" else {},
        defaults={"train": {"a": {"b": 1, "c": 2}}} if base == "default" else {},
    )
    assert values == {"train": {"a": {"b": 50, "c": 2, "new": [True]}}}
    assert (spellings, notes) == ({}, [])


def test_of_two_settings_the_later_one_wins() -> None:
    assert completed([], ['x={"a": 1}', "x.a=2", "x.a=3"])[0] == {"x": {"a": 3}}
    assert completed([], ['x={"a": 1}', "x.b=2", 'x={"c": 1}', "x.d=4"])[0] == {"x": {"c": 1, "d": 4}}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["train.n=5"], "--param train.n sets inside of a dictionary, and the run has no parameter train"),
        (["trian={}", "train.n=5"], "no parameter train (did you mean trian?)"),
        (["train=5", "train.n=5"], "--param train.n sets inside of a dictionary, and train is 5"),
        (["train=[1]", "train.0=5"], "and train is [1]"),
        (['train={"a": "x"}', "train.a.b=5"], 'and train.a is "x"'),
        (['train={"optimizer": {}}', "train.optimiser.rate=5"], "and train has no optimiser (did you mean optimizer?)"),
        (["train.=5"], "'train.' has an empty key"),
        (["train..n=5"], "'train..n' has an empty key"),
        ([".n=5"], "'' can't be a parameter's name"),
        (["a-b.n=5"], "'a-b' can't be a parameter's name"),
    ],
)
def test_a_setting_of_what_is_no_dictionary_is_bad_input(options: list[str], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        completed([], options)
    assert message in str(caught.value)


def test_a_new_key_that_looks_like_another_is_noted() -> None:
    values, _, notes = completed([], ['train={"n_estimators": 5}', "train.n_estimator=50", "train.other=1"])
    assert values == {"train": {"n_estimators": 5, "n_estimator": 50, "other": 1}}
    assert notes == ["--param train.n_estimator adds n_estimator to train, which has n_estimators"]


def test_a_number_inside_of_a_dictionary_keeps_its_spelling() -> None:
    values, spellings, _ = completed([], ['x={"a": 1.50}', "x.b=1.10", "x.c=[1e3, 2]", "x.d=1.0"])
    assert values == {"x": {"a": 1.5, "b": 1.1, "c": [1000.0, 2], "d": 1.0}}
    assert spellings == {"x": '{"a": 1.50, "b": 1.10, "c": [1e3, 2], "d": 1.0}'}
    assert completed([], ['x={"a": 1.50}', "x.a=2"])[1] == {}, "a spelling ends with its number"


def test_a_number_in_place_of_a_text_is_the_text_that_spelled_it() -> None:
    own = {"version": "1.9", "x": {"tag": "a", "n": 1}}
    values, spellings, _ = completed([], ["version=1.10", "x.tag=007", "x.n=2.50"], file=own)
    assert values == {"version": "1.10", "x": {"tag": "007", "n": 2.5}}
    assert spellings == {"x": '{"tag": "007", "n": 2.50}'}
    assert completed([], ["version=2", "x.tag=3", "x.n=null"], file=own)[0] == {
        "version": "2",
        "x": {"tag": "3", "n": None},
    }
    assert completed([], ["version=null"], file=own)[0]["version"] is None
