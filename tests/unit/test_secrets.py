"""Secrets on the host: which are found where, what is said of those that are not, and that no value is ever said."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.config.dotenv import parse_dotenv
from toolkit.config.load import load
from toolkit.errors import BadInput
from toolkit.secrets import Provider, provider


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("# c\n\n  # d\n", {}),
        ("A=1", {"A": "1"}),
        ("\ufeffA=1\r\nB=2\r\n".lstrip("\ufeff"), {"A": "1", "B": "2"}),
        ("export A=1\n  export  B = 2 \n", {"A": "1", "B": "2"}),
        ("A=\nB=''\nC=\"\"", {"A": "", "B": "", "C": ""}),
        ("A=x # c\nB=x#c\nC='x' # c", {"A": "x", "B": "x#c", "C": "x"}),
        ("A=a=b==\nB=http://u:p@h/?q=1&r", {"A": "a=b==", "B": "http://u:p@h/?q=1&r"}),
        (r"A='a\'b\\c\n'", {"A": r"a'b\c\n"}),
        (r'A="a\"b\\c\nd\te\$f"', {"A": 'a"b\\c\nd\te\\$f'}),
        ('A="one\r\ntwo\n"\nB=2', {"A": "one\ntwo\n", "B": "2"}),
        ("A='one\ntwo'", {"A": "one\ntwo"}),
        ("A=$HOME ${X} $(id) `id`", {"A": "$HOME ${X} $(id) `id`"}),
        ("A=1\nA=2", {"A": "2"}),
        ("A=a\"b'c", {"A": "a\"b'c"}),
        ("A.b-c=1", {"A.b-c": "1"}),
        ("A=é☃", {"A": "é☃"}),
        ("A=a\\nb", {"A": "a\\nb"}),
    ],
)
def test_dotenv(text: str, values: dict[str, str]) -> None:
    assert parse_dotenv(text, "f") == values


@pytest.mark.parametrize(
    ("text", "line"),
    [("A=1\nhunter2", 2), ("A=1\n\nB='hunter2\nC=1\n", 3), ('A="hunter2\n\n', 1), ("A='x' hunter2", 1),
     ("1hunter2=x", 1), ("=hunter2", 1), ("A= #hunter2", 1), ('A="x\n"hunter2', 1),
     ('A="hunter2\\"', 1), ("export A", 1)],
)  # fmt: skip
def test_dotenv_refused_without_its_text(text: str, line: int) -> None:
    with pytest.raises(BadInput) as caught:
        parse_dotenv(text, ".env")
    assert caught.value.where == f".env:{line}" and "hunter2" not in str(caught.value)


@given(st.text("A=b'\"\\\n\r #x\t", max_size=30) | st.text(max_size=30))
def test_any_dotenv_text_is_values_or_bad_input(text: str) -> None:
    try:
        parse_dotenv(text, "f")
    except BadInput:
        pass


@given(st.dictionaries(st.from_regex("[A-Z_][A-Z0-9_]{0,5}", fullmatch=True), st.text(max_size=20)))
def test_quoted_values_come_back(values: dict[str, str]) -> None:
    values = {key: value.replace("\r", "") for key, value in values.items()}
    escaped = {key: value.replace("\\", "\\\\").replace('"', '\\"') for key, value in values.items()}
    assert parse_dotenv("".join(f'{key}="{value}"\n' for key, value in escaped.items()), "f") == values


def made(folder: Path, config: str, dotenv: str | None, environ: dict[str, str]) -> Provider:
    (folder / "toolkit.yaml").write_text(config, encoding="utf-8")
    if dotenv is not None:
        (folder / ".env").write_text(dotenv, encoding="utf-8")
    return provider(load(folder / "toolkit.yaml", folder, {}), environ)


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ("", {"A": "env", "B": "file", "E": ""}),
        ("secrets: {type: dotenv}", {"A": "file", "B": "file"}),
        ("secrets: {type: do-nothing}", {}),
        ("secrets: {config: {prefix: P_, suffix: _S}}", {"C": "affixed"}),
        ("secrets: {config: {location: other.env}}", {"A": "env", "E": ""}),
    ],
)
def test_lookup(tmp_path: Path, config: str, found: dict[str, str]) -> None:
    given_provider = made(tmp_path, config, "A=file\nB=file\nP_C_S=affixed", {"A": "env", "E": ""})
    assert given_provider.lookup(["A", "B", "C", "E"]) == found


def test_all_missing_secrets_are_named_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = made(tmp_path, "", "A=hunter2", {"B": "hunter2"})

    assert mine.require(["A", "B", "A"]) == {"A": "hunter2", "B": "hunter2"}
    with pytest.raises(BadInput) as caught:
        mine.require(["A", "X", "B", "Y", "Z", "X"])
    assert str(caught.value) == "the secrets X, Y and Z are missing: looked in the environment and in .env"
    assert "hunter2" not in repr(mine)


def test_a_renamed_secret_is_named_as_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine = made(tmp_path, "secrets: {config: {prefix: P_}}", None, {})
    with pytest.raises(BadInput, match=r"the secret A \(as P_A\) is missing: .* in .env, which does not exist"):
        mine.require(["A"])


def test_the_file_is_needed_only_when_something_is(tmp_path: Path) -> None:
    mine = made(tmp_path, "secrets: {type: dotenv}", None, {"A": "x"})
    assert mine.require([]) == {}
    with pytest.raises(BadInput, match="does not exist"):
        mine.require(["A"])
    broken = made(tmp_path, "", "broken", {"A": "x"})
    assert broken.require(["A"]) == {"A": "x"}
    with pytest.raises(BadInput, match="NAME=value"):
        broken.require(["B"])


def test_do_nothing_requires_nothing(tmp_path: Path) -> None:
    assert made(tmp_path, "secrets: {type: do-nothing}", "A=1", {"A": "1"}).require(["A", "B"]) == {}


def test_a_value_that_is_no_text_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="the secret A is not UTF-8") as caught:
        made(tmp_path, "", None, {"A": "hunter2\udcff"}).require(["A"])
    assert "hunter2" not in str(caught.value)
