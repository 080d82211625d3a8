"""A nested run as a person sees it: what is printed of it, and of what its steps wrote."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from tests.support.local_project import LocalProject
from tests.support.recorded_run import RecordedRun, task
from toolkit.model.pipeline import Conditional, Loop, Map, Nested, Parallel, Pipeline, Step, Stub
from toolkit.report import text
from toolkit.report.view import states_of
from toolkit.runs.logs import follow, select_tasks


def of(*steps: Step) -> Pipeline:
    return Pipeline(steps)


def printed(run: RecordedRun, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines after the head; between two columns are two spaces."""
    text.print_run(run.view())
    return [re.sub(r"(?<=\S) {2,}", "  ", line) for line in capsys.readouterr().out.splitlines()[7:]]


def mapped(items: int, failing: int, folder: Path) -> RecordedRun:
    run = RecordedRun(folder, of(task("make", "xs"), Map("m", of(task("a", "y"), task("b")), "xs", "x"), task("end")))
    run.attempt("make", returns={"xs": "many"}, controls={"m": items})
    for item in range(items):
        run.attempt(f"m/{item}/a", "failed" if item < failing else "succeeded")
        if item >= failing:
            run.attempt(f"m/{item}/b")
    run.end("failed", "the step m/0/a failed: boom")
    return run


def test_what_is_inside_a_step_is_indented_and_named_from_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inner = of(task("a", on_failure=of(task("mend"))), Loop("l", of(task("b", "done")), 3, "done"))
    branches = (("yes", of(task("c"))), ("no", of(task("d", on_failure=of(task("not needed"))))))
    run = RecordedRun(
        tmp_path,
        of(
            Parallel("p", (("left", of(Stub("s"))), ("right", inner))),
            Conditional("c", "x", branches),
            Nested("n", of(task("e"))),
        ),
        parameters={"x": "no"},
        controls={"c": "no", "p/right/l/0": True, "p/right/l/1": False},
    )
    run.attempt("p/right/a", "failed", number=1)
    run.attempt("p/right/a", "failed", number=2)
    run.attempt("p/right/a/on_failure/mend")
    run.attempt("c/no/d")
    run.attempt("n/e", "failed", exception={"type": "X", "message": "boom", "traceback": "Traceback\n  boom\n"})
    run.end("failed", "the step n/e failed: boom")
    assert printed(run, capsys) == [
        "STEP  TYPE  STATUS  TOOK  RESULT",
        "p  parallel  succeeded  1.5 s",
        "  left/s  stub  succeeded",
        "  right/a  shell  failed (2 attempts, on_failure succeeded)  1.5 s",
        "    on_failure/mend  shell  succeeded  1.5 s",
        "  right/l  loop  skipped",
        "c  conditional  succeeded  1.5 s  branch no",
        "  no/d  shell  succeeded  1.5 s",
        "n  pipeline  failed  1.5 s",
        "  e  shell  failed  1.5 s",
        "",
        "parameters",
        '  x = "no"',
        "",
        "n/e failed: boom (exit code 1)",
        "  Traceback",
        "    boom",
        "",
        "p/right/a failed: boom (exit code 1; handled: on_failure succeeded)",
    ]


def test_of_a_long_map_only_what_failed_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(mapped(1200, 2, tmp_path), capsys)[1:-4] == [
        'make  shell  succeeded  1.5 s  xs="many"',
        "m  map  failed  1.5 s  1,200 items: 1,198 succeeded, 2 failed",
        "  0/a  shell  failed  1.5 s",
        "  0/b  shell  skipped",
        "  1/a  shell  failed  1.5 s",
        "  1/b  shell  skipped",
        "end  shell  skipped",
        "",
        "parameters",
        '  xs = "many"',
    ]


def test_of_many_failures_the_first_are_told_and_the_others_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = mapped(30, 30, tmp_path)
    lines = printed(run, capsys)
    assert "m  map  failed  1.5 s  30 items" in lines
    assert "  … and 20 more with failures" in lines
    assert [line for line in lines if " failed: " in line][-1] == "m/9/a failed: boom (exit code 1)"
    assert lines[-1] == "and 20 more failed steps: `toolkit show --json` has them all"
    # All of them are in the JSON.
    assert len(run.view()["steps"]) == 2 * 30 + 3


def test_why_a_composite_could_not_begin_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reason = "the map n/m iterates on xs, which is no list but 3"
    run = RecordedRun(tmp_path, of(task("make", "xs"), Nested("n", of(Map("m", of(task("a")), "xs", "x")))))
    run.attempt("make", returns={"xs": 3}, controls={"n/m": {"error": reason}})
    run.end("failed", reason)
    assert [line for line in printed(run, capsys) if reason in line] == [f"n/m failed: {reason}"]


def test_what_a_step_has_recorded_does_not_move_the_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RecordedRun(tmp_path, of(task("make", "xs")))
    run.attempt("make", returns={"xs": "\x1b[2J"})
    run.end("failed", "\x1b]0;title\x07\n\ttwo lines")
    lines = printed(run, capsys)
    assert not any(character in line for line in lines for character in "\x1b\x07")
    assert lines[-2:] == ["�]0;title�", "\ttwo lines"]


# --- logs -----------------------------------------------------------------------------------------------------------


def test_the_logs_of_a_composite_are_those_of_all_steps_below_it(tmp_path: Path) -> None:
    run = mapped(12, 0, tmp_path)
    rows = states_of(run.log, run.log.run("run")).rows
    assert [row.path for row in select_tasks(rows, "m/1")] == ["m/1/a", "m/1/b"]
    assert [row.path for row in select_tasks(rows, "m")][-3:] == ["m/10/b", "m/11/a", "m/11/b"]
    assert len(select_tasks(rows, None)) == 2 * 12 + 2 and select_tasks(rows, "m/99") == []


def test_steps_are_followed_that_come_into_being_while_the_run_goes_on(tmp_path: Path) -> None:
    # Given a run whose map's items are not known yet,
    run = RecordedRun(
        tmp_path, of(task("make", "xs"), Map("m", of(task("a")), "xs", "x"), task("end", "y")), active=True
    )
    run.attempt("make", None)
    heard: list[tuple[str, int, bytes]] = []
    listening = {"make": threading.Event(), "m/1/a": threading.Event()}

    def listen() -> None:
        for path, number, pieces in follow(run.log, "run", None):
            if path in listening:
                listening[path].set()
            heard.append((path, number, b"".join(pieces)))

    listener = threading.Thread(target=listen)
    listener.start()
    # when it goes on while somebody follows it,
    assert listening["make"].wait(60)
    run.attempt("make", returns={"xs": [1, 2]}, controls={"m": 2})
    run.attempt("m/1/a", None)
    assert listening["m/1/a"].wait(60)
    run.attempt("m/0/a", "failed")
    run.attempt("m/0/a", number=2)
    run.attempt("m/1/a")
    run.attempt("end")
    run.end()
    listener.join(60)
    # then each attempt is heard once: as it begins, and else in the order of the plan.
    assert [(path, number) for path, number, _ in heard] == [
        ("make", 1),
        ("m/1/a", 1),
        ("m/0/a", 1),
        ("m/0/a", 2),
        ("end", 1),
    ]
    assert heard[1][2] == b"m/1/a 1\n"


def test_who_follows_a_part_of_a_run_is_done_when_that_has_succeeded(tmp_path: Path) -> None:
    run = RecordedRun(tmp_path, of(Nested("n", of(task("a"), task("b"))), task("c")), active=True)
    run.attempt("n/a")
    run.attempt("n/b")
    assert [path for path, _, _ in follow(run.log, "run", "n")] == ["n/a", "n/b"]


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    found = LocalProject(tmp_path)
    found.write(
        "pipeline.py",
        "from toolkit import Catalog, Map, Pipeline, ShellTask, Stub\n"
        "item = ShellTask('item', 'echo $x | tee f', catalog=Catalog(put=['f']))\n"
        "p = Pipeline(steps=[\n"
        "ShellTask('make', 'export xs=[1,2]', returns=['xs']),\n"
        "Map('m', Pipeline([item]), iterate_on='xs', iterate_as='x'), Stub('s')])\n",
    )
    assert found.run("pipeline.py", "--run-id", "one") == 0, found.err
    return found


def test_logs_and_catalog_of_a_nested_run_on_the_command_line(project: LocalProject) -> None:
    assert project.toolkit("logs", "one", "m") == 0
    assert project.out == "==> m/0/item\n1\n==> m/1/item\n2\n"
    assert project.toolkit("logs", "m/1/item") == 0 and project.out == "2\n"
    assert project.show("logs", "one", "m/0") == [{"step": "m/0/item", "attempt": 1, "output": "1\n"}]
    assert [row["step"] for row in project.show("catalog")] == ["m/0/item", "m/1/item"]
    assert project.toolkit("catalog", "--get", "m/0/item:f") == 0 and project.out == "1\n"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("m/2/item", "the run has no step 'm/2/item': is it 'm/1/item'?"),
        ("itm", "the run has no step 'itm': is it 'm/0/item'?"),
        ("s", "the step 's' is a stub, which writes nothing"),
        ("something else", "the run has no step 'something else': it has 'make', 'm', 's'"),
    ],
)
def test_the_logs_of_what_is_not_there(project: LocalProject, step: str, message: str) -> None:
    assert project.toolkit("logs", "one", step) == 2
    assert message in project.err
