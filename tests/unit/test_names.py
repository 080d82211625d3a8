"""Names of steps, parameters and runs, and the folders that steps become."""

from __future__ import annotations

import os
import re
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit import names
from toolkit.errors import BadInput
from toolkit.runtime.shared import layout

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"
GOOD = ["a", "Two Words", "Ünï ☃", "🎉", "训练", "שלום", "a.b", "a:b", "-rf", "--help", "$(id)", "{{x}}", "%41", "~", "...",
        "'\"`\\", "1", "**", "a*b", "NUL", "x" * 200, "é" * 200, "🎉" * 200]  # fmt: skip
BAD = {
    "": "empty",
    " a": "begins or ends with a space",
    "a ": "begins or ends with a space",
    "\u3000": "empty",
    "x" * 201: "at most 200 characters",
    "a/b": "'/'",
    "a\nb": r"'\\n'",
    "a\tb": r"'\\t'",
    "a\0b": r"'\\x00'",
    "a\x1b[31mb": r"'\\x1b'",
    "a\x7fb": r"'\\x7f'",
    "a\u202eb": r"'\\u202e'",
    "a\u200bb": r"'\\u200b'",
    "a\u2028b": r"'\\u2028'",
    "a\xa0b": r"'\\xa0'",
    "a\ud800": r"'\\ud800'",
    "\ue000": r"'\\ue000'",
    ".": "can't be a step's name",
    "..": "can't be a step's name",
    "*": "can't be a step's name",
}


@pytest.mark.parametrize("name", GOOD)
def test_a_printable_name_is_a_steps_name(name: str) -> None:
    assert names.step_name(name) == name


@pytest.mark.parametrize(("name", "message"), BAD.items(), ids=repr)
def test_another_is_refused_with_its_place(name: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        names.step_name(name, "pipeline.yaml:7")
    assert str(caught.value).startswith("pipeline.yaml:7: ")
    # The sentence itself can't move the cursor or turn the text's direction.
    assert str(caught.value).isprintable()


def test_a_name_is_the_same_in_whichever_form_it_was_typed() -> None:
    assert names.step_name(DECOMPOSED) == names.step_name(COMPOSED) == COMPOSED
    # 200 characters count as a person counts them.
    assert len(names.step_name("e\u0301" * 200)) == 200


@given(st.text(max_size=210))
def test_any_text_is_a_name_or_bad_input(text: str) -> None:
    try:
        name = names.step_name(text)
    except BadInput:
        return
    assert name == unicodedata.normalize("NFC", name)
    assert name.isprintable() and "/" not in name and 1 <= len(name) <= 200


def test_folders_of_other_steps_are_others_and_each_is_a_name_that_a_disk_takes(tmp_path: Path) -> None:
    # Given names that differ in what encoding, cutting or a file system's own rules could lose,
    given = [
        *GOOD,
        *(unicodedata.normalize("NFC", name).upper() for name in GOOD if name.upper() != name and len(name) < 9),
        *("x" * 199 + end for end in "ab"),
        *("é" * 150 + "x" * count for count in range(5)),
        *("x" * count for count in range(110, 130)),
        *(f"%{code:02X}" for code in range(32, 127)),
        *(chr(code) for code in range(33, 127) if chr(code) != "/"),
    ]
    given = list(dict.fromkeys(given))
    # when each becomes a folder,
    for name in given:
        os.mkdir(tmp_path / layout.folder_name(name))
    # then there are as many as names, in characters that any file system has, and short enough for a path of several.
    folders = os.listdir(tmp_path)
    assert len(folders) == len(given)
    assert all(re.fullmatch(r"[A-Za-z0-9%~_-]{1,120}", folder) for folder in folders)


@given(st.text(min_size=1, max_size=200), st.text(min_size=1, max_size=200))
def test_no_two_names_share_a_folder(one: str, other: str) -> None:
    texts = [text.encode("utf-8", "ignore").decode() for text in (one, other)]
    folders = [layout.folder_name(text) for text in texts]
    assert (folders[0] == folders[1]) == (texts[0] == texts[1])
    assert all(len(os.fsencode(folder)) <= 255 for folder in folders)


def test_a_steps_folder_follows_its_path_and_attempts_are_counted_as_numbers(tmp_path: Path) -> None:
    run = str(tmp_path)
    for number in (1, 2, 10):
        os.makedirs(layout.attempt_folder(run, "a b/é", number))
    os.makedirs(os.path.join(layout.step_folder(run, "a b/é"), "notes"))
    assert layout.attempts(run, "a b/é") == [1, 2, 10]
    assert layout.attempts(run, "a b") == []
    assert layout.attempts(run, "missing") == []
    assert layout.step_folder(run, "a b/é") == str(tmp_path / "steps" / "a%20b" / "%C3%A9")


@pytest.mark.parametrize("name", ["x", "_", "X1", "secret_key"])
def test_a_parameters_name_is_an_identifier(name: str) -> None:
    assert names.parameter_name(name) == name


@pytest.mark.parametrize("name", ["", "1x", "a-b", "a b", "a.b", "é", "x\n", "a=b", None, 3, ["x"], True])
def test_another_can_not_be_a_parameters_name(name: object) -> None:
    with pytest.raises(BadInput, match="can't be a parameter's name"):
        names.parameter_name(name, "f:1")


@pytest.mark.parametrize("run_id", ["a", "0", "a-b", "a" * 40, "20260102-030405-abcd"])
def test_a_run_id_can_be_a_workflows_name(run_id: str) -> None:
    assert names.run_id(run_id) == run_id


@pytest.mark.parametrize(
    "run_id", ["", "A", "-a", "a-", "a_b", "a.b", "a/b", "..", "a" * 41, "é", "a\n", " a", "a b", "{{x}}"]
)
def test_another_can_not_be_a_run_id(run_id: str) -> None:
    with pytest.raises(BadInput, match="can't be a run id"):
        names.run_id(run_id)


def test_a_fresh_run_id_is_the_time_and_32_random_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a moment, and what the kernel gives as random,
    monkeypatch.setattr(time, "gmtime", lambda: time.struct_time((2026, 1, 2, 3, 4, 5, 4, 2, 0)))
    monkeypatch.setattr(os, "urandom", lambda count: bytes(range(250, 250 + count)))
    # when an id is made, then it holds both.
    assert names.new_run_id() == "20260102-030405-fafbfcfd"


def test_a_fresh_run_id_can_be_a_run_id() -> None:
    fresh = names.new_run_id()
    assert names.run_id(fresh) == fresh
