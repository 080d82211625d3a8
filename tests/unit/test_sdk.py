"""The Python SDK: which pipeline of a file is meant, what can't be one, and that a script is the same run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.local_project import LocalProject
from toolkit.errors import BadInput

HEAD = (
    "import functools, os, sys\nfrom toolkit import *\nfrom toolkit import Catalog, Pipeline, PythonTask, ShellTask, Stub\n"
    "def f(): return 1\n"
)


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    return LocalProject(tmp_path)


def refused(project: LocalProject, text: str, name: str = "") -> BadInput:
    project.write("pipeline.py", HEAD + text)
    with pytest.raises(BadInput) as caught:
        project.plan(f"pipeline.py{name}")
    return caught.value


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("Pipeline(steps=[PythonTask(lambda: 1)])", 5, "a lambda can't be a step"),
        (
            "def g():\n    def h(): pass\n    return h\nPipeline(steps=[\n  PythonTask(g())])",
            9,
            "g.h is nested in another",
        ),
        ("p = Pipeline(steps=[PythonTask(functools.partial(f))])", 5, "has no name at module level"),
        ("p = Pipeline(steps=[PythonTask(3)])", 5, "function takes a function, not 3"),
        ("class C:\n    def m(self): pass\np = Pipeline(steps=[PythonTask(C().m)])", 7, "C.m can't be found again"),
        ("g = f\ndef f(): return 2\np = Pipeline(steps=[PythonTask(g)])", 7, "f can't be found again"),
        ("p = Pipeline(steps=[Stub('a'),\n  Stub('a')])", 6, "two steps are named 'a' (the other is at pipeline.py:5)"),
        ("p = Pipeline(steps=[Stub('caf\\u00e9'), Stub('cafe\\u0301')])", 5, "two steps are named 'café'"),
        ("p = Pipeline(steps=[])", None, "the pipeline has no steps"),
        ("p = Pipeline(steps=Stub('a'))", 5, "takes a list of steps"),
        ("p = Pipeline(steps=[f])", 5, "takes a list of steps"),
        (
            "def rows(): yield 1\np = Pipeline(steps=[PythonTask(rows)])",
            6,
            "rows (pipeline.py:5) has a yield, so that a call",
        ),
        ("async def rows(): yield 1\np = Pipeline(steps=[PythonTask(rows)])", 6, "rows (pipeline.py:5) has a yield"),
        ("class C:\n  @staticmethod\n  def m(): yield\np = PythonJob(C.m)", 8, "C.m (pipeline.py:6) has a yield"),
        ("class C:\n  @classmethod\n  def m(cls): yield\np = PythonJob(C.m)", 8, "C.m (pipeline.py:6) has a yield"),
        (
            "import contextlib\n@contextlib.contextmanager\ndef s(): yield\np = PythonJob(s)",
            8,
            "s (pipeline.py:6) is a context",
        ),
        (
            "import contextlib\n@contextlib.asynccontextmanager\nasync def s(): yield\np = PythonJob(s)",
            8,
            "is a context man",
        ),
        (
            "def r(v): yield 1\np = Map('m', Stub('a').as_pipeline(), 'l', 'i', r).as_pipeline()",
            6,
            "r (pipeline.py:5) has a",
        ),
        ("@pipeline\ndef p():\n  yield task(f)()", 5, "the driver p is an async function or has a yield"),
        ("@pipeline\nasync def p():\n  task(f)()", 5, "the driver p is an async function or has a yield"),
        (
            "if __name__ == '__main__':\n    def g(): pass\n    p = Pipeline(steps=[PythonTask(g)])\n    p.execute()",
            7,
            'the function g is defined under `if __name__ == "__main__"` (line 6), which a step does not run',
        ),
        (
            "if '__main__' == __name__ and sys.argv:\n  with open(os.devnull):\n    class G:\n"
            "      @staticmethod\n      def g(): pass\n"
            "p = Pipeline(steps=[PythonTask(G.g)])",
            10,
            "the function G.g is defined under",
        ),
        (
            "if __name__ == '__main__':\n  f = functools.wraps(f)(f)\np = PythonJob(f)",
            7,
            "(line 6), which a step does not",
        ),
        ("if not __name__ != '__main__':\n  def f(): return 2\np = PythonJob(f)", 7, "(line 6), which a step does not"),
        (
            "def g(v): pass\nif __name__ == '__main__':\n  def g(v): pass\n"
            "p = Map('m', Stub('a').as_pipeline(), 'l', 'i', g).as_pipeline()",
            8,
            "the function g is defined under",
        ),
        (
            "def g(): return h()\ndef h(): return RATE\nif __name__ == '__main__':\n  RATE = 3\np = PythonJob(g)",
            9,
            'the function g uses RATE, which is only set under `if __name__ == "__main__"` (line 8)',
        ),
        ("p = Pipeline(steps=[Stub('a/b')])", 5, "'/'"),
        ("p = Pipeline(steps=[Stub('x' * 201)])", 5, "at most 200 characters"),
        ("p = Pipeline(steps=[Stub(5)])", 5, "a step's name is text"),
        ("p = Pipeline(steps=[PythonTask(f, returns='x')])", 5, "is a list of names, not 'x'"),
        ("p = Pipeline(steps=[PythonTask(f, returns=['x', 'x'])])", 5, "returns x twice"),
        ("p = Pipeline(steps=[PythonTask(f, returns=['a-b'])])", 5, "can't be a parameter's name"),
        ("p = Pipeline(steps=[PythonTask(f, secrets='key')])", 5, "takes a list of names"),
        ("p = Pipeline(steps=[PythonTask(f, catalog=['x'])])", 5, "is a Catalog("),
        ("p = Pipeline(steps=[PythonTask(f, catalog=Catalog(put='x'))])", 5, "takes a list of names"),
        ("p = Pipeline(steps=[PythonTask(f, catalog=Catalog(put=['../x']))])", 5, "leads out of the step's folder"),
        ("p = Pipeline(steps=[PythonTask(f, catalog=Catalog(get=['/x']))])", 5, "is absolute"),
        ("p = Pipeline(steps=[PythonTask(f, bind={'a': 'b'})])", 5, "binds a, which its function does not take"),
        ("def g(a): pass\np = Pipeline(steps=[PythonTask(g, bind={'a': 'no.b'})])", 6, "'no', which does not exist"),
        ("def g(a): pass\np = Pipeline(steps=[PythonTask(g, bind={'a': 5})])", 6, "is bound to 5"),
        ("def g(a): pass\np = Pipeline(steps=[PythonTask(g, bind={'a': {'value': {1}}})])", 6, "JSON can't"),
        (
            "def g(a): pass\np = Pipeline(steps=[PythonTask(f), PythonTask(g, bind={'a': 'f.x'})])",
            6,
            "does not return it",
        ),
        ("p = Pipeline(steps=[ShellTask('s', ' ')])", 5, "has no command"),
        ("p = Pipeline(steps=[ShellTask('s', 'x', returns=[pickled('o')])])", 5, "can't return the object o"),
        ("p = Pipeline(steps=[\n  Pipeline(steps=[Stub('a')])])", 6, "a step of another needs a name"),
        (
            "p = Pipeline(steps=[Stub('a')],\n  on_failure=Stub('b').as_pipeline())",
            5,
            "is not a step of another pipeline",
        ),
        (
            "q = Pipeline(steps=[Stub('a')], on_failure=Stub('b').as_pipeline())\np = Parallel('x', {'one': q}).as_pipeline()",
            5,
            "is not a step of another pipeline",
        ),
        (
            "p = Pipeline(steps=[Parallel('x', {'one': Stub('a')})])",
            5,
            "the branch one of the step x is a Pipeline or a driver",
        ),
        ("p = Pipeline(steps=[Parallel('x', [Stub('a')])])", 5, "is a dict of names and pipelines"),
        ("p = Parallel('x', {}).as_pipeline()", 5, "the step 'x' has no branches"),
        ("p = Pipeline(steps=[PythonTask(f, on_failure=Stub('a'))])", 5, "not <toolkit.sdk.steps.Stub"),
        (
            "p = Pipeline(steps=[PythonTask(f, max_attempts=0)])",
            5,
            "max_attempts of the step 'f' must be a whole number of at least 1",
        ),
        (
            "p = Pipeline(steps=[PythonTask(f, terminate_with_success=True,\n  terminate_with_failure=True)])",
            5,
            "sets both terminate_with_success and terminate_with_failure",
        ),
        (
            "p = Map('m', Stub('a').as_pipeline(), 'l', 'i', lambda values: 1).as_pipeline()",
            5,
            "a lambda can't be a reducer",
        ),
        (
            "p = Map('m', Stub('a').as_pipeline(), 'l', 'i', 'lambda *x: 1').as_pipeline()",
            5,
            "a lambda can't be a reducer",
        ),
        (
            "p = Map('m', Stub('a').as_pipeline(), 'l', 'i', 'mean').as_pipeline()",
            5,
            "one of list, sum, max, min, last",
        ),
        ("p = Map('m', Stub('a').as_pipeline(), 'l', 'i', 'nowhere.f').as_pipeline()", 5, "there is no module nowhere"),
        ("p = Map('m', Stub('a').as_pipeline(), 'l', 'i', 5).as_pipeline()", 5, "reducer takes a function, not 5"),
        (
            "g = f\ndef f(): return 2\np = Map('m', Stub('a').as_pipeline(), 'l', 'i', g).as_pipeline()",
            7,
            "f can't be found again",
        ),
        (
            "p = Map('m', Stub('a').as_pipeline(), 'l', 'i', concurrency=0).as_pipeline()",
            5,
            "concurrency of the step 'm'",
        ),
        ("p = Loop('m', Stub('a').as_pipeline(), 'many', 'x').as_pipeline()", 5, "max_iterations of the step 'm'"),
        ("Stub('a')()", 5, "a step is called inside a driver"),
        (
            "import asyncio\nasync def all_of(p):\n  async for event in p.execute_streaming(): pass\n"
            "asyncio.run(all_of(AsyncPipeline(steps=[])))",
            None,
            "the pipeline has no steps",
        ),
        ("p = Pipeline(steps=[PythonTask('nowhere.f')])", 5, "there is no module nowhere"),
        ("p = Pipeline(steps=[PythonTask(f, overrides={'argo': 'x'})])", 5, "asks for the override 'x'"),
    ],
)
def test_what_can_not_be_a_pipeline_is_bad_input_with_its_line(
    project: LocalProject, text: str, line: int | None, message: str
) -> None:
    project.write("toolkit.yaml", "executor:\n  type: argo\n")
    error = refused(project, text)
    assert message in error.message
    assert error.where == ("pipeline.py" if line is None else f"pipeline.py:{line}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no pipeline"),
        ("Pipeline(steps=[Stub('a')])", "has no pipeline"),
        ("p = Pipeline(steps=[Stub('a')])\nq = Pipeline(steps=[Stub('a')])", r"name one as pipeline.py:NAME (p, q)"),
        (
            "p = Pipeline(steps=[Stub('a')])\np.execute()\np.execute()",
            "executes 2 pipelines: name one as pipeline.py:NAME",
        ),
        ("sys.exit(3)", "ended with 3 before it called execute()"),
        ("sys.exit('no luck')", "ended with no luck before it called execute()"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def (", "SyntaxError"),
        ("os._exit(0)", "ended the interpreter (exit code 0)"),
        ("os._exit(3)", "ended the interpreter (exit code 3)"),
        ("os.kill(os.getpid(), 9)", "ended the interpreter"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("class E(Exception):\n    def __str__(self): raise ValueError\nraise E", "E"),
        ("os.environ['SECRET']", "KeyError: 'SECRET'"),
    ],
)
def test_a_file_without_one_pipeline_is_bad_input(project: LocalProject, text: str, message: str) -> None:
    assert message in str(refused(project, text))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (":nowhere", "has nothing named nowhere"),
        (":f.nowhere", "has nothing named f.nowhere"),
        (":takes", "takes takes arguments"),
        (":f", "f is a int and not a pipeline"),
        (":number", "number is a int and not a pipeline"),
        (":Pipeline", "Pipeline is a type and not a pipeline"),
    ],
)
def test_a_name_that_is_no_pipeline_is_bad_input(project: LocalProject, name: str, message: str) -> None:
    assert message in str(refused(project, "number = 3\ndef takes(x): pass\n", name))


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        (":one", ["a"]),
        (":two", ["b"]),
        (":made", ["c"]),
        (":driven", ["f"]),
        (":Of.three", ["d"]),
        (":defaulted", ["e"]),
    ],
)
def test_a_name_may_be_a_pipeline_a_driver_or_a_callable(project: LocalProject, name: str, steps: list[str]) -> None:
    # Given a file that executes more than one and holds others,
    project.write(
        "pipeline.py",
        HEAD + "one = Pipeline(steps=[Stub('a')])\ntwo = Pipeline(steps=[Stub('b')])\n"
        "def made(): return Pipeline(steps=[Stub('c')])\ndef defaulted(name='e'): return Pipeline(steps=[Stub(name)])\n"
        "class Of:\n    three = Pipeline(steps=[Stub('d')])\n"
        "step = task(f)\n@pipeline\ndef driven(): step()\n"
        "one.execute()\ntwo.execute()\n",
    )
    # when one is named, then it is that one.
    assert [step.path for step in project.plan(f"pipeline.py{name}").steps] == steps


@pytest.mark.parametrize(
    "text",
    [
        "p = Pipeline(steps=[Stub('a')])",
        "p = q = Pipeline(steps=[Stub('a')])",
        "Pipeline(steps=[Stub('a')]).execute()",
        "if __name__ == '__main__':\n    Pipeline(steps=[Stub('a')]).execute()",
        "p = Pipeline(steps=[Stub('a')])\np.execute()\nsys.exit(0)",
        "print('on standard output')\np = Pipeline(steps=[Stub('a')])",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\np = Pipeline(steps=[Stub('a')])",
        "p = Pipeline(steps=[Stub('a')])\nassert sys.argv == [os.path.abspath(__file__)] and __name__ == '__main__'",
    ],
)
def test_the_one_pipeline_of_a_file_needs_no_name(project: LocalProject, text: str) -> None:
    project.write("pipeline.py", HEAD + text)
    assert [step.path for step in project.plan("pipeline.py").steps] == ["a"]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("missing.py", "this file does not exist"),
        ("pipeline.txt", "is no pipeline: name a .py or .yaml file"),
        ("pipeline", "is no pipeline"),
        ("fit.ipynb", "NotebookJob('fit.ipynb').execute() in a .py file runs it alone"),
        ("folder.py", "this file does not exist"),
        ("../pipeline.py", "lies outside the project"),
        ("pipeline.yaml:name", "holds one pipeline: leave out :name"),
    ],
)
def test_a_reference_that_is_no_pipeline_is_bad_input(tmp_path: Path, reference: str, message: str) -> None:
    project = LocalProject(tmp_path / "project")
    project.write("toolkit.yaml", "")
    project.write("pipeline.txt", "")
    project.write("pipeline.yaml", "")
    project.write("folder.py/x", "")
    project.write("../pipeline.py", HEAD + "p = Pipeline(steps=[Stub('a')])")
    assert project.run(reference, "--config", "toolkit.yaml") == 2
    assert message in project.err


# --- a script ---------------------------------------------------------------------------------------------------------


def script(project: LocalProject, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TOOLKIT_")}
    return subprocess.run(
        [sys.executable, "pipeline.py", *arguments],
        cwd=project.root,
        env={**kept, "TOOLKIT_ENV": "process", **environ},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def test_a_script_is_the_same_run_and_honours_its_variables(project: LocalProject) -> None:
    # Given a script that says something before and after, and chooses by its own argument,
    project.write(
        "pipeline.py",
        HEAD + "def g(x): return x\n\nif __name__ == '__main__':\n    print('before')\n"
        "    p = Pipeline(name='own', steps=[PythonTask(g, returns=[sys.argv[1]])])\n"
        "    p.execute(tag='tagged')\n    print('after')\n",
    )
    project.write("parameters.yaml", "x: [1, two]\n")
    project.write("other.yaml", "executor:\n  type: local\n")
    # when it is run with the variables that stand in for options,
    done = script(
        project, "y", TOOLKIT_RUN_ID="chosen", TOOLKIT_PARAMETERS_FILE="parameters.yaml", TOOLKIT_CONFIG="other.yaml"
    )
    # then it is that run, and goes on after it.
    assert done.returncode == 0, done.stderr
    assert done.stdout == "before\nafter\n"
    run = project.show("show", "chosen", "--config", "other.yaml")
    assert (run["environment"], run["pipeline"], run["tag"]) == ("process", "own", "tagged")
    assert run["parameters"] == {"x": [1, "two"], "y": [1, "two"]}
    assert "TOOLKIT_ENV" in done.stderr.splitlines()[0]
    # And once more it is refused, because the id is taken.
    again = script(project, "y", TOOLKIT_RUN_ID="chosen", TOOLKIT_PARAMETERS_FILE="parameters.yaml")
    assert again.returncode == 2 and "there is a run chosen already" in again.stderr


@pytest.mark.parametrize(
    ("text", "environ", "code", "message"),
    [
        ("def g(): raise KeyError('mine')\nPipeline(steps=[PythonTask(g)]).execute()", {}, 1, "KeyError: 'mine'"),
        (
            "def g(x): pass\nPipeline(steps=[PythonTask(g)]).execute()",
            {},
            2,
            "takes x, which no step before it returns",
        ),
        ("Pipeline(steps=[Stub('a')]).execute()", {"TOOLKIT_ENV": "moon"}, 2, "moon"),
        ("Pipeline(steps=[Stub('a')]).execute()", {"TOOLKIT_RUN_ID": "No"}, 2, "can't be a run id"),
        ("Pipeline(steps=[Stub('a')]).execute(run_id='No')", {}, 2, "can't be a run id"),
        ("Pipeline(steps=[Stub('a')]).execute()", {"TOOLKIT_PARAMETERS_FILE": "no.yaml"}, 2, "no.yaml"),
        ("Pipeline(steps=[Stub('a')]).execute(configuration_file='no.yaml')", {}, 2, "no.yaml"),
    ],
)
def test_a_script_ends_with_the_same_exit_codes(
    project: LocalProject, text: str, environ: dict[str, str], code: int, message: str
) -> None:
    project.write("pipeline.py", HEAD + text + "\nprint('after')\n")
    done = script(project, **environ)
    assert done.returncode == code, done.stderr
    assert message in done.stderr and "after" not in done.stdout
    assert "toolkit/run" not in done.stderr


def test_a_script_that_executes_twice_makes_two_runs(project: LocalProject) -> None:
    project.write(
        "pipeline.py", HEAD + "for name in ('one', 'two'):\n    Pipeline(name=name, steps=[Stub(name)]).execute()\n"
    )
    done = script(project)
    assert done.returncode == 0, done.stderr
    assert [run["pipeline"] for run in project.show("runs")] == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("inner = Pipeline(steps=[Stub('a')])\np = Parallel('x', {'one': inner}).as_pipeline()",
         {"x": "parallel", "x/one/a": "stub"}),
        ("inner = Pipeline(name='i', steps=[Stub('a')])\np = Pipeline(steps=[inner, Nested('j', inner)])",
         {"i": "pipeline", "i/a": "stub", "j": "pipeline", "j/a": "stub"}),
        ("h = Stub('h').as_pipeline()\np = Pipeline(steps=[PythonTask(f, on_failure=h)])",
         {"f": "task", "f/on_failure/h": "stub"}),
        ("h = Stub('h').as_pipeline()\ni = Pipeline(name='i', steps=[Stub('a')], on_failure=h)\np = Pipeline(steps=[i])",
         {"i": "pipeline", "i/a": "stub", "i/on_failure/h": "stub"}),
        ("step = task(f)\n@pipeline\ndef inner(): step()\n@pipeline\ndef main(): inner()",
         {"inner": "pipeline", "inner/f": "task"}),
        ("p = Pipeline(steps=[Success(), Fail('b')])", {"success": "stub success", "b": "stub failure"}),
        ("p = Pipeline(steps=[Stub('a', command='x', terminate_with_failure=True)])", {"a": "stub failure"}),
        ("p = Pipeline(steps=[AsyncPythonTask(f, terminate_with_success=True)])", {"f": "task success"}),
        ("j = PythonJob(f, returns=['x'])", {"f": "task"}),
        ("ShellJob('true', max_attempts=3).execute(job_id='x')", {"shell": "task"}),
        ("import asyncio\np = AsyncPipeline(steps=[Stub('a')])\nasyncio.run(p.execute())", {"a": "stub"}),
        ("class T:\n    @classmethod\n    def r(cls, values): return 1\n"
         "p = Map('m', Stub('a').as_pipeline(), 'l', 'i', T.r).as_pipeline()", {"m": "map", "m/*/a": "stub"}),
        ("p = Map('m', Stub('a').as_pipeline(), 'l', 'i', max).as_pipeline()", {"m": "map", "m/*/a": "stub"}),
        ("p = Map('m', Stub('a').as_pipeline(), 'l', 'i', 'statistics.mean').as_pipeline()", {"m": "map", "m/*/a": "stub"}),
    ],
)  # fmt: skip
def test_every_kind_of_step_is_described(project: LocalProject, text: str, rows: dict[str, str]) -> None:
    project.write("pipeline.py", HEAD + text)
    assert {one.path: f"{one.type} {one.ends}".strip() for one in project.plan("pipeline.py").steps} == rows


def test_what_a_step_finds_is_not_refused_for_what_is_below_the_guard(project: LocalProject) -> None:
    project.write(
        "pipeline.py",
        HEAD + "DEBUG = False\n"
        "def g(): return DEBUG, os.sep\n"
        "def h():\n    if __name__ == '__main__': print(args)\n"
        "if __name__ != '__main__':\n    def only(): pass\nelse:\n    DEBUG = True\n    args = sys.argv\n"
        "    from functions import other\n"
        "    Pipeline(steps=[PythonTask(g), PythonTask(h), PythonTask(other)]).execute()\n",
    )
    project.write("functions.py", "def other(): pass\n")
    assert [step.path for step in project.plan("pipeline.py").steps] == ["g", "h", "other"]


def test_names_and_steps_may_come_from_generators(project: LocalProject) -> None:
    project.write(
        "pipeline.py",
        HEAD + "names = ['a', 'b']\ndef each(): return (n for n in names)\n"
        "p = Pipeline(steps=(PythonTask(f, n, returns=each(), secrets=each(), catalog=Catalog(get=each(), put=each())) "
        "for n in names))\n",
    )
    plan = project.plan("pipeline.py")
    assert [step.path for step in plan.steps] == ["a", "b"]
    for row in plan.document()["steps"]:
        assert (
            [returned["name"] for returned in row["returns"]] == row["secrets"] == row["catalog"]["put"] == ["a", "b"]
        )
        assert [got["key"] for got in row["catalog"]["get"]] == ["a", "b"]


def test_a_reducer_is_found_again_by_its_name_and_file(project: LocalProject) -> None:
    project.write("01-x/pipeline.py", HEAD + "def r(values): return 1\n"
                  "p = Map('m', Stub('a').as_pipeline(), 'l', 'i', r).as_pipeline()")  # fmt: skip
    inside = project.plan("01-x/pipeline.py").steps[0].inside
    assert inside is not None and not isinstance(inside.reducer, str) and inside.reducer is not None
    assert (inside.reducer.module, inside.reducer.qualname) == ("pipeline", "r")


def test_a_script_may_be_a_job_or_await_its_pipeline(project: LocalProject) -> None:
    project.write(
        "pipeline.py",
        HEAD + "if __name__ == '__main__':\n    PythonJob(f, returns=['x']).execute()\n    print('after')",
    )
    assert script(project).stdout == "after\n"
    assert project.show()["parameters"] == {"x": 1}
    project.write(
        "pipeline.py",
        HEAD + "import asyncio\np = AsyncPipeline(steps=[PythonTask(f, returns=['y'])])\n"
        "async def main():\n    await p.execute()\n    print('after')\n    async for event in p.execute_streaming(): pass\n"
        "if __name__ == '__main__':\n    asyncio.run(main())\n",
    )
    done = script(project)
    assert done.stdout == "after\n" and project.show()["parameters"] == {"y": 1}
    assert done.returncode == 1 and "execute_streaming() is not supported" in done.stderr


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("timeout=3", "the map 'm' takes no option 'timeout': give it to the tasks inside"),
        ("overrides='large'", "the map 'm' takes no option 'overrides': give it to the tasks inside"),
        ("iterate='xs'", "the map 'm' takes no option 'iterate' (it takes name, branch, iterate_on"),
        ("keep_failure='no'", "keep_failure of the step 'm' is True or False, not 'no'"),
    ],
)
def test_what_a_composite_does_not_take_is_refused_in_a_sentence(tmp_path: Path, option: str, sentence: str) -> None:
    project = LocalProject(tmp_path)
    text = f"Map('m', s, iterate_on='xs', iterate_as='x', on_failure=s, {option})"
    project.write(
        "p.py", f"from toolkit import Map, Pipeline, Stub\ns = Stub('s').as_pipeline()\np = Pipeline([{text}])\n"
    )
    with pytest.raises(BadInput) as refused:
        project.model("p.py")
    assert str(refused.value).startswith(f"p.py:3: {sentence}")
