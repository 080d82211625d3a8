"""on_exit and keep_failure as a user meets them: what is refused, what is told, what a retry runs again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.local_project import LocalProject

HEAD = "from toolkit import Catalog, Conditional, Map, Nested, Pipeline, ShellTask, Stub, pipeline, task\n"
TELL = "ShellTask('tell', 'export told=\"$run_status $failed_steps\"', returns=['told']).as_pipeline()"
NOT_YET = "test -e mended || exit 3"


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    return LocalProject(tmp_path)


def told(project: LocalProject) -> list[str]:
    """What the attempts of the step of on_exit were told."""
    [tell] = [step for step in project.show()["steps"] if step["path"] == "on_exit/tell"]
    return [attempt["output_parameters"]["told"] for attempt in tell["attempts"]]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            f"p = Pipeline([Nested('n', Pipeline([Stub('a')], on_exit={TELL}))])",
            "p.py:2: the pipeline '' has an on_exit, which is for the pipeline that is run",
        ),
        (
            f"@pipeline(on_exit={TELL})\ndef inner():\n    Stub('a')()\n@pipeline\ndef p():\n    inner()",
            "has an on_exit, which is for the pipeline that is run",
        ),
        (
            f"p = Pipeline([Stub('on_exit')], on_exit={TELL})",
            "p.py:2: the step 'on_exit' has the path of the pipeline's on_exit: give it another name",
        ),
        (
            f"p = Pipeline([ShellTask('a', 'true', returns=['run_status'])], on_exit={TELL})",
            "p.py:2: the step 'a' returns run_status, by which the steps of on_exit know how the run has ended",
        ),
        (
            "p = Pipeline([ShellTask('a', 'export ns=[1]', returns=['ns'])], on_exit=Pipeline([Map('m', iterate_on='ns', "
            "iterate_as='n', branch=Pipeline([Stub('b')]))]))",
            "p.py:2: the map 'm' of on_exit depends on 'ns', which no task of on_exit returns before it: put a task",
        ),
        (
            "p = Pipeline([Stub('a')], on_exit=Pipeline([Conditional('c', parameter='run_status', branches={'failed': "
            "Pipeline([Stub('b')])})]))",
            "p.py:2: the conditional 'c' of on_exit depends on 'run_status', which no task of on_exit returns before it",
        ),
        (
            "p = Pipeline([ShellTask('a', 'true', keep_failure=True)])",
            "p.py:2: the step 'a' has keep_failure and no on_failure",
        ),
        ("p = Pipeline([Stub('a')], on_exit=Stub('b'))", "p.py:2: on_exit is a Pipeline or a driver, not"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_stands(project: LocalProject, text: str, sentence: str) -> None:
    project.write("p.py", HEAD + text + "\n")
    assert project.run("p.py:p") == 2
    assert sentence in project.err


@pytest.mark.parametrize(
    ("dag", "sentence"),
    [
        ("  on_exit: b\n  steps: {a: {type: stub}}", "p.yaml:3: there is no step 'b'"),
        (
            "  on_exit: a\n  steps: {a: {type: stub}}",
            "p.yaml:3: on_exit names the step 'a', which runs in the pipeline",
        ),
        ("  on_exit: success\n  steps: {a: {type: stub}}", "p.yaml:3: on_exit names 'success', which does nothing"),
        ("  on_exit: [b]\n  steps: {a: {type: stub}}", "p.yaml:3: on_exit is text"),
        (
            "  steps:\n    a:\n      type: pipeline\n      branch: {start_at: b, on_exit: b, steps: {b: {type: stub}}}",
            "p.yaml:6: on_exit is for the pipeline that is run, and this one is inside another",
        ),
        (
            "  steps:\n    a: {command_type: shell, command: 'true', keep_failure: true}",
            "p.yaml:4: the step 'a' has keep_failure and no on_failure",
        ),
        (
            "  steps:\n    a: {command_type: shell, command: 'true', on_failure: fail, keep_failure: 1}",
            "p.yaml:4: keep_failure is true or false",
        ),
    ],
)
def test_yaml_is_refused_by_a_sentence_with_its_line(project: LocalProject, dag: str, sentence: str) -> None:
    project.write("p.yaml", f"dag:\n  start_at: a\n{dag}\n")
    assert project.run("p.yaml") == 2
    assert sentence in project.err


def test_a_retry_runs_on_exit_again_and_a_handler_that_only_tells(project: LocalProject) -> None:
    helps = "ShellTask('helps', 'echo help').as_pipeline()"
    project.write(
        "p.py",
        f"{HEAD}p = Pipeline([ShellTask('a', {NOT_YET!r}, on_failure={helps}, keep_failure=True)], on_exit={TELL})\n",
    )
    assert project.run("p.py", "--run-id", "r") == 1
    assert project.toolkit("show", "r") == 0 and "failed (on_failure succeeded, but keep_failure)" in project.out
    assert project.toolkit("retry", "r") == 1
    project.write("mended", "")
    assert project.toolkit("retry", "r") == 0
    assert told(project) == ['failed ["a"]', 'failed ["a"]', "succeeded []"]
    shown = {step["path"]: len(step["attempts"]) for step in project.show()["steps"]}
    assert shown == {"a": 3, "a/on_failure/helps": 2, "on_exit": 0, "on_exit/tell": 3}
    assert project.show()["on_exit"] == "succeeded"


def test_a_driver_is_an_on_exit_and_a_failure_of_it_is_said(project: LocalProject) -> None:
    project.write(
        "p.py",
        "from toolkit import pipeline, task\n\n@task(returns=['x'])\ndef one():\n    return 1\n\n@task\n"
        "def report(run_status, failed_steps, x):\n    raise SystemExit(f'{run_status} {failed_steps} {x}')\n\n"
        "@pipeline\ndef after(run_status, failed_steps, x):\n    report(run_status, failed_steps, x)\n\n"
        "@pipeline(on_exit=after)\ndef p():\n    one()\n",
    )
    assert project.run("p.py:p") == 0
    assert "on_exit did not succeed, which does not change the run's status: the step on_exit/report" in project.err
    shown = project.show()
    assert (shown["status"], shown["on_exit"]) == ("succeeded", "failed")
    taken = shown["steps"][-1]["attempts"][0]["input_parameters"]
    assert taken == {"run_status": "succeeded", "failed_steps": [], "x": 1}


def test_the_run_is_not_given_what_on_exit_is_told(project: LocalProject) -> None:
    project.write("p.py", f"{HEAD}p = Pipeline([ShellTask('a', 'export x=1', returns=['x'])], on_exit={TELL})\n")
    assert project.run("p.py", "--param", "run_status=x") == 2
    assert "the run is given run_status, by which the steps of the pipeline's on_exit know" in project.err
