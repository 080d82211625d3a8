"""Composites on a cluster: which pods there are. That they run as elsewhere, and how many pods, the conformance suite has."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.engine import without_images
from tests.support.scratch import Result, finish
from tests.support.session import Session
from tests.support.workplace import Workplace

pytestmark = [pytest.mark.argo, pytest.mark.timeout(900)]

FUNCTIONS = """\
def give(count: int):
    return list(range(count))

def pick(choice: str):
    return choice

def show(x=None, y=None, z=None, k=None):
    print("shown", x, y, z, k)

def collect(squares: list):
    print("collected", squares)

def square(x: int):
    return x * x

def never():
    return False

def odd(x: int):
    if x == 1:
        raise ValueError("one is odd")

def last():
    pass

def second(where: str):
    import pathlib
    if not pathlib.Path(where).exists():
        pathlib.Path(where).touch()
        raise ValueError("not at first")
    return [1, 2, 3, 4]

def slow():
    import time
    time.sleep(6)

def waits():
    import time
    print("ready", flush=True)
    time.sleep(1000)

def word(words: list, i: int):
    return words[int(i)]
"""
HEAD = """\
import functions as f
from toolkit import Conditional, Loop, Map, Parallel, Pipeline, PythonTask, Stub

def task(function, name="", **options):
    return PythonTask(function, name=name, **options)

"""
PIPELINES = {
    "mended-inside": """
p = Pipeline(steps=[
    Pipeline(name="inner", steps=[
        task(f.pick, returns=["chosen"]),
        Map("m", Pipeline(steps=[task(f.odd), task(f.show)]), "xs", "x"),
    ], on_failure=Pipeline(steps=[Stub("ignore")])),
    task(f.last),
])
""",
    "passed": """
p = Pipeline(steps=[
    task(f.pick, returns=["chosen"]),
    Conditional("c", "chosen", {
        "changed": Pipeline(steps=[task(f.word, returns=["chosen"], bind={"i": "first"})]),
        "kept": Pipeline(steps=[Stub("nothing")]),
    }),
    Conditional("d", "chosen", {"a": Pipeline(steps=[task(f.last, "da")]), "kept": Pipeline(steps=[task(f.last, "dk")])}),
    Parallel("p", {"one": Pipeline(steps=[task(f.give, returns=["xs"])]), "two": Pipeline(steps=[task(f.last, "l")])}),
    Map("m", Pipeline(steps=[Stub("s"), Loop("l", Pipeline(steps=[
        Conditional("e", "word", {"a": Pipeline(steps=[Stub("s")]), "b": Pipeline(steps=[task(f.last, "eb")])}),
        task(f.word, returns=["word"]),
        task(f.never, returns=["done"]),
    ]), 3, "done", "i")]), "xs", "x", concurrency=1),
])
""",
    "retried": """
p = Pipeline(steps=[
    task(f.second, returns=["xs"], max_attempts=2),
    Map("m", Pipeline(steps=[task(f.slow)]), "xs", "x", concurrency=2),
])
""",
    "waiting": """
branch = Pipeline(steps=[task(f.waits, on_failure=Pipeline(steps=[task(f.last, "mend")]))])
p = Pipeline(steps=[Parallel("p", {"m": Pipeline(steps=[Map("m", branch, "xs", "x")])}), task(f.last)])
""",
    "{{hostile}}": """
p = Pipeline(steps=[
    Map("{{x}} $(HOME) \N{PARTY POPPER}", Pipeline(steps=[
        task(f.give, "{{item}} $$(A)", returns=["y"], bind={"count": "x"}),
        Map("plain", Pipeline(steps=[task(f.last, "\u8bad a 'q' \\\\ \\"")]), "y", "z"),
    ]), "xs", "x"),
])
""",
    "grouped": """
p = Pipeline(steps=[
    task(f.give, returns=["xs"]),
    Map("m", Pipeline(steps=[task(f.odd), task(f.square, returns=["squares"])]), "xs", "x"),
    task(f.collect),
])
""",
}


@pytest.fixture(scope="module")
def session(workplace: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    root = tmp_path_factory.mktemp("composites") / f"argo-composites-{os.urandom(2).hex()}"
    with without_images(root):
        one = Session(workplace, workplace.project(root), three={"pods_per_map": 3})
        files = {f"{name}.py": HEAD + text for name, text in PIPELINES.items()}
        one.scratch.write({"functions.py": FUNCTIONS, **files})
        yield one


def run(session: Session, name: str, run_id: str = "", config: str = "toolkit", **parameters: Any) -> Result:
    given = [option for key, value in parameters.items() for option in ("--param", f"{key}={json.dumps(value)}")]
    run_id = run_id or f"run-{name}"
    return session.scratch.toolkit("run", f"{name}.py", "--config", f"{config}.yaml", "--run-id", run_id, *given)


def statuses(session: Session, run_id: str) -> dict[str, str]:
    """Of each row that `show` has, by path."""
    shown = session.scratch.toolkit("show", run_id, "--json")
    assert shown.code == 0, shown.err
    return {row["path"]: row["status"] for row in json.loads(shown.out)["steps"]}


def ran(session: Session, run_id: str) -> list[str]:
    """The path of each pod that there was, by the arguments of its container."""
    found = []
    for pod in session.pods(run_id):
        main = next(one for one in pod["spec"]["containers"] if one["name"] == "main")
        found.append(main["args"][2])
    return sorted(found)


def state(pod: dict[str, Any]) -> dict[str, Any]:
    """Kubernetes' word for how a pod's step is."""
    known: dict[str, Any] = next(
        (one["state"] for one in pod["status"].get("containerStatuses", ()) if one["name"] == "main"), {}
    )
    return known


def span(pod: dict[str, Any]) -> tuple[str, str]:
    """When a pod's step began and ended; Kubernetes tells whole seconds."""
    ended = state(pod)["terminated"]
    return ended["startedAt"], ended["finishedAt"]


def test_what_composites_need_to_know_comes_out_of_and_into_others(session: Session) -> None:
    words = ["a", "b", "a"]
    result = run(session, "passed", choice="kept", word="b", words=words, count=1, first=0)
    assert result.code == 0, result.err
    # Of the first iteration the run's own parameter decides, of each other one the iteration before it.
    items = [f"m/0/l/{index}" for index in range(3)]
    branches = [f"{items[index]}/e/b/eb" for index in (0, 2)]
    steps = [f"{item}/{step}" for item in items for step in ("never", "word")]
    assert ran(session, "run-passed") == sorted(["pick", "d/kept/dk", "p/one/give", "p/two/l", *branches, *steps])
    result = run(session, "passed", "run-changed", choice="changed", word="a", words=words, count=0, first=0)
    assert result.code == 0, result.err
    assert ran(session, "run-changed") == ["c/changed/word", "d/a/da", "p/one/give", "p/two/l", "pick"]


def test_a_count_is_that_of_the_attempt_that_succeeded_and_no_more_run_at_once_than_may(session: Session) -> None:
    result = run(session, "retried", where="/mnt/second")
    assert result.code == 0, result.err
    assert ran(session, "run-retried") == [*(f"m/{item}/slow" for item in range(4)), "second", "second"]
    spans = [span(pod) for pod in session.pods("run-retried")]
    assert max(sum(first <= begun < last for first, last in spans) for begun, _ in spans) <= 2


def test_names_may_be_any_text(session: Session) -> None:
    result = run(session, "{{hostile}}", "run-hostile", xs=[2])
    assert result.code == 0, result.err
    item = "{{x}} $(HOME) \N{PARTY POPPER}/0"
    name = "\u8bad a 'q' \\ \""
    shown = statuses(session, "run-hostile")
    assert {path for path, status in shown.items() if status == "succeeded"} >= {
        f"{item}/{{{{item}}}} $$(A)",
        f"{item}/plain/0/{name}",
        f"{item}/plain/1/{name}",
    }
    assert len(ran(session, "run-hostile")) == 3


def test_a_handler_without_pods_mends_what_failed_deep_inside(session: Session) -> None:
    result = run(session, "mended-inside", choice="x", xs=[0, 1])
    assert result.code == 0, result.err
    items = ["inner/m/0/odd", "inner/m/0/show", "inner/m/1/odd"]
    assert ran(session, "run-mended-inside") == [*items, "inner/pick"]
    shown = statuses(session, "run-mended-inside")
    assert (shown["inner"], shown["inner/m/1/show"], shown["last"]) == ("failed", "skipped", "skipped")


def test_a_map_of_no_more_items_than_pods_is_not_grouped(session: Session) -> None:
    result = run(session, "grouped", "run-ungrouped", "three", count=3)
    assert result.code == 1, result.err
    items = ["m/0/odd", "m/0/square", "m/1/odd", "m/2/odd", "m/2/square"]
    assert ran(session, "run-ungrouped") == ["give", *items]


def test_items_of_a_group_share_a_pod_and_one_that_fails_stops_itself_alone(session: Session) -> None:
    result = run(session, "grouped", "run-grouped", "three", count=10)
    assert result.code == 1, result.err
    groups = [f"m/group-{group}/{step}" for group in range(3) for step in ("odd", "square")]
    assert ran(session, "run-grouped") == ["give", *groups]
    shown = statuses(session, "run-grouped")
    squares = [shown[f"m/{item}/square"] for item in range(10)]
    assert squares == ["succeeded", "skipped", *["succeeded"] * 8]
    assert shown["m/1/odd"] == "failed" and shown["collect"] == "skipped"


def test_a_run_that_is_cancelled_starts_no_handler(session: Session) -> None:
    process = session.scratch.start("run", "waiting.py", "--run-id", "run-waiting", "--param", "xs=[1, 2]")
    session.scratch.wait_for(lambda: len(ran(session, "run-waiting")) == 2)
    session.scratch.wait_for(lambda: all("running" in state(pod) for pod in session.pods("run-waiting")))
    result = finish(process, signal.SIGINT)
    assert result.code == 130, result.err
    assert ran(session, "run-waiting") == ["p/m/m/0/waits", "p/m/m/1/waits"]
    shown = statuses(session, "run-waiting")
    assert shown["p/m/m/0/waits"] == shown["p/m/m"] == shown["p"] == "cancelled"
    assert shown["p/m/m/0/waits/on_failure/mend"] == shown["last"] == "skipped"


def test_who_can_not_read_the_volume_sees_the_same_by_the_engines_word(session: Session, tmp_path: Path) -> None:
    """The last test of this file: it looks at the runs of all others, and makes none."""
    other = session.elsewhere(tmp_path)
    other.environ["KUBECONFIG"] = str(session.workplace.reader(tmp_path))
    runs = [one["metadata"]["name"] for one in session.workplace.get("workflows")["items"]]
    assert runs
    for run_id in runs:
        known = session.scratch.show(run_id)
        seen = other.show(run_id)
        assert (seen["status"], seen["reason"]) == (known["status"], known["reason"])
        assert "can't be created in the namespace" in seen["unread"]
        statuses = {step["path"]: step["status"] for step in known["steps"]}
        # Of items that share pods only their map is known.
        hidden = {path for path in statuses if run_id == "run-grouped" and path.startswith("m/")}
        assert {step["path"]: step["status"] for step in seen["steps"]} == {
            path: status for path, status in statuses.items() if path not in hidden
        }
        for ours, theirs in zip((s for s in known["steps"] if s["path"] not in hidden), seen["steps"], strict=True):
            for key in ("branch", "items", "item_status", "iterations", "on_failure"):
                if not (hidden and ours["path"] == "m"):
                    assert ours.get(key) == theirs.get(key), (run_id, ours["path"], key)
            assert [one["exit_code"] for one in ours["attempts"]] == [one["exit_code"] for one in theirs["attempts"]]
