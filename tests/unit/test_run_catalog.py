"""Under which key each file of a run can be had, and where it lies beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.recorded_run import RecordedRun, task
from toolkit.model.pipeline import CatalogUse, Parallel, Pipeline, Step, Task
from toolkit.report.catalog import Entry, RunCatalog, apart, clashing
from toolkit.report.view import View
from toolkit.runs.fetch import folded


def puts(name: str, **options: Any) -> Task:
    return task(name, catalog=CatalogUse(put=("**",)), **options)


def put(run: RecordedRun, path: str, *names: str, **attempt: Any) -> None:
    files = [{"name": name, "sha256": f"{len(path):064x}", "size": 1} for name in names]
    run.attempt(path, catalog={"get": [], "put": files}, **attempt)


def found(folder: Path, *steps: Step) -> RecordedRun:
    return RecordedRun(folder, Pipeline(steps))


def keys(run: RecordedRun) -> dict[str | None, tuple[str, int]]:
    """The steps and attempts by their keys; a file of a key of another step's fails the test."""
    rows = catalog(run).entries
    assert len({entry.key for entry in rows if entry.key}) == len([entry for entry in rows if entry.key])
    return {entry.key: (entry.step, entry.attempt) for entry in rows}


def catalog(run: RecordedRun) -> RunCatalog:
    return RunCatalog(View(run.log, run.log.run("run")))


def places(run: RecordedRun) -> list[str | None]:
    return [entry.place for entry in catalog(run).all()]


def test_of_several_attempts_the_one_that_succeeded_counts_and_nothing_is_lost(tmp_path: Path) -> None:
    run = found(tmp_path, puts("a"), puts("b"))
    put(run, "a", "f", "crash.log", status="failed")
    put(run, "a", "f", number=2)
    put(run, "b", "g", status="failed")
    put(run, "b", "g", "h", status="failed", number=2)
    # The file that the first attempt left, and that no later one put, is there all the same.
    assert keys(run) == {None: ("b", 1), "crash.log": ("a", 1), "f": ("a", 2), "g": ("b", 2), "h": ("b", 2)}
    assert places(run) == ["crash.log", "f", "g", "h"]


def test_a_handlers_file_is_newer_than_its_steps_and_what_it_did_not_put_is_the_steps(tmp_path: Path) -> None:
    run = found(tmp_path, puts("a", on_failure=Pipeline((puts("mend"),))), puts("b"))
    put(run, "a", "f", "g", status="failed")
    put(run, "a/on_failure/mend", "f")
    assert keys(run) == {None: ("a", 1), "f": ("a/on_failure/mend", 1), "g": ("a", 1)}


def test_what_can_not_lie_side_by_side_begins_with_its_steps_path(tmp_path: Path) -> None:
    branches = (("left", Pipeline((puts("load"),))), ("right", Pipeline((puts("load"),))))
    run = found(tmp_path, puts("a"), puts("b"), Parallel("par", branches), puts("c"))
    put(run, "a", "model", "empty/", "par/left/load/f")
    put(run, "b", "model/x")
    put(run, "par/left/load", "f", "empty/")
    put(run, "par/right/load", "f", "empty/")
    put(run, "c", "empty/g")
    named = keys(run)
    assert {"a/model", "b/model/x", "a/par/left/load/f", "par/left/load/f", "par/right/load/f", "empty/g"} <= set(named)
    assert len(places(run)) == 8 and not clashing({entry: entry.place or "" for entry in catalog(run).all()})
    # A key that names a place means that one, also where another step put a file of that name.
    assert [entry.step for entry in catalog(run).select("a/par/left/load/f")] == ["a"]
    assert [entry.step for entry in catalog(run).select("f")] == ["par/left/load", "par/right/load"]


def test_a_name_may_look_like_a_pattern_and_a_steps_may_be_longer_than_a_files(tmp_path: Path) -> None:
    run = found(tmp_path, puts("a"), puts("é" * 150), puts("c"))
    put(run, "a", "a[1].txt", "a1.txt")
    put(run, "é" * 150, "z")
    put(run, "c", "z/b")
    assert [entry.name for entry in catalog(run).select("a[1].txt")] == ["a[1].txt"]
    assert [entry.name for entry in catalog(run).select("a[1]*")] == ["a1.txt"]
    assert all(len(part.encode()) <= 255 for place in places(run) for part in (place or "").split("/"))
    long = Entry("a", 1, "é" * 126, "0/" + "é" * 126, "", 1, object="set")
    assert max(len(part.encode()) for part in long.file_name.split("/")) <= 255 and long.file_name.endswith(".pkl")


@pytest.mark.parametrize(("first", "second"), [("F", "f"), ("é", "e\u0301"), ("A/x", "a"), ("straße", "STRASSE")])
def test_names_that_a_file_system_takes_for_one(first: str, second: str) -> None:
    names = {Entry("one", 1, first, first, "", 1): first, Entry("two", 1, second, second, "", 1): second}
    assert not clashing(names) and len(clashing(names, folded)) == 2
    assert list(apart(names, folded).values()) == [f"one/{first}", f"two/{second}"]
