"""One setting is written into a configuration file, and all else in the file stays as it is."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.config.written import WrittenSetting, with_setting, write_setting
from toolkit.config.yaml_tree import parse_yaml
from toolkit.errors import BadInput

NEW = "host:5000/python:3.12@sha256:" + "a" * 64
BASE = WrittenSetting(("base_image", "base"), NEW)

_YAML = [
    ("", "build:\n  base_image: NEW\n"),
    ("# nothing yet", "# nothing yet\nbuild:\n  base_image: NEW\n"),
    ("pipeline: p.py", "pipeline: p.py\nbuild:\n  base_image: NEW\n"),
    ("--- # c\n  pipeline: p.py\n", "--- # c\n  pipeline: p.py\n  build:\n    base_image: NEW\n"),
    ("---\npipeline: p.py\n...\n", "---\nbuild:\n  base_image: NEW\npipeline: p.py\n...\n"),
    ("pipeline: |\n  p.py\n\n", "pipeline: |\n  p.py\n\nbuild:\n  base_image: NEW\n"),
    ("build: # c\n  # d\npipeline: p.py\n", "build: # c\n  base_image: NEW\n  # d\npipeline: p.py\n"),
    ("build: ~ # c\n", "build: {base_image: NEW} # c\n"),
    ("build:\n    # why\n    lock: none # z\n", "build:\n    base_image: NEW\n    # why\n    lock: none # z\n"),
    ("build:\r\n  base_image:  'x'  # c\r\n  lock: none", "build:\r\n  base_image:  'NEW'  # c\r\n  lock: none"),
    ('"build":\n  "base": "x"\n', '"build":\n  "base": "NEW"\n'),
    ("build:\n  base_image:   # c\n", "build:\n  base_image: NEW   # c\n"),
    ("build: { lock: none } # c\n", "build: { base_image: NEW, lock: none } # c\n"),
    ("build: {}\n", "build: {base_image: NEW}\n"),
    ("build: {base_image: x}\n", "build: {base_image: NEW}\n"),
    ('{"pipeline": "p.py"}\n', '{"build": {"base_image": "NEW"}, "pipeline": "p.py"}\n'),
    ("? build\n: lock: none\n", "? build\n: base_image: NEW\n  lock: none\n"),
    ("x: &x {lock: none}\nbuild:\n  <<: *x\n", "x: &x {lock: none}\nbuild:\n  base_image: NEW\n  <<: *x\n"),
]
_TOML = [
    ("[tool.toolkit]", '[tool.toolkit]\nbuild.base_image = "NEW"\n'),
    (
        'x = """\n[tool.toolkit.build]\n"""\r\n\t[ tool . toolkit ] # c\r\npipeline = "p"\r\n',
        'x = """\n[tool.toolkit.build]\n"""\r\n\t[ tool . toolkit ] # c\r\n\tbuild.base_image = "NEW"\r\npipeline = "p"\r\n',
    ),
    ("[tool.toolkit.build] # c\nlock = 'x'\n", "[tool.toolkit.build] # c\nbase_image = \"NEW\"\nlock = 'x'\n"),
    ("[tool.toolkit]\nbuild = {}\n", '[tool.toolkit]\nbuild = { base_image = "NEW" }\n'),
    ("[tool.toolkit]\nbuild = { lock = 'x' }\n", "[tool.toolkit]\nbuild = { base_image = \"NEW\", lock = 'x' }\n"),
    ("[tool.toolkit]\nbuild.lock = 'x'\n", "[tool.toolkit]\nbuild.base_image = \"NEW\"\nbuild.lock = 'x'\n"),
    ("[tool]\ntoolkit.build.base = 'x' # c\n", "[tool]\ntoolkit.build.base = 'NEW' # c\n"),
    ('[tool.toolkit.build]\nbase_image = """x"""\n', '[tool.toolkit.build]\nbase_image = "NEW"\n'),
    (
        "[tool.toolkit.build.network]\nnetrc = 'x'\n",
        "[tool.toolkit.build.network]\nnetrc = 'x'\n\n[tool.toolkit.build]\nbase_image = \"NEW\"\n",
    ),
    ("tool.toolkit.build.lock = 'x'\n", "tool.toolkit.build.base_image = \"NEW\"\ntool.toolkit.build.lock = 'x'\n"),
]


@pytest.mark.parametrize(("old", "new"), _YAML)
def test_yaml_is_edited_in_place(old: str, new: str) -> None:
    assert with_setting(old, BASE, False) == new.replace("NEW", NEW)


@pytest.mark.parametrize(("old", "new"), _TOML)
def test_toml_is_edited_in_place(old: str, new: str) -> None:
    assert with_setting(old, BASE, True) == new.replace("NEW", NEW)


@pytest.mark.parametrize(
    "text",
    [
        "x: &x {lock: none}\nbuild: *x\n",
        "build:\n  base_image: &b x\npipeline: *b\n",
        "build: &b {lock: none}\nx: *b\n",
        "build:\n  base_image: >-\n    x\n  lock: none\n",
        "build: [x]\n",
        "x",
    ],
)
def test_what_would_change_something_else_is_not_written(text: str, tmp_path: Path) -> None:
    file = tmp_path / "toolkit.yaml"
    file.write_text(text)
    with pytest.raises(BadInput, match=f'toolkit.yaml: .*write base_image: "{NEW}" below build: yourself'):
        write_setting(file, BASE, "x")
    assert file.read_text() == text and list(tmp_path.iterdir()) == [file]


def test_a_value_that_comes_from_a_variable_stays(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text("[tool.toolkit]\nbuild.base_image = '$BASE'\n")
    with pytest.raises(BadInput, match="comes from a variable, which stays as it is: write base_image = "):
        write_setting(file, BASE, "python:3.12")
    assert "$BASE" in file.read_text()


def test_mode_links_and_the_byte_order_mark_are_kept(tmp_path: Path) -> None:
    kept = tmp_path / "kept.yaml"
    kept.write_bytes(b"\xef\xbb\xbfbuild:\r\n  base: x\r\n")
    kept.chmod(0o640)
    link = tmp_path / "toolkit.yaml"
    link.symlink_to(kept)
    write_setting(link, BASE, "x")
    assert kept.read_bytes() == b"\xef\xbb\xbfbuild:\r\n  base: " + NEW.encode() + b"\r\n"
    assert link.is_symlink() and stat.S_IMODE(kept.stat().st_mode) == 0o640 and len(list(tmp_path.iterdir())) == 2


# --- whatever the file looks like -----------------------------------------------------------------------------------

_COMMENTS = st.sampled_from(["", " # a comment", "  # build: {base_image: other}"])
_SCALARS = st.sampled_from(
    ["none", "'a''b'", '"a\\u00e9: #"', "3", "1.50", "true", "~", "[a, {b: c}]", "|\n{}   text\n"]
)
_INDENT = st.sampled_from([1, 2, 4, 7])


@st.composite
def yaml_documents(draw: Any) -> str:
    """A YAML file with some settings, with or without a section, at whatever indentation."""
    outer = " " * draw(st.sampled_from([0, 0, 3]))
    inner = outer + " " * draw(_INDENT)

    def pair(indent: str, key: str, value: str) -> str:
        is_block = "\n" in value
        return f"{indent}{key}: {value.format(indent) if is_block else value}{'' if is_block else draw(_COMMENTS)}\n"

    def pairs(indent: str, keys: list[str]) -> str:
        lines = ""
        for key in keys:
            lines += draw(st.sampled_from(["", "\n", f"{indent}# about {key}\n"]))
            lines += pair(indent, key, draw(_SCALARS))
        return lines

    top: list[str] = draw(st.lists(st.sampled_from(["pipeline", "x", "'y'", '"z"']), unique=True, max_size=3))
    inside: list[str] = draw(st.lists(st.sampled_from(["lock", "'python'", "extras"]), unique=True, max_size=2))
    base = draw(st.sampled_from(["", "", "base_image", "base", "'base_image'"]))
    value = draw(st.sampled_from(["x", "'x'", '"x"', "", "~"]))
    form = draw(st.sampled_from(["none", "block", "flow", "empty"]))
    section = ""
    if form == "block" and (inside or base):
        body = pairs(inner, inside)
        if base:
            body += pair(inner, base, value)
        section = f"{outer}build:{draw(_COMMENTS)}\n{body}"
    elif form == "flow":
        items = [f"{key}: n" for key in inside] + ([f"{base}: {value}"] if base else [])
        section = f"{outer}build: {{{', '.join(items)}}}{draw(_COMMENTS)}\n"
    elif form == "empty":
        section = f"{outer}build:{draw(_COMMENTS)}\n"
    half = len(top) // 2
    text: str = draw(st.sampled_from(["", "---\n", "# top\n"]))
    text += pairs(outer, top[:half]) + section + pairs(outer, top[half:])
    text += draw(st.sampled_from(["", f"{outer}# end\n", "\n\n"]))
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return text.removesuffix("\n") if draw(st.booleans()) and not text.endswith("text\n") else text


@settings(max_examples=300, deadline=None)
@given(yaml_documents())
def test_what_is_written_says_what_the_file_said_and_the_base(text: str) -> None:
    old = parse_yaml(text, "").plain() or {}
    new = with_setting(text, BASE, False)
    # Nothing of these forms is refused.
    assert new is not None, text
    build = {**(old.get("build") or {})}
    build["base" if "base" in build else "base_image"] = NEW
    assert parse_yaml(new, "").plain() == {**old, "build": build}
    # All that the file had is there still, but for the old value of the base.
    at = new.index(NEW)
    before = next(length for length in range(at, -1, -1) if text.startswith(new[:length]))
    after = next(
        length for length in range(len(new) - at - len(NEW), -1, -1) if text.endswith(new[len(new) - length :])
    )
    gone = text[before : max(before, len(text) - after)]
    assert gone.strip("\r\n \"'") in ("", "x", "~"), (text, new)
    assert (new.count("#") == text.count("#") and ("\r\n" in text) == ("\r\n" in new)) or "\n" not in text


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "[tool.toolkit]\npipeline = 'p.py' # c\n",
                "[tool.toolkit.executor.config]\nuser = 1_0\n",
                "[tool.toolkit.build]\n# c\nlock = 'none'\n",
                "  [tool.toolkit.build.network] # c\nnetrc = '''\n[tool.toolkit.build]\n'''\n",
                "[project]\nname = \"n\"\ndependencies = [\n  'a', # c\n]\n",
                "[[tool.other]]\nbuild = {base_image = 'no'}\n",
                "[tool.toolkit.catalog]\n",
            ]
        ),
        unique=True,
        min_size=1,
    ),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_what_is_written_in_toml_says_what_the_file_said_and_the_base(parts: list[str], end: str, is_cut: bool) -> None:
    text = "\n".join(parts).replace("\n", end)
    text = text.removesuffix(end) if is_cut else text
    expected = tomli.loads(text)
    expected.setdefault("tool", {}).setdefault("toolkit", {}).setdefault("build", {})["base_image"] = NEW
    new = with_setting(text, BASE, True)
    assert new is not None, text
    assert tomli.loads(new) == expected
    # No line is changed.
    left = iter(new.splitlines())
    assert all(line in left for line in text.splitlines()), (text, new)
