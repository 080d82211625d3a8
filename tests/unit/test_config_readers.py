"""The readers of YAML and TOML: every value knows its line, and hostile input ends in BadInput."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolkit.config.located import Located, read_toml, read_yaml, shown
from toolkit.errors import BadInput

_FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def yaml_of(folder: Path, data: str | bytes) -> Located:
    path = folder / "x.yaml"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return read_yaml(path)


def toml_of(folder: Path, data: str) -> Located | None:
    path = folder / "x.toml"
    path.write_text(data, encoding="utf-8")
    return read_toml(path, "tool.toolkit")


def test_every_value_and_key_knows_its_line(tmp_path: Path) -> None:
    tree = yaml_of(tmp_path, "# one\na:\n  b: 3.10\n\n  c:\n    - x\n    - {d: 'q'}\n")

    assert isinstance(tree.value, dict) and tree.key_lines == {"a": 2}
    inner = tree.value["a"]
    assert isinstance(inner.value, dict) and inner.key_lines == {"b": 3, "c": 5}
    assert (inner.value["b"].value, inner.value["b"].text, inner.value["b"].line) == (3.1, "3.10", 3)
    items = inner.value["c"].value
    assert isinstance(items, tuple) and [item.line for item in items] == [6, 7]
    assert tree.where.endswith("x.yaml:2")
    assert tree.plain() == {"a": {"b": 3.1, "c": ["x", {"d": "q"}]}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# only a comment\n", None),
        ("---\n", None),
        ("a: ", {"a": None}),
        ("a: ~", {"a": None}),
        ("a: true", {"a": True}),
        ("a: 12", {"a": 12}),
        ("a: -0", {"a": 0}),
        ("a: 0x1F", {"a": 31}),
        ("a: 1e-3", {"a": 0.001}),
        ("a: .5", {"a": 0.5}),
        ("a: 2024-01-01", {"a": "2024-01-01"}),
        ("a: 1.2.3", {"a": "1.2.3"}),
        ("a: '010'", {"a": "010"}),
        ('a: "on"', {"a": "on"}),
        ("y: 1\nn: 2", {"y": 1, "n": 2}),
        ('"1": a', {"1": "a"}),
        ("\ufeffa: 1", {"a": 1}),
        ("a: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
        ("a: |\n  one\n  two\n", {"a": "one\ntwo\n"}),
        ("a: &x {k: 1}\nb: *x", {"a": {"k": 1}, "b": {"k": 1}}),
        ("a: &x {k: 1, l: 2}\nb:\n  <<: *x\n  l: 3", {"a": {"k": 1, "l": 2}, "b": {"l": 3, "k": 1}}),
        ("b: {<<: [{k: 1}, {k: 2, m: 3}]}", {"b": {"k": 1, "m": 3}}),
        ('"<<": 1', {"<<": 1}),
        ("&a {b: [1, &a 2, *a]}", {"b": [1, 2, 2]}),
    ],
)
def test_yaml_values(tmp_path: Path, text: str, value: Any) -> None:
    assert yaml_of(tmp_path, text).plain() == value


_WIDE = "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 40))


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: [", 1, "not valid YAML"),
        ("a: 1\nb: [x\nc: d\n", 3, "that begins on line 2"),
        ("a: 1\n\tb: 2", 2, "tab"),
        ("a: 1\nb: 2\na: 3", 3, "twice; the first is on line 1"),
        ("on: 1", 1, '"on"'),
        ("a:\n  1: x", 2, '"1"'),
        ("null: x", 1, '"null"'),
        ("? \n: x", 1, "key is empty"),
        ("? [a]\n: x", 1, "must be a text"),
        ("a: &k b\n*k : c", 2, "alias can't be a key"),
        ("a: !!python/object/apply:os.system [ls]", 1, "!!python/object/apply"),
        ("a: !foo x", 1, "the tag !foo"),
        ("a: !!str 1", 1, "the tag !!str"),
        ("%TAG ! tag:x,2000:\n---\na: 1", 1, "%TAG"),
        ("a: 1\n---\nb: 2", 2, "second document"),
        ("a: *b", 1, "no anchor"),
        ("a: &x [1, *x]", 1, "contains itself"),
        ("a: yes", 1, "write true"),
        ("a: Off", 1, "write false"),
        ("a: 0755", 1, "different numbers"),
        ("a: 1_000", 1, "different numbers"),
        ("a: 0o17", 1, "different numbers"),
        ("a: 22:30", 1, "different numbers"),
        ("a: 0b11", 1, "different numbers"),
        ("a: " + "9" * 5000, 1, "5000 digits"),
        ("<<: 3", 1, "takes a mapping"),
        ("[" * 100_000, 1, "levels deep"),
        ("{a: " * 100_000, 1, "levels deep"),
        ("- " * 100_000, 1, "levels deep"),
        ("a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 200)), 100, "levels deep"),
        ("a0: &a0 [x,x,x]\n" + _WIDE, 6, "more than 100000 values"),
        ("a: &a " + "x" * 1_000_000 + "\nb: [" + "*a," * 50 + "]", 2, "texts are too large"),
        ("- a\n" * 200_000, 100_000, "more than 100000 values"),
        ("a: 1\nb: \0", 2, "U+0000"),
        ("a: \x1b[31m", 1, "U+001B"),
        (b"a: 1\nb: \xff", 2, "not UTF-8"),
        ("a: 1".encode("utf-16"), 1, "not UTF-8"),
        ('a: "\\ud800"', 1, ""),
        ('a: "\\UFFFFFFFF"', 1, "not valid YAML"),
        (b"#" * (4 * 1024 * 1024 + 1), None, "larger than 4 MiB"),
    ],
)
def test_yaml_refused_with_its_line(tmp_path: Path, text: str | bytes, line: int | None, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        yaml_of(tmp_path, text)

    assert said in caught.value.message
    assert caught.value.where == shown(tmp_path / "x.yaml") + (f":{line}" if line else "")
    assert len(str(caught.value)) < 1000 and "\n" not in str(caught.value)


@pytest.mark.parametrize("pure", [False, True])
def test_the_pure_python_parser_reads_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pure: bool) -> None:
    import yaml

    from toolkit.config import yaml_tree

    if pure:
        monkeypatch.setattr(yaml_tree, "_Loader", yaml.SafeLoader)
    assert yaml_of(tmp_path, "a: 'x'\nb: [1, &c 2, *c, \"on\"]\n").plain() == {"a": "x", "b": [1, 2, 2, "on"]}
    for text in ("[" * 100_000, "a: on", 'a: "\\UFFFFFFFF"', "a: !x b", "a:\n- b\n -c\n  d: e"):
        with pytest.raises(BadInput):
            yaml_of(tmp_path, text)


def test_what_is_no_ordinary_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, said in ((tmp_path / "pipe", "regular"), (tmp_path, "regular"), (tmp_path / "none", "not exist")):
        with pytest.raises(BadInput, match=said):
            read_yaml(path)
    with pytest.raises(BadInput):
        read_yaml(Path("a\0b"))
    with pytest.raises(BadInput):
        read_yaml(tmp_path / ("x" * 5000))


def test_a_file_in_the_current_folder_is_named_as_it_lies_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert yaml_of(tmp_path, "a: 1").where == "x.yaml:1"


_TOML = """\
[build-system]
requires = ["x"]  # [tool.toolkit]
[tool.other]
text = '''
[tool.toolkit]
fake = 1
'''
[tool.toolkit]
pipeline = "p.py"
build.base_image = "b"
build . "system_packages" = [
  "one", # a comment, with ] and "
  "two",
]
[tool.toolkit.executor.config]
user = 1_000
resources = { limits = { cpu = "1" },
 }
when = 2024-01-01 10:00:00
[[tool.toolkit.executor.config.persistent_volumes]]
name = "a"
[[tool.toolkit.executor.config.persistent_volumes]]
name = "b\\u0062"
inner.deep = true
"""


def test_toml_lines(tmp_path: Path) -> None:
    # Inline tables over several lines are newer than the parser; one line here.
    tree = toml_of(tmp_path, _TOML.replace("},\n }", "} }"))

    assert tree is not None and isinstance(tree.value, dict)
    assert dict(tree.key_lines) == {"pipeline": 9, "build": 10, "executor": 15}
    build, config = tree.value["build"].value, tree.value["executor"].value
    assert isinstance(build, dict) and isinstance(config, dict)
    packages = build["system_packages"].value
    assert isinstance(packages, tuple) and [(item.value, item.line) for item in packages] == [("one", 12), ("two", 13)]
    inner = config["config"].value
    assert isinstance(inner, dict)
    assert (inner["user"].value, inner["user"].text, inner["user"].line) == (1000, "1_000", 16)
    assert inner["when"].value == "2024-01-01 10:00:00"
    assert inner["resources"].plain() == {"limits": {"cpu": "1"}} and inner["resources"].line == 17
    volumes = inner["persistent_volumes"].value
    assert isinstance(volumes, tuple) and [dict(item.key_lines) for item in volumes] == [
        {"name": 20},
        {"name": 22, "inner": 23},
    ]
    assert volumes[1].plain() == {"name": "bb", "inner": {"deep": True}}


@pytest.mark.parametrize("text", ["", "[tool.other]\nx = 1", "[tool]\ntoolkit-x = 1", "broken = [", "x = 'toolkit'"])
def test_a_file_without_the_table(tmp_path: Path, text: str) -> None:
    assert toml_of(tmp_path, text) is None


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("[tool.toolkit]\na = 1\na = 2", ":3", "not valid TOML"),
        ("[tool.toolkit]\n\na = [1, 2", ":3", "not valid TOML"),
        ("[tool.toolkit]\na = " + "[" * 100_000, "", "deep"),
        ("[tool.toolkit]\na = " + "{a=" * 50_000, "", "deep"),
        ("[tool.toolkit]\na = " + "[" * 150 + "]" * 150, "", "deep"),
        ("[tool.toolkit]\n" + "a." * 10_000 + "b = 1", ":2", "parts"),
        ("[tool.toolkit]\na = " + "9" * 10_000, "", ""),
        ("[tool.toolkit]\n" + "#" * 300_000, "", "larger than"),
        ("[tool.toolkit]\na = [" + "1," * 120_000 + "]", "", "more than"),
    ],
)
def test_toml_refused(tmp_path: Path, text: str, where: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        toml_of(tmp_path, text)
    assert said in caught.value.message and (caught.value.where or "").startswith(shown(tmp_path / "x.toml") + where)


@_FUZZ
@given(data=st.binary(max_size=200) | st.text("ab:-[]{}&*!|>'\"<\n\t #%?,.0_~\\x", max_size=80).map(str.encode))
def test_any_bytes_are_a_tree_or_bad_input(tmp_path: Path, data: bytes) -> None:
    try:
        tree = yaml_of(tmp_path, data)
    except BadInput:
        return
    tree.plain()


@_FUZZ
@given(data=st.text("ab.=-[]{}'\"\n\t #,0_\\", max_size=60))
def test_any_table_is_a_tree_or_bad_input(tmp_path: Path, data: str) -> None:
    try:
        tree = toml_of(tmp_path, "[tool.toolkit]\n" + data)
    except BadInput:
        return
    assert tree is not None
    tree.plain()
