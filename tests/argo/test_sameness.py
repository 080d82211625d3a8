"""A run on this machine and one on the cluster are the same run; and what is changed on one side alone is found, alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import claim
from tests.support.engine import without_images
from tests.support.examples import copy_example
from tests.support.scratch import Result, Scratch
from tests.support.workplace import Workplace

pytestmark = [pytest.mark.argo, pytest.mark.docker, pytest.mark.timeout(600)]

PIPELINE = """\
import functions
from toolkit import Catalog, Pipeline, PythonTask, ShellTask, metric

p = Pipeline(name="sameness", steps=[
    PythonTask(functions.make, returns=["size", metric("score")], catalog=Catalog(put=["data"])),
    ShellTask("use", 'test "$(wc -c <data)" = "$size"', catalog=Catalog(get=["data"])),
])
"""
FUNCTIONS = """\
import os, shutil

def make():
    shutil.copy("/mnt/seed", "data")
    return 7, 0.5
"""
SEED = """\
from toolkit import Pipeline, ShellTask

p = Pipeline(steps=[ShellTask("seed", 'printf "$content" >/mnt/seed')])
"""
STEPS = ["make", "use"]
VOLUMES = [{"name": "toolkit", "mount_path": "/mnt"}]
BASE: dict[str, Any] = {
    "image": "toolkit-test-sameness",
    "persistent_volumes": VOLUMES,
    "environment": {"GREETING": "hello"},
    "resources": {"limits": {"memory": "128Mi"}},
    "scratch_size": "32Mi",
}
CHANGED: dict[str, tuple[dict[str, Any], tuple[str, str, Any]]] = {
    "user": ({"user": 1234}, ("user", "user", 1234)),
    "memory": ({"resources": {"limits": {"memory": "129Mi"}}}, ("limits", "memory", 129 << 20)),
    "cpu": ({"resources": {"limits": {"memory": "128Mi", "cpu": "500m"}}}, ("limits", "cpu", 500)),
    "shm": ({"shm_size": "1Mi"}, ("shm_size", "shm_size", 1 << 20)),
    "root": ({"read_only_root": True}, ("read_only_root", "read_only_root", True)),
    "name": ({"environment": {"GREETING": "hello", "NEW": "1"}}, ("environment", "NEW", "set")),
    "value": ({"environment": {"GREETING": "goodbye"}}, ("plan", "settings.environment.GREETING", "goodbye")),
    "mount": (
        {"persistent_volumes": [*VOLUMES, {"name": "more", "mount_path": "/more"}]},
        ("mounts", "/more", "read-write"),
    ),
}


def configuration(**changed: Any) -> str:
    return json.dumps({"executor": {"type": "argo", "config": {**BASE, **changed}}})


@pytest.fixture(scope="module")
def project(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scratch]:
    """A project that was run on this machine as `here` and on the cluster as `there`."""
    root = tmp_path_factory.mktemp("sameness") / BASE["image"]
    scratch = workplace.project(root)
    scratch.write(
        {
            # Configurations lie beside the code, and would be files of it that differ.
            ".dockerignore": "*.yaml\n",
            "pipeline.py": PIPELINE,
            "functions.py": FUNCTIONS,
            "seed.py": SEED,
            "toolkit.yaml": configuration(),
            **{f"{name}.yaml": configuration(**changed) for name, (changed, _) in CHANGED.items()},
        }
    )
    claim(workplace.cluster, workplace.namespace, "more")
    with without_images(root):
        for environment in ("local", "argo"):
            run(scratch, environment, f"seed-{environment}", "seed.py", "--param", "content=content")
        run(scratch, "local", "here")
        run(scratch, "argo", "there")
        yield scratch


def run(scratch: Scratch, environment: str, run_id: str, *arguments: str) -> Result:
    named = arguments if arguments else ("pipeline.py",)
    result = scratch.toolkit("run", *named, "--env", environment, "--run-id", run_id)
    assert result.code == 0, result.err
    return result


def differences(scratch: Scratch, a: str, b: str) -> list[dict[str, Any]]:
    result = scratch.toolkit("diff", a, b, "--fetch", "--json")
    shown = json.loads(result.out)
    assert (result.code == 0) == shown["same"] == (shown["differences"] == []), result.err
    found: list[dict[str, Any]] = shown["differences"]
    return found


@pytest.mark.core("the example of the README, and the proof that both runs are the same")
def test_the_example_is_the_same_run_in_both_places(own_workplace: Workplace, tmp_path: Path) -> None:
    """An image is built and delivered, and two steps run in both places: about 25 s."""
    # Given the example as it is, and what its configuration asks of a cluster,
    claim(own_workplace.cluster, own_workplace.namespace, "runnable-volume")
    own_workplace.secret("toolkit-secrets", secret_key="the-key-of-the-test")
    own_workplace.secret("postgres", connection_string="postgresql://test@localhost/test")
    scratch = own_workplace.project(tmp_path / "getting-started")
    copy_example(scratch)
    scratch.write({".env": "secret_key=the-key-of-the-test\nconnection_string=postgresql://test@localhost/test\n"})
    # when it is run in both places,
    run(scratch, "local", "here", "sdk.py")
    run(scratch, "argo", "there", "sdk.py")
    # then all records of the run on the cluster are here, because it was followed,
    assert len(list(scratch.root.glob(".toolkit/cluster/*/records/there"))) == 1
    # and nothing differs, bytes included.
    said = scratch.toolkit("diff", "here", "there", "--fetch")
    assert said.code == 0, said.out
    assert said.out.startswith("the runs here (local) and there (argo) are the same: 24 fields of 2 steps compared")
    assert differences(scratch, "here", "there") == []
    # When the namespace is gone, and then all that this machine knew of the cluster,
    own_workplace.cluster.must("delete", "namespace", own_workplace.namespace)
    nothing = tmp_path / "nothing"
    scratch.environ["TOOLKIT_ENV"] = None
    nothing.write_text("apiVersion: v1\nkind: Config\n")
    for kubeconfig in (scratch.environ["KUBECONFIG"], str(nothing)):
        scratch.environ["KUBECONFIG"] = kubeconfig
        # then the copies tell the same.
        shown = scratch.show("there")
        assert shown["status"] == "succeeded" and shown["parameters"] == scratch.show("here")["parameters"]
        assert "unknown" not in {step["status"] for step in shown["steps"]}
        said = scratch.toolkit("diff", "here", "there")
        assert said.code == 0 and "24 fields of 2 steps compared" in said.out, said.out + said.err
        rows = json.loads(scratch.toolkit("runs", "--json").out)
        assert {row["run_id"]: row["status"] for row in rows} == {"here": "succeeded", "there": "succeeded"}


def test_a_run_here_and_there_is_the_same(project: Scratch) -> None:
    assert differences(project, "here", "there") == []


def test_what_one_side_was_given_differently_is_all_that_differs(project: Scratch) -> None:
    """A run on the cluster for each setting that is changed: about a minute."""

    # When each change is run on the cluster, all of them at once,
    def on_cluster(name: str) -> Result:
        return run(project, "argo", f"changed-{name}", "pipeline.py", "--config", f"{name}.yaml")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(on_cluster, CHANGED))
    # then each is found, and nothing else.
    found = {name: differences(project, "here", f"changed-{name}") for name in CHANGED}
    shown = {name: [(one["field"], one["where"], one["b"]) for one in rows] for name, rows in found.items()}
    assert shown == {name: [expected] for name, (_, expected) in CHANGED.items()}
    assert all(row["steps"] == STEPS for rows in found.values() for row in rows)


def test_one_byte_in_the_catalog_is_the_file_and_nothing_else(project: Scratch) -> None:
    """Three runs, one after the other: about 25 s."""
    run(project, "argo", "seed-again", "seed.py", "--param", "content=c0ntent")
    run(project, "argo", "other-byte")
    run(project, "argo", "seed-back", "seed.py", "--param", "content=content")
    [found] = differences(project, "here", "other-byte")
    assert (found["field"], found["where"], found["steps"]) == ("catalog", "put data", ["make"])


def test_one_byte_of_code_is_the_code_and_nothing_else(project: Scratch) -> None:
    project.write({"functions.py": FUNCTIONS + "#"})
    run(project, "argo", "other-code")
    project.write({"functions.py": FUNCTIONS})
    [found] = differences(project, "here", "other-code")
    assert (found["field"], found["steps"]) == ("code", STEPS)
