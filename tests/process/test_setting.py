"""Values that are set from outside: several files, settings inside of dictionaries, and a file that scripts read themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.local_project import LocalProject

HEAD = "from toolkit import *\nfrom toolkit import Pipeline\n"


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    return LocalProject(tmp_path)


def write_fit(project: LocalProject, more: str = "") -> None:
    project.write(
        "p.py",
        f"""{HEAD}
import os
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
