"""Notebook steps as plain processes: what goes in, what comes out, what is kept, and every way in which one can end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.local_project import LocalProject
from tests.support.scratch import Scratch
from toolkit.runtime.shared import parameters_cell
from toolkit.runtime.user import notebook

HEAD = "import helper\nfrom toolkit import *\nfrom toolkit import Pipeline\n"
HELPER = """\
class Thing:
    def __init__(self, n): self.n = n
    def __eq__(self, other): return self.n == other.n
    def __repr__(self): return f"Thing({self.n})"
def thing(): return Thing(4)
def look(thing): return thing.n
"""


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    found = LocalProject(tmp_path)
    found.write("helper.py", HELPER)
    return found


def book(*cells: str | tuple[str, str], minor: int = 5, language: str = "python") -> str:
    """A notebook of code cells, each its source, or its tag and its source."""
    made: list[dict[str, Any]] = []
    for number, one in enumerate(cells):
        tag, source = one if isinstance(one, tuple) else ("", one)
        cell: dict[str, Any] = {"cell_type": "code", "source": source, "outputs": [], "execution_count": None}
        cell["metadata"] = {"tags": [tag]} if tag else {}
        if minor >= 5:
            cell["id"] = f"cell-{number}"
        made.append(cell)
    kernel = {"name": "somebody-elses", "display_name": "x", "language": language}
    return json.dumps({"nbformat": 4, "nbformat_minor": minor, "metadata": {"kernelspec": kernel}, "cells": made})


def run(project: LocalProject, options: str, *cells: str | tuple[str, str], minor: int = 5) -> dict[str, Any]:
    """A run of one notebook step; returns its attempt."""
    project.write("report.ipynb", book(*cells, minor=minor))
    project.write("pipeline.py", HEAD + f"p = Pipeline(steps=[NotebookTask('step', 'report.ipynb', {options})])\n")
    # A file may hold what nothing takes.
    project.write("given.json", '{"rate": 21, "other": 5}')
    return project._last(project.run("pipeline.py", "-p", "given.json"))


def executed(project: LocalProject) -> dict[str, Any]:
    """The notebook that the newest run's last step put."""
    [put] = [one for step in project.show()["steps"] for one in step["attempts"][-1]["catalog"]["put"]]
    [file] = (project.root / ".toolkit" / "volumes").glob(f"*/catalog/objects/*/{put['sha256']}")
    assert put["name"] == "report_out.ipynb"
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def sources(project: LocalProject) -> list[str]:
    return ["".join(cell["source"]) for cell in executed(project)["cells"]]


# --- parameters and returns -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("minor", [4, 5])
def test_parameters_go_into_a_new_cell_and_returns_are_variables(project: LocalProject, minor: int) -> None:
    # Given a notebook whose parameters cell names some of what there is,
    attempt = run(
        project,
        "returns=['total', metric('score')], bind={'name': {'value': \"it's\"}}",
        "before = 1",
        ("parameters", "%precision 3\nrate = 1\nname: str = 'none'\nmine, yours = 3, 4"),
        "total = [rate * 2, name, mine]; score = 0.5; total",
        minor=minor,
    )
    # when it has run, then those names have the run's values, and no others are taken.
    assert attempt["status"] == "succeeded"
    assert attempt["output_parameters"] == {"total": [42, "it's", 3], "score": 0.5}
    assert attempt["input_parameters"] == {"rate": 21, "name": "it's"}
    assert sources(project)[2] == 'rate = 21\nname = "it\'s"'
    assert project.output().endswith(b'[42, "it\'s", 3]\n')
    # And the same run makes the same notebook.
    first = executed(project)
    again = project._last(project.run("pipeline.py", "--param", "rate=21"))
    assert again["status"] == "succeeded" and executed(project) == first


def test_without_a_parameters_cell_only_what_is_bound_is_put_at_the_top(project: LocalProject) -> None:
    attempt = run(project, "returns=['x'], bind={'x': 'other'}", "x += 1")
    assert attempt["output_parameters"] == {"x": 6} and attempt["input_parameters"] == {"x": 5}
    assert sources(project) == ["x = 5", "x += 1"]


def test_an_executed_notebook_that_is_run_again_has_one_cell_of_parameters(project: LocalProject) -> None:
    run(project, "returns=['rate']", ("injected-parameters", "rate = 8"), ("parameters", "rate = 1"))
    assert sources(project) == ["rate = 1", "rate = 21"]


def test_objects_come_out_of_pickles_and_go_into_them(project: LocalProject) -> None:
    # Given an object before a notebook and one after it, of a class that only the project's own modules have,
    project.write("nb/report.ipynb", book(("parameters", "thing = None\nlarge = ''"), "import helper\nn = len(large)",
                                          "bigger = helper.Thing(thing.n + 1)"))  # fmt: skip
    project.write("large.py", "def large(): return 'x' * 100_000\n")
    project.write(
        "pipeline.py",
        HEAD + "import large\np = Pipeline(steps=[\n"
        "  PythonTask(helper.thing, returns=[pickled('thing')]), PythonTask(large.large, returns=['large']),\n"
        "  NotebookTask('step', 'nb/report.ipynb', returns=[pickled('bigger'), 'n']),\n"
        "  PythonTask(helper.look, bind={'thing': 'step.bigger'}, returns=['seen'],\n"
        "    catalog=Catalog(get=['report_out.ipynb']))])\n",
    )
    # when they run, then each sees what the other made.
    assert project.run("pipeline.py") == 0, project.err
    assert project.show()["parameters"]["seen"] == 5 and project.show()["parameters"]["n"] == 100_000
    assert len(executed(project)["cells"][1]["source"]) == 2


@pytest.mark.parametrize(
    ("cell", "named"),
    [
        ("class Own: pass\nthing = Own()", "Own"),
        ("class Own: pass\nthing = [{'a': (1, Own)}]", "Own"),
        ("def work(): pass\nthing = work", "work"),
        ("import enum\nclass Own(enum.Enum): A = 1\nthing = Own.A", "Own"),
    ],
)
def test_an_object_of_what_the_notebook_defines_fails_there_because_no_other_step_could_load_it(
    project: LocalProject, cell: str, named: str
) -> None:
    attempt = run(project, "returns=[pickled('thing')]", cell)
    assert attempt["reason"] == (
        f"thing needs {named}, which the notebook defines, so that no other step can load it: define {named} in a module of "
        "the project, and import it in the notebook"
    )
    # A text that only looks like it is nothing of the notebook's, and data of its own classes is JSON.
    own = "import dataclasses\n@dataclasses.dataclass\nclass Own:\n    x: int"
    attempt = run(project, "returns=[pickled('thing'), 'data']", own, "thing = ['__main__']; data = Own(3)")
    assert attempt["status"] == "succeeded" and attempt["output_parameters"]["data"] == {"x": 3}


def test_a_notebook_in_yaml_is_the_same_step(project: LocalProject) -> None:
    project.write("report.ipynb", book(("parameters", "rate = 1"), "total = rate + 1"))
    step = {"command_type": "notebook", "command": "report.ipynb", "returns": ["total"]}
    project.write("pipeline.yaml", json.dumps({"dag": {"start_at": "step", "steps": {"step": step}}}))
    assert project.run("pipeline.yaml", "--param", "rate=1") == 0
    project.write("pipeline.py", HEAD + "NotebookJob('report.ipynb', name='step', returns=['total']).execute()\n")
    assert project.plan("pipeline.py").to_json() == project.plan("pipeline.yaml").to_json()


# --- output -----------------------------------------------------------------------------------------------------------


def test_what_cells_write_is_the_steps_output_once(project: LocalProject) -> None:
    run(project, "", "import os, sys\nprint('one')\nprint('two', file=sys.stderr)", "os.system('echo three')\nNone", "!echo more",
        "from IPython.display import display\ndisplay('four')\n'five'")  # fmt: skip
    # IPython gives what it runs a terminal.
    assert project.output() == b"one\ntwo\nthree\nmore\r\n'four'\n'five'\n"


def test_what_is_printed_at_the_kernels_end_is_output_and_its_threads_complaints_are_not(project: LocalProject) -> None:
    # As the kernel's own threads do on a busy machine, where one has closed what another writes to.
    log = "logging.getLogger('tornado.general').error('Uncaught exception in zmqstream callback')"
    run(project, "", f"import atexit, logging\natexit.register(lambda: (print('at the end'), {log}))\nprint('before')")
    assert project.output() == b"before\nat the end\n"


def test_secrets_reach_the_notebook_and_nothing_that_is_kept(
    project: LocalProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KEY", raising=False)
    project.write(".env", "KEY=s3cret-of-mine\n")
    attempt = run(project, "secrets=['KEY'], returns=['n']", "import os\nprint(os.environ['KEY'])\nn = len(os.environ['KEY'])",
                  "os.environ['KEY']")  # fmt: skip
    assert attempt["output_parameters"] == {"n": 14}
    assert project.output() == b"***\n'***'\n"
    attempt = run(project, "secrets=['KEY']", "import os", "raise ValueError('no ' + os.environ['KEY'])")
    assert attempt["reason"] == "ValueError: no ***"
    attempt = run(project, "secrets=['KEY'], returns=['x']", "import os\nx = os.environ['KEY']")
    assert "the return x holds the secret KEY" in attempt["reason"]
    assert b"s3cret-of-mine" not in project.volume()


# --- ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "code", "reason"),
    [
        ("raise KeyError('k')", 1, "KeyError: 'k'"),
        ("x = (", 1, "SyntaxError"),
        ("1", 1, "the notebook has no variable x, which the step declares to return"),
        ("x = 1j", 1, "x is a complex, which is not JSON"),
        ("import sys\nsys.exit(3)", 3, "the step left by sys.exit(3)"),
        ("import sys\nsys.exit('no luck')", 1, "the step left by sys.exit: no luck"),
        ("import sys\nsys.exit(0)", 1, "left by sys.exit() without returning x"),
        ("exit", 1, "left by sys.exit() without returning x"),
        ("quit()", 1, "left by sys.exit() without returning x"),
        ("exit(3)", 3, "the step left by sys.exit(3)"),
        ("import leaves\nleaves.with_four()", 4, "the step left by sys.exit(4)"),
        ("%no_such_magic", 1, "UsageError: Line magic function `%no_such_magic` not found."),
        ("%%bash\nexit 5", 1, "CalledProcessError: Command"),
        ("import os\nos._exit(3)", 3, "the notebook's kernel ended before the notebook did, with exit code 3"),
        ("import os\nos._exit(0)", 1, "the notebook's kernel ended before the notebook did, with exit code 0"),
        ("import os\nos.kill(os.getpid(), 9)", 137, "the notebook's kernel was killed by signal 9"),
        ("import os\nos.kill(os.getppid(), 9)", 137, "killed by signal 9"),
        ("raise KeyboardInterrupt", 130, "KeyboardInterrupt"),
    ],
)
def test_a_notebook_that_does_not_come_to_its_end_fails(
    project: LocalProject, cell: str, code: int, reason: str
) -> None:
    (project.root / "leaves.py").write_text("def with_four():\n    exit(4)\n")
    attempt = run(project, "returns=['x']", "print('first')", cell, "print('last')")
    assert (attempt["status"], attempt["exit_code"]) == ("failed", code), project.output()
    assert reason in attempt["reason"]
    assert project.output().startswith(b"first\n")
    # Two ends come after the last cell: a return that is missing, and one that is no JSON.
    assert (b"\nlast\n" in project.output()) == (cell in ("1", "x = 1j"))
    assert b"nbclient" not in project.output()


def test_a_failing_cell_is_recorded_as_an_exception_and_the_notebook_so_far_is_kept(project: LocalProject) -> None:
    run(project, "", "def inner(): raise ValueError('mine')", "inner()", "print('never')")
    end = json.loads(next((project.root / ".toolkit" / "volumes").glob("*/*/*/steps/step/1/end.json")).read_text())
    assert (end["exception"]["type"], end["exception"]["message"]) == ("ValueError", "mine")
    assert "inner()" in end["exception"]["traceback"] and "\x1b" not in end["exception"]["traceback"]
    assert b"ValueError: mine" in project.output() and b"\x1b" not in project.output()
    cells = executed(project)["cells"]
    assert cells[1]["outputs"][0]["ename"] == "ValueError" and cells[2]["outputs"] == []


def test_a_cell_may_say_that_it_raises(project: LocalProject) -> None:
    assert run(project, "", ("raises-exception", "1 / 0"))["status"] == "succeeded"


V3 = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": [], "metadata": {}}]}


def test_a_notebook_that_can_not_be_read_is_told_when_the_pipeline_is_described(project: LocalProject) -> None:
    project.write(
        "p.py", "from toolkit import *\np = Pipeline(steps=[ShellTask('s', 'true'),\n NotebookTask('a', 'a.ipynb')])\n"
    )
    project.write(
        "p.yaml",
        "dag:\n  start_at: s\n  steps: {s: {command_type: shell, command: 'true', next: a},\n"
        "    a: {command_type: notebook, command: a.ipynb}}\n",
    )
    for content, words in (
        ("{", "a.ipynb is not a notebook: its JSON is broken"),
        (None, "there is no notebook a.ipynb in the project"),
    ):
        project.write("a.ipynb", content) if content else (project.root / "a.ipynb").unlink()
        for file, line in (("p.py", 3), ("p.yaml", 4)):
            assert project.run(file) == 2 and f"toolkit: {file}:{line}: {words}" in project.err
    assert not list((project.root / ".toolkit").glob("volumes/*/*/*/steps"))


def test_a_notebook_of_an_old_format_runs(project: LocalProject) -> None:
    project.write("old.ipynb", json.dumps(V3))
    project.write("p.py", "from toolkit import *\nNotebookJob('old.ipynb').execute()\n")
    assert project.run("p.py") == 0, project.err


@pytest.mark.parametrize(
    ("file", "options", "missing"),
    [
        ("report.ipynb", "", "nbclient, nbformat, ipykernel"),
        ("report.py", "", "nbclient, nbformat, ipykernel, jupytext"),
        ("report.ipynb", "html=True", "nbclient, nbformat, ipykernel, nbconvert"),
    ],
)
def test_packages_that_are_not_there_are_told_when_the_pipeline_is_described(
    project: LocalProject, monkeypatch: pytest.MonkeyPatch, file: str, options: str, missing: str
) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", str(project.root / "gone"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", project.root / ".venv"], check=True, env={})
    # What the project calls so is not the package.
    project.write("jupytext.py", "raise Exception('not this one')\n")
    project.write(file, book("1") if file.endswith("ipynb") else "# %%\n1\n")
    project.write("p.py", f"from toolkit import *\np = Pipeline(steps=[\n NotebookTask('a', '{file}', {options})])\n")
    assert project.run("p.py") == 2
    python = project.root / ".venv" / "bin" / "python"
    assert (
        f"p.py:3: the notebook step 'a' needs {missing}, and {python} lacks them: name {missing} in the project's requirements, "
        "and install it into the environment of that Python\n"
    ) in project.err
    # A step that is mocked needs nothing of it.
    project.write("toolkit.yaml", "executor: {type: mocked}\n")
    assert project.run("p.py") == 0, project.err


def test_a_step_tells_of_packages_that_its_image_lacks() -> None:
    with pytest.raises(Exception, match="this image lacks nowhere, neither: add them to the project's requirem"):
        notebook._find_libraries(("json", "nowhere", "neither"))


# --- text and HTML ----------------------------------------------------------------------------------------------------

PERCENT = """\
# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
# ---

# %% [markdown]
# # A fit

# %% tags=["parameters"]
rate = 1
name: str = "none"

# %%
# %precision 3
total = [rate * 2, name]
print(total)
"""
MARKDOWN = """\
# A fit

```python tags=["parameters"]
rate = 1
name: str = "none"
```

```python
total = [rate * 2, name]
print(total)
```
"""


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("report.py", PERCENT),
        ("report.md", MARKDOWN),
        (
            "report.Rmd",
            MARKDOWN.replace('python tags=["parameters"]', '{python tags=c("parameters")}').replace(
                "`python", "`{python}"
            ),
        ),
    ],
)
def test_a_notebook_that_is_text_is_the_same_step(project: LocalProject, file: str, text: str) -> None:
    # Given a notebook as text, beside modules of the project that have the libraries' names,
    project.write(f"nb/{file}", text)
    project.write("jupytext.py", "raise Exception('not this one')\n")
    project.write(
        "p.py", f"from toolkit import *\nNotebookJob('nb/{file}', name='step', returns=['total']).execute()\n"
    )
    # when it runs,
    attempt = project._last(project.run("p.py", "--param", "rate=21", "--param", "name=1.10"))
    # then it takes, returns and prints what an .ipynb would,
    assert attempt["output_parameters"] == {"total": [42, "1.10"]} and set(attempt["input_parameters"]) == {
        "rate",
        "name",
    }
    assert project.output() == b"[42, '1.10']\n"
    made = executed(project)
    assert [cell["cell_type"] for cell in made["cells"]] == ["markdown", "code", "code", "code"]
    assert made["metadata"]["kernelspec"]["language"] == "python" and "jupytext" not in made["metadata"]
    # and the same run makes the same notebook.
    project._last(project.run("p.py", "--param", "rate=21", "--param", "name=1.10"))
    assert executed(project) == made


def pages(project: LocalProject) -> dict[str, str]:
    """The files that the newest run's last step put, as text."""
    [*_, step] = project.show()["steps"]
    volumes = project.root / ".toolkit" / "volumes"
    return {
        put["name"]: next(volumes.glob(f"*/catalog/objects/*/{put['sha256']}")).read_text()
        for put in step["attempts"][-1]["catalog"]["put"]
    }


def test_a_notebook_as_html_lies_beside_it_without_secrets_also_when_a_cell_fails(project: LocalProject) -> None:
    project.write(".env", "KEY=s3cret<of>mine\n")
    table = "from IPython.display import HTML\nimport os\nHTML('<b>' + os.environ['KEY'] + '</b> of the table')"
    run(project, "secrets=['KEY'], html=True", table, "raise ValueError(os.environ['KEY'])", "'never ran'")
    made = pages(project)
    assert list(made) == ["report_out.html", "report_out.ipynb"]
    page = made["report_out.html"]
    assert "<title>report_out</title>" in page and "<b>***</b> of the table" in page and "never ran" in page
    assert "ValueError" in page and b"s3cret" not in project.volume()
    # It takes nothing from the network to show it, unless a cell has mathematics or a script that asks for it.
    assert "<script src=" not in page
    run(project, "html=True", "from IPython.display import Math\nMath('x^2')")
    assert pages(project)["report_out.html"].count("<script src=") == 1


def test_a_notebook_that_nbconvert_fails_on_is_kept_and_the_step_says_so(project: LocalProject) -> None:
    # nbconvert takes the title for text.
    bad = json.loads(book("print(1)"))
    bad["metadata"]["title"] = 5
    project.write("report.ipynb", json.dumps(bad))
    project.write("p.py", "from toolkit import *\nNotebookJob('report.ipynb', html=True).execute()\n")
    attempt = project._last(project.run("p.py"))
    assert attempt["status"] == "failed" and attempt["reason"].startswith(
        "nbconvert can't make report_out.html: 5 is not of type 'string'"
    )
    assert list(pages(project)) == ["report_out.ipynb"]
    # A failure of the notebook itself is the one that is told.
    bad["cells"][0]["source"] = "1 / 0"
    project.write("report.ipynb", json.dumps(bad))
    assert project._last(project.run("p.py"))["reason"] == "ZeroDivisionError: division by zero"
    assert b"nbconvert can't make report_out.html" in project.output() and list(pages(project)) == ["report_out.ipynb"]


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("{command: m.f, html: true}", "the python step 'a' has no notebook that could be made HTML"),
        ("{command_type: notebook, command: a.py, html: often}", "html is true or false, not the text 'often'"),
    ],
)
def test_what_can_not_be_html_is_refused(project: LocalProject, step: str, words: str) -> None:
    project.write("m.py", "def f(): pass\n")
    project.write("a.py", "# %%\n1\n")
    project.write("p.yaml", f"dag: {{start_at: a, steps: {{a: {step}}}}}\n")
    assert project.run("p.yaml") == 2 and words in project.err


def test_a_patch_of_a_notebook_may_have_another_form(project: LocalProject) -> None:
    project.write("report.ipynb", book("raise ValueError"))
    project.write("fake.md", "```python\nprint('fake')\n```\n")
    config = {"executor": {"type": "mocked", "config": {"patches": {"a": {"command": "fake.md"}}}}}
    project.write("toolkit.yaml", json.dumps(config))
    project.write("p.py", "from toolkit import *\np = Pipeline(steps=[NotebookTask('a', 'report.ipynb', html=True)])\n")
    assert project.run("p.py") == 0, project.err
    assert sorted(pages(project)) == ["fake_out.html", "fake_out.ipynb"]
    (project.root / "fake.md").unlink()
    assert project.run("p.py") == 2 and "there is no notebook fake.md" in project.err


def test_the_time_limit_ends_the_kernel_too_and_keeps_the_notebook(scratch: Scratch) -> None:
    # Given a notebook that would run for ever, with a program of its own beside it,
    scratch.environ["TOOLKIT_ENV"] = "process"
    marker = f"sleep 98{int(time.time() * 1000) % 1_000_000}"
    scratch.write(
        {
            "report.ipynb": book("print('begun')", f"import os\nos.system({marker!r})"),
            "pipeline.py": "from toolkit import *\nNotebookJob('report.ipynb', html=True).execute()\n",
        }
    )
    # when its time is up (a busy machine may take longer than the first limits to start a kernel),
    for limit in (5, 25, 125):
        config = f"{{max_step_duration_in_seconds: {limit}, grace_period_in_seconds: 20}}"
        scratch.write({"toolkit.yaml": f"executor: {{config: {config}}}\n"})
        result = scratch.toolkit("run", "pipeline.py")
        if "begun" in scratch.toolkit("logs").out:
            break
    # then nothing of it is left but what it had made.
    assert result.code == 1
    [attempt] = scratch.show()["steps"][0]["attempts"]
    assert attempt["reason"] == f"it ran longer than its time limit of {limit} s"
    assert [one["name"] for one in attempt["catalog"]["put"]] == ["report_out.html", "report_out.ipynb"]
    scratch.wait_for(lambda: subprocess.run(["pgrep", "-f", marker], stdout=subprocess.DEVNULL).returncode == 1)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("a = 1\nb: int = 2\nc: int", ["a", "b", "c"]),
        ("a, (b, *c) = d = x", ["a", "b", "c", "d"]),
        ("%time\n  !ls\na = 1", ["a"]),
        ("files = !ls\nhere: str = %pwd\nrest = 7 % 4", ["files", "here", "rest"]),
        ("def f(): inner = 1\nif True:\n    inner = 2\na = 1\na = 2", ["a"]),
        ("a.b = 1", ["a"]),
        ("", []),
    ],
)
def test_the_names_of_a_parameters_cell_are_what_it_assigns(source: str, names: list[str]) -> None:
    assert list(parameters_cell.names_of(source)) == names


def test_a_parameters_cell_says_what_help_lists() -> None:
    source = "a: Optional[str] = None\nb: 'float' = 0.5\nc = [1, {'d': 2}]\ne, f = 1, 2\ng = h()\ni = {[]: 1}\nj = {1}\nc: list"
    takes = parameters_cell.takes_of_cells([{"metadata": {"tags": ["parameters"]}, "source": source}])
    assert takes["names"] == list("abcefgij")
    assert takes["arguments"] == {
        "a": {"annotation": "Optional[str]", "default": None},
        "b": {"annotation": "float", "default": 0.5},
        "c": {"annotation": "list"},
        **{name: {} for name in "efgij"},
    }
    assert [name for name, is_text in parameters_cell.names_of(source).items() if is_text] == ["a"]


def test_the_interpreter_of_these_tests_can_run_notebooks() -> None:
    assert subprocess.run([sys.executable, "-c", "import nbclient, nbformat, ipykernel"]).returncode == 0


def test_a_notebook_that_two_branches_run_is_kept_once_for_each(project: LocalProject) -> None:
    project.write("report.ipynb", book(("parameters", "n = 0"), "total = n + 1"))
    project.write(
        "pipeline.py",
        HEAD + "p = Pipeline(steps=[\n"
        "  Parallel('both', branches={s: NotebookTask('step', 'report.ipynb', returns=['total'], bind={'n': {'value': len(s)}})\n"
        "    .as_pipeline() for s in ('a', 'bb')}),\n"
        "  ShellTask('reads', 'grep -q \"n = 2\" both-bb-step_out.ipynb', catalog=Catalog(get=['both-bb-step_out.ipynb']))])\n",
    )
    assert project.run("pipeline.py") == 0, project.err
    assert [(file["step"], file["name"]) for file in project.show("catalog")] == [
        ("both/a/step", "both-a-step_out.ipynb"),
        ("both/bb/step", "both-bb-step_out.ipynb"),
    ]
    assert "side by side" not in project.err
