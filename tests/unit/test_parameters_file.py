"""A file that scripts read themselves, written anew with a run's values: every reader reads them, and the rest as before."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from toolkit.config.load import load
from toolkit.config.yaml_tree import parse_yaml
from toolkit.errors import BadInput
from toolkit.model.pipeline import NamedFile
from toolkit.run.parameters_file import ParametersFile, read_parameters_file

SOURCE = """\
# of the scripts
train: {trees: 6, rate: 1e5, note: 'it''s "so"', on_or_off: "on"}  # a comment
when: 2020-01-01
hex: 0x1F
base: &base
  deep: {x: 1, list: [1, 2.50, null]}
  text: |
    two
    lines
copy: *base
merged:
  <<: *base
  more: true
version: "1.9"
data-dir: of the scripts alone
long: 123456789012345678901234567890
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "toolkit.yaml").write_text("pipeline: p.py\n")
    return tmp_path


def read(root: Path, text: str, name: str = "params.yaml") -> ParametersFile:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)
    return read_parameters_file(load(None, root), NamedFile(name, "p.py:3"))


def test_a_file_whose_values_are_the_same_stays_as_it_is(project: Path) -> None:
    file = read(project, SOURCE)
    assert file.rewritten({**file.values, "other": 1}) == SOURCE
    assert file.rewritten({}) == SOURCE, "what the run has no value of, the file keeps"
    assert "data-dir" not in file.values and "data-dir" in file.content


def test_what_has_not_changed_is_spelled_as_it_was(project: Path) -> None:
    file = read(project, SOURCE)
    values = file.values
    base, merged = values["base"], values["merged"]
    assert isinstance(base, dict) and isinstance(merged, dict)
    changed = {
        **values,
        "train": {**values["train"], "trees": 25, "new": 1e-07},  # type: ignore[dict-item]
        "base": {**base, "deep": {"x": 2, "list": [1, 2.5, None]}},
        "merged": {**merged, "text": "on"},
        "unknown to the file": 1,
    }
    text = file.rewritten(changed)
    expected = {**changed, "data-dir": "of the scripts alone"}
    del expected["unknown to the file"]
    assert json.dumps(parse_yaml(text, "").plain(), sort_keys=True) == json.dumps(expected, sort_keys=True)
    assert list(parse_yaml(text, "").plain()) == list(file.content), "the keys keep their order"
    for spelled in (
        "rate: 1e5",
        'on_or_off: "on"',
        "when: 2020-01-01",
        "hex: 0x1F",
        "2.50",
        "|\n    two\n    lines\n",
        'version: "1.9"',
    ):
        assert spelled in text, text
    assert "comment" not in text
    old = yaml.safe_load(SOURCE)
    old["train"].update(trees=25, new=1e-07)
    old["base"]["deep"] = {"x": 2, "list": [1, 2.5, None]}
    old["merged"]["text"] = "on"
    # A change of what has an anchor is none of what its alias stands for.
    old["copy"] = yaml.safe_load(SOURCE)["copy"]
    assert yaml.safe_load(text) == old, "an older reader sees what it saw, and the new values"


def test_a_json_file_is_json(project: Path) -> None:
    file = read(project, '{"a": {"b": 1, "c": 1.50}, "x-y": [1]}', "conf/params.json")
    assert json.loads(file.rewritten({"a": {"b": 2, "c": 1.5}})) == {"a": {"b": 2, "c": 1.5}, "x-y": [1]}
    assert file.rewritten({"a": {"b": 1, "c": 1.5}}) == file.text


def test_json_in_a_yaml_file_may_have_tabs(project: Path) -> None:
    text = file_text = '{\n\t"a": 1e5,\n\t"b": "x"}'
    file = read(project, text)
    assert file.rewritten(file.values) == file_text
    assert yaml.safe_load(file.rewritten({"a": 1e5, "b": "y"})) == {"a": 1e5, "b": "y"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
TRAPS = st.sampled_from(
    ["on", "y", "No", "null", "~", "", "1_000", "010", "0o10", "1:30", "1e5", "1.0", ".inf", "2020-01-01", "- a", "a: b", "#", "<<",
     "=", "x\n", " x", "\x85", "\u2028", "\ufeff", "\x7f", "\t", "'", '"', "{{x}}", "%", "@", "🎉", "é"]
)  # fmt: skip


@given(st.dictionaries(st.sampled_from("abcde"), VALUES | TRAPS | st.lists(TRAPS), min_size=1))
def test_all_readers_read_the_same_of_any_value(values: dict[str, Any]) -> None:
    source = {name: "old" for name in "abcde"}
    file = ParametersFile("p.yaml", yaml.safe_dump(source), dict(source))
    text = file.rewritten(values)
    expected = {**source, **values}
    assert repr(yaml.safe_load(text)) == repr(expected)
    # No control character and no other end of a line: what YAML counts as printable may stay as it is.
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]", text)
    try:
        tree = parse_yaml(text, "").plain()
    except BadInput as error:
        # A number of more than 400 digits, or half of a surrogate pair.
        assert "digits" in error.message or "surrogate" in error.message
        return
    assert repr(tree) == repr(expected)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no.yaml", "there is no file no.yaml in the project"),
        ("../out.yaml", "is a path relative to the project's root, not '../out.yaml'"),
        ("/etc/params.yaml", "is a path relative to the project's root"),
        ("", "is a path relative to the project's root"),
        ("params.toml", "is a YAML or JSON file (.yaml, .yml or .json), and params.toml is neither"),
        (
            "ignored/params.yaml",
            "ignored/params.yaml is not part of the code that steps see: .dockerignore leaves it out",
        ),
        (".env.yaml", ".env.yaml is not part of the code"),
        ("link.yaml", "link.yaml is a link to a file outside of the project"),
        ("folder.yaml", "there is no file folder.yaml"),
    ],
)
def test_what_can_not_be_such_a_file_is_refused_with_its_place(project: Path, path: str, message: str) -> None:
    (project / ".dockerignore").write_text("ignored\n")
    (project / "ignored").mkdir()
    (project / "folder.yaml").mkdir()
    outside = project.parent / f"{project.name}.yaml"
    outside.write_text("a: 1\n")
    (project / "link.yaml").symlink_to(outside)
    for name in ("ignored/params.yaml", ".env.yaml", "params.toml"):
        (project / name).write_text("a: 1\n")
    with pytest.raises(BadInput) as caught:
        read_parameters_file(load(None, project), NamedFile(path, "p.py:3"))
    assert message in caught.value.message and caught.value.where == "p.py:3"


def test_a_file_that_holds_no_mapping_is_refused_with_its_line(project: Path) -> None:
    with pytest.raises(BadInput) as caught:
        read(project, "- 1\n")
    assert "parameters are a mapping" in caught.value.message and str(caught.value.where).endswith("params.yaml:1")
    with pytest.raises(BadInput) as caught:
        read(project, "a: 1\nb: on\n")
    assert str(caught.value.where).endswith("params.yaml:2")
