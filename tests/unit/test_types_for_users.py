"""A user's pipeline under ``mypy --strict``, with the wheel installed as a user installs it.

The checker runs as a process of its own, against an environment that holds this project's wheel and nothing else.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import toolkit

ROOT = Path(__file__).resolve().parents[2]

PIPELINE = """\
from __future__ import annotations

from typing import Any, Optional

from toolkit import (
    AsyncPipeline,
    AsyncPythonTask,
    Catalog,
    Conditional,
    Fail,
    Loop,
    Map,
    Nested,
    NotebookJob,
    NotebookTask,
    Parallel,
    Parameter,
    Pipeline,
    PythonJob,
    PythonTask,
    ShellJob,
    ShellTask,
    Stub,
    Success,
    after,
    json,
    metric,
    pickled,
    pipeline,
    task,
)


def numbers() -> list[int]:
    return [1, 2]


def square(number: int) -> int:
    return number * number


def good(square: int, round: int) -> tuple[bool, float, object]:
    return True, 0.5, object()


async def later() -> None:
    pass


def largest(values: list[int]) -> int:
    return max(values)


handler = Stub("tell").as_pipeline()
small, large = Success().as_pipeline(), Fail("too large").as_pipeline()

whole = Pipeline(
    name="whole",
    description="every kind of step",
    steps=[
        PythonTask(numbers, returns=["numbers"], secrets=["key"], catalog=Catalog(put=["data/*.csv"], store_copy=False)),
        Map(
            "all",
            branch=PythonTask(square, returns=[json("square")]).as_pipeline(),
            iterate_on="numbers",
            iterate_as="number",
            reducer=largest,
            concurrency=2,
        ),
        Loop(
            "until good",
            branch=PythonTask(good, returns=["done", metric("score"), pickled("model")], max_attempts=3).as_pipeline(),
            max_iterations=3,
            break_on="done",
            index_as="round",
        ),
        Conditional("size", parameter="square", branches={"1": small}, default=large, on_failure=handler),
        Parallel("both", branches={"one": small, "two": PythonJob(numbers, returns=["numbers"])}),
        ShellTask("count", "wc -l data.csv", overrides={"argo": "big"}, bind={"n": "numbers"}, on_failure=handler),
        PythonTask(
            numbers,
            "large",
            overrides="big",
            resources={"limits": {"memory": "2Gi", "cpu": 2, "gpu": 1}, "requests": {"cpu": 0.5}},
            timeout=60,
            retries={"limit": 3, "delay": 10, "factor": 1.5, "max_duration": 600, "policy": "OnError"},
            image="other:1",
            environment={"A": "1"},
            user=1000,
        ),
        NotebookTask("report", "report.ipynb", retries=3, returns=["total"], catalog=Catalog(get=["data.csv"])),
        AsyncPythonTask(later, "later", terminate_with_success=True),
        Stub("publish", secrets=["token"]),
        Nested("again", handler),
        Pipeline(name="inner", steps=[Stub("a")]),
    ],
    parameters=[
        Parameter("numbers", type=list[int], default=[1], description="what is squared"),
        Parameter("limit", Optional[float]),
    ],
)

graph = Pipeline(
    order="graph",
    steps=[
        PythonTask(numbers, returns=["numbers"], after="begin"),
        Parallel("sides", branches={"one": small}, after=["numbers", handler]),
        Pipeline(name="rest", steps=[Stub("a")], after=[PythonTask(numbers, "numbers")]),
        Stub("begin"),
        Nested("tell", handler, after="begin"),
    ],
)

make = task(numbers, returns=["numbers"])


@task(name="second", returns=["square"])
def second(number: int) -> int:
    return number + 1


@pipeline
def branch() -> None:
    second()


@pipeline(order="graph")
def unordered(start: Any) -> None:
    made = make()
    with after(made, make, branch, "later"):
        second(number=start)
        ShellTask("later", "true", after=[made, make])()


@pipeline(name="driven", on_failure=handler)
def driver(start: Any = 3) -> None:
    made = make()
    second(number=start)
    Map("each", branch=branch, iterate_on=made, iterate_as="number")()
    Parallel("drivers", branches={"one": branch})()
    whole()
    branch()


async def awaited() -> None:
    await AsyncPipeline(steps=[Stub("a")]).execute(run_id="one")
    async for _ in AsyncPipeline(steps=[Stub("a")]).execute_streaming():
        pass


if __name__ == "__main__":
    whole.execute(configuration_file="toolkit.yaml", run_id="one", tag="nightly", parameters_file="parameters.yaml")
    driver.execute(tag="nightly")
    PythonJob(square, "squared", returns=["square"]).execute(job_id="one")
    ShellJob("true", max_attempts=2).execute()
    NotebookJob("report.ipynb", returns=["total"]).execute()
"""

Check = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Check:
    """Runs ``mypy --strict`` on a pipeline's text, in an environment into which the wheel was unpacked."""
    folder = tmp_path_factory.mktemp("user")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    made = subprocess.run(build, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    [packages] = (folder / "venv").glob("lib/python*/site-packages")
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)

    def run(text: str) -> subprocess.CompletedProcess[str]:
        (folder / "pipeline.py").write_text(text)
        # In its own folder: neither this checkout's modules nor its settings may answer.
        command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(folder / "venv/bin/python")]
        return subprocess.run([*command, "pipeline.py"], capture_output=True, text=True, cwd=folder)

    return run


def test_every_public_name_is_used() -> None:
    [names] = [
        node.names
        for node in ast.walk(ast.parse(PIPELINE))
        if isinstance(node, ast.ImportFrom) and node.module == "toolkit"
    ]

    assert sorted(one.name for one in names) == sorted(toolkit.__all__)


def test_a_pipeline_of_every_public_name_has_no_error(check: Check) -> None:
    done = check(PIPELINE)

    assert (done.returncode, done.stdout) == (0, "Success: no issues found in 1 source file\n"), done.stdout


def test_what_is_wrong_is_reported_and_nothing_else(check: Check) -> None:
    # Given a pipeline with a mistake on each line,
    mistakes = {
        "from toolkit import Pipline": 'Module "toolkit" has no attribute "Pipline"',
        "import toolkit": None,
        "toolkit.Pipeline(steps=[1])": "List item 0 has incompatible type",
        "toolkit.PythonTask(len, retruns=['x'])": 'Unexpected keyword argument "retruns" for "PythonTask"',
        "toolkit.Stub('a').as_pipelin()": '"Stub" has no attribute "as_pipelin"',
        "toolkit.Parallel('a', branches={'b': toolkit.Stub('c')})": "Dict entry 0 has incompatible type",
        "toolkit.pipeline(len).exceute()": '"Driver" has no attribute "exceute"',
        "toolkit.task(len, max_attempts='3')": 'No overload variant of "task" matches',
        "toolkit.Pipeline(steps=[], order='grpah')": 'Argument "order" to "Pipeline" has incompatible type',
        "toolkit.Stub('a', after=3)": 'Argument "after" to "Stub" has incompatible type',
        "toolkit.ShellTask('a', 'b', retries={'count': 3})": 'Argument "retries" to "ShellTask" has incompatible type',
        "toolkit.ShellTask('a', 'b', timeout='1h')": 'Argument "timeout" to "ShellTask" has incompatible type',
    }
    # when it is checked,
    done = check("\n".join(mistakes) + "\n")
    # then each of them is reported once, in order.
    reported = [line for line in done.stdout.splitlines() if ": error: " in line]
    expected = [(number, text) for number, text in enumerate(mistakes.values(), start=1) if text is not None]
    assert (done.returncode, len(reported)) == (1, len(expected)), done.stdout
    for line, (number, text) in zip(reported, expected, strict=True):
        assert line.startswith(f"pipeline.py:{number}: error: ") and text in line, done.stdout
