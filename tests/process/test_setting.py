"""Values that are set from outside: several files, settings inside of dictionaries, and a file that scripts read themselves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.local_project import LocalProject
from toolkit.backends import process

HEAD = "from toolkit import *\nfrom toolkit import Pipeline\n"


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    return LocalProject(tmp_path)


def write_fit(project: LocalProject, more: str = "") -> None:
    project.write(
        "p.py",
        f"""{HEAD}
import json
import os
import shutil
def fit(train: dict[str, str], seed: int = 0):
    print(train, seed)
    if not os.path.exists({str(project.root / "mended")!r}): raise SystemExit(3)
p = Pipeline(steps=[PythonTask(fit)])
{more}
""",
    )


def test_files_and_settings_of_a_command_line_and_the_same_again_for_a_retry(project: LocalProject) -> None:
    write_fit(project)
    project.write("a.yaml", "train: {trees: '6', version: '1.9'}\nseed: 3\n")
    project.write("b.yaml", "train: {trees: '7', kind: '[x]'}\n")
    options = ("-p", "a.yaml", "-p", "b.yaml", "--param", "train.version=1.10", "--param", "train.rate=1.50")
    assert project.run("p.py", "--run-id", "r", *options) == 1, project.err
    train = {"trees": "7", "version": "1.10", "kind": "[x]", "rate": 1.5}
    assert project.show()["parameters"] == {"train": train, "seed": 3}
    (project.root / "mended").touch()
    for other in ("train.rate=2", "train.more=1", "tree.rate=1"):
        assert project.toolkit("retry", "r", "--param", other) == 2
        assert other.partition(".")[0] in project.err
    assert project.toolkit("retry", "r", "p.py", *options) == 0, project.err
    assert project.toolkit("logs", "r") == 0
    spelled = "{'trees': '7', 'version': '1.10', 'kind': '[x]', 'rate': '1.50'} 3"
    assert spelled in project.out, "numbers are as they were spelled"


def test_a_setting_of_what_is_no_dictionary_ends_before_anything_starts(project: LocalProject) -> None:
    write_fit(project)
    assert project.run("p.py", "--param", "train=5", "--param", "train.n=5") == 2
    assert "--param train.n sets inside of a dictionary, and train is 5" in project.err
    assert project.show("runs") == []


def test_a_script_names_several_files(project: LocalProject) -> None:
    write_fit(project, "if __name__ == '__main__': p.execute(parameters_file=['a.yaml', 'b.yaml'], run_id='r')")
    project.write("a.yaml", "train: {a: '1', b: '2'}\n")
    project.write("b.yaml", "train: {b: '3'}\n")
    (project.root / "mended").touch()
    environment = {**os.environ, "TOOLKIT_ENV": "process"}
    subprocess.run([sys.executable, "p.py"], cwd=project.root, env=environment, check=True, timeout=60)
    assert project.show()["parameters"] == {"train": {"a": "1", "b": "3"}}


# --- strict shell steps ---------------------------------------------------------------------------------------------


def write_strict(project: LocalProject, command: str, *options: str, returns: str = "", config: str = "") -> None:
    lines = [f"command: {json.dumps(command)}", "command_type: shell", *options]
    if returns:
        lines.append(f"returns: [{returns}]")
    project.write("p.yaml", "dag:\n  start_at: a\n  steps:\n    a:\n" + "".join(f"      {line}\n" for line in lines))
    if config:
        project.write("toolkit.yaml", f"executor:\n  type: local-container\n  config:\n    {config}\n")


@pytest.mark.parametrize(
    ("command", "code", "reason"),
    [
        ("echo one\necho $no_such_name\necho two", 1, "no_such_name: unbound variable"),
        ("export x=1\nfalse\nexport x=2", 1, "ended with exit code 1"),
        ("export x=1\n(exit 7) | cat\nexport x=2", 7, "ended with exit code 7"),
        ("x=$(exit 5)\nexport x", 5, "ended with exit code 5"),
        ("export x=1\nif false; then :; fi\nfalse || true\n[[ $x == 1 ]]\nexport x=3", 0, ""),
        ("export x=1; set +eu; echo $nothing; false; export x=3", 0, ""),
    ],
)
def test_a_strict_step_ends_at_the_first_thing_that_fails(
    project: LocalProject, command: str, code: int, reason: str
) -> None:
    write_strict(project, command, "strict: true", returns="x")
    assert project.run("p.yaml") == (1 if code else 0), project.err
    [attempt] = project.show()["steps"][0]["attempts"]
    assert attempt["exit_code"] == code and reason in (attempt["reason"] or "")
    assert (attempt["output_parameters"] == {}) == bool(code)


@pytest.mark.parametrize(
    ("config", "step", "is_strict"),
    [("strict: true", "", True), ("strict: true", "strict: false", False), ("", "strict: true", True), ("", "", False)],
)
def test_a_step_says_for_itself_what_the_configuration_says_for_all(
    project: LocalProject, config: str, step: str, is_strict: bool
) -> None:
    write_strict(project, "python3 -c 'print(1)' $not_given", *filter(None, [step]), config=config)
    assert project.run("p.yaml") == int(is_strict), project.err
    [attempt] = project.show()["steps"][0]["attempts"]
    begin = json.loads(Path(attempt["log"]).with_name("begin.json").read_text())
    assert begin["command"].startswith("bash -euo pipefail -c ") == is_strict


def test_the_lines_of_a_command_are_counted_as_its_author_does(project: LocalProject) -> None:
    attempt = project.run_shell("x=1\nset -u\nexport x; echo $none", returns=("x",))
    assert "3: none: parameter not set" in attempt["reason"] or "line 3: none: unbound" in attempt["reason"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["strict: true", "shell: sh"], "p.yaml:4: the step 'a' is strict, which takes bash: leave out `shell: sh`"),
        (["strict: often"], "strict is true or false, not the text 'often'"),
    ],
)
def test_what_can_not_be_strict_is_refused(project: LocalProject, options: list[str], message: str) -> None:
    write_strict(project, "true", *options)
    assert project.run("p.yaml") == 2 and message in project.err


def test_a_step_that_has_no_shell_can_not_be_strict(project: LocalProject) -> None:
    project.write("f.py", "def f(): pass\n")
    write_strict(project, "f.f", "strict: true")
    path = project.root / "p.yaml"
    path.write_text(path.read_text().replace("shell", "python"))
    assert project.run("p.yaml") == 2 and "the python step 'a' has no shell that could be strict" in project.err


@pytest.mark.parametrize(("option", "instead"), [("strict: true", "`strict: false`"), ("shell: bash", "`shell: bash`")])
def test_that_there_is_no_bash_is_said_before_the_first_step(
    project: LocalProject, monkeypatch: pytest.MonkeyPatch, option: str, instead: str
) -> None:
    copy = project.root / "of the machine" / "runtime"
    shutil.copytree(process.MAIN.parent, copy)
    shells = copy / "user" / "shells.py"
    shells.write_text(shells.read_text().replace('"/bin"', '"/nowhere"').replace('"/usr/bin", "/usr/local/bin"', ""))
    monkeypatch.setattr(process, "MAIN", copy / "main.py")
    write_strict(project, "true", option)
    assert project.run("p.yaml") == 2
    assert "the step 'a' needs bash" in project.err and "this machine has none" in project.err
    assert instead in project.err
    assert project.show("runs") == []


# --- a file that scripts read themselves ----------------------------------------------------------------------------

READS = "import json\nprint(json.dumps(json.load(open('conf/params.json'))))\n"


def write_scripts(project: LocalProject, command: str = "python3 read.py", head: str = "") -> None:
    project.write("conf/params.json", '{"train": {"trees": 6, "depth": 3},\n "name": "1.9", "x-y": 1}')
    project.write("read.py", READS)
    project.write(
        "p.py",
        f"{HEAD}p = Pipeline(parameters_file='conf/params.json', steps=[\n"
        f"    ShellTask('a', {command!r}), ShellTask('b', 'cat conf/params.json')])\n{head}",
    )


def outputs(project: LocalProject) -> list[str]:
    """What each step wrote at its last attempt, in order."""
    return [Path(step["attempts"][-1]["log"]).read_text() for step in project.show()["steps"]]


def test_a_script_that_reads_its_own_file_reads_the_runs_values(project: LocalProject) -> None:
    write_scripts(project)
    project.write("more.yaml", "train: {depth: 4}\n")
    given = ("-p", "more.yaml", "--param", "train.trees=25", "--param", "name=1.10", "--param", "other=1")
    before = (project.root / "conf/params.json").read_bytes()
    assert project.run("p.py", *given) == 0, project.err
    assert project.show()["parameters"] == {"train": {"trees": 25, "depth": 4}, "name": "1.10", "other": 1}
    for output in outputs(project):
        assert json.loads(output) == {"train": {"trees": 25, "depth": 4}, "name": "1.10", "x-y": 1}
    assert (project.root / "conf/params.json").read_bytes() == before
    assert project.run("p.py") == 0, project.err
    assert outputs(project)[1].encode() == before, "one whose values are the same is left as it is"
    assert project.show()["parameters"] == {"train": {"trees": 6, "depth": 3}, "name": "1.9"}


def test_a_retry_keeps_what_the_file_said(project: LocalProject) -> None:
    write_scripts(project, "python3 read.py; test -e mended")
    assert project.run("p.py", "--param", "train.trees=25", "--run-id", "r") == 1, project.err
    project.write("mended", "")
    project.write("conf/params.json", '{"train": {"trees": 7, "depth": 8}, "name": "2", "new": 5}')
    assert project.toolkit("retry", "r") == 0, project.err
    for output in outputs(project):
        assert json.loads(output) == {"train": {"trees": 25, "depth": 3}, "name": "1.9", "new": 5}


def test_a_file_that_a_step_gets_from_the_catalog_comes_before_the_pipelines_own(project: LocalProject) -> None:
    write_scripts(project)
    project.write(
        "p.py",
        f"{HEAD}p = Pipeline(parameters_file='conf/params.json', steps=[\n"
        "    ShellTask('a', 'echo mine > conf/params.json', catalog=Catalog(put=['conf/params.json'])),\n"
        "    ShellTask('b', 'cat conf/params.json', catalog=Catalog(get=['conf/params.json'])),\n"
        "    ShellTask('c', 'cat conf/params.json')])\n",
    )
    assert project.run("p.py", "--param", "train.trees=25") == 0, project.err
    _, b, c = outputs(project)
    assert b == "mine\n" and json.loads(c)["train"]["trees"] == 25


@pytest.mark.parametrize("form", ["sdk", "driver", "yaml"])
def test_each_form_of_a_pipeline_names_the_file(project: LocalProject, form: str) -> None:
    project.write("params.yaml", "trees: 6\n")
    file = "p.yaml" if form == "yaml" else "p.py"
    project.write(
        file,
        {
            "sdk": f"{HEAD}p = Pipeline([ShellTask('a', 'cat params.yaml')], parameters_file='NAME')\n",
            "driver": f"{HEAD}from toolkit import pipeline\na = ShellTask('a', 'cat params.yaml')\n"
            "@pipeline(parameters_file='NAME')\ndef p():\n    a()\n",
            "yaml": "parameters_file: NAME\ndag: {start_at: a, steps: {a: {command_type: shell, command: cat params.yaml}}}\n",
        }[form],
    )
    line = {"sdk": 3, "driver": 5, "yaml": 1}[form]
    assert project.run(file) == 2
    assert (
        f"{file}:{line}: parameters_file is a YAML or JSON file (.yaml, .yml or .json), and NAME is neither"
        in project.err
    )
    path = project.root / file
    path.write_text(path.read_text().replace("NAME", "params.yaml"))
    assert project.run(file, "--param", "trees=7") == 0, project.err
    assert outputs(project) == ["trees: 7\n"]


def test_a_pipeline_inside_another_names_no_file_of_its_own(project: LocalProject) -> None:
    write_scripts(project, head="outer = Pipeline(name='outer', steps=[Nested('n', p)])\n")
    assert project.run("p.py:outer") == 2
    assert "p.py:3: the parameters_file conf/params.json is one of a pipeline inside another" in project.err
    write_scripts(project, head="outer = Pipeline(steps=[Nested('n', p)], parameters_file='conf/params.json')\n")
    assert project.run("p.py:outer", "--param", "train.trees=1") == 0, project.err
