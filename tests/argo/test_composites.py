"""Composites on a cluster: each runs as it does elsewhere, and the pods are the attempts of the user's steps and no others."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.argo.conftest import Workplace
from tests.argo.session import Session
from tests.conftest import without_images
from tests.scratch import Result, finish

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

def count(i: int):
    return int(i) >= 2

def never():
    return False

def bad():
    raise ValueError("never well")

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
    "mapped": """
p = Pipeline(steps=[
    task(f.give, returns=["xs"]),
    Map("m", Pipeline(steps=[task(f.square, returns=["squares"]), task(f.show)]), "xs", "x"),
    task(f.collect),
])
""",
    "deep": """
inner = Pipeline(steps=[task(f.show)])
middle = Pipeline(steps=[Map("n", Pipeline(steps=[Map("o", inner, "y", "z")]), "x", "y")])
p = Pipeline(steps=[Map("m", middle, "xs", "x"), task(f.last)])
""",
    "chosen": """
p = Pipeline(steps=[
    task(f.pick, returns=["chosen"]),
    Conditional("c", "chosen", {
        "it's {{a}}": Pipeline(steps=[task(f.show, "a")]),
        "b": Pipeline(steps=[task(f.show, "b"), task(f.show, "b2")]),
    }),
    task(f.last),
])
""",
    "looped": """
p = Pipeline(steps=[
    Loop("l", Pipeline(steps=[task(f.count, returns=["done"]), task(f.show)]), 20, "done", "i"),
    task(f.last),
])
""",
    "long": """
p = Pipeline(steps=[Loop("l", Pipeline(steps=[task(f.never, returns=["done"])]), 10, "done", "i")])
""",
    "beside": """
p = Pipeline(steps=[
    Parallel("p", {
        "good": Pipeline(steps=[task(f.last, "g1"), task(f.last, "g2"), task(f.last, "g3")]),
        "bad": Pipeline(steps=[task(f.bad), task(f.last, "never")]),
    }),
    task(f.last),
])
""",
    "mended": """
p = Pipeline(steps=[
    task(f.bad, on_failure=Pipeline(steps=[task(f.show, "mend")])),
    task(f.last),
])
""",
    "mended-inside": """
p = Pipeline(steps=[
    Pipeline(name="inner", steps=[
        task(f.pick, returns=["chosen"]),
        Map("m", Pipeline(steps=[task(f.odd), task(f.show)]), "xs", "x"),
    ], on_failure=Pipeline(steps=[Stub("ignore")])),
    task(f.last),
])
""",
    "ended": """
p = Pipeline(steps=[
    Pipeline(name="inner", steps=[task(f.last, "first", terminate_with_success=True), task(f.last, "never")]),
    task(f.last, "second", terminate_with_failure=True),
    task(f.last, "third"),
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
    "uncounted": """
p = Pipeline(steps=[
    task(f.pick, returns=["chosen"]),
    Parallel("p", {
        "map": Pipeline(steps=[Map("m", Pipeline(steps=[task(f.last)]), "chosen", "x")]),
        "loop": Pipeline(steps=[Loop("l", Pipeline(steps=[task(f.pick, "again", returns=["done"])]), 3, "done", "i")]),
    }),
    task(f.last),
])
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


def test_a_map_has_as_many_items_as_the_step_before_it_gives(session: Session) -> None:
    result = run(session, "mapped", count=3)
    assert result.code == 0, result.err
    items = [f"m/{item}/{step}" for item in range(3) for step in ("show", "square")]
    assert ran(session, "run-mapped") == ["collect", "give", *items]
    assert "collected [0, 1, 4]" in session.scratch.toolkit("logs", "run-mapped", "collect").out
    assert set(statuses(session, "run-mapped").values()) == {"succeeded"}


def test_a_map_of_nothing_goes_on(session: Session) -> None:
    result = run(session, "mapped", "run-empty", count=0)
    assert result.code == 0, result.err
    assert ran(session, "run-empty") == ["collect", "give"]
    assert "collected []" in session.scratch.toolkit("logs", "run-empty", "collect").out


def test_maps_within_maps_need_no_step_before_them(session: Session) -> None:
    result = run(session, "deep", xs=[[[1, 2], [3]], [], [[], [4]]])
    assert result.code == 0, result.err
    items = ["m/0/n/0/o/0", "m/0/n/0/o/1", "m/0/n/1/o/0", "m/2/n/1/o/0"]
    assert ran(session, "run-deep") == ["last", *(f"{item}/show" for item in items)]
    assert "shown [[1, 2], [3]] [1, 2] 2 None" in session.scratch.toolkit("logs", "run-deep", "m/0/n/0/o/1/show").out


@pytest.mark.parametrize(
    ("choice", "steps"), [("it's {{a}}", ["c/it's {{a}}/a"]), ("b", ["c/b/b", "c/b/b2"])], ids=["hostile", "plain"]
)
def test_a_conditional_takes_the_branch_of_its_value(session: Session, choice: str, steps: list[str]) -> None:
    run_id = f"run-chosen-{len(steps)}"
    result = run(session, "chosen", run_id, choice=choice)
    assert result.code == 0, result.err
    shown = statuses(session, run_id)
    assert [path for path in steps if shown[path] == "succeeded"] == steps
    assert len(ran(session, run_id)) == len(steps) + 2


def test_a_conditional_without_a_branch_for_its_value_fails_and_says_so(session: Session) -> None:
    result = run(session, "chosen", "run-unchosen", choice="neither {{x}} nor 'y'")
    assert result.code == 1, result.err
    assert "has no branch for chosen" in result.err and "neither " in result.err
    assert ran(session, "run-unchosen") == ["pick"]
    assert statuses(session, "run-unchosen")["last"] == "skipped"


def test_a_loop_goes_on_until_it_is_told_to_end(session: Session) -> None:
    result = run(session, "looped")
    assert result.code == 0, result.err
    iterations = [f"l/{index}/{step}" for index in range(3) for step in ("count", "show")]
    assert ran(session, "run-looped") == [*iterations, "last"]


def test_a_loop_ends_at_its_limit(session: Session) -> None:
    result = run(session, "long")
    assert result.code == 0, result.err
    assert ran(session, "run-long") == [f"l/{index}/never" for index in range(10)]


def test_what_composites_need_to_know_comes_out_of_and_into_others(session: Session) -> None:
    words = ["a", "b", "a"]
    result = run(session, "passed", choice="kept", word="b", words=words, count=2, first=0)
    assert result.code == 0, result.err
    # Of the first iteration the run's own parameter decides, of each other one the iteration before it.
    items = [f"m/{item}/l/{index}" for item in range(2) for index in range(3)]
    branches = [f"{items[index]}/e/b/eb" for index in (0, 2, 3, 5)]
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


def test_what_can_not_be_counted_or_told_ends_the_run_and_is_named(session: Session) -> None:
    result = run(session, "uncounted", choice="{{workflow.name}} 'neither' \"nor\"")
    assert result.code == 1, result.err
    assert "the map p/map/m iterates on chosen, which is no list" in result.err
    assert ran(session, "run-uncounted") == ["p/loop/l/0/again", "pick"]
    shown = statuses(session, "run-uncounted")
    assert (shown["p/map/m"], shown["p/loop/l"], shown["last"]) == ("failed", "failed", "skipped")


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


def test_a_branch_that_fails_lets_the_others_go_on(session: Session) -> None:
    result = run(session, "beside")
    assert result.code == 1, result.err
    assert ran(session, "run-beside") == ["p/bad/bad", "p/good/g1", "p/good/g2", "p/good/g3"]
    assert "never well" in result.err
    shown = statuses(session, "run-beside")
    assert (shown["p/bad/never"], shown["p/good/g3"], shown["last"]) == ("skipped", "succeeded", "skipped")


def test_a_handler_that_succeeds_mends_its_sequence(session: Session) -> None:
    result = run(session, "mended")
    assert result.code == 0, result.err
    assert ran(session, "run-mended") == ["bad", "bad/on_failure/mend"]
    assert statuses(session, "run-mended")["last"] == "skipped"


def test_a_handler_without_pods_mends_what_failed_deep_inside(session: Session) -> None:
    result = run(session, "mended-inside", choice="x", xs=[0, 1, 2])
    assert result.code == 0, result.err
    items = ["inner/m/0/odd", "inner/m/0/show", "inner/m/1/odd", "inner/m/2/odd", "inner/m/2/show"]
    assert ran(session, "run-mended-inside") == [*items, "inner/pick"]
    shown = statuses(session, "run-mended-inside")
    assert (shown["inner"], shown["inner/m/1/show"], shown["last"]) == ("failed", "skipped", "skipped")


def test_a_step_may_end_its_pipeline(session: Session) -> None:
    result = run(session, "ended")
    assert result.code == 1, result.err
    assert "the step second ends its pipeline with a failure" in result.err
    assert ran(session, "run-ended") == ["inner/first", "second"]
    shown = statuses(session, "run-ended")
    assert (shown["inner"], shown["inner/never"], shown["second"], shown["third"]) == (
        "succeeded",
        "skipped",
        "succeeded",
        "skipped",
    )


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
