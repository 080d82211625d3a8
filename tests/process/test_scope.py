"""Which of several values and files of one name a step gets, and what it is told of one that nobody has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.local_project import LocalProject

HEAD = "from toolkit import Catalog, Pipeline, PythonTask, ShellTask, Stub, pickled\n"


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    return LocalProject(tmp_path)


def write(project: LocalProject, *steps: tuple[str, str, str]) -> None:
    """A pipeline of shell steps: name, command, options."""
    listed = "".join(f"  ShellTask({name!r}, {command!r}, {options}),\n" for name, command, options in steps)
    project.write("pipeline.py", f"{HEAD}p = Pipeline(steps=[\n{listed}])\n")


def test_the_newest_of_what_was_put_and_returned_before_wins_unless_a_step_is_named(project: LocalProject) -> None:
    # Given steps that put and return the same names one after the other,
    write(
        project,
        (
            "a",
            "mkdir d; echo 1 > f; echo 1 > d/x; echo 1 > d/y; export v=1",
            "returns=['v'], catalog=Catalog(put=['f', 'd'])",
        ),
        ("b", "mkdir d; echo 2 > f; echo 2 > d/x; export v=2", "returns=['v'], catalog=Catalog(put=['f', 'd'])"),
        ("newest", "export n=$(cat f)$v", "returns=['n'], catalog=Catalog(get=['f'])"),
        ("named", "export o=$(cat f)$old", "returns=['o'], catalog=Catalog(get=['a:f']), bind={'old': 'a.v'}"),
        ("folder", "export p=$(cat d/x d/y | tr -d '\\n')", "returns=['p'], catalog=Catalog(get=['d'])"),
        ("pattern", "export q=$(ls -d f d/* | tr '\\n' ' ')", "returns=['q'], catalog=Catalog(get=['f', 'd/[xy]'])"),
        ("late", "echo 3 > f; export v=3", "returns=['v'], catalog=Catalog(put=['f'])"),
    )
    # when they run, then each step gets what was the newest in its turn, or the one that it names.
    assert project.run("pipeline.py") == 0, project.err
    assert project.show()["parameters"] == {"v": 3, "n": 22, "o": 11, "p": 21, "q": "d/x d/y f "}
    assert [(one["step"], one["name"]) for one in project.show("catalog")] == [
        ("a", "d/x"), ("a", "d/y"), ("a", "f"), ("b", "d/x"), ("b", "f"), ("late", "f")]  # fmt: skip


def test_a_steps_value_is_nearer_than_the_runs(project: LocalProject) -> None:
    write(project, ("before", "export seen=$v", "returns=['seen']"), ("sets", "export v=2", "returns=['v']"),
          ("after", "export then=$v", "returns=['then']"))  # fmt: skip
    assert project.run("pipeline.py", "--param", "v=1") == 0, project.err
    assert project.show()["parameters"] == {"v": 2, "seen": 1, "then": 2}


@pytest.mark.parametrize(
    ("steps", "code", "reason"),
    [
        ([("a", "true", "catalog=Catalog(get=['f'])")], 1, "gets f from the catalog, but no earlier step put it there"),
        (
            [("a", "echo 1 > f", "catalog=Catalog(put=['f'])"), ("b", "true", "catalog=Catalog(get=['a:g'])")],
            1,
            "gets g from the catalog, but the step a did not put it there",
        ),
        ([("a", "true", "catalog=Catalog(get=['*.csv'])")], 1, "gets *.csv from the catalog"),
        (
            [
                ("a", "echo 1 > f", "catalog=Catalog(put=['f'], store_copy=False)"),
                ("b", "true", "catalog=Catalog(get=['f'])"),
            ],
            3,
            "was it put with store_copy: false?",
        ),
        ([("a", "true", "secrets=['KEY']")], 1, "the parameter KEY would replace the secret KEY"),
    ],
)
def test_what_nobody_has_fails_the_step_that_wants_it(
    project: LocalProject, monkeypatch: pytest.MonkeyPatch, steps: list[tuple[str, str, str]], code: int, reason: str
) -> None:
    monkeypatch.setenv("KEY", "a-secret-value")
    write(project, *steps)
    assert project.run("pipeline.py", "--param", "KEY=x") == code, project.err
    run = project.show()
    assert run["steps"][-1]["status"] == "failed"
    assert reason in run["steps"][-1]["attempts"][0]["reason"]


def test_an_object_is_the_same_object_in_each_step_that_takes_it_and_no_variable_of_a_shell(
    project: LocalProject,
) -> None:
    project.write("functions.py", "def make(): return {1, 2}\ndef use(thing, seen): return [sorted(thing), seen]\n")
    project.write(
        "pipeline.py",
        f"{HEAD}import functions\np = Pipeline(steps=[PythonTask(functions.make, returns=[pickled('thing')]),\n"
        "ShellTask('s', 'export seen=\"<$thing>\"', returns=['seen']), PythonTask(functions.use, returns=['x'])])\n",
    )
    assert project.run("pipeline.py") == 0, project.err
    assert project.show()["parameters"]["x"] == [[1, 2], "<>"]


def test_steps_do_not_see_each_others_files_and_the_project_is_not_written_into(project: LocalProject) -> None:
    # Given a step that writes beside the code and in a folder of the code's,
    project.write("src/kept.txt", "theirs")
    write(
        project,
        ("a", "echo 1 > new; echo 1 > src/new", ""),
        ("b", "export x=$(ls new src/new 2>/dev/null | wc -l) y=$(cat src/kept.txt)", "returns=['x', 'y']"),
    )
    # when another runs after it,
    assert project.run("pipeline.py") == 0, project.err
    # then it sees the code and none of that, and neither is it in the project.
    assert project.show()["parameters"] == {"x": 0, "y": "theirs"}
    assert not (project.root / "new").exists() and not (project.root / "src" / "new").exists()


def test_what_a_reducer_can_not_make_is_nothing_to_a_shell_and_named_to_who_wants_it(project: LocalProject) -> None:
    project.write("functions.py", "def want(y):\n    return y\n")
    project.write(
        "pipeline.py",
        "from toolkit import Map, Pipeline, PythonTask, ShellTask\nimport functions\n"
        "branch = Pipeline(steps=[ShellTask('t', 'export y=1', returns=['y'])])\n"
        "Pipeline(steps=[Map('m', branch=branch, iterate_on='xs', iterate_as='x', reducer='max'),\n"
        "  ShellTask('shell', 'export seen=${y-none}', returns=['seen']), PythonTask(functions.want)]).execute()\n",
    )
    assert project.run("pipeline.py", "--param", "xs=[]") == 1
    shown = project.show()
    assert shown["parameters"]["seen"] == "none"
    assert "the reducer max of the map m can't make one value of y: there are no items" in shown["reason"]


def test_the_end_of_a_run_names_what_only_it_could_tell_of_two_branches_and_keys_are_filled_again_in_a_retry(
    project: LocalProject,
) -> None:
    # Given branches whose patterns put one name, also inside of a map, and keys with names,
    project.write(
        "pipeline.py",
        "from toolkit import *\n"
        "side = lambda name: ShellTask('w', 'echo $item > d.txt; echo > ' + name + '.txt',"
        " catalog=Catalog(put=['*.txt'])).as_pipeline()\n"
        "p = Pipeline(steps=[\n"
        "  Map('each', iterate_on='items', iterate_as='item', branch=Pipeline(steps=[\n"
        "    Parallel('both', branches={'l': side('l'), 'r': side('r')}),\n"
        "    ShellTask('takes', 'cat d.txt > $item.csv', catalog=Catalog(get=['both/l/w:d.txt'], put=['{item}.csv']))])),\n"
        "  ShellTask('last', 'cat 0/a.csv; exit 1', catalog=Catalog(get=['0/{which}.csv'])),\n"
        "])\n",
    )
    # when the run fails and is retried, then both are named with their steps, and the keys have the same values.
    said = "put side by side under one name: d.txt by each/0/both/l/w and each/0/both/r/w ("
    assert project.run("pipeline.py", "--run-id", "r", "--param", 'items=["a"]', "--param", "which=a") == 1
    assert said in project.err
    pipeline = project.root / "pipeline.py"
    pipeline.write_text(pipeline.read_text().replace("exit 1", "true"))
    assert project.toolkit("retry", "r") == 0, project.err
    assert said in project.err
    steps = {step["path"]: step["attempts"][-1] for step in project.show()["steps"] if step["attempts"]}
    assert [file["name"] for file in steps["each/0/takes"]["catalog"]["put"]] == ["a.csv"]
    assert [file["name"] for file in steps["last"]["catalog"]["get"]] == ["0/a.csv"]
    assert steps["last"]["input_parameters"]["which"] == "a"
    puts = [(file["step"], file["name"]) for file in project.show("catalog")]
    assert ("each/0/both/l/w", "d.txt") in puts and ("each/0/both/r/w", "d.txt") in puts


def test_what_is_said_of_a_file_that_two_branches_put_is_a_name_for_a_step_inside_of_others_too(
    project: LocalProject,
) -> None:
    # Given two branches that put one name, and a step in a map after them that gets it,
    pipeline = """
from toolkit import Map, Parallel

def branch(name):
    return ShellTask("w", f"echo {name} > d.txt", catalog=Catalog(put=["*.txt"])).as_pipeline()

gets = ShellTask("gets", "export d=$(cat d.txt)", returns=["d"], catalog=Catalog(get=["KEY"])).as_pipeline()
p = Pipeline(steps=[
    ShellTask("items", "export items='[1, 2]'", returns=["items"]),
    Parallel("both", {"l": branch("l"), "r": branch("r")}),
    Map("each", gets, iterate_on="items", iterate_as="item"),
])
"""
    project.write("pipeline.py", HEAD + pipeline.replace("KEY", "d.txt"))
    assert project.run("pipeline.py") == 1
    assert "side by side: name one of them, as in both/l/w:d.txt" in project.err
    # when it names one as it is told to, then it gets that one.
    project.write("pipeline.py", HEAD + pipeline.replace("KEY", "both/l/w:d.txt"))
    assert project.run("pipeline.py") == 0, project.err
    assert project.show()["parameters"]["d"] == ["l", "l"]


def test_a_value_in_a_key_is_an_input_of_a_function_that_does_not_take_it(project: LocalProject) -> None:
    project.write("functions.py", "def writes():\n    open('v1.10.csv', 'w').write('x')\n")
    project.write(
        "pipeline.py",
        f"{HEAD}import functions\np = Pipeline(steps=[PythonTask(functions.writes, catalog=Catalog(put=['v{{version}}.csv']))])\n",
    )
    assert project.run("pipeline.py", "--param", "version=1.10") == 0, project.err
    [step] = project.show()["steps"]
    assert [file["name"] for file in step["attempts"][-1]["catalog"]["put"]] == ["v1.10.csv"]
    assert step["attempts"][-1]["input_parameters"] == {"version": 1.1}
    assert project.run("pipeline.py") == 2
    assert "takes version, which no step before it returns and the run was not given" in project.err
