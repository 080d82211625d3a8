"""A run that failed goes on: what succeeded is taken as it is, the rest runs again, whatever holds it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.local_project import LocalProject
from toolkit.backends.argo.compile.omitted_work import OmittedWork
from toolkit.backends.completed_work import CompletedWork
from toolkit.runtime.shared.tree import Tree, fill

HEAD = "from toolkit import Catalog, Conditional, Loop, Map, Nested, Parallel, Pipeline, ShellTask, Stub\n"
WORD = (
    "def word(name, command, *returns, **more):\n    return ShellTask(name, command, returns=list(returns), **more)\n"
)
NOT_YET = "test -e mended || exit 3; "
"""Fails until there is a file of that name in the project."""


@pytest.fixture
def project(tmp_path: Path) -> LocalProject:
    return LocalProject(tmp_path)


def write(project: LocalProject, steps: str) -> None:
    project.write("p.py", f"{HEAD}{WORD}\np = Pipeline(name='p', steps=[\n{steps}\n])\n")


def attempts(shown: dict[str, Any]) -> dict[str, list[str]]:
    """The statuses of the attempts of each task that has any, by path."""
    return {one["path"]: [each["status"] for each in one["attempts"]] for one in shown["steps"] if one["attempts"]}


def not_run_on_a_cluster(project: LocalProject) -> set[str]:
    """The paths of what a Workflow that goes on with the run leaves out."""
    [folder] = (project.root / ".toolkit" / "volumes").glob("*/run_log_store/r")
    record = json.loads((folder / "run.json").read_text())
    tree = Tree(json.loads(record["plan"]))
    resumed = OmittedWork(tree, folder, CompletedWork(tree, folder, frozenset(tree.rows), record["controls"]))
    return {fill(path, list(positions)) for path in tree.rows for positions in resumed.omitted(path)}


ONCE, AGAIN = ["succeeded"], ["failed", "succeeded"]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (
            "word('a', 'export x=1', 'x'), word('b', NOT + 'export y=$x', 'y'), word('c', 'export z=$y', 'z')",
            {"a": ONCE, "b": AGAIN, "c": ONCE},
        ),
        (
            """word('l', 'export xs=[1,2,3]', 'xs'),
            Map('m', branch=Pipeline([word('a', 'true'), word('b', '[ $i != 2 ] || { ' + NOT + ' }; export y=$i', 'y')]),
                iterate_on='xs', iterate_as='i'),
            word('z', 'export s="$y"', 's')""",
            {
                "l": ONCE, "m/0/a": ONCE, "m/0/b": ONCE, "m/1/a": ONCE, "m/1/b": AGAIN,
                "m/2/a": ONCE, "m/2/b": ONCE, "z": ONCE,
            },
        ),
        (
            """Parallel('p', branches={'one': Pipeline([word('a', 'true')]), 'two': Pipeline([word('b', NOT), word('c', 'true')])}),
            word('z', 'true')""",
            {"p/one/a": ONCE, "p/two/b": AGAIN, "p/two/c": ONCE, "z": ONCE},
        ),
        (
            """word('k', 'export k=left', 'k'),
            Conditional('c', parameter='k', branches={'left': Pipeline([word('a', 'true'), word('b', NOT)])}),
            word('z', 'true')""",
            {"k": ONCE, "c/left/a": ONCE, "c/left/b": AGAIN, "z": ONCE},
        ),
        (
            """Loop('l', branch=Pipeline([word('n', 'export n=$((${n:-0} + 1))', 'n'), word('t', '[ $n != 2 ] || { ' + NOT + ' }; '
               'export done=$([ $n = 3 ] && echo true || echo false)', 'done')]), max_iterations=5, break_on='done', index_as='i'),
            word('z', 'export last=$n', 'last')""",
            {
                "l/0/n": ONCE, "l/0/t": ONCE, "l/1/n": ONCE, "l/1/t": AGAIN, "l/2/n": ONCE, "l/2/t": ONCE, "z": ONCE,
            },
        ),
        (
            """Nested('n', Pipeline([word('a', 'false', on_failure=Pipeline([word('h', 'true')])), word('never', 'true')])),
            word('b', NOT), word('z', 'true')""",
            # The handler had made good for it: neither runs again.
            {"n/a": ["failed"], "n/a/on_failure/h": ONCE, "b": AGAIN, "z": ONCE},
        ),
        (
            "word('a', NOT, on_failure=Pipeline([word('h', 'exit 4')])), word('z', 'true')",
            {"a": AGAIN, "a/on_failure/h": ["failed"], "z": ONCE},
        ),
        (
            "word('a', 'true', terminate_with_success=False), Stub('s'), word('b', NOT, max_attempts=2), word('z', 'true')",
            {"a": ONCE, "b": ["failed", "failed", "succeeded"], "z": ONCE},
        ),
    ],
    ids=["sequence", "map", "parallel", "conditional", "loop", "handled", "handler-failed", "attempts"],
)  # fmt: skip
def test_what_failed_runs_again_and_what_follows_it(
    project: LocalProject, steps: str, expected: dict[str, list[str]]
) -> None:
    # Given a run that failed,
    write(project, steps.replace("NOT", repr(NOT_YET)))
    assert project.run("p.py", "--run-id", "r") == 1, project.err
    left_out = not_run_on_a_cluster(project)
    before = attempts(project.show())
    # when its fault is mended and it goes on,
    project.write("mended", "")
    assert project.toolkit("retry", "r") == 0, project.err
    # then only what had failed has another attempt, and all is there.
    shown = project.show()
    assert shown["status"] == "succeeded" and shown["run_id"] == "r"
    assert attempts(shown) == expected
    assert not {one["status"] for one in shown["steps"]} & {"running", "waiting", "cancelled"}
    # A Workflow of it would have left out what did not run again (but for a handler that failed, should its step fail again).
    same = {path for path in attempts(shown) if before.get(path) == attempts(shown)[path]}
    same -= {path for path in same if "/on_failure/" in path and before[path][-1] == "failed"}
    assert {path for path in attempts(shown) if any(f"{path}/".startswith(f"{one}/") for one in left_out)} == same
    # A second time there is nothing to do.
    assert project.toolkit("retry", "r") == 2
    assert "the run r has succeeded" in project.err


def test_it_fails_again_as_often_as_it_fails(project: LocalProject) -> None:
    write(project, f"word('a', 'true'), word('b', {NOT_YET!r})")
    assert project.run("p.py", "--run-id", "r") == 1
    assert project.toolkit("retry", "r") == 1
    assert project.toolkit("retry", "r") == 1
    assert attempts(project.show()) == {"a": ["succeeded"], "b": ["failed", "failed", "failed"]}
    project.write("mended", "")
    assert project.toolkit("retry", "r") == 0
    assert attempts(project.show()) == {"a": ["succeeded"], "b": ["failed"] * 3 + ["succeeded"]}


def test_mended_code_is_taken_and_another_shape_only_when_asked_for(project: LocalProject) -> None:
    write(project, "word('a', 'export x=1', 'x'), word('b', 'exit 3', 'y'), word('c', 'true')")
    assert project.run("p.py", "--run-id", "r") == 1
    # Another command is mended code,
    for steps, what in (
        ("word('a', 'export x=2', 'x', 'w'), word('b', 'export y=$x', 'y'), word('c', 'true')", "the step a returned x and"),
        ("word('a', 'export x=2', 'x'), word('new', 'true'), word('b', 'true')", "the step new is new where b was"),
        ("word('a', 'export x=2', 'x')", "the step b is gone"),
        ("word('a', 'export x=2', 'x'), Stub('b'), word('c', 'true')", "the step b was a shell and is a stub"),
        ("word('b', 'export y=1', 'y'), word('a', 'export x=2', 'x'), word('c', 'true')", "the step b stands where a was"),
    ):  # fmt: skip
        write(project, steps)
        assert project.toolkit("retry", "r") == 2, what
        assert f"is not the one that the run r began with: {what}" in project.err
    # and a changed one runs again from what differs.
    write(project, "word('a', 'export x=2', 'x'), word('new', 'export w=$x', 'w'), word('b', 'export y=$x', 'y')")
    assert project.toolkit("retry", "r", "--changed-shape") == 0, project.err
    assert "all steps from there on run again" in project.err
    shown = project.show()
    assert attempts(shown) == {"a": ["succeeded"], "new": ["succeeded"], "b": ["failed", "succeeded"]}
    assert shown["parameters"] == {"w": 1, "x": 1, "y": 1}


def test_parameters_and_files_of_the_earlier_part_are_there(project: LocalProject) -> None:
    write(
        project,
        "word('a', 'echo $given > f; export x=1', 'x', catalog=Catalog(put=['f'])),"
        f"word('b', {NOT_YET!r} + 'export y=\"$x $(cat f) $given\"', 'y', catalog=Catalog(get=['f']))",
    )
    assert project.run("p.py", "--run-id", "r", "--param", "given=word") == 1
    project.write("mended", "")
    assert project.toolkit("retry", "r") == 0, project.err
    assert project.show()["parameters"]["y"] == "1 word word"


def test_a_run_whose_client_was_killed_goes_on(project: LocalProject) -> None:
    # Given a client that is killed together with its step,
    write(project, f"word('a', 'true'), word('b', 'test -e mended && exit 0; kill -9 {'$'}(cat client); sleep 30')")
    command = [sys.executable, "-m", "toolkit", "run", "p.py", "--env", "process", "--run-id", "r"]
    client = subprocess.Popen(
        ["sh", "-c", 'echo $$ > client; exec "$@"', "sh", *command], cwd=project.root, stderr=subprocess.DEVNULL
    )
    assert client.wait(60) == -9
    assert project.toolkit("show", "r", "--json") == 0
    assert json.loads(project.out)["status"] == "failed"
    # when it goes on, then what was lost is another attempt.
    project.write("mended", "")
    assert project.toolkit("retry", "r") == 0, project.err
    # Its runtime may have seen the client go, or have gone with it.
    found = attempts(project.show())
    assert found["a"] == ["succeeded"] and found["b"][1:] == ["succeeded"] and found["b"][0] in ("failed", "cancelled")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none",), "there is no run 'none' here"),
        (("r", "--env", "argo"), "there is no kubeconfig"),
        (("r", "other.py"), "does not exist"),
    ],
)
def test_what_can_not_go_on_is_refused(project: LocalProject, arguments: tuple[str, ...], message: str) -> None:
    write(project, "word('a', 'exit 3')")
    assert project.run("p.py", "--run-id", "r") == 1
    assert project.toolkit("retry", *arguments) == 2
    assert message in project.err
    os.unlink(project.root / "p.py")
    assert project.toolkit("retry", "r") == 2
    assert "the run's pipeline p.py no longer exists" in project.err


def test_without_a_name_the_newest_that_did_not_succeed_is_taken(project: LocalProject) -> None:
    write(project, f"word('a', {NOT_YET!r})")
    assert project.toolkit("retry") == 2 and "there is no run here that failed or was cancelled" in project.err
    for run_id in ("first", "second"):
        assert project.run("p.py", "--run-id", run_id) == 1
    project.write("mended", "")
    assert project.run("p.py", "--run-id", "third") == 0
    # It runs on, and says which run it is; then the one before it is the newest.
    for run_id, words in (("second", ()), ("first", ("p.py",))):
        assert project.toolkit("retry", *words) == 0, project.err
        assert f"resuming the run {run_id}, the newest that did not succeed" in project.err
    assert project.toolkit("retry") == 2
    # What is no run's id is a file.
    assert project.toolkit("retry", "q.py") == 2 and "q.py" in project.err


# --- what a step writes into its records decides nothing ----------------------------------------------------------------

EVIL = "open('pwned', 'w').close()\n"
"""A file that a step leaves where it can write. Whoever runs it on this machine can be told by what it leaves."""
REWRITES = (
    "import json, os, pathlib\n"
    "def rewrite(x=None):\n"
    "    if os.path.exists('mended'): return\n"
    "    [folder] = pathlib.Path(VOLUME).glob('run_log_store/r')\n"
    "    pathlib.Path(VOLUME, 'evil.py').write_text(EVIL)\n"
    "    record = json.loads((folder / 'run.json').read_text())\n"
    "    (folder / 'run.json').write_text(json.dumps({**record, **CHANGES}))\n"
    "    raise ValueError('not yet')\n"
)


def run_that_rewrites_its_record(project: LocalProject, **changes: Any) -> None:
    """A run whose only step rewrites the run's record, and fails."""
    volume = str(project.root / ".toolkit" / "volumes" / "toolkit")
    values = f"VOLUME, EVIL, CHANGES = {volume!r}, {EVIL!r}, {changes!r}\n"
    project.write("functions.py", values + REWRITES)
    project.write(
        "p.py",
        "import functions\nfrom toolkit import Pipeline, PythonTask\np = Pipeline([PythonTask(functions.rewrite)])\n",
    )
    given = ("--run-id", "r", "--tag", "mine", "--param", 'x=[1, "it\'s"]')
    assert project.run("p.py", *given) == 1, project.err
    project.write("mended", "")


@pytest.mark.parametrize(
    "changes",
    [
        {"source": {"file": ".toolkit/volumes/toolkit/evil.py", "name": None, "nth": None, "arguments": []}},
        {"source": None, "driver": None},
        {"environment": "argo", "context": {"context": "theirs", "namespace": "theirs"}},
        {"environment": "local"},
        {"parameters": {"x": 2, "y": 3}, "tag": "theirs", "image": {"reference": "theirs"}},
        {"driver": {"host": "elsewhere", "pid": -1, "started": ""}},
    ],
)
def test_a_retry_takes_what_was_asked_for_and_not_what_a_step_wrote(
    project: LocalProject, changes: dict[str, Any]
) -> None:
    run_that_rewrites_its_record(project, **changes)
    assert project.toolkit("retry", "r") == 0, project.err
    assert not (project.root / "pwned").exists()
    shown = project.show()
    assert shown["status"] == "succeeded" and shown["environment"] == "process"
    assert (shown["parameters"], shown["tag"]) == ({"x": [1, "it's"]}, "mine")


@pytest.mark.parametrize("plan", ["[]", "{half", "{}", '{"steps": [7]}'])
def test_a_plan_that_a_step_has_damaged_ends_a_retry_with_a_sentence(project: LocalProject, plan: str) -> None:
    run_that_rewrites_its_record(project, plan=plan)
    assert project.toolkit("retry", "r") == 2
    assert "the plan in the record of the run r can't be read: begin a new run" in project.err


def forget(project: LocalProject) -> None:
    """Removes what this machine has kept of runs, as of a run of another machine."""
    shutil.rmtree(project.root / ".toolkit" / "clients")


def named_command(project: LocalProject) -> list[str]:
    """The command that the last message names."""
    match = re.search(r"`toolkit (retry [^`]*)`", project.err)
    assert match, project.err
    return shlex.split(match[1])


def test_a_run_of_which_nothing_is_kept_asks_for_its_file_and_the_command_that_it_names_works(
    project: LocalProject,
) -> None:
    run_that_rewrites_its_record(project)
    forget(project)
    # Whatever is named is not enough,
    for named in ((), ("p.py",), ("p.py", "--env", "process"), ("--env", "process", "--param", "x=1")):
        assert project.toolkit("retry", "r", *named) == 2
        assert "what the run r was asked for is not kept on this machine" in project.err
    # but the whole command.
    assert project.toolkit("retry", "r") == 2
    command = named_command(project)
    assert command == ["retry", "r", "p.py", "--env", "process", "--tag", "mine", "--param", 'x=[1, "it\'s"]']
    assert project.toolkit(*command) == 0, project.err
    shown = project.show()
    assert (shown["status"], shown["parameters"], shown["tag"]) == ("succeeded", {"x": [1, "it's"]}, "mine")


def test_a_record_of_which_nothing_is_kept_names_no_file_that_a_step_can_write(project: LocalProject) -> None:
    for file in (".toolkit/volumes/toolkit/evil.py", "../evil.py", "no\x1b[2Kthing.py", ["p.py"]):
        source = {"file": file, "name": "a b", "nth": None, "arguments": ["x"]}
        run_that_rewrites_its_record(project, source=source, environment="`id`", tag="\x1b", parameters={})
        forget(project)
        assert project.toolkit("retry", "r") == 2
        # An environment that does not exist is read as local.
        assert named_command(project) == ["retry", "r", "FILE", "--env", "local"] and "\x1b" not in project.err
        assert "its script had arguments" in project.err
        shutil.rmtree(project.root / ".toolkit" / "volumes")
        (project.root / "mended").unlink()


@pytest.mark.parametrize("file", [".toolkit/volumes/toolkit/evil.py", ".toolkit/evil.py", "link.py", "linked/evil.py"])
def test_a_pipeline_where_steps_can_write_is_refused(project: LocalProject, file: str) -> None:
    run_that_rewrites_its_record(project)
    shutil.copy(project.root / ".toolkit/volumes/toolkit/evil.py", project.root / ".toolkit/evil.py")
    (project.root / "link.py").symlink_to(project.root / ".toolkit/volumes/toolkit/evil.py")
    (project.root / "linked").symlink_to(project.root / ".toolkit/volumes/toolkit")
    for command in ("run", "retry"):
        assert project.toolkit(command, *(["r"] if command == "retry" else []), file, "--env", "process") == 2
        assert "this file lies on a volume or in .toolkit" in project.err
    assert not (project.root / "pwned").exists()


def test_a_volume_that_leads_elsewhere_is_one_and_not_the_private_state(project: LocalProject, tmp_path: Path) -> None:
    write(project, "word('a', 'true')")
    volume = project.root / ".toolkit" / "volumes" / "toolkit"
    volume.parent.mkdir(parents=True)
    # A volume may be a folder elsewhere, and a pipeline there is refused as well,
    elsewhere = tmp_path / "disk"
    elsewhere.mkdir()
    volume.symlink_to(elsewhere)
    assert project.run("p.py") == 0, project.err
    shutil.copy(project.root / "p.py", elsewhere / "p.py")
    assert project.run("disk/p.py") == 2 and "lies on a volume" in project.err
    # but none that holds what the client keeps,
    for target in (project.root / ".toolkit", project.root / ".toolkit" / "clients"):
        volume.unlink()
        volume.symlink_to(target)
        assert project.run("p.py") == 2 and "where steps could write what toolkit keeps for itself" in project.err
    # and the run log is reached by no link on it.
    volume.unlink()
    volume.mkdir()
    (volume / "run_log_store").symlink_to(elsewhere)
    assert project.run("p.py") == 2 and "is reached by a link on the volume toolkit" in project.err


def test_a_retry_keeps_parameters_and_tag(project: LocalProject) -> None:
    run_that_rewrites_its_record(project)
    for named, message in (
        (("--param", "x=2"), 'keeps its parameters, and x is [1, "it\'s"] there'),
        (("--param", "y=2"), "keeps its parameters, and y is not given there"),
        (("--tag", "other"), "keeps its tag, which is 'mine'"),
    ):
        assert project.toolkit("retry", "r", *named) == 2
        assert message in project.err
    assert project.toolkit("retry", "r", "--param", 'x=[1,"it\'s"]', "--tag", "mine") == 0, project.err


def test_what_is_kept_is_private_and_stays(project: LocalProject) -> None:
    run_that_rewrites_its_record(project)
    clients = project.root / ".toolkit" / "clients"
    assert [path.stat().st_mode & 0o777 for path in (clients, clients / "r")] == [0o700, 0o700]
    # Another run sweeps the private folders of runs that are over, and not this.
    write(project, "word('a', 'true')")
    assert project.run("p.py", "--run-id", "other") == 0, project.err
    assert (clients / "r" / "request.json").exists()
    # A run that takes the id later is another one.
    kept = (clients / "other" / "request.json").read_text()
    (clients / "r" / "request.json").write_text(kept.replace('"other"', '"r"'))
    assert project.toolkit("retry", "r") == 2 and "is not kept on this machine" in project.err


def test_a_file_of_a_run_that_is_a_link_or_a_pipe_is_no_record(project: LocalProject) -> None:
    # Given a step that leaves links to files of this machine, and pipes that nobody writes into, among its records,
    write(project, f"word('a', 'echo output'), word('b', {NOT_YET!r}, catalog=Catalog(put=['f']))")
    project.write("f", "content")
    project.write("secret", "hello")
    assert project.run("p.py", "--run-id", "r") == 1
    [folder] = (project.root / ".toolkit" / "volumes").glob("*/run_log_store/r")
    [object_file] = (project.root / ".toolkit" / "volumes").glob("*/catalog/objects/*/*")
    for file in (folder / "steps/a/1/output.log", object_file):
        file.unlink()
        file.symlink_to(project.root / "secret")
    for file in (folder / "steps/b/1/begin.json", folder / "moved.json", folder / "end.json"):
        file.unlink(missing_ok=True)
        os.mkfifo(file)
    (folder.parent / "other").symlink_to(folder)
    # when it is looked at, then none is read, and nothing waits.
    assert {log["step"]: log["output"] for log in project.show("logs")}["a"] == ""
    assert [run["run_id"] for run in project.show("runs")] == ["r"] and project.show()["run_id"] == "r"
    assert project.toolkit("show", "other") == 2 and project.toolkit("show", "../run_log_store/r") == 2
    assert project.toolkit("catalog", "r", "--get", "f") == 2 and "is not in the catalog" in project.err
    assert project.toolkit("fetch", "r") == 2 and not (project.root / ".toolkit" / "fetched" / "r" / "f").exists()
    # A record that names another run is none.
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "run_id": "../../elsewhere"}))
    assert project.toolkit("show", "r") == 2


def test_no_link_in_a_run_leads_the_client_elsewhere(project: LocalProject, tmp_path: Path) -> None:
    write(project, f"word('a', {NOT_YET!r})")
    assert project.run("p.py", "--run-id", "r") == 1
    [folder] = (project.root / ".toolkit" / "volumes").glob("*/run_log_store/r")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (folder / "continued").symlink_to(elsewhere)
    project.write("mended", "")
    assert project.toolkit("retry", "r") == 3
    assert "can't be written" in project.err and list(elsewhere.iterdir()) == []
