"""What a run can be given: names that nothing takes, values that can't be right, declared parameters, and ``run --help``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.local_project import LocalProject

FUNCTIONS = """\
import enum
from typing import Literal, Optional

class Colour(enum.Enum):
    RED = "red"

def train(n: int = 3, flag: bool = False, names: Optional[list[str]] = None, colour: Colour = Colour.RED): return n
def one(x: int, word="w"): return x
def everything(**parameters): return parameters
def use(m): pass
def choose(mode: Literal["true", "auto"], fold: Literal["1", "2"]): assert (mode, fold) == ("true", "1")
def is_text(text: Optional[str]): assert type(text) is str, text
"""
HEAD = "import functions as f\nfrom toolkit import *\n"
TRAIN = "PythonTask(f.train, returns=['m'])"
TEXT = "PythonTask(f.is_text)"
KEYED = "PythonTask(f.use, bind={'m': {'value': 1}}, catalog=Catalog(put=['{tag}/m.txt']))"
MAP = "Map('all', branch=PythonTask(f.one).as_pipeline(), iterate_on='xs', iterate_as='x')"
CHOICE = (
    "Conditional('how', 'mode', {'a': PythonTask(f.one, name='in a').as_pipeline(), 'b': Stub('in b').as_pipeline()})"
)


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    found = LocalProject(tmp_path)
    found.write("functions.py", FUNCTIONS)
    return found


def write(project: LocalProject, *steps: str, options: str = "") -> None:
    project.write("pipeline.py", f"{HEAD}p = Pipeline([{', '.join(steps)}]{options})\n")


def given(*options: str) -> list[str]:
    return [word for option in options for word in ("--param", option)]


@pytest.mark.parametrize(
    ("steps", "options", "message"),
    [
        ([TRAIN], ["N=4"], "--param N: nothing in this pipeline takes N (did you mean 'n'?): it takes n, flag, names and colour"),
        ([TRAIN, "PythonTask(f.use)"], ["m=4"], "nothing in this pipeline takes m"),
        ([MAP], ["xs=[1]", "x=4"], "nothing in this pipeline takes x"),
        (["PythonTask(f.train, bind={'n': 'trees'})"], ["n=4"], "nothing in this pipeline takes n: it takes trees"),
        (["PythonTask(f.use, bind={'m': {'value': 1}})"], ["m=4"], "nothing in this pipeline takes m: it takes no parameters"),
        (["PythonTask(f.use, bind={'m': 'trees'})"], [], "give it with --param trees=…"),
        ([TRAIN, CHOICE], ["mode=a"], "give it with --param x=…"),
        (["NotebookTask('book', 'book.ipynb')"], ["rat=4"], "did you mean 'rate'?"),
        ([TRAIN], ["flag=maybe"], 'the parameter flag can\'t be bool, as the step \'train\' takes it: it is "maybe"'),
        ([TRAIN], ["n=1.50"], "it is 1.5, which is no int"),
        ([KEYED], ["tag=[1]"], "names tag, which is a list ([1]): only text and numbers can be part of a key"),
        ([KEYED], ["tag=.."], "the step 'use': the catalog key '../m.txt' leads out of the step's folder"),
        (["PythonTask(f.use, catalog=Catalog(get=['{m}.txt']))"], ["m=null"], "names m, which is null"),
        ([TRAIN], ["names=5"], "the parameter names can't be list[str] | None"),
        ([TRAIN], ["colour=blue"], 'the parameter colour can\'t be one of "red"'),
        (["PythonTask(f.train, bind={'n': 'trees'})"], ["trees=x"], "as the step 'train' takes it under the name n"),
        (["PythonTask(f.train, bind={'n': {'value': 'x'}})"], [], 'it is "x", which is no int'),
        ([TRAIN, MAP], ["xs=5"], "the map all iterates on xs, which is no list but 5"),
        ([TRAIN, MAP], ["xs=[1, true]"], "the parameter x can't be int, as the step 'all/*/one' takes it: xs[1] is true"),
        ([TRAIN, CHOICE], ["mode=c", "x=1"], 'the conditional how has no branch for mode = "c": it has a, b'),
        ([TRAIN, CHOICE], ["mode=a", "x=z"], "the parameter x can't be int, as the step 'how/a/in a' takes it"),
        (
            ["Loop('again', PythonTask(f.use).as_pipeline(), max_iterations=2, break_on='done')"],
            ["m=1", "done=maybe"],
            "neither true nor false",
        ),
    ],
)  # fmt: skip
def test_what_can_not_be_right_is_refused_before_anything_starts(
    project: LocalProject, steps: list[str], options: list[str], message: str
) -> None:
    book = {"cells": [{"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": ["%time\n", "rate = 1\n"]}]}
    project.write("book.ipynb", json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, **book}))
    write(project, *steps)
    assert project.run("pipeline.py", *given(*options)) == 2, project.err
    assert message in project.err
    assert project.toolkit("runs") == 0 and "train" not in project.out


@pytest.mark.parametrize(
    ("steps", "options"),
    [
        # What the step itself takes,
        ([TRAIN], ['n="3"', "flag=yes", 'names=["1.10", 2]', "colour=red"]),
        ([TRAIN], ["names=null"]),
        ([TEXT], ['text={"a": 1}']),
        ([TEXT], ["text=[1, 2]"]),
        (["PythonTask(f.choose)"], ["mode=true", "fold=1"]),
        (["ShellTask('put', 'mkdir 1.10; touch 1.10/a', catalog=Catalog(put=['{tag}/*']))"], ["tag=1.10"]),
        # a branch that is not taken, and one that no item runs,
        ([TRAIN, CHOICE], ["mode=b", "x=z"]),
        ([TRAIN, CHOICE], ["mode=b"]),
        ([MAP], ["xs=[]", "word=2"]),
        # a value that a step returns under the same name,
        ([TRAIN, "PythonTask(f.one, bind={'x': 'm'})"], []),
        # and any name where a step takes everything, or where there is no step yet.
        ([TRAIN, "PythonTask(f.everything)"], ["other=1"]),
        ([TRAIN, "ShellTask('shell', 'test $other = 1')"], ["other=1"]),
        (["Stub('one')"], ["other=1"]),
    ],
)
def test_what_a_step_would_take_is_not_refused(project: LocalProject, steps: list[str], options: list[str]) -> None:
    write(project, *steps)
    assert project.run("pipeline.py", *given(*options)) == 0, project.err


def test_a_failure_that_a_handler_waits_for_is_left_to_the_run(project: LocalProject) -> None:
    handled = CHOICE[:-1] + ", on_failure=Stub('else').as_pipeline())"
    write(project, handled)
    assert project.run("pipeline.py", *given("mode=c", "x=1")) == 0, project.err


def test_a_file_may_hold_what_nothing_takes(project: LocalProject) -> None:
    write(project, TRAIN)
    project.write("p.yaml", "n: 4\nother: 1\nmore: 2\n")
    assert project.run("pipeline.py", "-p", "p.yaml") == 0, project.err
    assert (
        "other and more are given by a file or the environment, and nothing in this pipeline takes them" in project.err
    )
    assert project.run("pipeline.py", "-p", "p.yaml", *given("other=1")) == 2


def test_mocked_steps_take_what_they_stand_for(project: LocalProject) -> None:
    write(project, TRAIN)
    project.write("toolkit.yaml", "executor: {type: mocked}\n")
    assert project.run("pipeline.py", *given("n=4")) == 0, project.err
    assert project.run("pipeline.py", *given("N=4")) == 2 and "did you mean 'n'?" in project.err


DECLARED = (
    ", parameters=[Parameter('n', int, default=5, description='trees'), Parameter('flag', bool), "
    "Parameter('names', default=None)]"
)


def test_declared_parameters_are_all_that_there_is_and_retry_keeps_them(project: LocalProject) -> None:
    write(project, TRAIN, "ShellTask('tell', 'echo $n $flag $colour; false')", options=DECLARED)
    assert project.run("pipeline.py") == 2
    assert "declares the parameter flag without a default" in project.err and "--param flag=…" in project.err
    assert project.run("pipeline.py", *given("flag=no", "colour=red")) == 2
    assert (
        "the step 'train' takes colour, but the pipeline does not declare it: it declares n, flag and names"
        in project.err
    )
    project.write("p.json", '{"flag": "no", "colour": "red"}')
    assert project.run("pipeline.py", "-p", "p.json", "--run-id", "r") == 1
    shown = project.show()
    assert Path(shown["steps"][1]["attempts"][0]["log"]).read_text() == "5 false\n"
    assert {name: shown["parameters"][name] for name in ("n", "flag", "names")} == {
        "n": 5,
        "flag": False,
        "names": None,
    }
    # The same again is what the run has, as what it became there.
    assert project.toolkit("retry", "r", "-p", "p.json", *given("flag=0", "n=5.0")) == 1, project.err
    assert "colour is given by a file, and the run r does not have it" in project.err
    assert project.toolkit("retry", "r", *given("flag=yes")) == 2 and "flag is false there" in project.err
    # Another default is no reason to change a run that exists.
    write(project, TRAIN, "ShellTask('tell', 'echo $n $flag')", options=DECLARED.replace("5", "6"))
    assert project.toolkit("retry", "r") == 0, project.err
    assert project.show()["parameters"]["n"] == 5


@pytest.mark.parametrize("words", [["--n", "4"], ["--n=4"], ["n=4"], ["--param", "flag=no", "n=4"]])
def test_a_parameter_that_is_given_like_an_option_is_told_how(project: LocalProject, words: list[str]) -> None:
    write(project, TRAIN)
    # And --n is no other option's beginning, such as that of --namespace.
    assert project.run("pipeline.py", *words) == 2
    assert "a parameter is given with --param n=…" in project.err
    assert project.run("pipeline.py", "-n", "4") == 2 and "given with" not in project.err


@pytest.mark.parametrize(
    ("words", "how"),
    [
        (["--param", "n", "4"], "--param n=4"),
        (["-p", "n", "4"], "--param n=4"),
        (["-p", "n=4"], "-p takes a file, and a parameter is given with --param NAME=VALUE"),
    ],
)
def test_a_parameter_that_is_given_as_to_another_tool_is_told_how(
    project: LocalProject, words: list[str], how: str
) -> None:
    write(project, TRAIN)
    assert project.run("pipeline.py", *words) == 2
    assert how in project.err


def test_a_step_that_takes_what_is_not_declared_is_named(project: LocalProject) -> None:
    write(project, TRAIN, "PythonTask(f.one)", options=", parameters=[Parameter('n', int, default=5)]")
    assert project.run("pipeline.py") == 2
    assert "the step 'one' takes x" in project.err and "does not declare: declare it" in project.err
    assert project.run("pipeline.py", *given("x=1")) == 2
    assert "the step 'one' takes x, but the pipeline does not declare it" in project.err
    assert project.err.rstrip().endswith(": it declares n")


def test_a_declared_float_may_be_a_number_that_json_does_not_have(project: LocalProject) -> None:
    write(project, "ShellTask('tell', 'test $rate = nan')", options=", parameters=[Parameter('rate', float)]")
    assert project.run("pipeline.py", *given("rate=nan")) == 0, project.err


def test_help_of_a_pipeline_lists_what_it_can_be_given(project: LocalProject) -> None:
    write(project, TRAIN, "PythonTask(f.use)", options=DECLARED)
    assert project.toolkit("run", "pipeline.py", "--env", "process", "--help") == 0, project.err
    rows = [line.split() for line in project.out.splitlines()]
    assert ["NAME", "TYPE", "DEFAULT", "TAKEN", "BY", "DESCRIPTION"] in rows
    assert ["n", "int", "5", "train", "trees"] in rows
    assert ["flag", "bool", "required", "train"] in rows
    write(project, TRAIN, MAP, CHOICE)
    assert project.toolkit("run", "pipeline.py", "--env", "process", "-h") == 0
    lines = [" ".join(line.split()) for line in project.out.splitlines()]
    assert (
        "n int 3 train" in lines
        and "xs required all (iterates on it)" in lines
        and 'word "w" all/*/one, how/a/in a' in lines
    )
    assert not any(line.startswith("m ") for line in lines)
    write(project, "Stub('one')")
    assert project.toolkit("run", "pipeline.py", "--env", "process", "-h") == 0 and "takes no parameters" in project.out
    # And the mistakes of a command line stay what they are.
    assert project.toolkit("run", "absent.py", "--help") == 2 and "this file does not exist" in project.err
    assert project.toolkit("run", "--help") == 0 and "usage: toolkit run" in project.out
