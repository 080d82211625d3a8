"""The root parameters: a file, the environment and the command line, each over the one before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    assert parameters.read(file, ["a=3"], environ) == {"a": 3, "b": 2, "c": 1, "d": {"deep": [None, "x"]}, "e": "text"}


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
    assert parameters.read(None, [f"x={text}"], {}) == {"x": value}
    assert parameters.read(None, [], {"TOOLKIT_PRM_x": text}) == {"x": value}


@given(st.text())
def test_any_value_can_be_recorded(text: str) -> None:
    encode(parameters.read(None, [f"x={text}"], {}))


@pytest.mark.parametrize("option", ["x", "", "=1", "a-b=1", "1a=1", "a b=1", "é=1"])
def test_an_option_that_names_nothing_is_bad_input(option: str) -> None:
    with pytest.raises(BadInput, match="--param"):
        parameters.read(None, [option], {})


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
        parameters.read(tmp_path / "p.yaml", [], {})
    assert message in caught.value.message
    assert where in str(caught.value.where)


def test_a_file_may_be_empty_json_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("# nothing\n")
    assert parameters.read(tmp_path / "p.yaml", [], {}) == {}
    (tmp_path / "p.json").write_text('{"a": [1, "two"]}')
    assert parameters.read(tmp_path / "p.json", [], {}) == {"a": [1, "two"]}
    with pytest.raises(BadInput, match=r"no\.yaml"):
        parameters.read(tmp_path / "no.yaml", [], {})
