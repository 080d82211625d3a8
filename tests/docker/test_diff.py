"""`toolkit diff` of real containers: one thing changed on one side, and exactly that is reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.examples import copy_example
from tests.support.scratch import Scratch

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

PIPELINE = """\
import functions
from toolkit import Catalog, Pipeline, PythonTask, ShellTask, metric

p = Pipeline(name="sameness", steps=[
    PythonTask(functions.make, returns=["size", metric("score")], catalog=Catalog(put=["data"])),
    ShellTask("use", 'test "$(wc -c <data)" = "$size"', catalog=Catalog(get=["data"])),
])
"""
FUNCTIONS = """\
import shutil

def make():
    shutil.copy("/mnt/seed", "data")
    return 7, 0.5
"""
STEPS = ["make", "use"]


def configuration(**changed: Any) -> dict[str, str]:
    config: dict[str, Any] = {
        "persistent_volumes": [{"name": "toolkit", "mount_path": "/mnt"}],
        "environment": {"GREETING": "hello"},
        "resources": {"limits": {"memory": "128Mi"}},
        "scratch_size": "32Mi",
    }
    return {"toolkit.yaml": json.dumps({"executor": {"type": "local-container", "config": {**config, **changed}}})}


def seed(scratch: Scratch, text: str) -> None:
    """What lies on the volume before the run, and goes into the catalog."""
    scratch.volume().mkdir(parents=True, exist_ok=True)
    scratch.volume().chmod(0o2777)
    (scratch.volume() / "seed").write_text(text)


def prepare(scratch: Scratch) -> None:
    # The configuration lies beside the code, and would be one more file of it that changes.
    scratch.write(
        {".dockerignore": "toolkit.yaml\n", "pipeline.py": PIPELINE, "functions.py": FUNCTIONS, **configuration()}
    )
    seed(scratch, "content")


def compared(scratch: Scratch, change: Callable[[], Any], expected: int) -> list[dict[str, Any]]:
    """The differences between a run before ``change`` and one after it."""
    for name, before in (("one", lambda: None), ("two", change)):
        before()
        ran = scratch.toolkit("run", "pipeline.py", "--run-id", name)
        assert ran.code == 0, ran.err
    result = scratch.toolkit("diff", "one", "two", "--json")
    assert result.code == expected, result.out + result.err
    shown = json.loads(result.out)
    assert shown["same"] == (expected == 0) and shown["waived"] == []
    differences: list[dict[str, Any]] = shown["differences"]
    return differences


def test_two_runs_of_the_same_are_the_same(containers: Scratch) -> None:
    prepare(containers)
    assert compared(containers, lambda: None, 0) == []
    said = containers.toolkit("diff", "one", "two")
    assert said.code == 0
    assert said.out.startswith("the runs one (local) and two (local) are the same: 24 fields of 2 steps compared, ")


CONFIGURED = [
    ({"user": 1234}, "user", "user", 1234),
    ({"resources": {"limits": {"memory": "129Mi"}}}, "limits", "memory", 129 << 20),
    ({"resources": {"limits": {"memory": "128Mi", "cpu": "500m"}}}, "limits", "cpu", 500),
    ({"shm_size": "1Mi"}, "shm_size", "shm_size", 1 << 20),
    ({"scratch_size": "33Mi"}, "scratch_size", "scratch_size", 33 << 20),
    ({"read_only_root": True}, "read_only_root", "read_only_root", True),
    ({"environment": {"GREETING": "hello", "NEW": "1"}}, "environment", "NEW", "set"),
    ({"environment": {"GREETING": "goodbye"}}, "plan", "settings.environment.GREETING", "goodbye"),
    (
        {"persistent_volumes": [{"name": name, "mount_path": f"/{name}"} for name in ("mnt", "more")]},
        "mounts",
        "/more",
        "read-write",
    ),
]


@pytest.mark.parametrize(
    ("changed", "field", "where", "b"), CONFIGURED, ids=[f"{one[1]}-{one[2]}" for one in CONFIGURED]
)
def test_what_one_run_was_given_differently_is_all_that_differs(
    containers: Scratch, changed: dict[str, Any], field: str, where: str, b: Any
) -> None:
    prepare(containers)
    if field == "mounts":
        # The volume's folder has the volume's name.
        changed["persistent_volumes"][0]["name"] = "toolkit"
    [found] = compared(containers, lambda: containers.write(configuration(**changed)), 1)
    assert (found["field"], found["where"], found["steps"], found["b"]) == (field, where, STEPS, b)


def test_one_byte_of_code_is_the_code_and_nothing_else(containers: Scratch) -> None:
    prepare(containers)
    [found] = compared(containers, lambda: containers.write({"functions.py": FUNCTIONS + "#"}), 1)
    assert (found["field"], found["steps"]) == ("code", STEPS)


def test_one_byte_in_the_catalog_is_the_file_and_nothing_else(containers: Scratch) -> None:
    prepare(containers)
    [found] = compared(containers, lambda: seed(containers, "c0ntent"), 1)
    assert (found["field"], found["where"], found["steps"]) == ("catalog", "put data", ["make"])


def test_a_value_that_is_returned_differently_is_told_where_it_was_returned(containers: Scratch) -> None:
    prepare(containers)
    containers.write({"functions.py": FUNCTIONS.replace("return 7, 0.5", 'return 7, len(open("/mnt/extra").read())')})
    (containers.volume() / "extra").write_text("1")
    [found] = compared(containers, lambda: (containers.volume() / "extra").write_text("12"), 1)
    assert found == {"field": "metrics", "where": "score", "steps": ["make"], "a": 1, "b": 2}


def test_an_image_that_the_record_does_not_name_is_found_within_one_run(containers: Scratch) -> None:
    prepare(containers)
    assert compared(containers, lambda: None, 0) == []
    # Given a run whose record names another image than the one that the engine ran,
    record = next(containers.volume().glob("**/two/run.json"))
    run = json.loads(record.read_text())
    ran, run["image"]["digest"] = run["image"]["digest"], "sha256:" + "0" * 64
    record.write_text(json.dumps(run))
    # when it is compared, then the run's own disagreement is told, and that the two records differ.
    result = containers.toolkit("diff", "one", "two", "--json")
    assert result.code == 1
    differences = json.loads(result.out)["differences"]
    assert [one["field"] for one in differences] == ["image", "image.engine"]
    assert differences[1]["b"] == {"engine": ran, "record": {"digest": "sha256:" + "0" * 64}}


def test_the_example_as_processes_is_the_same_in_what_processes_have(containers: Scratch) -> None:
    copy_example(containers)
    for name, environment in (("one", "local"), ("two", "process")):
        result = containers.toolkit("run", "sdk.py", "--env", environment, "--run-id", name)
        assert result.code == 0, result.err
    said = containers.toolkit("diff", "one", "two")
    assert said.code == 0, said.out
    assert "the same in what both can have" in said.out
    begin = json.loads(next(containers.volume().parent.glob("*/*/one/steps/consume/1/begin.json")).read_text())
    assert begin["privileges"] == {
        "effective": "0" * 16,
        "bounding": "0" * 16,
        "no_new_privileges": True,
        "seccomp": "2",
    }
    assert Path("/proc/self/mountinfo").exists() and "/mnt" in [one["path"] for one in begin["mounts"]]
