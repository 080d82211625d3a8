"""The YAML form: steps in the order of `next`, and what is wrong with its line and, where there is one, the nearest name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from toolkit.errors import BadInput
from toolkit.model.description import to_pipeline
from toolkit.model.pipeline import Constant, Loop, Map, Parallel, Source, Stub, Task
from toolkit.model.yaml_form import pipeline_file


def dag(steps: str, start: str = "a") -> str:
    return f"dag:\n  start_at: {start}\n  steps:\n" + "".join(f"    {line}\n" for line in steps.splitlines())


def read(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "p.yaml"
    file.write_text(text)
    return [step.name for step in to_pipeline(pipeline_file.read(file), "p.yaml").steps]


STUB = "{type: stub}"
INNER = "{start_at: s, steps: {s: {type: stub}}}"
MAP = f"type: map\n  iterate_on: l\n  iterate_as: i\n  branch: {INNER}"
# Each step goes on to the next one when it succeeded and when it failed, so that each doubles what comes after it.
DOUBLING = dag("".join(
    f"s{n}: {{command: m.f, next: s{n + 1}, on_failure: h{n}}}\nh{n}: {{type: stub, next: s{n + 1}}}\n" for n in range(40)
) + "s40: {type: stub}", "s0")  # fmt: skip


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (dag(f"a: {STUB}"), ["a"]),
        (dag("b: {type: stub}\na: {type: stub, next: b}"), ["a", "b"]),
        (dag("a: {type: stub, next_node: b}\nb: {type: stub, next: done}\ndone: {type: success}\nbad: {type: fail}"), ["a", "b"]),
        (dag("a: {command_type: shell, command: 'true'}"), ["a"]),
        (dag("a: {type: stub, anything: [1], command: x}"), ["a"]),
        (dag("'two words': {type: stub, next: é}\né: {type: stub}", "two words"), ["two words", "é"]),
        (dag("a: {command: m.f, on_failure: ''}"), ["a"]),
        ("x: &x {type: stub}\ndag: {start_at: a, steps: {a: *x}}", ["a"]),
        ('{"dag": {"start_at": "a", "steps": {"a": {"type": "stub"}}}}', ["a"]),
        # a fail ends the pipeline with a failure, and so is a step
        (dag("a: {type: stub, next: b}\nb: {type: fail}"), ["a", "b"]),
        # so is one that has no step of its own
        (dag("a: {type: stub, next: success}"), ["a"]),
        (dag("a: {type: stub, next: fail}"), ["a", "fail"]),
        (dag("a: {command: m.f, on_failure: fail}"), ["a"]),
        (f"dag: {{dag: {{start_at: s, steps: {{s: {STUB}}}}}}}", ["s"]),
        # a step that only on_failure leads to is reached by it
        (dag("a: {type: map, iterate_on: l, iterate_as: i, on_failure: h, branch: "
             "{start_at: s, steps: {s: {type: stub}}}}\nh: {type: stub, next: i}\ni: {type: stub}"), ["a"]),
    ],
)  # fmt: skip
def test_steps_are_in_the_order_in_which_they_run(tmp_path: Path, text: str, names: list[str]) -> None:
    assert read(tmp_path, text) == names


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", None, "has no `dag:`"),
        ("[]", None, "has no `dag:`"),
        ("steps: {}", None, "has no `dag:`"),
        ("dag:", 1, "dag is a mapping"),
        ("dag: {start_at: a}", 1, "the dag has no steps"),
        (
            "dag:\n  steps:\n    a: {type: stub}",
            2,
            "the dag has no start_at, the step that it begins with, nor order: graph",
        ),
        ("dag: {start_at: a, steps: {}}", 1, "there is no step 'a'"),
        ("dag: {start_at: a, steps: {a: {type: stub}}}\nother: 1", 2, "unknown key 'other' beside dag"),
        (
            "dag:\n  start_at: a\n  stepz: {}\n  steps: {a: {type: stub}}",
            3,
            "unknown key 'stepz' in dag (did you mean 'steps'?)",
        ),
        ("dag:\n  start_at: 1\n  steps: {1: {type: stub}}", None, ""),
        (dag(f"first: {STUB}", "frist"), 2, "there is no step 'frist' (did you mean 'first'?)"),
        (dag("a: {type: stub, next: b}\nbb: {type: stub}"), 4, "there is no step 'b' (did you mean 'bb'?)"),
        (dag("a:\n  type: stub\n  next: a"), 6, "form a cycle: 'a' comes again after 'a'"),
        (
            dag("a: {type: stub, next: b}\nb: {type: stub, next: c}\nc: {type: stub, next: b}"),
            6,
            "'b' comes again after 'c'",
        ),
        (dag("a: {type: stub}\nb: {type: stub}"), 5, "the step 'b' is never reached"),
        (
            dag("a: {type: stub}\nb: {type: stub, next: c}\nc: {type: stub, next: b}"),
            5,
            "the step 'b' is never reached",
        ),
        (dag("a: {type: stub}\na: {type: stub}"), 5, "a"),
        (dag("a:\n  type: stub\n  type: stub"), 6, "type"),
        (dag("a: {type: success}"), None, "no step before its end"),
        (dag("a:\n  type: stubb"), 5, "'stubb' is not a type of step (did you mean 'stub'?)"),
        (dag("a:\n  type: python"), 5, "use one of task, stub"),
        (
            dag("a:\n  command: m.f\n  on_exit: b"),
            6,
            "unknown key 'on_exit' in a task step: it stands in dag, beside steps",
        ),
        (dag("a:\n  comand: m.f"), 5, "unknown key 'comand' in a task step (did you mean 'command'?)"),
        (dag("a:\n  type: task"), 4, "the step 'a' has no command"),
        (dag("a:\n  command: 3"), 5, "command is text"),
        (dag("a:\n  command: ''\n  command_type: shell"), 4, "has no command"),
        (dag("a:\n  command: m.f\n  command_type: bash"), 6, "is python, shell or notebook, not 'bash'"),
        (dag("a:\n  command: m.f\n  returns: x"), 6, "returns is a list"),
        (dag("a:\n  command: m.f\n  returns: [{kind: json}]"), 6, "a return has no name"),
        (dag("a:\n  command: m.f\n  returns: [{name: x, kind: pickle}]"), 6, "is json, object or metric, not 'pickle'"),
        (dag("a:\n  command: m.f\n  returns: [x, x]"), 4, "returns x twice"),
        (dag("a:\n  command: m.f\n  returns: [a b]"), 4, "can't be a parameter's name"),
        (dag("a:\n  command: m.f\n  secrets: [1]"), 6, "a secret is text"),
        (dag("a:\n  command: m.f\n  catalog: {put: x}"), 6, "put is a list"),
        (dag("a:\n  command: m.f\n  catalog: {puts: [x]}"), 6, "unknown key 'puts' in catalog (did you mean 'put'?)"),
        (dag("a:\n  command: m.f\n  catalog: {store_copy: 'no'}"), 6, "store_copy is true or false"),
        (dag("a:\n  command: m.f\n  bind: {x: {}}"), 4, "is bound to {}"),
        (dag("a:\n  command: m.f\n  on_failure: b\nbb: {type: stub}"), 6, "no step 'b' (did you mean 'bb'?)"),
        (dag("a:\n  command: m.f\n  on_failure: a"), 6, "the on_failure of 'a' forms a cycle: it leads back to 'a'"),
        (
            dag(
                "a: {command: m.f, on_failure: b}\nb:\n  command: m.f\n  on_failure: c\nc: {command: m.f, on_failure: b}"
            ),
            8,
            "the on_failure of 'c' forms a cycle: it leads back to 'b'",
        ),
        (
            dag("a: {command: m.f, on_failure: b}\nb: {type: stub, next: c}\nc:\n  command: m.f\n  on_failure: b"),
            8,
            "the on_failure of 'c' forms a cycle",
        ),
        (
            dag("a: {command: m.f, on_failure: b}\nb: {type: stub, next: c}\nc:\n  type: stub\n  next: b"),
            8,
            "'b' comes again after 'c'",
        ),
        (dag("a:\n  command: m.f\n  on_failure: [b]"), 6, "on_failure is text"),
        (dag("a:\n  command: m.f\n  on_failure: {start_at: s, stepz: {}}"), 6, "unknown key 'stepz' in dag"),
        (
            dag("a:\n  command: m.f\n  max_attempts: 0"),
            4,
            "max_attempts of the step 'a' must be a whole number of at least 1",
        ),
        (dag("a:\n  command: m.f\n  max_attempts: two"), 6, "max_attempts is a whole number"),
        (dag("a:\n  command: m.f\n  terminate_with_success: 'yes'"), 6, "terminate_with_success is true or false"),
        (dag("a: {type: pipeline}"), 4, "the pipeline step 'a' has no branch"),
        (dag(f"a:\n  type: pipeline\n  dag: {INNER}\n  branch: {INNER}"), 7, "'branch' and 'dag' mean the same"),
        (
            dag(f"a:\n  type: pipeline\n  branch: {INNER}\n  parameter: x"),
            7,
            "unknown key 'parameter' in a pipeline step",
        ),
        (dag(f"a:\n  {MAP}\n  reducer: 'lambda *x: max(x)'"), 9, "a lambda can't be a reducer"),
        (dag(f"a:\n  {MAP}\n  reducer: maxi"), 9, "'maxi' is not a reducer (did you mean 'max'?)"),
        (dag(f"a:\n  {MAP}\n  concurrency: all"), 9, "concurrency is a whole number"),
        (dag(f"a:\n  {MAP}\n  concurrency: -1"), 4, "concurrency of the step 'a' must be a whole number of at least 1"),
        (DOUBLING, None, "more than 10000 steps"),
        (dag("a:\n  command: m.f\n  retry: 3"), 6, "use retries or max_attempts"),
        (dag("a:\n  command: m.f\n  retry_strategy: {limit: 3}"), 6, "use retries"),
        (dag(f"a:\n  {MAP}\n  timeout: 3"), 9, "unknown key 'timeout' in a map step: give it to the tasks inside"),
        (dag("a:\n  command: m.f\n  overrides:\n    argo: x\n    lokal: y"), 8, "did you mean 'local'?"),
        (dag("a:\n  command: m.f\n  overrides: [x]"), 6, "is the name of an entry of executor.config.overrides"),
        (dag("a/b: {type: stub}", "a/b"), 4, "'/'"),
        (dag(f"{'x' * 201}: {{type: stub}}", "x" * 201), 4, "at most 200 characters"),
        (dag("a: {type: map}"), 4, "the map step 'a' has no branch"),
        (dag("a: {type: parallel, branches: {}}"), 4, "has no branches"),
        (dag("a: {type: loop, max_iterations: many}"), 4, "max_iterations is a whole number"),
        (dag("a: text"), 4, "the step a is a mapping"),
        (dag("a:"), 4, "the step a is a mapping"),
        (
            dag("a: {type: stub, next: [b]}"),
            4,
            "its dag is a line, in which one step follows another: say `order: graph`",
        ),
        (dag("a: {type: stub, next: {b: 1}}"), 4, "next is text"),
        ("dag: {start_at: a, steps: {a: {type: stub}", None, ""),
        (dag("a: !!python/object:os.system {type: stub}"), 4, ""),
        (dag("a: *nowhere"), 4, ""),
    ],
)
def test_what_is_wrong_has_its_line(tmp_path: Path, text: str, line: int | None, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(tmp_path, text)
    assert message in caught.value.message
    if line is not None:
        assert caught.value.where is not None and caught.value.where.endswith(f"p.yaml:{line}")


def test_all_that_a_task_declares_reaches_the_model(tmp_path: Path) -> None:
    # Given a step with everything that a step can have,
    file = tmp_path / "p.yaml"
    file.write_text(
        dag(
            "a:\n"
            "  type: task\n"
            "  command_type: shell\n"
            "  command: |\n    echo one\n    echo two\n"
            "  returns: [x, {name: y}, {name: m, kind: metric}]\n"
            "  secrets: [key]\n"
            "  catalog: {get: [in.csv], put: [out/**], store_copy: false}\n"
            "  overrides: {argo: large}\n"
            "  bind: {one: x, two: b.c.x, three: {value: [1, {a: null}]}}\n"
        )
    )
    # when it is read,
    [task] = to_pipeline(pipeline_file.read(file), "p.yaml").steps
    # then the model says it all.
    assert isinstance(task, Task) and task.command == "echo one\necho two\n" and task.kind == "shell"
    assert [(one.name, one.kind) for one in task.returns] == [("x", "json"), ("y", "json"), ("m", "metric")]
    assert task.secrets == ("key",) and task.overrides == {"argo": "large"}
    assert (task.catalog.get, task.catalog.put, task.catalog.store_copy) == (("in.csv",), ("out/**",), False)
    assert task.bind == {"one": Source("x"), "two": Source("x", "b.c"), "three": Constant([1, {"a": None}])}
    assert task.line == "p.yaml:4"


def test_steps_with_pipelines_inside_reach_the_model(tmp_path: Path) -> None:
    inner = "{start_at: s, steps: {s: {type: stub}}}"
    file = tmp_path / "p.yaml"
    file.write_text(
        dag(
            f"a: {{type: parallel, next: b, branches: {{left: {inner}, right: {inner}}}}}\n"
            f"b: {{type: map, next: c, branch: {inner}, iterate_on: items, iterate_as: item, reducer: max}}\n"
            f"c: {{type: loop, next: d, branch: {inner}, max_iterations: 3, break_on: done}}\n"
            f"d: {{type: conditional, parameter: p, branches: {{one: {inner}}}, default: {inner}}}\n"
        )
    )
    steps = to_pipeline(pipeline_file.read(file), "p.yaml").steps
    assert [type(step).__name__ for step in steps] == ["Parallel", "Map", "Loop", "Conditional"]
    parallel, mapped, loop, _ = steps
    assert isinstance(parallel, Parallel) and [name for name, _ in parallel.branches] == ["left", "right"]
    assert isinstance(mapped, Map) and (mapped.iterate_on, mapped.iterate_as, mapped.reducer) == (
        "items",
        "item",
        "max",
    )
    assert isinstance(loop, Loop) and loop.branch.steps == (Stub("s"),)


def test_an_on_failure_is_the_steps_from_the_one_that_it_names_or_a_dag_in_its_place(tmp_path: Path) -> None:
    # Given steps that share a handler, whose own step has one, and steps that name an end,
    file = tmp_path / "p.yaml"
    file.write_text(
        dag(
            "a: {command: m.f, on_failure: mend, next: b}\n"
            "b: {type: pipeline, branch: " + INNER + ", on_failure: mend, next: c}\n"
            "c: {command: m.f, on_failure: failed, next: d}\n"
            "d: {command: m.f, on_failure: done, next: e}\n"
            "e: {command: m.f, on_failure: {dag: " + INNER + "}, next: g}\n"
            "g: {command: m.f, on_failure: giving_up, next_node: done}\n"
            "giving_up: {type: stub, next_node: failed}\n"
            "mend: {command: m.f, on_failure: last, next: after}\n"
            "after: {type: stub, next: done}\n"
            "last: {type: stub, terminate_with_failure: true}\n"
            "done: {type: success}\n"
            "failed: {type: fail}\n"
        )
    )
    # when it is read,
    steps = to_pipeline(pipeline_file.read(file), "p.yaml").steps
    # then each has a copy of its own.
    assert [step.name for step in steps] == ["a", "b", "c", "d", "e", "g"]

    def handler(step: Any) -> Any:
        return step.on_failure and [(one.name, type(one).__name__) for one in step.on_failure.steps]

    a, b, c, d, e, g = steps
    assert handler(a) == handler(b) == [("mend", "Task"), ("after", "Stub")]
    assert isinstance(a, Task) and a.on_failure is not None and handler(a.on_failure.steps[0]) == [("last", "Stub")]
    assert handler(c) is None and handler(d) == [("done", "Stub")] and handler(e) == [("s", "Stub")]
    assert handler(g) == [("giving_up", "Stub"), ("failed", "Stub")]
    assert isinstance(g, Task) and g.on_failure is not None
    assert g.on_failure.steps[1] == Stub("failed", terminate_with_failure=True)
    assert isinstance(d, Task) and d.on_failure is not None
    assert d.on_failure.steps == (Stub("done", terminate_with_success=True),)
