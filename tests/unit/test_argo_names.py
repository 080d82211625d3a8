"""Names for Argo and Kubernetes: always taken, and of two different steps never the same."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.argo_cases import HOSTILE_NAMES
from toolkit.backends.argo.compile.names import label_value, object_name, task_name
from toolkit.backends.argo.compile.pod import literal, plain

# What Argo's validation and the language of `depends` make of a task's name.
TASK = re.compile(r"[a-zA-Z][-a-zA-Z0-9]{0,127}")
EXPRESSION = {"true", "false", "nil", "not", "in", "and", "or", "let", "if", "else",
              "matches", "contains", "startsWith", "endsWith"}  # fmt: skip
LABEL = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
PATHS = st.one_of(
    st.text(min_size=1, max_size=200),
    st.text("ab-_ .09/", min_size=1, max_size=12),
    st.sampled_from([*HOSTILE_NAMES, *EXPRESSION]),
)


@given(PATHS)
def test_a_task_has_a_name_that_others_may_depend_on(path: str) -> None:
    name = task_name(path)
    assert TASK.fullmatch(name) and name not in EXPRESSION


@given(PATHS, PATHS)
def test_no_two_steps_share_a_task_not_even_where_argo_evaluates_its_name(one: str, other: str) -> None:
    # There, it writes _ for every -, and no name of ours has one.
    assert (task_name(one) == task_name(other)) == (one == other)


@given(PATHS)
def test_a_task_named_like_what_another_one_became_is_another(path: str) -> None:
    assert task_name(task_name(path)) != task_name(path) or task_name(path) == path


@pytest.mark.parametrize("path", ["a", "a-b", "Load-2024", "y", "no", "null", "A-0123456", "x" * 80])
def test_a_name_that_argo_takes_stays_as_it_is(path: str) -> None:
    assert task_name(path) == path


@given(st.text(min_size=1, max_size=300), st.integers(20, 63))
def test_an_objects_name_is_one_that_kubernetes_takes(text: str, longest: int) -> None:
    name = object_name(text, longest)
    assert len(name) <= longest and re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
    assert object_name(text, longest) == name


@pytest.mark.parametrize(("one", "other"), [("a_b", "a.b"), ("A", "a"), ("a" * 64, "a" * 65), ("é", "ü")])
def test_objects_of_other_names_are_others(one: str, other: str) -> None:
    assert object_name(one, 63) != object_name(other, 63)
    assert label_value(one) != label_value(other)


@given(st.text(max_size=300))
def test_a_labels_value_is_one_that_kubernetes_takes(text: str) -> None:
    assert len(label_value(text)) <= 63 and LABEL.fullmatch(label_value(text))


@given(st.text("$()a", max_size=20))
def test_a_text_is_found_again_in_what_kubernetes_is_given(text: str) -> None:
    assert plain(literal(text)) == text
    # Each $ begins a pair, so that none begins a reference.
    assert "$" not in literal(text).replace("$$", "")
